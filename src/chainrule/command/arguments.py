"""What the command line takes: its commands, their options, and what an option may be."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from chainrule.activations import ACTIVATIONS
from chainrule.boundary.files import write_out
from chainrule.version import __version__

__all__ = ["parser"]

TABLE_HELP = "a table: .csv, .csv.gz, .parquet, .arrow, .ipc or .feather"
ROW_HELP = "row of the table, counted from 0"


class _Parser(argparse.ArgumentParser):
    def _print_message(self, message: str, file: Any = None) -> None:
        """Help is written, or it is an error; argparse is silent where it is not."""
        if message and file is sys.stdout:
            write_out(message)
        else:
            super()._print_message(message, file)


def parser(commands: Mapping[str, Callable[[Any], int]]) -> argparse.ArgumentParser:
    """The parser; `commands` are what runs, given the options, by name."""
    whole = _Parser(
        prog="chainrule",
        description="Train softmax classifiers, and see every gradient of the chain: exact, fast, explained.",
        epilog="Exit codes: 0 done, 1 the work failed, 2 bad usage, 130 interrupted by Ctrl-C.",
    )
    whole.set_defaults(refused=1)  # the exit code for input that cannot be used: 2 where 1 is a verdict
    whole.add_argument("--version", action="version", version=f"chainrule {__version__}")
    places = whole.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, summary: str, *, model: bool = True) -> argparse.ArgumentParser:
        sub = places.add_parser(
            name, help=summary, description=summary, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        sub.set_defaults(run=commands[name])
        if model:
            sub.add_argument("model", metavar="MODEL", help="a model that `chainrule train` wrote")
        sub.add_argument("table", metavar="TABLE", help=TABLE_HELP)
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
        return sub

    train = command("train", "Train a classifier on a table and write it as one file.", model=False)
    _add_reading(train)
    train.add_argument(
        "--hidden", type=_widths, default="128,64", metavar="WIDTHS", help="widths of the hidden layers, or 'none'"
    )
    train.add_argument("--activation", choices=list(ACTIVATIONS), default="relu", help="of the hidden layers")
    train.add_argument("--optimizer", choices=["sgd", "adam", "adamw"], default="adam", help="sgd has momentum 0.9")
    train.add_argument("--lr", type=_positive, default=None, help="learning rate; by default 0.001, for sgd 0.01")
    train.add_argument(
        "--epochs", type=_count, default=None,
        help="at most so many passes over the training rows; by default 1000, without validation 30",
    )  # fmt: skip
    train.add_argument("--batch-size", type=_count, default=32, help="rows in a step")
    train.add_argument(
        "--validation", type=_fraction, default=None,
        help="fraction held out to tell when to stop; by default 0.1, or below 1000 rows each row once, in 5 folds",
    )  # fmt: skip
    train.add_argument(
        "--test", type=_fraction, default=0.0, help="fraction of the rows held out of everything, to judge the model"
    )
    train.add_argument("--patience", type=_count, default=30, help="stop after so many epochs without improvement")
    train.add_argument(
        "--schedule", choices=["constant", "cosine", "step", "plateau"], default="constant",
        help="of the learning rate: half a cosine to 0, a tenth every third of the epochs, or half on a plateau",
    )  # fmt: skip
    train.add_argument("--warm-up", type=_positive, default=None, metavar="EPOCHS", help="the rate rises from 0 first")
    train.add_argument(
        "--weight-decay", type=_not_negative, default=None, help="L2 penalty; by default 4/rows, at most 0.01"
    )
    train.add_argument("--dropout", type=_fraction, default=0.0, help="fraction of hidden units dropped at each step")
    train.add_argument("--label-smoothing", type=_fraction, default=0.0, help="share of the target spread evenly")
    train.add_argument("--clip-norm", type=_positive, default=None, help="largest norm of a step's gradient")
    train.add_argument("--balanced", action="store_true", help="weigh rare classes up to the others")
    train.add_argument("--threads", type=_count, default=None, help="at most this many")
    train.add_argument(
        "--memory", type=_bytes, default=None, metavar="SIZE",
        help="stream a Parquet table that is larger than memory, with so much of it at a time: 500M, 2G",
    )  # fmt: skip
    train.add_argument("--seed", type=_seed, default=0, help="of the weights, the splits and the order of the rows")
    train.add_argument(
        "--checkpoint", metavar="FILE", default=None, help="written each epoch; the same command goes on from it"
    )
    train.add_argument("-o", "--output", metavar="FILE", default="model.safetensors", help="where to write the model")
    train.add_argument("--report", metavar="FILE", default=None, help="also write a report as one HTML page")

    audit = command("audit", "Rank a table's rows as probable label errors, by cross-validation.", model=False)
    _add_reading(audit)
    audit.add_argument(
        "--hidden", type=_widths, default="128,64", metavar="WIDTHS", help="widths of the hidden layers, or 'none'"
    )
    audit.add_argument("--activation", choices=list(ACTIVATIONS), default="relu", help="of the hidden layers")
    audit.add_argument("--folds", type=_folds, default=5, help="each is judged by a network trained on the others")
    audit.add_argument("--threads", type=_count, default=None, help="at most this many")
    audit.add_argument("--seed", type=_seed, default=0, help="of the weights, the folds and the order of the rows")
    audit.add_argument("-o", "--output", metavar="FILE", default=None, help="write all rows, ranked, as a CSV file")
    audit.add_argument("--report", metavar="FILE", default=None, help="write the first of them as one HTML page")
    audit.add_argument("--show", type=_count, default=50, metavar="N", help="how many rows the page shows")

    predict = command("predict", "Predict the class of each row, with the probabilities of all classes.")
    predict.add_argument("-o", "--output", metavar="FILE", default=None, help="a CSV file; by default, the terminal")

    evaluate = command("evaluate", "Judge a model on a table that holds the classes: loss, accuracy, confusion matrix.")
    for sub in (predict, evaluate):
        sub.add_argument(
            "--strict", action="store_true",
            help="refuse a table with missing values, unseen categories or numbers far outside training's range",
        )  # fmt: skip

    explain = command("explain", "Show the chain of factors of one row's gradient, from the loss back to a weight.")
    which = explain.add_mutually_exclusive_group(required=True)
    which.add_argument("--row", type=_seed, metavar="N", help=ROW_HELP)
    which.add_argument(
        "--serve", action="store_true", help="serve all rows, sorted by loss, to a browser on this machine"
    )
    explain.add_argument(
        "--port", type=_port, default=None, help="of --serve; by default 8000; 0 takes one that is free"
    )
    explain.add_argument(
        "--unit", type=_indices(2), default=None, metavar="LAYER,UNIT", help="explain a unit; counted from 1"
    )
    explain.add_argument(
        "--weight", type=_indices(3), default=None, metavar="LAYER,UNIT,INPUT",
        help="explain a weight; counted from 1: 1,1,1 is W_111; by default the one with the largest gradient",
    )  # fmt: skip
    explain.add_argument(
        "--format", dest="form", choices=["text", "json", "latex"], default=None,
        help="of what is printed: text (the default), the chain as JSON data, or the formula in LaTeX",
    )  # fmt: skip
    explain.add_argument(
        "--image", type=_image, default=None, metavar="ROWSxCOLUMNS",
        help="the inputs are the pixels of such an image: 8x8; by default where they are 64 or 784",
    )  # fmt: skip
    explain.add_argument("-o", "--output", metavar="FILE", default=None, help="also write an HTML page")

    check = command("check", "Check every gradient of the chain against finite differences; exit code 1 on a miss.")
    check.add_argument("--rows", type=_count, default=8, help="how many of the table's first rows to check on")

    summary = "Show how a gradient is derived, line by line, and check each line; or check a derivation of your own."
    derive = places.add_parser(
        "derive", help=summary, description=summary,
        epilog="Exit codes: 0 done, 1 a step does not follow, 2 bad usage or nothing to check, "
        "3 something was not understood, 4 the goal is not reached.",
    )  # fmt: skip
    derive._negative_number_matcher = re.compile(r"-\.?\d")  # --logits -1,2 is no option of its own
    derive.set_defaults(run=commands["derive"], refused=2)
    derive.add_argument("name", metavar="NAME", nargs="?", help="a derivation that --list names; by default all")
    derive.add_argument("--list", dest="listing", action="store_true", help="print the names and titles")
    derive.add_argument("--step", action="store_true", help="show a line at a time; Enter shows the next")
    derive.add_argument(
        "--check", metavar="FILE", nargs="?", const="", default=None,
        help="check every line by SymPy and by numbers; with FILE, each step of somebody's derivation (LaTeX, "
        "Markdown, a notebook or text; - for standard input); with a folder, each of its files; with a NAME letters "
        "are the lecture's",
    )  # fmt: skip
    derive.add_argument(
        "--format", dest="form", choices=["text", "json", "latex", "beamer", "html", "github", "gradescope"],
        default="text",
        help="text by default; beamer: slides that reveal a line at a time; with --check FILE text, json, github "
        "(annotations) or gradescope (results.json)",
    )  # fmt: skip
    derive.add_argument("-o", "--output", metavar="FILE", default=None, help="where to write; by default, the terminal")
    derive.add_argument("--numbers", action="store_true", help="show the value of every line beside it")
    derive.add_argument(
        "--logits", type=_numbers, default=None, metavar="A,B,…", help="use these for --numbers; by default 2.0,1.0,0.1"
    )
    derive.add_argument(
        "--label", type=_count, default=None, metavar="N", help="the true class, counted from 1; by default 1"
    )
    derive.add_argument(
        "--let",
        metavar="LETTERS",
        default=None,
        help="with --check FILE, what letters stand for: 'z=logits, p=probabilities'",
    )
    derive.add_argument(
        "--goal",
        metavar="EQUATION",
        default=None,
        help="with --check FILE, what it must reach: an equation, or the NAME of a derivation",
    )
    derive.add_argument(
        "--points",
        type=_positive,
        default=None,
        metavar="N",
        help="with --check FOLDER, the points of a file without a fault; by default 10",
    )
    derive.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return whole


def _add_reading(sub: argparse.ArgumentParser) -> None:
    """What a table does not say itself."""
    sub.add_argument("--target", required=True, metavar="COLUMN", help="the column that holds the class")
    sub.add_argument("--ignore", action="append", default=[], metavar="COLUMN", help="leave a column out")
    sub.add_argument(
        "--keep", action="append", default=[], metavar="COLUMN",
        help="use a column that would be left out: one that numbers or names the rows, or a constant",
    )  # fmt: skip
    sub.add_argument("--decimal", choices=[".", ","], default=None, help="where a comma could be either's")
    sub.add_argument(
        "--dates", choices=["day-first", "month-first"], default=None, help="where 03/04/2024 could be either"
    )
    sub.add_argument(
        "--as-classes", action="store_true", help="take very many different numbers or texts as classes all the same"
    )


# --- what an option may be; argparse turns these errors into exit code 2 ---


def _number(kind: type, fits: Callable[[Any], bool], expected: str) -> Callable[[str], Any]:
    def number(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not fits(value):
            raise argparse.ArgumentTypeError(f"got {text!r}, expected {expected}")
        return value

    return number


_count = _number(int, lambda v: v >= 1, "an integer >= 1")
_folds = _number(int, lambda v: v >= 2, "an integer >= 2")
_port = _number(int, lambda v: 0 <= v < 65536, "a port from 0 to 65535")
_seed = _number(int, lambda v: v >= 0, "an integer >= 0")
_width = _number(int, lambda v: 1 <= v <= 10**6, "an integer from 1 to 1000000")
_positive = _number(float, lambda v: 0 < v < math.inf, "a number > 0")
_not_negative = _number(float, lambda v: 0 <= v < math.inf, "a number >= 0")
_fraction = _number(float, lambda v: 0 <= v < 1, "a fraction in [0, 1)")
_logit = _number(float, math.isfinite, "numbers with commas between: 2.0,1.0,0.1")
_size = _number(float, lambda v: 1 <= v < 2**33, "a size of at least 1 byte, as 500M or 2G")


def _numbers(text: str) -> list[float]:
    return [_logit(part) for part in text.split(",")]


def _bytes(text: str) -> int:
    unit = {"K": 10, "M": 20, "G": 30}.get(text[-1:].upper(), 0)
    return int(_size(text[:-1] if unit else text) * 2**unit)


def _widths(text: str) -> list[int]:
    return [] if text.strip() in ("", "none") else [_width(part) for part in text.split(",")]


def _image(text: str) -> tuple[int, int]:
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected rows and columns, as 8x8")
    return int(sides[0]), int(sides[1])


def _indices(count: int) -> Callable[[str], list[int]]:
    def indices(text: str) -> list[int]:
        parts = [_count(part) for part in text.split(",")]
        if len(parts) != count:
            raise argparse.ArgumentTypeError(f"got {text!r}, expected {count} numbers, counted from 1")
        return parts

    return indices
