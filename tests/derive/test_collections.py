"""Derivations as their authors wrote them, each with its truth written down by hand before it was judged.

`given` is the collection with which the reader was designed; the eighteen batches were collected from other sources,
and each was run once before anything was mended for it: first_runs.json has what that gave.
"""

import functools
import json
from pathlib import Path

import pytest

from chainrule.derive.people.check import check_derivation
from chainrule.errors import InputError

FOLDER = Path(__file__).parent / "collection"
# How many of each are judged right: every line of a right file follows, and of a wrong one all but its wrong lines.
JUDGED_RIGHT = {
    "given": 31, "batch1": 14, "batch2": 14, "batch3": 11, "batch4": 8, "batch5": 12, "batch6": 13, "batch7": 13,
    "batch8": 7, "batch9": 5, "batch10": 2, "batch11": 15, "batch12": 12, "batch13": 12, "batch14": 14,
    "batch15": 10, "batch16": 12, "batch17": 9, "batch18": 8,
}  # fmt: skip
NO_EQUATION = {"batch14/14.tex"}  # its wrong step is an expression behind "the derivative is", which nothing judges
NAMED = [
    ("07.tex", "p_k should be p_i"), ("19.tex", "θ_j should be θ_i"), ("30.tex", "w_{kj}^{l+1} should be w_{jk}^{l+1}"),
    ("34.tex", "the sum must leave out i = k"), ("46.tex", "should be hᵀ (softmax(h U + b_2) − y)"),
    ("54.tex", "x should be w"),
]  # fmt: skip


@functools.cache
def judged_steps(folder, file):
    """What is said of a file, once for all tests."""
    return check_derivation((FOLDER / folder / file).read_bytes(), file).steps


def said(folder, file):
    """The wrong and the not understood lines of a file; None where nothing in it is an equation."""
    try:
        steps = judged_steps(folder, file)
    except InputError:
        return None
    lines = [
        sorted({s["line"] for s in steps if s["verdict"] == word}) for word in ("does not follow", "not understood")
    ]
    return lines if steps else None


def index(folder):
    return json.loads((FOLDER / folder / "index.json").read_text(encoding="utf-8"))


def slips(entry):
    """The lines that are wrong, and those that carry it on."""
    return {*entry.get("wrong_lines", ()), *entry.get("carried_lines", ())}


BATCHES = [f"batch{n}" for n in range(1, 19)]


@pytest.mark.parametrize("folder", ["given", *(pytest.param(name, marks=pytest.mark.slow) for name in BATCHES)])
def test_a_collection(folder):
    judged = 0
    for entry in index(folder):
        found = said(folder, entry["file"])
        if found is None:
            continue
        wrong, unread = found
        if entry["verdict"] == "right":
            if folder == "given":
                assert not wrong, entry["file"]
            judged += not wrong and not unread
        else:
            assert wrong or unread or f"{folder}/{entry['file']}" in NO_EQUATION, f"{entry['file']} passed"
            judged += wrong == sorted(entry["wrong_lines"]) and not unread
    assert judged >= JUDGED_RIGHT[folder]


@pytest.mark.slow
def test_no_right_line_is_called_wrong():
    called = {
        f"{folder}/{entry['file']}": lines
        for folder in JUDGED_RIGHT
        for entry in index(folder)
        if (found := said(folder, entry["file"])) and (lines := set(found[0]) - slips(entry))
    }
    assert not called


def test_each_batch_has_twenty_files_with_a_source_and_a_quarter_are_wrong():
    for n in range(1, 19):
        entries = index(f"batch{n}")
        assert len(entries) == 20
        assert all(entry["source"] and entry["truth"] for entry in entries)
        assert sum(entry["verdict"] == "wrong" for entry in entries) >= 5
        assert all(entry["wrong_lines"] for entry in entries if entry["verdict"] == "wrong")
    first = json.loads((FOLDER / "first_runs.json").read_text(encoding="utf-8"))
    assert set(first) == set(BATCHES)


@pytest.mark.parametrize(("file", "cause"), NAMED)
def test_the_cause_is_named(file, cause):
    (wrong,) = [step for step in judged_steps("given", file) if step["verdict"] == "does not follow"]
    assert cause in wrong["cause"]
