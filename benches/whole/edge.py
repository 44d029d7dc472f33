"""The Worker in workerd, compared with a Worker in JavaScript that does the same translation (`benches/javascript`). Argument:
rounds."""

import gzip
import json
import subprocess
import sys

from measure import ROOT, Fake, Table, Workerd, ask, folder, load, used

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
STREAMS = 40
DELTAS = 200  # of each paced stream
FULL = 20_000
DEFAULT = "50"  # of COALESCE_MS on the Worker
WAITS = ("0", DEFAULT, "200")


def per_delta(worker, count, each, directive):
    """Processor time of a delta in µs, less that of a stream with a single delta."""

    def run(deltas):
        body = ask(f"[[fake n={deltas}{directive}]] count", True)
        spent, took = used(worker, lambda: load(worker.chat, body, "-n", count, "-c", count))
        assert took["bytes"] > count * deltas * 100, took
        return spent

    return (run(each) - run(1)) / count / (each - 1)


def start_up(config):
    """Processor time of the global scope in ms, as `wrangler check startup` profiles it."""
    profile = folder / "startup.cpuprofile"
    command = ["wrangler", "check", "startup", "--outfile", profile, "--config", config]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        sys.exit(f"error: wrangler check startup: {done.stderr or done.stdout}")
    found = json.loads(profile.read_text())
    idle = {node["id"] for node in found["nodes"] if node["callFrame"]["functionName"] == "(idle)"}
    return sum(delta for node, delta in zip(found["samples"], found["timeDeltas"], strict=True) if node not in idle) / 1000


def size_and_start(table):
    files = [ROOT / "build" / name for name in ("index_bg.wasm", "index.js")]
    table.row("script, gzip -9", "≤ 1024 KiB", [sum(len(gzip.compress(file.read_bytes(), 9)) for file in files) / 1024], "KiB", 1)
    ours, beside = [], []
    for _ in range(ROUNDS):
        ours.append(start_up("wrangler.toml"))
        beside.append(start_up("benches/javascript/wrangler.toml"))
    table.row("start-up", "≤ 20 ms, ≤ 1.50", ours, "ms", 1, beside, "JavaScript")


def main():
    table = Table("Worker")
    size_and_start(table)
    fake = Fake()
    ours, javascript = Workerd("wrangler.toml"), Workerd("benches/javascript/wrangler.toml")
    rust = {wait: ours.start(fake, COALESCE_MS=wait) for wait in WAITS}
    script = {wait: javascript.start(fake, COALESCE_MS=wait) for wait in WAITS}
    for worker in [*rust.values(), *script.values()]:
        # Warm up until V8 has compiled the hot code.
        load(worker.chat, ask("[[fake n=5000 delay_ms=1]] warm up", True), "-n", 20, "-c", 20)
    for title, count, each, directive in (
        ("at full speed", 1, FULL, ""),
        (f"140 a second in each of {STREAMS} streams", STREAMS, DELTAS, " delay_ms=7"),
        (f"50 a second in each of {STREAMS} streams", STREAMS, DELTAS, " delay_ms=20"),
    ):
        spent = {}
        for _ in range(ROUNDS):
            for name, workers in (("rust", rust), ("javascript", script)):
                for wait, worker in workers.items():
                    spent.setdefault((name, wait), []).append(per_delta(worker, count, each, directive))
        for wait, other, target, why in (
            (DEFAULT, "0", "≤ 0.90", ", the default, beside a write for each read"),
            (DEFAULT, DEFAULT, "", ""),
            ("0", "0", "", ""),
            ("200", "200", "", ""),
        ):
            what = f"delta, {title}, COALESCE_MS={wait}{why}"
            table.row(what, target, spent["rust", wait], "µs", 1, spent["javascript", other], f"JavaScript, {other} ms")


main()
