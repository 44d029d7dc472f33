"""The native server: size, start-up and memory; whole answers and streamed deltas in each dialect, compared with nginx; an agent's
turns; open streams. Argument: rounds."""

import json
import subprocess
import sys
import time

from measure import JSON, KEY, RELEASE, Fake, NativeServer, Nginx, Table, ask, load, memory, used

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
STREAMS = 50
CLIENTS = 16


def history(client):
    """The history of one client's conversation."""
    return [{"role": "user", "content": f"[[fake say=one]] first of {client}"}, {"role": "assistant", "content": "one"}]


# As agents have them; a description of 2 KB each.
TOOLS = [
    {
        "name": f"tool_{number}",
        "description": "Reads, writes or searches files of the project and says what it found. " * 28,
        "parameters": {
            "type": "object",
            "properties": {"path": {"type": "string"}, "text": {"type": "string"}, "limit": {"type": "integer"}},
            "required": ["path"],
        },
    }
    for number in range(21)
]


def question(dialect, content, stream, history=(), tools=()):
    """The same question in a dialect, by the end of its route."""
    messages = [*history, {"role": "user", "content": content}]
    body = {"model": "qwen3-max", "stream": stream}
    if dialect == "responses":
        return body | {"input": messages, "reasoning": {"effort": "none"}}
    if dialect == "messages":
        given = [{"name": tool["name"], "description": tool["description"], "input_schema": tool["parameters"]} for tool in tools]
        return body | {"messages": messages, "max_tokens": 100_000} | ({"tools": given} if tools else {})
    given = [{"type": "function", "function": tool} for tool in tools]
    return body | {"messages": messages, "enable_thinking": False} | ({"tools": given} if tools else {})


def start_and_rest(fake, table):
    table.row("binary", "≤ 12 MB", [(RELEASE / "qwen-edge").stat().st_size / 1e6], "MB")
    starts, idle = [], []
    for _ in range(ROUNDS):
        server = NativeServer(fake)
        time.sleep(1)
        starts.append(server.ready_after * 1000)
        idle.append(megabytes(server.process.pid))
        server.stop()
    table.row("ready after the start", "≤ 20 ms", starts, "ms")
    table.row("resident at rest", "≤ 12 MB", idle, "MB")


def whole_answers(fake, nginx, server, table):
    load(server.chat, ask("[[fake say=one]] first of {worker}", False), "-n", CLIENTS, "-c", CLIENTS)
    again = ask("[[fake say=two]] second", False, history("{worker}"))
    chats = [fake.new_chat() for _ in range(CLIENTS)]
    turn = fake.turn("[[fake say=two]] second")
    straight, through = {"p50_ms": [], "p99_ms": []}, {"p50_ms": [], "p99_ms": []}
    for _ in range(ROUNDS):
        direct = load(fake.completions(chats[:1]), turn, "-n", 2000, headers=fake.headers)
        served = load(server.chat, again, "-n", 2000)
        for name in straight:
            straight[name].append(direct[name])
            through[name].append(served[name])
    for name, target in (("p50_ms", "≤ 0.3 ms"), ("p99_ms", "≤ 1 ms")):
        added = [one - other for one, other in zip(through[name], straight[name], strict=True)]
        what = f"whole answer, known history, 1 client: added latency, {name.removesuffix('_ms')}"
        table.row(what, target, added, "ms", 2, straight[name], "the site alone")
    spent, beside, rates = [], [], []
    for _ in range(ROUNDS):
        took, done = used(server, lambda: load(server.chat, again, "-n", 10_000, "-c", CLIENTS))
        spent.append(took / 10_000)
        rates.append(done["per_second"])
        took, _ = used(nginx, lambda: load(fake.completions(chats, nginx.url), turn, "-n", 10_000, "-c", CLIENTS, headers=fake.headers))
        beside.append(took / 10_000)
    table.row(f"whole answer, known history, {CLIENTS} clients: processor time", "≤ 80 µs, ≤ 3.00", spent, "µs", 0, beside, "nginx, one request to the site")
    table.row("… with site and client on the same two cores", "", rates, "a second", 0)


def streams(fake, nginx, single, server, table):
    deltas = 50_000
    full, beside = [], []
    for _ in range(ROUNDS):
        took, _ = used(server, lambda: load(server.chat, ask(f"[[fake n={deltas}]] count", True)))
        full.append(took / deltas)
        url = fake.completions([fake.new_chat()], nginx.url)
        took, _ = used(nginx, lambda: load(url, fake.turn(f"[[fake n={deltas}]] count"), headers=fake.headers))
        beside.append(took / deltas)
    table.row("streamed delta, full speed: processor time", "≤ 1.50", full, "µs", 2, beside, "nginx, untouched")
    paced, beside, alone, each = [], [], [], 2000
    prompt = f"[[fake n={each} delay_ms=4]] count"
    chats = [fake.new_chat() for _ in range(STREAMS)]
    for _ in range(ROUNDS):
        took, _ = used(server, lambda: load(server.chat, ask(prompt, True), "-n", STREAMS, "-c", STREAMS))
        paced.append(took / STREAMS / each)
        for other, spent in ((nginx, beside), (single, alone)):
            urls = fake.completions(chats, other.url)
            took, done = used(other, lambda: load(urls, fake.turn(prompt), "-n", STREAMS, "-c", STREAMS, headers=fake.headers))
            assert done["bytes"] > STREAMS * each * 100, done
            spent.append(took / STREAMS / each)
    table.row(f"streamed delta, one at a time, {STREAMS} streams: processor time", "≤ 1.25", paced, "µs", 1, beside, "nginx, untouched")
    # A single process finds more work at each poll, because it has all streams.
    table.row("… beside nginx with a single process", "", paced, "µs", 1, alone, "nginx, untouched")


def dialects(fake, nginx, server, table):
    """Each dialect beside chat completions and beside nginx, which passes the stream of the same question on."""
    deltas, count = 50_000, 4_000
    urls = {name: f"{server.url}/v1/{name}" for name in ("chat/completions", "responses", "messages")}
    turn = fake.turn("[[fake say=two]] second")
    whole, full = {}, {}
    for name, url in urls.items():
        load(url, question(name, "[[fake say=one]] first of {worker}", False), "-n", CLIENTS, "-c", CLIENTS)
    forms = {**{name: (name, ()) for name in urls}, "chat/completions with 21 tools": ("chat/completions", TOOLS)}
    for _ in range(ROUNDS):
        chats = [fake.new_chat() for _ in range(CLIENTS)]
        took, _ = used(nginx, lambda: load(fake.completions(chats, nginx.url), turn, "-n", count, "-c", CLIENTS, headers=fake.headers))
        whole.setdefault("nginx", []).append(took / count)
        chat = fake.completions([fake.new_chat()], nginx.url)
        took, _ = used(nginx, lambda: load(chat, fake.turn(f"[[fake n={deltas}]] count"), headers=fake.headers))
        full.setdefault("nginx", []).append(took / deltas)
        for form, (name, tools) in forms.items():
            url, again = urls[name], question(name, "[[fake say=two]] second", False, history("{worker}"), tools)
            took, _ = used(server, lambda: load(url, again, "-n", count, "-c", CLIENTS))
            whole.setdefault(form, []).append(took / count)
            body = question(name, f"[[fake n={deltas}]] count", True, (), tools)
            took, _ = used(server, lambda: load(url, body))
            full.setdefault(form, []).append(took / deltas)
    for form in forms:
        table.row(f"whole answer, {CLIENTS} clients, {form}: processor time", "", whole[form], "µs", 0, whole["nginx"], "nginx, one request to the site")
    for form in forms:
        table.row(f"streamed delta, full speed, {form}: processor time", "", full[form], "µs", 2, full["nginx"], "nginx, untouched")


def agent(fake, nginx, server, table):
    """The first turn of an agent with 77 KB and 21 tools; the answer is one word."""
    system = "You are a coding agent. " + "Follow the rules of this repository, and say what you did. " * 600
    count, spent, beside = 200, [], []
    turn = fake.turn("[[fake say=one]] " + system[:70_000])
    for number in range(ROUNDS):
        body = question("messages", "[[fake say=one]] {query} begin", False, (), TOOLS) | {"system": system + str(number)}
        size = len(json.dumps(body))
        took, _ = used(server, lambda: load(f"{server.url}/v1/messages", body, "-n", count, "-c", 4))
        spent.append(took / count / 1000)
        chats = [fake.new_chat() for _ in range(4)]
        took, _ = used(nginx, lambda: load(fake.completions(chats, nginx.url), turn, "-n", count, "-c", 4, headers=fake.headers))
        beside.append(took / count / 1000)
    what = f"an agent's first turn of {size / 1000:.0f} KB with {len(TOOLS)} tools, its answer included: processor time"
    table.row(what, "≤ 2 ms before the first byte", spent, "ms", 2, beside, "nginx, a request of that size")


def megabytes(pid):
    """The resident size of a process in MB."""
    return memory(pid) * 2**20 / 1e6


def open_streams(fake, table):
    for what, ramp, streams, target in (
        ("1,000 open streams, opened within some seconds", 3, 1000, "≤ 56 MB"),
        ("1,000 open streams, opened at once", 0, 1000, "≤ 56 MB"),
        ("5,000 open streams, opened within some seconds", 2, 5000, "linear"),
    ):
        found = []
        for _ in range(ROUNDS if streams == 1000 else 1):
            # By default an account may have fewer turns at a time.
            server = NativeServer(fake, UPSTREAM_IN_FLIGHT=str(streams))
            body = json.dumps(ask("[[fake n=600 delay_ms=1000]] count", True))
            command = [RELEASE / "examples/load", server.chat, "-H", KEY, "-H", JSON, "-c", str(streams), "-n", str(streams), "--hold", "6", "--ramp-ms", str(ramp), "-d", body]
            client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            client.stdout.readline()
            time.sleep(4)
            found.append(megabytes(server.process.pid))
            client.wait()
            server.stop()
        table.row(f"{what}: resident", target, found, "MB")


PARTS = {
    "start": lambda fake, nginx, single, server, table: start_and_rest(fake, table),
    "whole": lambda fake, nginx, single, server, table: whole_answers(fake, nginx, server, table),
    "streams": streams,
    "dialects": lambda fake, nginx, single, server, table: dialects(fake, nginx, server, table),
    "agent": lambda fake, nginx, single, server, table: agent(fake, nginx, server, table),
    "open": lambda fake, nginx, single, server, table: open_streams(fake, table),
}


def main():
    parts = sys.argv[2:] or list(PARTS)
    fake = Fake()
    nginx, single = Nginx(fake), Nginx(fake, 1)
    table = Table("Native server")
    server = NativeServer(fake)
    for part in parts:
        PARTS[part](fake, nginx, single, server, table)


main()
