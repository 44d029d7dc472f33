"""The cost of hostile clients: the most expensive request bodies, four of them concurrently with /health, and connections that
read nothing. Arguments: binaries to compare."""

import http.client
import json
import pathlib
import socket
import statistics
import sys
import threading
import time

from measure import RELEASE, Fake, NativeServer, Table, memory

MIB = 2**20
HEADERS = {"authorization": "Bearer sk-bench", "content-type": "application/json"}


def messages(*history):
    return '{"model":"qwen3-max","messages":[' + ",".join([*history, '{"role":"user","content":"x"}']) + "]}"


def forms(size):
    """The attacks of a review of version 0.1, and the most expensive bodies since."""
    return {
        "a wrong type behind a long key": '{"' + "A" * (size // 2) + '":[' + "1," * (size // 4) + '1],"n":"x"}',
        "answers in a row": messages(*['{"role":"assistant","content":"%s"}' % ("a" * (size // 9000 - 40))] * 9000),
        "empty parts": messages(*['{"role":"user","content":[' + ",".join(['{"type":"text"}'] * 1000) + "]}"] * (size // 16_000)),
        "letters and marks": messages('{"role":"user","content":"%s"}' % ("e\u0301" * (size // 3))),
        "words": messages('{"role":"user","content":"%s"}' % ("a " * (size // 2))),
    }


def request(server, method, path, body=None):
    """Seconds until the response is complete."""
    begun = time.perf_counter()
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=300)
    connection.request(method, path, body, HEADERS)
    connection.getresponse().read()
    connection.close()
    return time.perf_counter() - begun


def post(server, body):
    return request(server, "POST", "/v1/chat/completions", body.encode())


def main():
    binaries = [pathlib.Path(word).resolve() for word in sys.argv[1:]] or [RELEASE / "qwen-edge"]
    for binary in binaries:
        # A server with quadratic parsing can still handle 2 MiB.
        table = Table(f"Hostile requests: {binary.name}" if len(binaries) == 1 else f"Hostile requests: {binary}")
        slow = set()
        for name in forms(MIB):
            times = {}
            for size in (MIB, 2 * MIB):
                fake = Fake()
                server = NativeServer(fake, binary)
                times[size] = [post(server, forms(size)[name]) * 1000 for _ in range(3)]
                server.stop()
            table.row(f"{name}: 2 MiB", "≤ 2.50 of 1 MiB", times[2 * MIB], "ms", 0, times[MIB], "1 MiB")
            if min(times[2 * MIB]) > 3 * min(times[MIB]):
                slow.add(name)
        for name, body in forms(12 * MIB).items():
            if name in slow:
                # It would take an hour.
                continue
            fake = Fake()
            server = NativeServer(fake, binary)
            post(server, messages())
            idle = memory(server.process.pid)
            post(server, body)
            table.row(f"{name}: 12 MiB, memory above idle", "≤ 120 MB", [memory(server.process.pid, "VmHWM") - idle], "MiB")
            server.stop()
        fake = Fake()
        server = NativeServer(fake, binary)
        hostile = [threading.Thread(target=post, args=(server, body)) for body in list(forms(2 * MIB).values())[:4]]
        for thread in hostile:
            thread.start()
        beside = [request(server, "GET", "/health") * 1000 for _ in range(200) if not time.sleep(0.005)]
        table.row("/health beside four at once, at the most", "≤ 100 ms", [max(beside)], "ms")
        table.row("… in the middle", "", [statistics.median(beside)], "ms", 2)
        for thread in hostile:
            thread.join()
        idle, clients = memory(server.process.pid), []
        for _ in range(300):
            client = socket.create_connection(server.url.removeprefix("http://").split(":"))
            client.sendall(b"GET /assets/vendor/swagger-ui-bundle.js HTTP/1.1\r\nhost: localhost\r\n\r\n" * 4)
            clients.append(client)
        time.sleep(2)
        table.row("300 connections that ask for a large script four times and read nothing", "", [memory(server.process.pid) - idle], "MiB")
        server.stop()


main()
