"""Derivations as their authors wrote them: how many files `chainrule derive --check` judges right.

    python -m benchmarks.derivations [FOLDER] [--json FILE] [--mutants N]

FOLDER has files and an index.json: a list of {"file", "verdict": "right" or "wrong", "wrong_lines"}. Without one, the
collections of tests/derive/collection, each with what its first run gave, before anything was mended for it. A right
file is judged right where every line follows; a wrong one where its wrong lines, and no others, do not follow.
`--mutants`: right files with one slip each, made by a script.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import time
from collections import Counter
from pathlib import Path

from chainrule.derive.people.check import check_derivation
from chainrule.errors import InputError

COLLECTION = Path(__file__).parent.parent / "tests" / "derive" / "collection"
WORDS = (
    "right, every line follows", "right, not understood", "right, called wrong", "wrong, named",
    "wrong, with other lines", "wrong, not understood", "wrong, passed",
)  # fmt: skip


def judged(folder: Path) -> list[dict]:
    """What was said of each file of a folder, beside its truth."""
    found = []
    for entry in json.loads((folder / "index.json").read_text(encoding="utf-8")):
        begun = time.perf_counter()
        try:
            steps = check_derivation((folder / entry["file"]).read_bytes(), entry["file"]).steps
        except InputError:
            steps = []
        seconds = time.perf_counter() - begun
        wrong = sorted({step["line"] for step in steps if step["verdict"] == "does not follow"})
        unread = sorted({step["line"] for step in steps if step["verdict"] == "not understood"})
        causes = [step["cause"] for step in steps if step["cause"]]
        said = word_for(entry, wrong, unread, bool(steps))
        found.append(
            {
                "file": entry["file"],
                "said": said,
                "wrong": wrong,
                "unread": unread,
                "causes": causes,
                "seconds": seconds,
            }
        )
    return found


def word_for(entry: dict, wrong: list[int], unread: list[int], any_steps: bool) -> str:
    """One of WORDS."""
    if entry["verdict"] == "right":
        return WORDS[2] if wrong else WORDS[1] if unread or not any_steps else WORDS[0]
    truth = entry["wrong_lines"]
    if wrong == sorted(truth) and not unread:
        return WORDS[3]
    if wrong:
        return WORDS[4]
    return WORDS[5] if unread or not any_steps else WORDS[6]


def summary(found: list[dict]) -> str:
    counts = Counter(one["said"] for one in found)
    good = counts[WORDS[0]] + counts[WORDS[3]]
    median = statistics.median(one["seconds"] for one in found)
    words = ", ".join(f"{counts[word]} {word}" for word in WORDS if counts[word])
    return f"{good} of {len(found)} judged right ({words}); {median:.2f} s in the median"


SLIPS = (
    ("a sign", r"(?<![\^{(_])-|\+"), ("an index", r"_\{?[ijk]\}?"),
    ("a sum", r"\\sum(?:\\limits)?\s*_\s*(?:\{[^{}]*\}|\w)(?:\s*\^\s*(?:\{[^{}]*\}|\w))?"),
    ("a transpose", r"\^\{?\\?(?:top|T|intercal)\}?"), ("a δ", r"\\delta_\{[^{}]*\}|\\mathbb\{1\}_\{[^{}]*\}"),
    ("a factor", r"(?<=[ =(-])\\?hat\{y\}_\w|(?<=[ =(-])[ypaqst]_\w(?= )"), ("a square", r"\^2|\^\{2\}"),
)  # fmt: skip


def mutants(files: list[Path], count: int, seed: int = 1) -> tuple[int, int, int, list[str]]:
    """Right files with one slip: how many change a value and are named at that line, are not understood, or pass."""
    draw = random.Random(seed)
    named = unclear = 0
    passed: list[str] = []
    tries = 0
    while named + unclear + len(passed) < count and tries < 20 * count:
        tries += 1
        path = draw.choice(files)
        text = path.read_text(encoding="utf-8")
        kind, pattern = draw.choice(SLIPS)
        places = [m for m in re.finditer(pattern, text) if _in_a_right_side(text, m.start())]
        if not places:
            continue
        place = draw.choice(places)
        old = place.group()
        new = _slip(kind, old, draw)
        changed = text[: place.start()] + new + text[place.end() :]
        line = text.count("\n", 0, place.start()) + 1
        steps = check_derivation(changed.encode(), path.name).steps
        wrong = {step["line"] for step in steps if step["verdict"] == "does not follow"}
        here = max((step["line"] for step in steps if step["line"] <= line), default=line)
        if here in wrong:
            named += 1
        elif wrong:
            passed.append(f"{path.name}:{line}: {kind}: another line is named ({sorted(wrong)})")
        elif any(step["verdict"] == "not understood" for step in steps):
            unclear += 1
        else:
            passed.append(f"{path.name}:{line}: {kind}: {old} -> {new or 'nothing'}")
    return named, unclear, tries, passed


def _in_a_right_side(text: str, at: int) -> bool:
    start = text.rfind("\n", 0, at) + 1
    return "=" in text[start:at]


def _slip(kind: str, old: str, draw: random.Random) -> str:
    if kind == "a sign":
        return "+" if old == "-" else "-"
    if kind == "an index":
        letter = next(c for c in old if c in "ijk")
        return old.replace(letter, draw.choice([c for c in "ijk" if c != letter]))
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--mutants", type=int, default=0)
    options = parser.parse_args()
    folders = [options.folder] if options.folder else sorted(path for path in COLLECTION.iterdir() if path.is_dir())
    data = {}
    first = json.loads((COLLECTION / "first_runs.json").read_text(encoding="utf-8")) if not options.folder else {}
    for folder in folders:
        found = judged(folder)
        data[folder.name] = found
        print(
            f"\n## {folder.name}\n\n| file | said | does not follow | not understood | cause |\n|---|---|---|---|---|"
        )
        for one in found:
            cells = [one["file"], one["said"], one["wrong"] or "", one["unread"] or "", "; ".join(one["causes"])]
            print(f"| {' | '.join(map(str, cells))} |")
        print(f"\n{summary(found)}")
        if folder.name in first:
            print(f"The first run, before anything was mended for it: {first[folder.name]}")
        if options.mutants:
            right = [folder / one["file"] for one in found if one["said"] == WORDS[0]]
            named, unclear, _, passed = mutants(right, options.mutants)
            print(
                f"\nMutants: {named} named, {unclear} not understood, {len(passed)} pass (perhaps of the same value):"
            )
            print("\n".join(passed))
    if options.json is not None:
        options.json.write_text(json.dumps(data, indent=1, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
