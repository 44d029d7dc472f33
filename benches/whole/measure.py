"""Shared by the benchmarks of whole programs: starting them, reading the counters of the operating system, and the table."""

import atexit
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
RELEASE = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
KEY = "authorization: Bearer sk-bench"
JSON = "content-type: application/json"

folder = pathlib.Path(tempfile.mkdtemp(prefix="qwen-edge-bench-"))
started = []


@atexit.register
def end():
    for process in reversed(started):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in started:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
    shutil.rmtree(folder, ignore_errors=True)


def spawn(*command, **options):
    options = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | options
    process = subprocess.Popen([str(word) for word in command], **options)
    started.append(process)
    return process


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def processor(*pids):
    """The processor time of all threads of the processes in microseconds, as the scheduler of the kernel counts it."""
    total = 0
    for pid in pids:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1000


def memory(pid, name="VmRSS"):
    """A memory figure of a process in MiB."""
    return int(re.search(rf"{name}:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) / 1024


class Table:
    """Prints rows of Markdown: the median of each figure, its spread, and its ratio to a reference."""

    def __init__(self, title):
        print(f"\n### {title}\n\n| what | target | median | spread | reference | ratio |\n|---|---|---|---|---|---|", flush=True)

    def row(self, what, target, values, unit, digits=1, reference=None, of=None):
        """`reference`: values of something else in the same rounds; `of` names it."""
        middle = statistics.median(values)
        spread = f"{min(values):,.{digits}f}–{max(values):,.{digits}f}" if len(values) > 1 else ""
        beside = ratio = ""
        if reference:
            beside = f"{of}: {statistics.median(reference):,.{digits}f}"
            # Ratios per round, so that a slowdown of both does not count.
            pairs = [value / other for value, other in zip(values, reference, strict=True) if other > 0]
            ratio = f"{statistics.median(pairs):.2f}" if pairs else ""
        print(f"| {what} | {target} | {middle:,.{digits}f} {unit} | {spread} | {beside} | {ratio} |", flush=True)
        return middle


class Fake:
    """The fake upstream."""

    def __init__(self, *options):
        out = folder / f"fake-{len(started)}"
        self.process = spawn(RELEASE / "examples/fake-qwen", "--port", "0", "--print-env", "--delay-ms", "0", *options, stdout=out.open("w"))
        while not out.read_text().endswith("\n"):
            time.sleep(0.05)
        self.settings = dict(line.split("=", 1) for line in out.read_text().splitlines())
        self.url = self.settings["QWEN_BASE_URL"]
        cookie = f"cookie: token={self.settings['QWEN_AUTH_TOKEN']}"
        self.headers = [JSON, cookie, "accept: */*", "user-agent: bench", "source: web", "version: 0.3.12"]

    def new_chat(self):
        body = {"title": "New Chat", "models": ["qwen3-max"], "chat_mode": "normal", "chat_type": "t2t", "timestamp": 1}
        headers = dict(field.split(": ", 1) for field in self.headers)
        request = urllib.request.Request(f"{self.url}/api/v2/chats/new", json.dumps(body).encode(), headers)
        return json.load(urllib.request.urlopen(request))["data"]["id"]

    def turn(self, content):
        """The body of a turn in the chat at the end of the URL, see `load`."""
        message = {
            "fid": "f", "parentId": None, "childrenIds": [], "role": "user", "content": content, "user_action": "chat",
            "files": [], "timestamp": 1, "models": ["qwen3-max"], "chat_type": "t2t",
            "feature_config": {"thinking_enabled": False, "output_schema": "phase"},
            "extra": {"meta": {"subChatType": "t2t"}}, "sub_chat_type": "t2t", "parent_id": None,
        }
        return {
            "stream": True, "incremental_output": True, "chat_id": "{query}", "chat_mode": "normal", "model": "qwen3-max",
            "parent_id": None, "messages": [message], "timestamp": 1,
        }

    def completions(self, chats, origin=None):
        """The URLs of turns in these chats, for `load`. A chat is busy while it answers, so each stream has its own."""
        return ",".join(f"{origin or self.url}/api/v2/chat/completions?chat_id={chat}" for chat in chats)


class NativeServer:
    """The native server in front of a fake."""

    def __init__(self, fake, binary=RELEASE / "qwen-edge", **settings):
        settings = {
            "PORT": str(free_port()), "VALID_TOKENS": "sk-bench", "LOG": "info", "LOG_FORMAT": "json",
            "DATABASE_PATH": str(folder / f"native-{len(started)}.db"),
        } | fake.settings | settings
        self.url = f"http://127.0.0.1:{settings['PORT']}"
        self.chat = f"{self.url}/v1/chat/completions"
        begun = time.perf_counter()
        self.process = spawn(binary, env=settings)
        self.pids = [self.process.pid]
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/health").read()
                break
            except OSError:
                if self.process.poll() is not None:
                    sys.exit(f"error: {binary} ended with {self.process.returncode}")
                time.sleep(0.0005)
        self.ready_after = time.perf_counter() - begun

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Nginx:
    """nginx as a reverse proxy of the fake, with one process per processor, as the native server has threads."""

    def __init__(self, fake, workers="auto"):
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        if not pathlib.Path(program).exists():
            sys.exit("error: nginx is needed, as the reference of the native server (Debian: apt-get install nginx-light)")
        port, home = free_port(), folder / f"nginx-{len(started)}"
        home.mkdir()
        (home / "nginx.conf").write_text(
            f"daemon off; worker_processes {workers}; pid {home}/nginx.pid; error_log /dev/null; worker_rlimit_nofile 8192;\n"
            "events { worker_connections 4096; }\n"
            f"http {{ access_log off; upstream site {{ server {fake.url.removeprefix('http://')}; keepalive 64; }}\n"
            f"server {{ listen 127.0.0.1:{port} backlog=4096; keepalive_requests 1000000; location / {{\n"
            "proxy_pass http://site; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_buffering off;\n"
            "} } }\n"
        )
        self.url = f"http://127.0.0.1:{port}"
        self.process = spawn(program, "-p", home, "-c", home / "nginx.conf")
        while not self.pids:
            time.sleep(0.05)
        time.sleep(0.2)

    @property
    def pids(self):
        found = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True)
        return [int(pid) for pid in found.stdout.split()]


class Workerd:
    """Workers in workerd, started with the harness of the tests."""

    def __init__(self, config):
        self.process = spawn(
            "node", "tests/worker/harness.mjs", "--config", config, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            stderr=(folder / "harness.log").open("a"),
        )
        self.calls = 0

    def call(self, op, may_fail=False, **more):
        self.calls += 1
        self.process.stdin.write(json.dumps({"id": self.calls, "op": op} | more) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if not answer["ok"] and not may_fail:
            sys.exit(f"error: {op}: {answer['error']}")
        return answer

    def start(self, fake, **settings):
        return Worker(self, fake, settings)


class Worker:
    """One Worker, alone in its workerd."""

    def __init__(self, runtime, fake, settings):
        begun = time.perf_counter()
        started = runtime.call("start", vars={"VALID_TOKENS": "sk-bench", "LOG": "warn"} | fake.settings | settings)
        self.ready_after = time.perf_counter() - begun
        self.runtime, self.instance, self.url = runtime, started["instance"], started["url"]
        self.chat = f"{self.url}/v1/chat/completions"
        self.pids = [started["pid"]]

    def memory(self):
        """MiB that live in the isolate, after a collection of garbage; 0 where a busy isolate did not tell."""
        found = self.runtime.call("memory", may_fail=True, instance=self.instance)
        return found["ok"] and sum(found[part] for part in ("heap", "buffers", "wasm")) / 2**20

    def stop(self):
        self.runtime.call("stop", instance=self.instance)


def load(url, body, *more, headers=(KEY, JSON)):
    """Runs the client of `examples/load.rs` and gives what it measured."""
    data = folder / "body.json"
    data.write_text(json.dumps(body))
    fields = [part for header in headers for part in ("-H", header)]
    command = [RELEASE / "examples/load", url, *fields, "-d", f"@{data}", *(str(word) for word in more)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"error: {url}: {done.stderr}")
    return json.loads(done.stdout)


def used(server, work):
    """Processor time in µs that `server` spends while `work` is done, and what `work` gives."""
    before = processor(*server.pids)
    done = work()
    return processor(*server.pids) - before, done


def ask(content, stream, history=()):
    """A chat request."""
    messages = [*history, {"role": "user", "content": content}]
    return {"model": "qwen3-max", "enable_thinking": False, "stream": stream, "messages": messages}
