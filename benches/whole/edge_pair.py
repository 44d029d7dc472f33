"""Two builds of the Worker beside each other, in the same rounds. Arguments: the other checkout, with its `build/`, and rounds."""

import gzip
import pathlib
import sys

from measure import ROOT, Fake, Table, Workerd, ask, load, used

OTHER = pathlib.Path(sys.argv[1]).resolve()
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 5


def per_delta(worker, count, each, directive):
    """Processor time in µs for a delta, less what a stream costs that has but one."""

    def run(deltas):
        body = ask(f"[[fake n={deltas}{directive}]] count", True)
        spent, took = used(worker, lambda: load(worker.chat, body, "-n", count, "-c", count))
        assert took["bytes"] > count * deltas * 100, took
        return spent

    return (run(each) - run(1)) / count / (each - 1)


def size(folder):
    return sum(len(gzip.compress((folder / "build" / name).read_bytes(), 9)) for name in ("index_bg.wasm", "index.js")) / 1024


def main():
    table = Table("Worker: now beside the other checkout")
    table.row("script, gzip -9", "", [size(ROOT)], "KiB", 1, [size(OTHER)], "other")
    fake = Fake()
    workers = {}
    for name, root in (("now", ROOT), ("other", OTHER)):
        runtime = Workerd(str(root / "wrangler.toml"))
        for wait in ("0", "20"):
            workers[name, wait] = runtime.start(fake, COALESCE_MS=wait)
    for worker in workers.values():
        # Until V8 has compiled what is hot.
        load(worker.chat, ask("[[fake n=5000 delay_ms=1]] warm up", True), "-n", 20, "-c", 20)
    for title, count, each, directive in (
        ("at full speed", 1, 20_000, ""),
        ("140 a second in each of 40 streams", 40, 200, " delay_ms=7"),
    ):
        spent = {}
        for _ in range(ROUNDS):
            for key, worker in workers.items():
                spent.setdefault(key, []).append(per_delta(worker, count, each, directive))
        for wait in ("0", "20"):
            table.row(f"delta, {title}, COALESCE_MS={wait}", "", spent["now", wait], "µs", 1, spent["other", wait], "other")


main()
