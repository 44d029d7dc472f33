"""Two binaries of the native server beside each other, in the same rounds: streamed deltas, whole answers, 1,000 open streams.
Arguments: the binary before, the binary now, and the number of rounds."""

import json
import pathlib
import subprocess
import sys
import time

from measure import JSON, KEY, RELEASE, Fake, NativeServer, Table, ask, load, memory, used

BEFORE, NOW = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])
ROUNDS = int(sys.argv[3]) if len(sys.argv) > 3 else 5
STREAMS = 50
CLIENTS = 16


def history(client):
    return [{"role": "user", "content": f"[[fake say=one]] first of {client}"}, {"role": "assistant", "content": "one"}]


def main():
    fake = Fake()
    table = Table("Native server: now beside before")
    table.row("binary", "", [NOW.stat().st_size / 1e6], "MB", 2, [BEFORE.stat().st_size / 1e6], "before")
    servers = {NOW: NativeServer(fake, NOW), BEFORE: NativeServer(fake, BEFORE)}
    for server in servers.values():
        load(server.chat, ask("[[fake say=one]] first of {worker}", False), "-n", CLIENTS, "-c", CLIENTS)
    deltas, each, answers = 50_000, 2000, 10_000
    figures = {
        "streamed delta, full speed: processor time": (ask(f"[[fake n={deltas}]] count", True), ["-n", 1], deltas, 2),
        f"streamed delta, one at a time, {STREAMS} streams: processor time": (
            ask(f"[[fake n={each} delay_ms=4]] count", True), ["-n", STREAMS, "-c", STREAMS], STREAMS * each, 1,
        ),
        f"whole answer, known history, {CLIENTS} clients: processor time": (
            ask("[[fake say=two]] second", False, history("{worker}")), ["-n", answers, "-c", CLIENTS], answers, 0,
        ),
    }
    for what, (body, options, count, digits) in figures.items():
        spent = {NOW: [], BEFORE: []}
        for number in range(ROUNDS):
            # Neither is always the first.
            for binary in sorted(servers, reverse=number % 2 == 0):
                took, _ = used(servers[binary], lambda: load(servers[binary].chat, body, *options))
                spent[binary].append(took / count)
        table.row(what, "", spent[NOW], "µs", digits, spent[BEFORE], "before")
    for server in servers.values():
        server.stop()
    resident = {}
    for binary in (NOW, BEFORE):
        server = NativeServer(fake, binary)
        body = json.dumps(ask("[[fake n=600 delay_ms=1000]] count", True))
        command = [RELEASE / "examples/load", server.chat, "-H", KEY, "-H", JSON, "-c", "1000", "-n", "1000", "--hold", "6", "--ramp-ms", "3", "-d", body]
        client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        client.stdout.readline()
        time.sleep(4)
        resident[binary] = memory(server.process.pid)
        client.wait()
        server.stop()
    table.row("1,000 open streams: resident", "", [resident[NOW]], "MiB", 1, [resident[BEFORE]], "before")


main()
