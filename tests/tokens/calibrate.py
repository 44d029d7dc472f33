"""Counts the samples with Qwen's tokenizer and fits the weights of src/llm/tokens; run by scripts/calibrate-tokens.

The features of a text come from the Rust scanner itself, through a unit test. Samples with `held_out` are counted, and not
fitted to. With files as arguments it fits nothing and reports the errors for pieces of these.
"""

import base64
import collections
import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import unicodedata
from pathlib import Path

import numpy
import tiktoken

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "tests/tokens/samples.jsonl"
WEIGHTS = ROOT / "src/llm/tokens/weights.rs"
LETTERS = ROOT / "src/llm/tokens/letters.rs"
PAIRS = ROOT / "src/llm/tokens/han_pairs.bin"
UNITS = 1024

# How Qwen's tokenizer takes a text apart, as dashscope.tokenizers has it.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def vocabulary():
    """The table is read from the package, which is not imported: it would need all its libraries."""
    (folder,) = importlib.util.find_spec("dashscope").submodule_search_locations
    lines = (Path(folder) / "resources/qwen.tiktoken").read_bytes().split(b"\n")
    return {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines if line)}


RANKS = vocabulary()
ENCODING = tiktoken.Encoding("qwen", pat_str=PATTERN, mergeable_ranks=RANKS, special_tokens={})


def count(text):
    return len(ENCODING.encode(unicodedata.normalize("NFC", text), disallowed_special=()))


def features(texts):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "texts.json"
        file.write_text(json.dumps(texts))
        test = "llm::tokens::tests::features_are_written_for_the_calibration"
        command = ["cargo", "test", "--quiet", "--locked", "--lib", "--", "--exact", test]
        subprocess.run(command, cwd=ROOT, env={**os.environ, "TOKEN_TEXTS": str(file)}, check=True, stdout=subprocess.DEVNULL)
        return numpy.array(json.loads(file.read_text()), float)


def han_pairs():
    """The set of pairs of Chinese characters that are tokens; the hash is that of `is_han_pair`."""
    table = bytearray(8192)
    for token in RANKS:
        text = token.decode(errors="ignore")
        if re.fullmatch("[\u4e00-\u9fff]{2}", text) and text.encode() == token:
            at = ((ord(text[0]) * 0x9E3779B1 + ord(text[1]) * 0x85EBCA6B) & 0xFFFFFFFF) >> 16
            table[at >> 3] |= 1 << (at & 7)
    return bytes(table)


def rare_pairs():
    """For each letter those that follow it in less than 6 of 10,000 pairs of the vocabulary, where frequent tokens count more."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    found = collections.Counter()
    for token, rank in RANKS.items():
        word = token.decode(errors="ignore").strip().lower()
        if token.isascii() and word.isalpha():
            for pair in itertools.pairwise(word):
                found[pair] += 1 / (rank + 2000)
    limit = 0.0006 * sum(found.values())
    return [sum((found[one, two] <= limit) << at for at, two in enumerate(letters)) for one in letters]


def prior(names):
    """What a weight is where no sample says otherwise."""
    first = {"ACCENTED": 0.3, "RARE_PAIR": 0.3, "HAN_OTHER": 2.5, "CYRILLIC": 0.4, "WIDE_MARK": 0.95}
    weights = []
    for name, place in names:
        if name in ("BARE", "JOINED", "MARKED"):
            weights.append(0)
        elif name in ("LETTERS", "CAPITALS"):
            step, last = (0.05, 0.3) if name == "LETTERS" else (0.3, 0.4)
            weights.append(last if place == 14 else 1 + step * place)
        elif name == "HAN":
            weights.append([1, 0.1, 0.6, 1, 1][place])
        else:
            weights.append(first.get(name, 0.8))
    return numpy.array(weights)


def feature_names(size):
    """The scanner's names, by index: (name, place within the name's range)."""
    found = re.findall(r"const ([A-Z_]+): (?:Self = Self\(|usize = )(\d+)", (WEIGHTS.parent / "scan.rs").read_text())
    starts = sorted((int(at), name) for name, at in found if name not in ("COUNT", "LONGEST"))
    ends = [at for at, _ in starts[1:]] + [size]
    return [(name, place) for (at, name), end in zip(starts, ends) for place in range(end - at)]


def fit(samples):
    """Least squares of the relative errors, repeated with less weight for what fits badly, so that the median counts.

    Lines and clauses are further rows with little weight; they tell features apart that come together in whole texts.
    """
    cut = re.compile(r"(?<=\n)(?=\S)|(?=[，。；：？！、])")
    pieces = [piece for sample in samples for piece in cut.split(sample["text"])]
    rows = features([sample["text"] for sample in samples] + pieces)
    whole, parts = rows[: len(samples)], rows[len(samples) :]
    tokens = numpy.array([sample["tokens"] for sample in samples], float)
    of_parts = numpy.array([count(piece) for piece in pieces], float)
    names = feature_names(whole.shape[1])
    expected = prior(names)
    # Chinese clauses begin behind marks as a rule; the samples alone cannot tell what each of both costs.
    belief = numpy.diag([0.4 if name in ("HAN", "WIDE_MARK") else 0.02 for name, _ in names])
    little, trust = 0.02 / numpy.sqrt(of_parts + 3), numpy.ones(len(samples))
    for _ in range(40):
        scale = numpy.sqrt(trust) / tokens
        left = numpy.vstack([whole * scale[:, None], parts * little[:, None], belief])
        right = numpy.concatenate([tokens * scale, of_parts * little, belief @ expected])
        weights = numpy.linalg.lstsq(left, right, rcond=None)[0]
        trust = 0.05 / numpy.maximum(numpy.abs(whole @ weights - tokens) / tokens, 0.03)
    return names, weights


def write(names, weights):
    lines = [
        "//! What the pieces of a text cost on average. Written by `scripts/calibrate-tokens`.",
        "",
        "use super::scan::Feature;",
        "",
        "/// The weight of one token.",
        f"pub(super) const UNITS: i64 = {UNITS};",
        "",
        "/// The weight of each feature, in `UNITS`. Those of a segment's length and of what is before it add up, so some are",
        "/// below zero.",
        "pub(super) const WEIGHTS: [i32; Feature::COUNT] = [",
    ]
    for (name, place), weight in zip(names, weights):
        lines.append(f"    {round(weight * UNITS)}, // {name}" + (f" + {place}" if place else ""))
    WEIGHTS.write_text("\n".join([*lines, "];", ""]))


def write_letters():
    pairs = ", ".join(f"0x{pairs:07x}" for pairs in rare_pairs())
    lines = [
        "//! Pairs of letters. Written by `scripts/calibrate-tokens`.",
        "",
        "/// For each letter those that seldom follow it in the tokenizer's vocabulary, as bits.",
        f"pub(super) const RARE_PAIRS: [u32; 26] = [{pairs}];",
        "",
    ]
    LETTERS.write_text("\n".join(lines))


def read_weights():
    return numpy.array([int(weight) for weight in re.findall(r"^    (-?\d+), +//", WEIGHTS.read_text(), re.M)]) / UNITS


def line(label, tokens, texts):
    errors = (features(texts) @ read_weights()).round() / tokens - 1
    sizes = numpy.abs(errors)
    print(
        f"{label}: {len(texts)} texts, median {numpy.median(sizes):.3f}, 95th percentile "
        f"{numpy.percentile(sizes, 95):.3f}, mean {errors.mean():+.3f}"
    )


def report_samples(samples):
    for held_out in (False, True):
        for name in sorted({sample["class"] for sample in samples}):
            these = [sample for sample in samples if sample["class"] == name and sample["held_out"] == held_out]
            tokens = numpy.array([sample["tokens"] for sample in these], float)
            line(f"{'held out' if held_out else 'fitted  '} {name:8}", tokens, [sample["text"] for sample in these])


def report_files(files):
    """The errors for pieces of 600 characters of each file."""
    for file in files:
        text = Path(file).read_text(errors="replace")
        pieces = [text[at : at + 600] for at in range(0, min(len(text), 600_000), 600)]
        line(file, numpy.array([count(piece) for piece in pieces], float), pieces)


def main():
    if len(sys.argv) > 1:
        report_files(sys.argv[1:])
        return
    samples = [json.loads(text) for text in SAMPLES.read_text().splitlines()]
    for sample in samples:
        sample["tokens"] = count(sample["text"])
    SAMPLES.write_text("".join(json.dumps(sample, ensure_ascii=False) + "\n" for sample in samples))
    PAIRS.write_bytes(han_pairs())
    write_letters()
    write(*fit([sample for sample in samples if not sample["held_out"]]))
    report_samples(samples)


main()
