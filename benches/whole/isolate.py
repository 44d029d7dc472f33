"""The processor time of workerd for an answer of 1,000 deltas at 50 per second, and the part of it with the isolate lock held."""

import re
import signal
import shutil
import subprocess
import sys
import time

from measure import Fake, Table, Workerd, ask, folder, load, used

STREAMS = 20
DELTAS = 1000
# Frames in which a thread holds the isolate lock: JavaScript, WebAssembly, and the parts of the runtime that they call.
HELD = re.compile(r"runInLockScope|runInV8StackImpl|v8::|Builtins_|workerd::jsg|workerd::api")


def held(worker, run):
    """The fraction of the processor time with the isolate lock held, as perf samples it."""
    data = folder / "perf.data"
    perf = subprocess.Popen(
        ["perf", "record", "-e", "cpu-clock", "-F", "2000", "-g", "-o", data, "-p", ",".join(map(str, worker.pids))],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    time.sleep(0.5)
    run()
    perf.send_signal(signal.SIGINT)
    perf.wait()
    stacks = subprocess.run(["perf", "script", "-i", data, "-F", "ip,sym"], capture_output=True, text=True).stdout.split("\n\n")
    stacks = [stack for stack in stacks if stack.strip()]
    return sum(1 for stack in stacks if HELD.search(stack)) / len(stacks)


def main():
    if shutil.which("perf") is None:
        sys.exit("error: perf is needed (Debian: apt-get install linux-perf)")
    table = Table("An answer of 1,000 deltas at 50 a second, on the edge")
    fake = Fake()
    ours, javascript = Workerd("wrangler.toml"), Workerd("benches/javascript/wrangler.toml")
    for wait in ("0", "50", "200"):
        holds = {}
        for name, runtime in (("JavaScript", javascript), ("Rust", ours)):
            worker = runtime.start(fake, COALESCE_MS=wait)
            load(worker.chat, ask("[[fake n=5000 delay_ms=1]] warm up", True), "-n", 20, "-c", 20)

            def run():
                return load(worker.chat, ask(f"[[fake n={DELTAS} delay_ms=20]] count", True), "-n", STREAMS, "-c", STREAMS)

            spent, _ = used(worker, run)
            whole = spent / STREAMS / 1000
            table.row(f"{name}, COALESCE_MS={wait}: processor time of workerd", "", [whole], "ms", 1)
            holds[name] = [whole * held(worker, run)]
            target = "≤ 0.40" if (name, wait) == ("Rust", "200") else ""
            beside = {} if name == "JavaScript" else {"reference": holds["JavaScript"], "of": "JavaScript"}
            table.row("… with the isolate held", target, holds[name], "ms", 1, **beside)


main()
