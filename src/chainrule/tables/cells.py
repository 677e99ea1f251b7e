"""What a cell means: a function of the cell, its column's kind and form, and of nothing else.

A cell comes as text (from a CSV, or a column of text elsewhere) or as a value with a type (from Parquet, Arrow, a data
frame). The text that such a value is written as means the same as the value, so that a row's features do not depend on
the kind of file that it came in.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from chainrule.boundary.extras import require
from chainrule.errors import TableError

__all__ = [
    "DATES", "MISSING", "TRUTH", "Form", "category", "date_pattern", "days", "hours", "kind_of", "lengths", "numbers",
    "text", "units", "without",
]  # fmt: skip

MISSING = (
    "",
    "na",
    "n/a",
    "n.a.",
    "#n/a",
    "nan",
    "nat",
    "<na>",
    "null",
    "none",
    "-",
    "--",
    ".",
    "?",
)  # in any case of letters
TRUTH = ("true", "false")
SEPARATORS = {"": "", ",": ",", ".": r"\.", " ": "[ \u00a0\u202f]", "'": "['’]"}  # between thousands
CURRENCIES = r"\p{Sc}|USD|EUR|GBP|JPY|CHF|CAD|AUD|CNY|INR|SEK|NOK|DKK|PLN|BRL"
# Of those that two of these could read, learning says which it is. %Y alone would take "24" for the year 24.
DATES = {
    "%Y-%m-%d": r"\d{4}-\d{1,2}-\d{1,2}",
    "%Y/%m/%d": r"\d{4}/\d{1,2}/\d{1,2}",
    "%Y.%m.%d": r"\d{4}\.\d{1,2}\.\d{1,2}",
    "%d/%m/%Y": r"\d{1,2}/\d{1,2}/\d{4}",
    "%m/%d/%Y": r"\d{1,2}/\d{1,2}/\d{4}",
    "%d-%m-%Y": r"\d{1,2}-\d{1,2}-\d{4}",
    "%m-%d-%Y": r"\d{1,2}-\d{1,2}-\d{4}",
    "%d.%m.%Y": r"\d{1,2}\.\d{1,2}\.\d{4}",
    "%d/%m/%y": r"\d{1,2}/\d{1,2}/\d{2}",
    "%m/%d/%y": r"\d{1,2}/\d{1,2}/\d{2}",
    "%d.%m.%y": r"\d{1,2}\.\d{1,2}\.\d{2}",
    "%d %b %Y": r"\d{1,2} [A-Za-z]{3} \d{4}",
    "%d-%b-%Y": r"\d{1,2}-[A-Za-z]{3}-\d{4}",
    "%d-%b-%y": r"\d{1,2}-[A-Za-z]{3}-\d{2}",
    "%d %B %Y": r"\d{1,2} [A-Za-z]{3,9} \d{4}",
    "%m-%d-%y": r"\d{1,2}-\d{1,2}-\d{2}",
    "%d-%m-%y": r"\d{1,2}-\d{1,2}-\d{2}",
    "%b %d, %Y": r"[A-Za-z]{3} \d{1,2}, \d{4}",
    "%b %d %Y": r"[A-Za-z]{3} \d{1,2} \d{4}",
    "%B %d %Y": r"[A-Za-z]{3,9} \d{1,2} \d{4}",
    "%Y-%m": r"\d{4}-\d{1,2}",
    "%m/%Y": r"\d{1,2}/\d{4}",
    "%b %Y": r"[A-Za-z]{3} \d{4}",
    "%B %Y": r"[A-Za-z]{3,9} \d{4}",
    "%B %d, %Y": r"[A-Za-z]{3,9} \d{1,2}, \d{4}",
}
ISO = "%Y-%m-%d"
_CLOCK = r"^(?P<h>\d{1,2}):(?P<m>[0-5]\d)(?::(?P<s>[0-5]\d(?:[.,]\d+)?))?(?: ?(?P<p>[AaPp])\.?[Mm]\.?)?$"
_LENGTH = (
    r"^(?P<n>[+−-])?(?:(?P<d>\d+) ?d(?:ays?)?(?P<c>,? *\+?))?(?P<h>\d+):(?P<m>[0-5]\d)"
    r"(?:(?P<t>[.,]\d+)|:(?P<s>[0-5]\d(?:[.,]\d+)?))?$"
)
_TIME = r"(?:(?:T| +|, *)(?P<h>\d{1,2}):(?P<m>\d{2})(?::(?P<s>\d{2})(?:[.,](?P<f>\d+))?)?(?: ?(?P<p>[AaPp][Mm]))?"
_ZONE = r" ?(?:Z|UTC|(?P<z>[+-]\d{2}):?(?P<w>\d{2})?)?)?"


@dataclass(frozen=True)
class Form:
    """How a column of text writes its numbers or dates.

    decimal : "." or ","
    thousands : what stands between groups of three digits: "", ",", ".", " " or "'"
    unit : "", "%", a currency's sign, which stands before or behind the number, or letters behind it, as kg
    date : "" for none but year-month-day, which is read in every column of dates; else a format, as %d.%m.%Y
    minutes : whether a length of time of two parts, 36:15, is of minutes and seconds, and not of hours and minutes
    """

    decimal: str = "."
    thousands: str = ""
    unit: str = ""
    date: str = ""
    minutes: bool = False

    def __post_init__(self) -> None:
        if self.decimal not in (".", ",") or self.thousands not in SEPARATORS or self.decimal == self.thousands:
            raise ValueError(f"decimal {self.decimal!r:.20} with thousands {self.thousands!r:.20}")
        if self.unit not in ("", "%") and not re.fullmatch(r"\S{1,8}", self.unit):
            raise ValueError(f"unit {self.unit!r:.20}")
        if self.date and self.date not in DATES:
            raise ValueError(f"date {self.date!r:.20}")


def kind_of(series: Any) -> str:
    """number, boolean, date, time, duration or text: what a column's type says.

    Raises
    ------
    TableError
        It holds lists or another thing that is none of these.
    """
    pl, dtype = require("polars", "cli"), series.dtype
    if dtype.is_numeric():
        return "number"
    if dtype == pl.Boolean:
        return "boolean"
    if dtype in (pl.Date, pl.Datetime):
        return "date"
    if dtype == pl.Time:
        return "time"
    if dtype == pl.Duration:
        return "duration"
    if dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        return "text"
    raise TableError(f"column {series.name!r}: has type {dtype}, expected numbers, booleans, dates, times or text")


def text(series: Any) -> Any:
    """Each cell as the text that a CSV would have, without spaces around it; null where it is missing."""
    pl, kind = require("polars", "cli"), kind_of(series)
    if kind == "date":
        return _iso(_moments(series, Form()))
    if kind == "time":
        found = series.dt.to_string("%H:%M:%S%.6f").str.replace(r"\.0+$", "")
        return found.str.replace(r"(\.\d*?)0+$", "${1}")
    if kind == "duration":
        micros = series.dt.total_microseconds()
        seconds, sign = micros.abs() // 1_000_000, (micros < 0).replace_strict({True: "-", False: ""}, default=None)
        part = pl.DataFrame({"n": sign, "h": seconds // 3600, "m": seconds // 60 % 60, "s": seconds % 60})
        part = part.with_columns((micros.abs() % 1_000_000).alias("f")).with_columns(
            pl.col(name).cast(pl.String).str.zfill(wide) for name, wide in (("h", 1), ("m", 2), ("s", 2), ("f", 6))
        )
        whole = pl.format("{}{}:{}:{}.{}", "n", "h", "m", "s", "f").str.replace(r"\.?0*$", "")
        return part.select(whole.alias(series.name)).to_series()
    found = series.cast(pl.String)
    if kind == "boolean":
        return found
    found = found.str.strip_chars()
    return found.set(found.str.to_lowercase().is_in(MISSING).fill_null(False), None)


def category(series: Any) -> Any:
    """Each cell as the name of a category: text, but that 1.0 is 1 and True is true, as other files have them."""
    found = text(series)
    if kind_of(series) in ("text", "number"):
        found = found.str.replace(r"^([+-]?\d+)\.0+$", "${1}")
        truth = found.str.to_lowercase()
        found = found.set(truth.is_in(TRUTH).fill_null(False), None).fill_null(truth.set(~truth.is_in(TRUTH), None))
    return found


def numbers(series: Any, form: Form) -> Any:
    """Each cell as a float64 number; null where it is missing or no number."""
    pl, kind = require("polars", "cli"), kind_of(series)
    if kind == "number":
        if form.unit == "%":  # a share or a number of hundredths: nobody knows
            return pl.Series(series.name, [None], dtype=pl.Float64).new_from_index(0, len(series))
        if series.dtype == pl.Float64:
            return series.fill_nan(None)
        # by way of text: the float32 0.1 is then what 0.1 in a CSV is
        exact = series.dtype.is_integer()
        return series.cast(pl.Float64) if exact else series.cast(pl.String).cast(pl.Float64).fill_nan(None)
    if kind == "boolean":
        return series.cast(pl.Float64)
    if kind in ("date", "time", "duration"):
        return pl.Series(series.name, [None], dtype=pl.Float64).new_from_index(0, len(series))
    found = text(series)
    if form.decimal == "." and not form.unit:
        result = found.cast(pl.Float64, strict=False)
        rest = result.is_null() & found.is_not_null()
        return result.scatter(rest.arg_true(), _written(found.filter(rest), form)) if rest.any() else result
    return _written(found, form)


def _written(found: Any, form: Form) -> Any:
    """Numbers that are written in a form of their own."""
    pl = require("polars", "cli")
    truth = found.str.to_lowercase()
    # the minus sign, and an accountant's: (1.50)
    bare = found.str.replace_all("−", "-", literal=True).str.replace(r"^\((.+)\)$", "-${1}")
    if form.unit == "%":
        bare = bare.str.extract(r"^(.*?)\s*%$")
    elif form.unit:
        unit = re.escape(form.unit)
        before, behind = bare.str.extract(rf"^([+-]?)\s*{unit}\s*.", 1), bare.str.extract(rf"^(.*?)\s*{unit}$", 1)
        prefixed = bare.str.replace(rf"^([+-]?)\s*{unit}\s*", "${1}")
        bare = pl.select(pl.when(before.is_not_null()).then(prefixed).otherwise(behind.fill_null(bare))).to_series()
    decimal, separator = re.escape(form.decimal), SEPARATORS[form.thousands]
    grouped = bare.str.contains(rf"^[+-]?[1-9]\d{{0,2}}(?:{separator}\d{{3}})+(?:{decimal}\d*)?$")
    if separator:
        bare = pl.select(pl.when(grouped).then(bare.str.replace_all(separator, "")).otherwise(bare)).to_series()
    plain = bare.str.contains(rf"^[+-]?(?:\d+{decimal}?\d*|{decimal}\d+)(?:[eE][+-]?\d+)?$")
    if form.decimal == ",":
        bare = bare.str.replace(",", ".", literal=True)
    result = bare.set(~plain.fill_null(False), None).cast(pl.Float64, strict=False)
    return result if form.unit else result.fill_null(truth.replace_strict({"true": 1.0, "false": 0.0}, default=None))


def units(found: Any, words: bool) -> list[str]:
    """The unit that half of the cells or more have in common, or `words` that nearly all have: one or none."""
    if (found.str.ends_with("%")).sum() * 2 >= len(found):
        return ["%"]
    signs = found.str.extract(rf"^[(+\-−]?\s*({CURRENCIES})\s*[\d(+\-−.,]", 1)
    signs = signs.fill_null(found.str.extract(rf"\d[.,]?\s*({CURRENCIES})\)?$", 1)).drop_nulls()
    if len(signs) and len(signs) * 2 >= len(found):
        return [str(signs.mode()[0])]
    behind = found.str.extract(r"^[+−-]?\d[\d.,' ]*\s?([\p{L}°µ][\p{L}\d°/%²³]{0,7})$").drop_nulls()
    if not words or len(behind) == 0:
        return []
    word = behind.mode()[0]
    return [str(word)] if (behind == word).sum() * 20 >= len(found) * 19 else []


def days(series: Any, form: Form) -> Any:
    """Each cell as days since 1970, in UTC; null where it is missing or no date."""
    pl = require("polars", "cli")
    return _moments(series, form).cast(pl.Float64) / 86_400e6


def hours(series: Any) -> Any:
    """Each cell's time of day as hours since midnight; null where it is missing or no time of day."""
    pl, kind = require("polars", "cli"), kind_of(series)
    if kind not in ("time", "text"):
        return pl.Series(series.name, [None], dtype=pl.Float64).new_from_index(0, len(series))
    part = text(series).to_frame("cell").select(pl.col("cell").str.extract_groups(_CLOCK)).unnest("cell")
    part = part.with_columns(
        pl.col("h", "m").cast(pl.Float64), pl.col("s").str.replace(",", ".", literal=True).cast(pl.Float64)
    )
    half, h = pl.col("p").str.to_lowercase(), pl.col("h")
    sound = pl.when(half.is_null()).then(h < 24).otherwise((h >= 1) & (h <= 12))
    hour = pl.when(half.is_null()).then(h).otherwise(h % 12 + pl.when(half == "p").then(12).otherwise(0))
    whole = hour + pl.col("m") / 60 + pl.col("s").fill_null(0.0) / 3600
    return part.select(pl.when(sound).then(whole).otherwise(None)).to_series().alias(series.name)


def lengths(series: Any, form: Form) -> Any:
    """Each cell's length of time in hours; null where it is missing or none.

    36:15:00, −0:30, 1 day 12:15:00, and 36:15, which `form` says the parts of; 36:15.2 is of minutes and seconds.
    Of −1 day, 23:45:00 (Python's minus a quarter of an hour) and pandas' −1 days +23:45:00 only the days are minus.
    """
    pl, kind = require("polars", "cli"), kind_of(series)
    if kind == "duration":
        return series.dt.total_microseconds().cast(pl.Float64) / 3600e6
    if kind != "text":
        return pl.Series(series.name, [None], dtype=pl.Float64).new_from_index(0, len(series))
    part = text(series).to_frame("cell").select(pl.col("cell").str.extract_groups(_LENGTH)).unnest("cell")
    part = part.with_columns(
        pl.col("d", "h", "m").cast(pl.Float64),
        *(pl.col(name).str.replace(",", ".", literal=True).cast(pl.Float64, strict=False) for name in ("s", "t")),
    )
    two = pl.col("s").is_null()
    whole = pl.col("h") + (pl.col("m") + pl.col("s").fill_null(0.0) / 60 + pl.col("t").fill_null(0.0)) / 60
    small = two & (pl.lit(form.minutes) | pl.col("t").is_not_null())
    clock = pl.when(small).then(whole / 60).otherwise(whole)
    sign = pl.when(pl.col("n").is_in(["-", "−"]).fill_null(False)).then(-1.0).otherwise(1.0)
    onward = pl.col("c").str.contains("[,+]").fill_null(False)  # the sign is the days' alone
    value = sign * 24 * pl.col("d").fill_null(0.0) + pl.when(onward).then(clock).otherwise(sign * clock)
    return part.select(value).to_series().alias(series.name)


def without(frame: Any, words: Collection[str]) -> Any:
    """A data frame in which the cells that are one of some words, or the same number, are missing."""
    if not words:
        return frame
    pl = require("polars", "cli")
    texts = [word.strip().lower() for word in words]
    as_numbers = pl.Series(texts).cast(pl.Float64, strict=False).drop_nulls().to_list()
    changed = []
    for series in frame.get_columns():
        kind = kind_of(series) if not series.dtype.is_nested() else ""
        if kind == "number":
            gone = series.cast(pl.Float64).is_in(as_numbers)
        elif kind == "text":
            found = series.cast(pl.String).str.strip_chars()
            gone = found.str.to_lowercase().is_in(texts)
            if as_numbers:
                gone |= found.cast(pl.Float64, strict=False).is_in(as_numbers).fill_null(False)
        else:
            continue
        if gone.fill_null(False).any():
            changed.append(series.set(gone.fill_null(False), None))
    return frame.with_columns(changed)


def date_pattern(date: str) -> str:
    """What a cell of that format looks like, with a time of day or without."""
    return rf"^(?P<d>{DATES[date]}){_TIME}{_ZONE}$"


def _moments(series: Any, form: Form) -> Any:
    """Microseconds since 1970."""
    pl, kind = require("polars", "cli"), kind_of(series)
    if kind == "date":
        return series.cast(pl.Datetime("us")).dt.epoch("us")
    if kind != "text":
        return pl.Series(series.name, [None], dtype=pl.Int64).new_from_index(0, len(series))
    found = text(series)
    result = _dated(found, ISO)
    if form.date not in ("", ISO) and result.null_count() > found.null_count():
        result = result.fill_null(_dated(found, form.date))
    return result


def _dated(found: Any, date: str) -> Any:
    pl = require("polars", "cli")
    part = found.to_frame("cell").select(pl.col("cell").str.extract_groups(date_pattern(date))).unnest("cell")
    whole_date = "%d" in date  # a month alone is its first day
    written = part["d"] if whole_date else part["d"] + " 1"
    day = written.str.to_date(date if whole_date else f"{date} %d", strict=False).cast(pl.Int64)
    if part["h"].null_count() == len(part):
        return day * 86_400_000_000
    p = part.with_columns(
        pl.col("h", "m", "s", "z", "w").cast(pl.Int64), pl.col("f").str.pad_end(6, "0").str.slice(0, 6).cast(pl.Int64)
    )
    half = pl.col("p").str.to_lowercase()
    noon = (pl.col("h") % 12) + pl.when(half == "pm").then(12).otherwise(0)
    hour = pl.when(half.is_null()).then(pl.col("h")).otherwise(noon)
    zone = pl.col("z") * 60 + pl.when(pl.col("z") < 0).then(-1).otherwise(1) * pl.col("w").fill_null(0)
    sound = (pl.col("h") < pl.when(half.is_null()).then(24).otherwise(13)) & (pl.col("m") < 60)
    seconds = hour * 3600 + pl.col("m") * 60 + pl.col("s").fill_null(0) - zone.fill_null(0) * 60
    whole = seconds * 1_000_000 + pl.col("f").fill_null(0)
    sound = (sound & (pl.col("s").fill_null(0) < 60)) | pl.col("h").is_null()
    time = p.select(pl.when(sound).then(whole.fill_null(0)).otherwise(None)).to_series()
    return day * 86_400_000_000 + time


def _iso(moments: Any) -> Any:
    """2024-03-01, or with a time of day where it has one."""
    pl = require("polars", "cli")
    found = moments.cast(pl.Datetime("us")).cast(pl.String)
    return found.str.replace(r"\.0+$", "").str.replace(r"(\.\d*?)0+$", "${1}").str.replace(r" 00:00:00$", "")
