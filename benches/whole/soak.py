"""Draws the measurements of a soak: memory, the database, and descriptors over time. Usage: soak.py CSV SVG. Needs matplotlib."""

import csv
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "qwen-edge"
from matplotlib import pyplot  # noqa: E402

MIB = 1024 * 1024
COLOURS = ("#5b4bdb", "#c2410c", "#0f766e")


def series(rows, column, scale):
    """The points of a column; a gap where a life of the server ends."""
    points, life = ([], []), None
    for row in rows:
        if life is not None and row["life"] != life:
            points[0].append(float(row["seconds"]) / 60)
            points[1].append(float("nan"))
        life = row["life"]
        if row[column]:
            points[0].append(float(row["seconds"]) / 60)
            points[1].append(float(row[column]) / scale)
    return points


def draw(axes, rows, columns, scale, unit):
    for (column, label), colour in zip(columns, COLOURS):
        at, values = series(rows, column, scale)
        if values:
            axes.plot(at, values, label=label, color=colour, linewidth=1.2)
    axes.set_ylabel(unit)
    # Room for the legend.
    axes.set_ylim(0, axes.get_ylim()[1] * 1.3)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", fontsize="small")


def main(source, target):
    rows = list(csv.DictReader(Path(source).open()))
    figure, (memory, database, others) = pyplot.subplots(3, 1, figsize=(7, 6.5), sharex=True)
    # workerd's own resident memory depends on when V8 last collected.
    isolate = [("heap", "heap and buffers of the isolate"), ("wasm", "linear memory of WebAssembly")]
    has_isolate = any(row["heap"] for row in rows)
    draw(memory, rows, isolate if has_isolate else [("resident", "resident memory")], MIB, "MiB")
    draw(database, rows, [("database", "database on disk")], MIB, "MiB")
    draw(others, rows, [("descriptors", "open descriptors"), ("open_streams", "answers in the making at the site")], 1, "number")
    others.set_xlabel("minutes; a gap is a restart or a kill")
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})


main(*sys.argv[1:])
