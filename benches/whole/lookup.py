"""The cost of finding a conversation, for `scripts/bench lookup`: SQLite files with the real migrations and random keys, and the
statements of the program. Arguments: the number of turns of each file."""

import base64
import json
import pathlib
import random
import re
import sqlite3
import statistics
import struct
import sys
import time
import uuid

from measure import folder

sizes = [int(size) for size in sys.argv[1:]]
LOOKUPS = 2000
TURNS_A_CONVERSATION = 10
NOW = 1_790_000_000_000
NOT_BEFORE = NOW - 30 * 24 * 3600 * 1000

# The statements of `find` and `find_first` in src/store/conversations.rs, verbatim (checked below).
HISTORY = (
    "SELECT key, conversation, chat_id, response_id, system, tools, depth, unseen FROM turns "
    "WHERE key = ?2 AND created_at >= ?1 AND kind IN ('history', 'call')"
)
WITH_TOOLS = (
    "SELECT key, conversation, chat_id, response_id, system, tools, depth, unseen FROM turns "
    "WHERE key IN (?2, ?3) AND created_at >= ?1 AND kind IN ('history', 'call')"
)
EARLIER = (
    "SELECT t.key, t.conversation, t.chat_id, t.response_id, t.system, t.tools, t.depth, t.unseen FROM turns t "
    "WHERE t.key IN (SELECT value FROM json_each(?1)) AND t.created_at >= ?2 AND t.chat_id IS NOT NULL "
    "AND (t.kind = 'history' OR (t.kind = 'pair' OR t.depth > ?4) AND EXISTS ( "
    "SELECT 1 FROM conversations c WHERE c.scope = ?3 AND c.id = t.conversation AND c.head = t.response_id))"
)
# A Rust string continues after a backslash at the end of a line, without the leading spaces of the next line.
source = re.sub(r"\\\n\s*", "", pathlib.Path("src/store/conversations.rs").read_text())
for sql in (HISTORY, WITH_TOOLS, EARLIER):
    if f'"{sql}"' not in source:
        sys.exit(f"error: src/store/conversations.rs no longer holds this statement; copy the new one here:\n{sql}")

dice = random.Random(1)

def key():  # 16 bytes of a digest, as src/chat/conversations/digest.rs writes them
    return base64.urlsafe_b64encode(dice.randbytes(16)).decode().rstrip("=")

def uuid4():
    return str(uuid.UUID(bytes=dice.randbytes(16), version=4))

SCOPE = key()

def build(path, turns):
    """Writes two keys for each turn and a row for each conversation, as the program does."""
    database = sqlite3.connect(path, isolation_level=None)
    # The settings of the native server, see src/platform/native/database.rs.
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    # Only to write the file; the keys come in no order.
    database.execute("PRAGMA cache_size = -4000000")
    for migration in sorted(pathlib.Path("migrations").glob("*.sql")):
        database.executescript(migration.read_text())
    known = []
    database.execute("BEGIN")
    for first in range(0, turns, TURNS_A_CONVERSATION):
        conversation, chat, system = f"conv_{dice.randbytes(16).hex()}", uuid4(), key()
        count = min(TURNS_A_CONVERSATION, turns - first)
        for _ in range(count):
            history, answer = key(), uuid4()
            rows = [(history, "history"), (key(), "pair")]
            database.executemany(
                "INSERT INTO turns (key, kind, conversation, chat_id, response_id, system, created_at, depth) VALUES (?, ?, ?, ?, ?, ?, ?, 1)",
                [(row, kind, conversation, chat, answer, system, NOW) for row, kind in rows],
            )
            if dice.random() * turns < 2 * LOOKUPS:
                known.append(history)
        database.execute(
            "INSERT INTO conversations (scope, id, chat_id, head, system, title, model, turns, created_at, updated_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (SCOPE, conversation, chat, answer, system, "A question of the usual length", "qwen3-max", count, NOW, NOW),
        )
    database.execute("COMMIT")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    root = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'turns'").fetchone()[0]
    database.close()
    return dice.choices(known, k=LOOKUPS), depth(path, root)

def depth(path, page):
    """The number of pages from the root of a B-tree to a leaf. The tree is balanced, so any path will do."""
    with open(path, "rb") as file:
        file.seek(16)
        size = struct.unpack(">H", file.read(2))[0]
        size = 65536 if size == 1 else size
        for pages in range(1, 100):
            file.seek((page - 1) * size)
            head = file.read(12)
            if head[0] == 0x0A:  # a leaf
                return pages
            page = struct.unpack(">I", head[8:12])[0]

def parameters(sql, key):
    if sql is HISTORY:
        return (NOT_BEFORE, key)
    if sql is WITH_TOOLS:
        return (NOT_BEFORE, strangers[-1], key)
    # The most expensive request: 40 earlier answers with two keys each, and the last answer.
    return (json.dumps([*strangers[:80], key]), NOT_BEFORE, SCOPE, 1)

def steps(database, sql, values):
    """The number of instructions of SQLite's virtual machine, which is the same on every machine."""
    counted = 0
    def count():
        nonlocal counted
        counted += 1
    database.set_progress_handler(count, 1)
    database.execute(sql, values).fetchall()
    database.set_progress_handler(None, 0)
    return counted

def timed(database, sql, values):
    start = time.perf_counter_ns()
    database.execute(sql, values).fetchall()
    return time.perf_counter_ns() - start

databases, keys, depths = {}, {}, {}
for size in sizes:
    path = f"{folder}/{size}.db"
    keys[size], depths[size] = build(path, size)
    databases[size] = sqlite3.connect(path, isolation_level=None)
    megabytes = pathlib.Path(path).stat().st_size / 1e6
    print(f"{size:,} turns: {megabytes:,.1f} MB, {depths[size]} pages from the root of `turns` to a leaf", flush=True)
strangers = [key() for _ in range(LOOKUPS)]

print(f"\nSQLite {sqlite3.sqlite_version}; medians of {LOOKUPS:,} look-ups, python3's own share included")
for name, sql in (("history", HISTORY), ("history with tool steps", WITH_TOOLS), ("unknown history, 81 keys", EARLIER)):
    print(f"\n{name}")
    plan = databases[sizes[-1]].execute(f"EXPLAIN QUERY PLAN {sql}", parameters(sql, strangers[0])).fetchall()
    for row in plan:
        print(f"    {row[3]}")
    print(f"    {'turns':>10}  {'pages':>5}  {'key':<7}  {'VM steps':>8}  {'median µs':>9}  {'ratio':>5}")
    base = {}
    for kind in ("known", "unknown"):
        asked = {size: keys[size] if kind == "known" else strangers for size in sizes}
        times = {size: [] for size in sizes}
        for at in range(LOOKUPS):
            # In turn, so that noise affects all sizes alike.
            for size in sizes:
                times[size].append(timed(databases[size], sql, parameters(sql, asked[size][at])))
        for size in sizes:
            values = parameters(sql, asked[size][0])
            found = len(databases[size].execute(sql, values).fetchall())
            assert found == (kind == "known"), (name, size, kind, found)
            median = statistics.median(times[size]) / 1000
            ratio = median / base.setdefault(kind, median)
            counted = steps(databases[size], sql, values)
            print(f"    {size:>10,}  {depths[size]:>5}  {kind:<7}  {counted:>8}  {median:>9.1f}  {ratio:>5.2f}")
