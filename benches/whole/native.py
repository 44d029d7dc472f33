"""The native server: size, start-up and memory; whole answers; streamed deltas compared with nginx. Argument: rounds."""

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


def start_and_rest(fake, table):
    table.row("binary", "≤ 12 MB", [(RELEASE / "qwen-edge").stat().st_size / 1e6], "MB")
    starts, idle = [], []
    for _ in range(ROUNDS):
        server = NativeServer(fake)
        time.sleep(1)
        starts.append(server.ready_after * 1000)
        idle.append(memory(server.process.pid))
        server.stop()
    table.row("ready after the start", "≤ 50 ms", starts, "ms")
    table.row("resident at rest", "≤ 15 MB", idle, "MiB")


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
    for name, target in (("p50_ms", "≤ 0.5 ms"), ("p99_ms", "≤ 2 ms")):
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
    table.row(f"whole answer, known history, {CLIENTS} clients: processor time", "≤ 200 µs", spent, "µs", 0, beside, "nginx, one request to the site")
    table.row("… on one core, by that figure", "≥ 5,000", [1e6 / each for each in spent], "a second", 0)
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
    table.row("streamed delta, full speed: processor time", "≤ 3 µs", full, "µs", 2, beside, "nginx, untouched")
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
    table.row(f"streamed delta, one at a time, {STREAMS} streams: processor time", "≤ 1.50", paced, "µs", 1, beside, "nginx, untouched")
    # A single process finds more work at each poll, because it has all streams.
    table.row("… beside nginx with a single process", "≤ 1.50", paced, "µs", 1, alone, "nginx, untouched")


def open_streams(fake, table):
    for what, ramp in (("opened within some seconds", 3), ("opened at once", 0)):
        server = NativeServer(fake)
        body = json.dumps(ask("[[fake n=600 delay_ms=1000]] count", True))
        command = [RELEASE / "examples/load", server.chat, "-H", KEY, "-H", JSON, "-c", "1000", "-n", "1000", "--hold", "6", "--ramp-ms", str(ramp), "-d", body]
        client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        client.stdout.readline()
        time.sleep(4)
        table.row(f"1,000 open streams, {what}: resident", "≤ 60 MB", [memory(server.process.pid)], "MiB")
        client.wait()
        server.stop()


def main():
    fake = Fake()
    nginx, single = Nginx(fake), Nginx(fake, 1)
    table = Table("Native server")
    start_and_rest(fake, table)
    server = NativeServer(fake)
    whole_answers(fake, nginx, server, table)
    streams(fake, nginx, single, server, table)
    server.stop()
    open_streams(fake, table)


main()
