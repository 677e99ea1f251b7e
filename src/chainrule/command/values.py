"""What an option of the command line may be; argparse turns these errors into exit code 2."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any

__all__ = [
    "WORST",
    "a_count",
    "a_fraction",
    "a_kind",
    "a_port",
    "a_positive",
    "a_row",
    "a_separator",
    "a_size",
    "an_image",
    "folds",
    "indices",
    "not_negative",
    "numbers",
    "row_or_worst",
    "some_rows",
    "widths",
]  # fmt: skip

SEPARATORS = {"tab": "\t", "space": " ", "comma": ",", "semicolon": ";", "bar": "|"}
WORST = "worst"  # the row with the largest loss
KINDS = ("text", "number", "date", "time", "duration", "boolean", "category")


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


a_count = _number(int, lambda v: v >= 1, "an integer >= 1")
folds = _number(int, lambda v: v >= 2, "an integer >= 2")
a_port = _number(int, lambda v: 0 <= v < 65536, "a port from 0 to 65535")
a_row = _number(int, lambda v: v >= 0, "an integer >= 0")
some_rows = _number(int, lambda v: 50 <= v <= 200, "an integer from 50 to 200")
a_positive = _number(float, lambda v: 0 < v < math.inf, "a number > 0")
not_negative = _number(float, lambda v: 0 <= v < math.inf, "a number >= 0")
a_fraction = _number(float, lambda v: 0 <= v < 1, "a fraction in [0, 1)")
_width = _number(int, lambda v: 1 <= v <= 10**6, "an integer from 1 to 1000000")
_logit = _number(float, math.isfinite, "numbers with commas between: 2.0,1.0,0.1")
_size = _number(float, lambda v: 1 <= v < 2**33, "a size of at least 1 byte, as 500M or 2G")


def row_or_worst(text: str) -> int | str:
    return WORST if text == WORST else int(a_row(text))


def numbers(text: str) -> list[float]:
    return [_logit(part) for part in text.split(",")]


def a_size(text: str) -> int:
    unit = {"K": 10, "M": 20, "G": 30}.get(text[-1:].upper(), 0)
    return int(_size(text[:-1] if unit else text) * 2**unit)


def widths(text: str) -> list[int]:
    return [] if text.strip() in ("", "none") else [_width(part) for part in text.split(",")]


def an_image(text: str) -> tuple[int, int]:
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected rows and columns, as 8x8")
    return int(sides[0]), int(sides[1])


def indices(count: int) -> Callable[[str], list[int]]:
    def found(text: str) -> list[int]:
        parts = [a_count(part) for part in text.split(",")]
        if len(parts) != count:
            raise argparse.ArgumentTypeError(f"got {text!r}, expected {count} numbers, counted from 1")
        return parts

    return found


def a_separator(text: str) -> str:
    sign = SEPARATORS.get(text, text.replace("\\t", "\t"))
    if len(sign) != 1 or sign in '"\r\n' or sign.isalnum():
        raise argparse.ArgumentTypeError(f"got {text!r}, expected one character, or {', '.join(SEPARATORS)}")
    return sign


def a_kind(text: str) -> tuple[str, str]:
    name, equals, kind = text.rpartition("=")
    if not equals or not name or kind not in KINDS:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected COLUMN={'|'.join(KINDS)}")
    return name, kind
