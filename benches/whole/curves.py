"""Draws three curves into docs/images: the cost of a request by the length of its history and by the number of stored
conversations, and the cost of a delta by the number of open streams. Needs matplotlib."""

import json
import sqlite3
import statistics
import uuid

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "qwen-edge"
from matplotlib import pyplot  # noqa: E402

from measure import ROOT, Fake, NativeServer, ask, folder, load, used  # noqa: E402

ROUNDS = 3
REQUESTS = 1000


def draw(name, title, axis, unit, points, log=True):
    print(f"\n### {title}\n\n| {axis} | {unit} |\n|---|---|")
    for at, value in points:
        print(f"| {at:,} | {value:,.1f} |", flush=True)
    figure, axes = pyplot.subplots(figsize=(6, 3.2))
    axes.plot([at for at, _ in points], [value for _, value in points], marker="o", color="#5b4bdb")
    if log:
        axes.set_xscale("log")
    axes.set(title=title, xlabel=axis, ylabel=unit, ylim=(0, max(value for _, value in points) * 1.3))
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(ROOT / f"docs/images/{name}.svg", metadata={"Date": None})


def by_history(fake):
    """Draws the time per message, because the request grows with its history."""
    server, points = NativeServer(fake, LOG="warn"), []
    for turns in (1, 5, 20, 50, 100, 200):
        messages = []
        for at in range(turns):
            messages += [{"role": "user", "content": f"[[fake say=one]] question {at} of {turns}"}, {"role": "assistant", "content": "one"}]
        load(server.chat, ask(messages[-2]["content"], False, messages[:-2]))
        body = ask("[[fake say=two]] next", False, messages)
        spent = [used(server, lambda: load(server.chat, body, "-n", REQUESTS))[0] / REQUESTS for _ in range(ROUNDS)]
        points.append((2 * turns + 1, statistics.median(spent)))
    server.stop()
    draw("cost-by-history", "A request by the length of its history", "messages in the request", "µs of processor time", points, False)


def by_conversations(fake):
    points = []
    for stored in (0, 1_000, 10_000, 100_000, 1_000_000, 5_000_000):
        path = folder / f"stored-{stored}.db"
        NativeServer(fake, DATABASE_PATH=str(path)).stop()
        database = sqlite3.connect(path)
        # Only to write the file; the keys come in no order.
        database.execute("PRAGMA cache_size = -4000000")
        # Two keys per turn and one conversation, as the program records them; random, so that they are spread over the tree.
        key = lambda: uuid.uuid4().hex[:22]  # noqa: E731
        rows = ((key(), "history", key(), str(uuid.uuid4()), str(uuid.uuid4()), "", 1_790_000_000_000) for _ in range(2 * stored))
        database.executemany(
            "INSERT INTO turns (key, kind, conversation, chat_id, response_id, system, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)", rows
        )
        rows = ((key(), key(), str(uuid.uuid4()), str(uuid.uuid4()), "", "Question", "qwen3-max", 1, 1_790_000_000_000, 1_790_000_000_000) for _ in range(stored))
        database.executemany(
            "INSERT INTO conversations (scope, id, chat_id, head, system, title, model, turns, created_at, updated_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        database.commit()
        database.close()
        server = NativeServer(fake, LOG="warn", DATABASE_PATH=str(path))
        load(server.chat, ask("[[fake say=one]] first", False))
        history = [{"role": "user", "content": "[[fake say=one]] first"}, {"role": "assistant", "content": "one"}]
        body = ask("[[fake say=two]] next", False, history)
        spent = [used(server, lambda: load(server.chat, body, "-n", REQUESTS))[0] / REQUESTS for _ in range(ROUNDS)]
        points.append((max(stored, 1), statistics.median(spent)))
        server.stop()
        path.unlink()
    draw("cost-by-conversations", "A request by the number of stored conversations", "conversations", "µs of processor time", points)


def by_streams(fake):
    server, points = NativeServer(fake, LOG="warn"), []
    # The same total number of deltas per second, so that only the number of streams differs.
    for count, pause in ((10, 2), (50, 10), (100, 20), (500, 100), (1000, 200)):
        each = 10_000 // count * 2
        body = ask(f"[[fake n={each} delay_ms={pause}]] count", True)
        spent = []
        for _ in range(ROUNDS):
            whole, _ = used(server, lambda: load(server.chat, body, "-n", count, "-c", count))
            opened, _ = used(server, lambda: load(server.chat, ask("[[fake n=1]] count", True), "-n", count, "-c", count))
            spent.append((whole - opened) / count / each)
        points.append((count, statistics.median(spent)))
    server.stop()
    draw("cost-by-streams", "A streamed delta by the number of open streams", "open streams, 5,000 deltas a second in all", "µs of processor time", points)


fake = Fake()
by_history(fake)
by_streams(fake)
by_conversations(fake)
