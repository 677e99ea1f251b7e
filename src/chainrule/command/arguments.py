"""What the command line takes: its commands and their options. Help shows the everyday ones, --help-all all of them."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from chainrule.activations import ACTIVATIONS
from chainrule.boundary.files import write_out
from chainrule.command import values as v
from chainrule.version import __version__

__all__ = ["parser"]

TABLE_HELP = "text (.csv, .tsv, …), .parquet, .arrow; - is stdin"
WIDE = 80  # columns of a screen


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=27, width=WIDE)


class _Parser(argparse.ArgumentParser):
    """A parser whose help leaves out what is not `everyday`, until all of it is asked for."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.formatter_class = _Formatter
        self.everyday: set[str] = set()

    def _print_message(self, message: str, file: Any = None) -> None:
        """Help is written, or it is an error; argparse is silent where it is not."""
        if message and file is sys.stdout:
            write_out(message)
        else:
            super()._print_message(message, file)

    def format_help(self, whole: bool = False) -> str:
        if whole or not self.everyday:
            return super().format_help()
        shown = [a for a in self._actions if self.everyday & {a.dest, *a.option_strings}]
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, shown, [])
        formatter.add_text(self.description)
        formatter.start_section("what it takes")
        formatter.add_arguments(shown)
        formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help()


class _HelpAll(argparse.Action):
    def __init__(self, option_strings: Any, dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest=argparse.SUPPRESS, default=argparse.SUPPRESS, nargs=0, **options)

    def __call__(self, parser: Any, *arguments: Any) -> None:
        write_out(parser.format_help(whole=True))
        parser.exit()


def parser(commands: Mapping[str, Callable[[Any], int]]) -> argparse.ArgumentParser:
    """The parser; `commands` are what runs, given the options, by name."""
    whole = _Parser(
        prog="chainrule",
        description="Train softmax classifiers, and see every gradient of the chain: exact, fast,\nexplained.",
        epilog="Example: chainrule train iris.csv --target species -o iris.safetensors\n\n"
        "Exit codes: 0 done, 1 the work failed, 2 bad usage, 130 interrupted by Ctrl-C.",
    )
    whole.set_defaults(refused=1)  # the exit code for input that cannot be used: 2 where 1 is a verdict
    whole.add_argument("--version", action="version", version=f"chainrule {__version__}")
    places = whole.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    def command(name: str, summary: str, usage: str, example: str, everyday: str, **more: Any) -> _Parser:
        sub = places.add_parser(
            name, help=summary, description=summary, usage=f"chainrule {name} {usage} [options]",
            epilog=f"Example:\n  {example}", **more,
        )  # fmt: skip
        sub.everyday = {"--help-all", *everyday.split()}
        sub.set_defaults(run=commands[name])
        sub.add_argument("--help-all", action=_HelpAll, help="show all options")
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
        return sub

    for name, summary, extra in (
        ("train", "Train a classifier on a table and write it as one file.", ""),
        ("tune", "Search widths, depth, rate, decay and dropout; train and write the best model.", "trials seeds"),
    ):
        example = f"chainrule {name} iris.csv --target species --test 0.2 -o iris.safetensors"
        everyday = "table target output report test columns ignore id types seed " + (
            extra or "cv dry_run separator header"
        )
        _training(command(name, summary, "TABLE --target COLUMN", example, everyday), tune=name == "tune")

    audit = command(
        "audit", "Rank a table's rows as probable label errors, by cross-validation.", "TABLE --target COLUMN",
        "chainrule audit iris.csv --target species --report audit.html",
        "table target output report show folds seed weight ignore columns id types",
    )  # fmt: skip
    _table(audit)
    audit.add_argument("--target", required=True, metavar="COLUMN", help="the column that holds the class")
    audit.add_argument("-o", "--output", metavar="FILE", default=None, help="write all rows, ranked, as a CSV file")
    audit.add_argument("--report", metavar="FILE", default=None, help="write the first of them as one HTML page")
    audit.add_argument(
        "--show", type=v.a_count, default=50, metavar="N", help="how many rows the page shows; by default 50"
    )
    audit.add_argument("--folds", type=v.folds, default=5, help="each is judged by a network of the others")
    audit.add_argument("--seed", type=v.a_row, default=0, help="of the weights, the folds and the order of the rows")
    audit.add_argument("--threads", type=v.a_count, default=None, help="at most this many")
    audit.add_argument(
        "--weight", metavar="COLUMN", default=None, help="what each row counts, 0 for nothing; no feature then"
    )
    _columns(audit)
    _network(audit)

    info = command(
        "info", "Show what a model is and what it expects of a table.", "MODEL", "chainrule info iris.safetensors",
        "model json",
    )  # fmt: skip
    _model(info)
    info.add_argument("--json", action="store_true", help="as JSON data")

    predict = command(
        "predict", "Predict the class of each row, with the probabilities of all classes.", "MODEL TABLE",
        "chainrule predict iris.safetensors new.csv --id flower -o predictions.csv",
        "model table output id with_input form strict",
    )  # fmt: skip
    _model(predict)
    _table(predict)
    predict.add_argument(
        "-o", "--output", metavar="FILE", default=None, help="where to write; by default, the terminal"
    )
    predict.add_argument(
        "--id", action="append", default=[], metavar="COLUMN", help="write this column beside the answers"
    )
    predict.add_argument("--with-input", action="store_true", help="write all columns of the table beside the answers")
    predict.add_argument(
        "--format", dest="form", choices=["csv", "tsv", "jsonl", "parquet", "arrow"], default=None,
        help="by default that of FILE's suffix, else csv",
    )  # fmt: skip

    evaluate = command(
        "evaluate", "Judge a model on a table that holds the classes.", "MODEL TABLE",
        "chainrule evaluate iris.safetensors test.csv --json -o test.json", "model table json output bootstrap strict",
    )  # fmt: skip
    _model(evaluate)
    _table(evaluate)
    evaluate.add_argument("--json", action="store_true", help="as JSON data")
    evaluate.add_argument(
        "-o", "--output", metavar="FILE", default=None, help="where to write; by default, the terminal"
    )
    evaluate.add_argument(
        "--bootstrap", type=v.a_row, default=1000, metavar="N", help="samples for the 95 %% intervals; 0 for none"
    )
    for sub in (predict, evaluate):
        sub.add_argument(
            "--strict", action="store_true",
            help="refuse what training did not know",
        )  # fmt: skip

    explain = command(
        "explain", "Show why a row is predicted as it is, and the chain of factors of its gradient.",
        "MODEL TABLE --row N", "chainrule explain iris.safetensors new.csv --row 5 -o page.html",
        "model table row serve unit weight form output image rows checkpoints",
    )  # fmt: skip
    _model(explain)
    _table(explain)
    which = explain.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--row", type=v.row_or_worst, metavar="N",
        help=f"row of the table, counted from 0, with or without a class; or {v.WORST}, the one with the largest loss",
    )  # fmt: skip
    which.add_argument("--serve", action="store_true", help="serve all rows, sorted by loss, to a browser here")
    explain.add_argument(
        "--port", type=v.a_port, default=None, help="of --serve; by default 8000; 0 takes one that is free"
    )
    explain.add_argument(
        "--unit", type=v.indices(2), default=None, metavar="LAYER,UNIT", help="explain a unit; counted from 1"
    )
    explain.add_argument(
        "--weight", type=v.indices(3), default=None, metavar="LAYER,UNIT,INPUT",
        help="explain a weight; by default layer 1's largest gradient",
    )  # fmt: skip
    explain.add_argument(
        "--format", dest="form", choices=["text", "json", "latex"], default=None,
        help="of what is printed; by default text",
    )  # fmt: skip
    explain.add_argument(
        "--image", type=v.an_image, default=None, metavar="ROWSxCOLUMNS",
        help="the inputs are an image's pixels, as 8x8",
    )  # fmt: skip
    explain.add_argument("-o", "--output", metavar="FILE", default=None, help="also write an HTML page")
    explain.add_argument(
        "--checkpoints", metavar="FOLDER", default=None, help="the page walks through train --keep-checkpoints'"
    )
    travel = explain.add_mutually_exclusive_group()
    travel.add_argument(
        "--rows", type=v.some_rows, default=0, metavar="N",
        help="the page holds 50 to 200 rows and trains on them",
    )  # fmt: skip
    travel.add_argument("--private", action="store_true", help="no row but the explained one travels in it")

    check = command(
        "check", "Check every gradient of the chain against finite differences; exit code 1 on\na miss.", "MODEL TABLE",
        "chainrule check iris.safetensors iris.csv", "model table rows",
    )  # fmt: skip
    _model(check)
    _table(check)
    check.add_argument("--rows", type=v.a_count, default=8, help="how many of the table's first rows to check on")

    derive = command(
        "derive",
        "Show how a gradient is derived, line by line, and check each line; or check a\nderivation of your own.",
        "[NAME]", "chainrule derive --check homework.tex --goal 'dL/dz_i = p_i - y_i'",
        "name listing step check goal form output numbers",
    )  # fmt: skip
    derive._negative_number_matcher = re.compile(r"-\.?\d")  # --logits -1,2 is no option of its own
    derive.set_defaults(refused=2)
    assert derive.epilog
    derive.epilog += "\n\nExit codes: 0 done, 1 wrong, 2 usage, 3 not understood, 4 goal not reached."
    derive.add_argument("name", metavar="NAME", nargs="?", help="a derivation that --list names; by default all")
    derive.add_argument("--list", dest="listing", action="store_true", help="print the names and titles")
    derive.add_argument("--step", action="store_true", help="show a line at a time; Enter shows the next")
    derive.add_argument(
        "--check", metavar="FILE", nargs="?", const="", default=None,
        help="check every line; with FILE (LaTeX, Markdown, a notebook, text, - for standard input, or a folder of "
        "them) each step of anybody's",
    )  # fmt: skip
    derive.add_argument(
        "--format", dest="form", choices=["text", "json", "latex", "beamer", "html", "github", "gradescope"],
        default="text",
        help="text by default; json, github (annotations) and gradescope (results.json) with --check FILE",
    )  # fmt: skip
    derive.add_argument("-o", "--output", metavar="FILE", default=None, help="where to write; by default, the terminal")
    derive.add_argument("--numbers", action="store_true", help="show the value of every line beside it")
    derive.add_argument(
        "--logits",
        type=v.numbers,
        default=None,
        metavar="A,B,…",
        help="use these for --numbers; by default 2.0,1.0,0.1",
    )
    derive.add_argument(
        "--label", type=v.a_count, default=None, metavar="N", help="the true class, counted from 1; by default 1"
    )
    derive.add_argument(
        "--let", metavar="LETTERS", default=None,
        help="with --check FILE, what letters stand for: 'z=logits, p=probabilities'",
    )  # fmt: skip
    derive.add_argument(
        "--goal", metavar="EQUATION", default=None,
        help="what FILE must reach: an equation, or a NAME",
    )  # fmt: skip
    derive.add_argument(
        "--points", type=v.a_positive, default=None, metavar="N",
        help="with --check FOLDER, the points of a file without a fault; by default 10",
    )  # fmt: skip
    return whole


def _model(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("model", metavar="MODEL", help="a model that `chainrule train` wrote")


def _table(sub: argparse.ArgumentParser) -> None:
    """A table, and how it is written."""
    sub.add_argument("table", metavar="TABLE", help=TABLE_HELP)
    text = sub.add_argument_group("how a text file is written, where that is not found out")
    text.add_argument(
        "--separator", type=v.a_separator, default=None, metavar="SIGN", help="between columns: ';', tab, space"
    )
    text.add_argument("--no-header", dest="header", action="store_false", default=None, help="the first row is data")
    text.add_argument(
        "--header", dest="header", action="store_true", default=None, help="the first row names the columns"
    )
    text.add_argument("--encoding", default=None, metavar="NAME", help="of the text, as cp1252, utf-16")
    text.add_argument("--skip-broken", action="store_true", help="leave out rows with too many or too few fields")


def _training(sub: argparse.ArgumentParser, *, tune: bool) -> None:
    _table(sub)
    sub.add_argument("--target", required=True, metavar="COLUMN", help="the column that holds the class; or its number")
    sub.add_argument("-o", "--output", metavar="FILE", default="model.safetensors", help="where to write the model")
    sub.add_argument("--report", metavar="FILE", default=None, help="also write a report as one HTML page")
    sub.add_argument("--seed", type=v.a_row, default=0, help="of the weights, the splits and the order of the rows")
    if tune:
        sub.add_argument("--trials", type=v.a_count, default=30, help="how many settings to try; by default 30")
        sub.add_argument("--seeds", type=v.a_count, default=3, help="of the best three, trained whole; by default 3")
    else:
        sub.add_argument("--dry-run", action="store_true", help="only show what the columns are taken for")

    _columns(sub)
    rows = sub.add_argument_group("rows")
    rows.add_argument(
        "--test", type=v.a_fraction, default=0.0, metavar="SHARE", help="hold rows out of everything, to judge by"
    )
    rows.add_argument("--test-table", metavar="TABLE", default=None, help="another table to judge the model by")
    rows.add_argument(
        "--validation", type=v.a_fraction, default=None, metavar="SHARE",
        help="held out to tell when to stop; by default 0.1, or below 1000 rows each row once, in 5 folds",
    )  # fmt: skip
    rows.add_argument(
        "--time", metavar="COLUMN", default=None, help="hold out the latest rows, by this column, no feature then"
    )
    rows.add_argument("--group", metavar="COLUMN", default=None, help="hold out whole groups of rows; no feature then")
    rows.add_argument(
        "--weight", metavar="COLUMN", default=None, help="what each row counts, 0 for nothing; no feature then"
    )
    if not tune:
        rows.add_argument(
            "--cv", type=v.folds, default=None, metavar="K", help="first judge the settings by K-fold cross-validation"
        )
        rows.add_argument(
            "--memory", type=v.a_size, default=None, metavar="SIZE",
            help="stream a table that is larger than memory, with so much of it at a time: 500M, 2G",
        )  # fmt: skip
    rows.add_argument("--balanced", action="store_true", help="weigh rare classes up to the others")

    network = _network(sub)
    network.add_argument(
        "--calibrate", action="store_true", help="divide the logits by the temperature that suits unseen rows"
    )

    training = sub.add_argument_group("training")
    training.add_argument(
        "--optimizer", choices=["sgd", "adam", "adamw"], default="adam", help="by default adam; sgd has momentum 0.9"
    )
    training.add_argument("--lr", type=v.a_positive, default=None, help="learning rate; by default 0.001, for sgd 0.01")
    training.add_argument(
        "--epochs", type=v.a_count, default=None, help="at most; by default 1000, without validation 30"
    )
    training.add_argument("--batch-size", type=v.a_count, default=32, metavar="ROWS", help="in a step; by default 32")
    training.add_argument(
        "--patience", type=v.a_count, default=30, metavar="EPOCHS", help="without improvement; by default 30"
    )
    training.add_argument(
        "--schedule", choices=["constant", "cosine", "step", "plateau"], default="constant",
        help="of the rate: half a cosine to 0, a tenth every third of the epochs, or half on a plateau",
    )  # fmt: skip
    training.add_argument(
        "--warm-up", type=v.a_positive, default=None, metavar="EPOCHS", help="the rate rises from 0 first"
    )
    training.add_argument(
        "--weight-decay", type=v.not_negative, default=None, help="L2 penalty; by default 4/rows, at most 0.01"
    )
    training.add_argument(
        "--dropout", type=v.a_fraction, default=0.0, metavar="SHARE", help="of hidden units dropped at each step"
    )
    training.add_argument(
        "--label-smoothing", type=v.a_fraction, default=0.0, metavar="SHARE", help="of the target, spread evenly"
    )
    training.add_argument("--clip-norm", type=v.a_positive, default=None, help="largest norm of a step's gradient")
    training.add_argument("--threads", type=v.a_count, default=None, help="at most this many")
    if not tune:
        training.add_argument(
            "--keep-checkpoints", action="store_true",
            help="keep every epoch's weights, in a folder beside the model, for explain --checkpoints",
        )  # fmt: skip
        training.add_argument(
            "--checkpoint", metavar="FILE", default=None, help="written each epoch; the same command goes on from it"
        )


def _columns(sub: argparse.ArgumentParser) -> None:
    """Which columns are used, and what for."""
    columns = sub.add_argument_group("columns")
    columns.add_argument("--columns", action="append", default=[], metavar="NAMES", help="use these only: a,b,c")
    columns.add_argument("--ignore", action="append", default=[], metavar="NAMES", help="leave these out")
    columns.add_argument(
        "--id", action="append", default=[], metavar="COLUMN", help="names a row: no feature, and beside predictions"
    )
    columns.add_argument(
        "--type", dest="types", type=v.a_kind, action="append", default=[], metavar="COLUMN=KIND",
        help="text, number, date, time, duration, boolean, category",
    )  # fmt: skip
    columns.add_argument(
        "--keep", action="append", default=[], metavar="NAMES",
        help="use columns that would be left out: those that number or name the rows, constants",
    )  # fmt: skip
    columns.add_argument("--decimal", choices=[".", ","], default=None, help="where a comma could be either's")
    columns.add_argument(
        "--dates", choices=["day-first", "month-first"], default=None, help="where 03/04/2024 could be either"
    )
    columns.add_argument(
        "--missing", action="append", default=[], metavar="WORD", help="stands for a missing value too: -999"
    )
    columns.add_argument(
        "--categories", type=v.a_count, default=1000, metavar="N",
        help="the most that a column keeps; the rare ones beyond are one; by default 1000",
    )  # fmt: skip
    columns.add_argument(
        "--as-classes", action="store_true", help="take very many different numbers or texts as classes all the same"
    )


def _network(sub: argparse.ArgumentParser) -> Any:
    """The network's layers."""
    network = sub.add_argument_group("the network")
    network.add_argument(
        "--hidden",
        type=v.widths,
        default="128,64",
        metavar="WIDTHS",
        help="of the hidden layers, or 'none'; by default 128,64",
    )
    network.add_argument(
        "--activation", choices=list(ACTIVATIONS), default="relu", help="of the hidden layers; by default relu"
    )
    return network
