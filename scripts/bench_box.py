"""The box as a whole, for `scripts/bench box`. Arguments: an empty folder, the folder of the release binaries.

Every row is measured in each of several rounds; printed are the median and the spread. Processor time is the operating
system's count for the process, all threads.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
import urllib.request

folder, binaries = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
ROUNDS = 5
STREAMS = 50
TICK = os.sysconf("SC_CLK_TCK")
started = []


def spawn(*command, **options):
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    started.append(process)
    return process


def processor(pids):
    """Seconds of processor time that the processes have used."""
    total = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def memory(pid, name="VmRSS"):
    """MiB."""
    return int(re.search(rf"{name}:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def row(what, values, unit, digits=2):
    middle = statistics.median(values)
    spread = f"{min(values):.{digits}f}–{max(values):.{digits}f}" if len(values) > 1 else ""
    print(f"| {what} | {middle:.{digits}f} {unit} | {spread} |", flush=True)
    return middle


def load(url, body, *more, headers=()):
    data = folder / "body.json"
    data.write_text(json.dumps(body))
    fields = [part for header in ("content-type: application/json", *headers) for part in ("-H", header)]
    done = subprocess.run([binaries / "examples/load", url, *fields, "-d", f"@{data}", *more], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def start_box(settings):
    """The server, its URL, and how long it took until it answered."""
    begun = time.perf_counter()
    process = spawn(binaries / "qwen-edge", env=settings)
    url = f"http://127.0.0.1:{settings['PORT']}"
    while True:
        try:
            urllib.request.urlopen(f"{url}/health").read()
            return process, url, time.perf_counter() - begun
        except OSError:
            time.sleep(0.0005)


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(content, stream, history=()):
    messages = [*history, {"role": "user", "content": content}]
    return {"model": "qwen3-max", "enable_thinking": False, "stream": stream, "messages": messages}


def main():
    out = (folder / "env").open("w")
    fake = spawn(binaries / "examples/fake-qwen", "--port", "0", "--print-env", "--delay-ms", "0", stdout=out)
    while not (folder / "env").read_text().endswith("\n"):
        time.sleep(0.05)
    site = dict(line.split("=", 1) for line in (folder / "env").read_text().splitlines())
    settings = site | {
        "PORT": str(free_port()), "VALID_TOKENS": "sk-bench", "LOG": "warn", "DATABASE_PATH": str(folder / "bench.db"),
    }
    key = ["authorization: Bearer sk-bench"]

    print("| what | median | spread |\n|---|---|---|")
    row("binary", [(binaries / "qwen-edge").stat().st_size / 1e6], "MB", 1)
    starts, idle = [], []
    for _ in range(ROUNDS):
        box, url, took = start_box(settings)
        time.sleep(1)
        starts.append(took * 1000)
        idle.append(memory(box.pid))
        box.terminate()
        box.wait()
    row("ready after", starts, "ms", 1)
    row("idle, resident", idle, "MiB", 1)

    box, url, _ = start_box(settings)
    chat = f"{url}/v1/chat/completions"

    # Whole answers: a known history each time, straight to the site for comparison.
    first = ask("[[fake say=one]] first", False)
    load(chat, first, headers=key)
    history = [*first["messages"], {"role": "assistant", "content": "one"}]
    again = ask("[[fake say=two]] second", False, history)
    cookies = [f"cookie: token={site['QWEN_AUTH_TOKEN']}", "accept: */*", "user-agent: bench", "source: web", "version: 0.3.12"]
    body = json.dumps({"title": "New Chat", "models": ["qwen3-max"], "chat_mode": "normal", "chat_type": "t2t", "timestamp": 1})
    request = urllib.request.Request(
        f"{site['QWEN_BASE_URL']}/api/v2/chats/new", body.encode(),
        dict(field.split(": ", 1) for field in [*cookies, "content-type: application/json"]),
    )
    # A chat is busy while it answers, so each of the streams below has its own.
    chats = [json.load(urllib.request.urlopen(request))["data"]["id"] for _ in range(STREAMS)]

    def turn(content):
        return {
            "stream": True, "incremental_output": True, "chat_id": "{query}", "chat_mode": "normal", "model": "qwen3-max", "parent_id": None,
            "messages": [{
                "fid": "f", "parentId": None, "childrenIds": [], "role": "user", "content": content, "user_action": "chat",
                "files": [], "timestamp": 1, "models": ["qwen3-max"], "chat_type": "t2t",
                "feature_config": {"thinking_enabled": False}, "extra": {"meta": {"subChatType": "t2t"}}, "sub_chat_type": "t2t",
                "parent_id": None,
            }],
            "timestamp": 1,
        }

    direct = f"{site['QWEN_BASE_URL']}/api/v2/chat/completions?chat_id={chats[0]}"
    added = {"p50_ms": [], "p99_ms": []}
    for _ in range(ROUNDS):
        straight = load(direct, turn("[[fake say=two]] second"), "-n", "2000", headers=cookies)
        through = load(chat, again, "-n", "2000", headers=key)
        for name in added:
            added[name].append(through[name] - straight[name])
    row("whole answer, 1 client: added latency p50", added["p50_ms"], "ms")
    row("whole answer, 1 client: added latency p99", added["p99_ms"], "ms")
    used, rates = [], []
    for _ in range(ROUNDS):
        before = processor([box.pid])
        took = load(chat, again, "-n", "10000", "-c", "16", headers=key)
        used.append((processor([box.pid]) - before) / 10000 * 1e6)
        rates.append(took["per_second"])
    row("whole answer, known history: processor time", used, "µs", 0)
    row("whole answers, 16 clients, site and client on the same cores", rates, "a second", 0)

    # Streams at full speed and paced, and nginx in front of the same site.
    port = free_port()
    (folder / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log /dev/null;\n"
        "events { worker_connections 4096; }\n"
        f"http {{ access_log off; server {{ listen 127.0.0.1:{port}; location / {{\n"
        f"proxy_pass {site['QWEN_BASE_URL']}; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_buffering off;\n"
        "} } }\n"
    )
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    proxy = spawn(nginx, "-p", folder, "-c", folder / "nginx.conf") if pathlib.Path(nginx).exists() else None
    time.sleep(0.5)
    deltas = 50_000
    full = []
    for _ in range(ROUNDS):
        before = processor([box.pid])
        load(chat, ask(f"[[fake n={deltas}]] count", True), headers=key)
        full.append((processor([box.pid]) - before) / deltas * 1e6)
    row("streamed delta at full speed: processor time", full, "µs")
    paced, beside, ratios = [], [], []
    count, each = STREAMS, 2000
    prompt = f"[[fake n={each} delay_ms=4]] count"
    for _ in range(ROUNDS):
        before = processor([box.pid])
        load(chat, ask(prompt, True), "-n", str(count), "-c", str(count), headers=key)
        paced.append((processor([box.pid]) - before) / count / each * 1e6)
        if proxy:
            workers = [int(pid) for pid in subprocess.check_output(["pgrep", "-P", str(proxy.pid)], text=True).split()]
            before = processor(workers)
            through = [f"http://127.0.0.1:{port}/api/v2/chat/completions?chat_id={chat}" for chat in chats]
            took = load(",".join(through), turn(prompt), "-n", str(count), "-c", str(count), headers=cookies)
            assert took["bytes"] > count * each * 100, took
            beside.append((processor(workers) - before) / count / each * 1e6)
            ratios.append(paced[-1] / beside[-1])
    row("streamed delta, paced, 50 streams: processor time", paced, "µs")
    if proxy:
        row("… of nginx passing the same stream on", beside, "µs")
        row("… ratio to nginx", ratios, "")

    before = memory(box.pid)
    streams = subprocess.Popen(
        [binaries / "examples/load", chat, "-H", key[0], "-H", "content-type: application/json", "-c", "1000", "-n", "1000",
         "--hold", "8", "-d", json.dumps(ask("[[fake n=600 delay_ms=1000]] count", True))],
        stdout=subprocess.PIPE, text=True,
    )
    streams.stdout.readline()
    time.sleep(4)
    row("1,000 open streams, resident", [memory(box.pid)], "MiB", 1)
    row("… before them", [before], "MiB", 1)
    streams.wait()


try:
    main()
finally:
    for process in started:
        process.send_signal(signal.SIGTERM)
