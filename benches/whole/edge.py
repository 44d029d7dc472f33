"""The Worker in workerd beside a Worker in JavaScript that does the same translation (`benches/javascript`)."""

import sys

from measure import Fake, Table, Workerd, ask, load, used

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
STREAMS = 20
DELTAS = 300  # of each paced stream
FULL = 50_000


def per_delta(worker, count, each, directive):
    """Processor time in µs for a delta, less what a stream costs that has but one."""
    def run(deltas):
        body = ask(f"[[fake n={deltas}{directive}]] count", True)
        spent, took = used(worker, lambda: load(worker.chat, body, "-n", count, "-c", count))
        assert took["bytes"] > count * deltas * 100, took
        return spent
    return (run(each) - run(1)) / count / (each - 1)


def main():
    fake = Fake()
    ours, javascript = Workerd("wrangler.toml"), Workerd("benches/javascript/wrangler.toml")
    rust = {wait: ours.start(fake, COALESCE_MS=wait) for wait in ("0", "20", "200")}
    script = {wait: javascript.start(fake, COALESCE_MS=wait) for wait in ("0", "20", "200")}
    for worker in [*rust.values(), *script.values()]:
        load(worker.chat, ask("[[fake n=20000]] warm up", True))
        load(worker.chat, ask("[[fake n=100 delay_ms=1]] warm up", True), "-n", 20, "-c", 20)

    table = Table("Edge: processor time of workerd for a streamed delta")
    for title, count, each, directive in (
        ("at full speed", 1, FULL, ""),
        (f"50 a second, {STREAMS} streams", STREAMS, DELTAS, " delay_ms=20"),
    ):
        spent = {}
        for _ in range(ROUNDS):
            for name, workers in (("rust", rust), ("javascript", script)):
                for wait, worker in workers.items():
                    spent.setdefault((name, wait), []).append(per_delta(worker, count, each, directive))
        for wait in rust:
            of = f"JavaScript, COALESCE_MS={wait}"
            table.row(f"{title}, COALESCE_MS={wait}", "≤ 1.00", spent["rust", wait], "µs", 1, spent["javascript", wait], of)
        if count > 1:
            table.row(f"{title}, COALESCE_MS=20 beside JavaScript that writes at once", "≤ 1.00", spent["rust", "20"], "µs", 1, spent["javascript", "0"], "JavaScript, COALESCE_MS=0")
            table.row("a 1,000-delta answer at 50 a second, COALESCE_MS=200", "≤ 10 ms", [each for each in spent["rust", "200"]], "ms", 1)


main()
