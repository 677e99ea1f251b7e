"""The command line as the tests run it, and a small table for it."""

import csv
from pathlib import Path

import numpy as np

from chainrule.command.cli import main

DIGITS = Path(__file__).parents[2] / "examples" / "digits.csv"


def train(tmp_path, table=DIGITS, target="label", *more):
    return main(["train", str(table), "--target", target, "-o", str(tmp_path / "m.safetensors"), *map(str, more)])


def write(path, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def small(tmp_path, name="x"):
    random = np.random.default_rng(0)
    rows = [[name, "colour", "class"]]
    rows += [[random.normal() + 3 * (i % 2), "red" if i % 3 else "blue", "ab"[i % 2]] for i in range(90)]
    return write(tmp_path / "small.csv", rows)
