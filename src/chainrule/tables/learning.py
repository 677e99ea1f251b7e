"""What training decides of its table, once: what kind of thing each column holds, how its text is read, which columns
are of use. Whatever is not plain is said."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.boundary.extras import require
from chainrule.errors import TableError
from chainrule.tables import cells
from chainrule.tables.cells import Form
from chainrule.tables.reading import as_frame
from chainrule.tables.schema import Column, Schema, Target, keys_of, no_target, values_of

__all__ = ["Choices", "learn_schema", "learn_target"]

MAX_CATEGORIES = 1000
FEW = 20  # so many different values may be categories, whatever the number of rows
JUDGED = 10  # rows: of fewer it is not said that they are all different
STRAY = 0.05  # of a column of numbers or dates may be something else: it is taken as missing
PERFECT = 0.98  # of the rows
LARGEST_WHOLE = 2.0**53  # every integer up to it is a float64
Rows = npt.NDArray[Any]


@dataclass(frozen=True)
class Choices:
    """What a user may say of a table where it does not say it itself.

    decimal : "." or ",", where a comma could be either's
    dates : "day-first" or "month-first", where 03/04/2024 could be either
    keep, ignore : columns that are used, or not, whatever they look like
    as_classes : a target with very many different numbers or texts holds classes all the same
    """

    decimal: str | None = None
    dates: str | None = None
    keep: Collection[str] = ()
    ignore: Collection[str] = ()
    as_classes: bool = False


@dataclass
class _Learner:
    choices: Choices
    say: Callable[[str], object]
    rows: Rows
    labels: Rows
    comma: str = ""  # a column of numbers whose decimal sign was found to be a comma
    points: list[tuple[str, str]] = field(default_factory=list)  # columns like 1.234, where that may be 1234
    alone: list[tuple[str, float]] = field(
        default_factory=list
    )  # columns that tell the class, and in what share of rows


def learn_target(frame: Any, target: str, choices: Choices | None = None) -> Target:
    """Learn what the classes are.

    Raises
    ------
    TableError
        No such column, fewer than two classes, or what looks like a quantity and not like classes.
    """
    pl, choices, frame = require("polars", "cli"), choices or Choices(), as_frame(frame)
    if target not in frame.columns:
        raise TableError(no_target(target, frame.columns))
    series = frame[target]
    kind = _kind_of_target(pl, series)
    keys = keys_of(series, kind)
    known = keys.drop_nulls()
    if len(known) == 0:
        raise TableError(f"column {target!r}: no row has a class")
    names = sorted(known.unique().to_list())
    if len(names) < 2:
        only = series.filter(keys.is_not_null())[0]
        raise TableError(f"column {target!r}: has one class only ({only!r}), expected at least two")
    many = len(names) > FEW and len(names) > len(known) / 2
    whole = kind != "number" or bool((known == known.round()).all())
    if kind == "number" and not choices.as_classes and (many or len(names) >= 100 or (not whole and len(names) > FEW)):
        raise TableError(
            f"column {target!r}: holds {len(names)} different numbers in {len(known)} rows, from {names[0]:.6g} to "
            f"{names[-1]:.6g}: a quantity, the target of a regression, and not classes; put it into classes, or say "
            "--as-classes where each number is one"
        )
    if many and not choices.as_classes:
        raise TableError(
            f"column {target!r}: has {len(names)} classes in {len(known)} rows; is it the target? "
            "--as-classes takes it as it is"
        )
    if kind == "boolean":
        names = [bool(n) for n in names]
    elif kind == "number":
        names = [int(n) if whole else n for n in names]
    return Target(target, kind, names)


def _kind_of_target(pl: Any, series: Any) -> str:
    came = cells.kind_of(series)
    if came == "number":
        values = cells.numbers(series, Form()).drop_nulls()
        if values.is_infinite().any():
            raise TableError(f"column {series.name!r}: holds an infinite number, expected classes")
        return "category" if (values.abs() > LARGEST_WHOLE).any() and series.dtype.is_integer() else "number"
    if came in ("boolean", "date"):
        return came
    text = cells.text(series).drop_nulls()
    if text.str.to_lowercase().is_in(cells.TRUTH).all():
        return "boolean"
    values = text.cast(pl.Float64, strict=False)
    plain = values.is_finite() & (values.abs() <= LARGEST_WHOLE) & ~text.str.contains(r"^[+-]?0\d")
    if plain.fill_null(False).all():
        return "number"
    return (
        "date" if text.str.contains(r"^\d{4}-").all() and cells.days(text, Form()).is_not_null().all() else "category"
    )


def learn_schema(
    frame: Any,
    target: str | Target,
    choices: Choices | None = None,
    *,
    rows: Rows | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> Schema:
    """Learn from a table how its columns become features and its target classes.

    Numbers and dates are standardised (missing ones become the mean), texts become one feature for each category.
    Columns that number or name the rows (whole numbers or texts that are all different) are left out; a constant number
    stays, as a feature that is 0, so that the pixels of an image keep their places.

    Parameters
    ----------
    frame : a data frame of polars or pandas, or a table of Arrow; a CSV's columns as text, as `read_table` gives them
    target : the name of the column that holds the classes, or what `learn_target` found
    choices : what the table does not say itself
    rows : the numbers that messages call the rows by; 0, 1, … by default
    say : called with a line for each thing that is not plain

    Raises
    ------
    TableError
        No such column, fewer than two classes, a column of a kind that cannot be used, text with about a category a
        row, a comma or a date that could mean two things, no columns that are of use.

    Examples
    --------
    >>> import polars as pl
    >>> schema = learn_schema(pl.DataFrame({"size": [1.0, 3.0], "kind": ["a", "b"], "y": [0, 1]}), "y")
    >>> schema.feature_names, schema.classes
    (['size', 'kind=a', 'kind=b'], [0, 1])
    """
    frame, choices = as_frame(frame), choices or Choices()
    target = learn_target(frame, target, choices) if isinstance(target, str) else target
    names = [name for name in frame.columns if name != target.name]
    strange = [name for name in (*choices.keep, *choices.ignore) if name not in names]
    if strange:
        raise TableError(f"the table has no column {strange[0]!r} to keep or ignore; it has {', '.join(names)[:200]}")
    rows = np.arange(frame.height) if rows is None else rows
    learner = _Learner(choices, say, rows, target.labels(frame, rows))
    columns: list[Column] = []
    usable: list[Column] = []  # of those that are left out
    left_out: dict[str, str] = {}
    constants: list[str] = []
    for name in names:
        if name in choices.ignore:
            continue
        column, reason = _learn_column(learner, frame[name])
        if column is not None and column.constant:
            constants.append(name + (" (for floats)" if reason else ""))
            columns.append(column)
        elif column is None or (reason and name not in choices.keep):
            left_out[name] = reason
            if column is not None:
                usable.append(column)
        else:
            columns.append(column)
    if constants:
        say(f"constant, so that {'they tell' if len(constants) > 1 else 'it tells'} nothing: {', '.join(constants)}")
    for name, example in learner.points if learner.comma else ():
        raise TableError(
            f"column {name!r}: {example!r} could be a thousand or a decimal fraction, since column {learner.comma!r} "
            "has decimal commas; say --decimal . or --decimal ,"
        )
    spare: list[Column] = []
    if all(column.constant for column in columns):
        spare = [column for column in usable if column.kind != "category" and not _unnamed(column.name)]
        columns = spare + columns
    if not columns:
        why = "; ".join(f"column {name!r} {reason}" for name, reason in left_out.items())
        why = why and f" that are of use: {why}"
        raise TableError(f"the table has no columns besides the target {target.name!r}{why}")
    for name, reason in left_out.items():
        keep = f" (--keep {name!r} uses it)" if any(c.name == name for c in usable) else ""
        used = any(c.name == name for c in spare)
        say(f"column {name!r}: {reason}: {'used, since no other column is left' if used else f'left out{keep}'}")
    advice = "; if it is known only afterwards, leave it out: --ignore {!r}"
    if sum(not column.constant for column in columns) == 1:
        advice = ", and no other column is used: make sure that it is known before the class is"
    for name, share in learner.alone:
        say(f"column {name!r}: tells the class alone in {100 * share:.4g} % of the rows" + advice.format(name))
    return Schema(target.name, target.classes, columns, target.kind)


def _learn_column(learner: _Learner, series: Any) -> tuple[Column | None, str]:
    """The column, and a reason to leave it out or ""; None where it cannot be used."""
    kind, form = _kind(learner, series)
    found = values_of(series, kind, form)
    n = len(found) - found.null_count()
    if n == 0:
        return None, "has no values"
    missing = n < len(found)
    if kind == "category":
        return _learn_categories(learner, series, found, n)
    infinite = found.is_infinite().fill_null(False)
    if infinite.any():
        row = learner.rows[infinite.arg_true()[0]]
        raise TableError(f"column {series.name!r}, row {row}: is infinite, expected a finite number")
    low, high = float(found.min()), float(found.max())
    # from the first value, so that what many digits have in common is no error; by the width, so that no square is
    # beyond float64
    width = high - low
    if not math.isfinite(width):
        raise TableError(f"column {series.name!r}: its numbers, {low:.6g} to {high:.6g}, are too far apart for float64")
    # by NumPy, whose sums do not depend on how a file's rows are cut in pieces, and whose quotient is no product with
    # 1/width, which is ∞ where that is subnormal
    away = (found - low).drop_nulls().to_numpy() / (width or 1.0)
    mean, scale = low + float(away.mean()) * width, float(away.std()) * width or width
    column = Column(series.name, kind, mean, scale, missing, low=low, high=high, form=form)
    if width == 0.0:
        exact = series.dtype.is_float() or cells.text(series).n_unique() - missing == 1
        return column, "" if exact else "for floats"
    if _names_rows(series, found, n):
        numbered = _counts(found) or _unnamed(series.name)
        return column, "numbers the rows" if numbered else "holds whole numbers that are all different"
    if (alone := _alone(found, learner.labels)) is not None:
        learner.alone.append((series.name, alone))
    return column, ""


def _learn_categories(learner: _Learner, series: Any, found: Any, n: int) -> tuple[Column, str]:
    name, rows = series.name, learner.rows
    categories = sorted(found.drop_nulls().unique().to_list())
    column = Column(name, "category", missing=n < len(found), categories=categories)
    kept = name in learner.choices.keep
    if len(categories) == 1 and n == len(found):
        return column, "is constant"
    if n >= JUDGED and len(categories) == n and not kept:
        measured = found.drop_nulls().str.contains(r"^\W*\d+(?:\W|\D+$)").sum()
        if measured * 2 < n:
            return column, "holds texts that are all different"
    if len(categories) > MAX_CATEGORIES or (n >= JUDGED and len(categories) > max(FEW, n / 2) and not kept):
        some = ", ".join(repr(v)[:30] for v in found.drop_nulls().head(3))
        raise TableError(
            f"column {name!r}: text with {len(categories)} categories in {n} rows ({some}, …){_misfits(found, rows)}; "
            f"write it as plain numbers, dates or fewer categories, or leave it out: --ignore {name!r}"
            + ("" if len(categories) > MAX_CATEGORIES else f"; --keep {name!r} takes each as a category")
        )
    words = series.cast(require("polars", "cli").String).str.strip_chars()
    gone = found.is_null() & words.is_not_null() & (words != "")
    if gone.any():
        at = gone.arg_true()
        learner.say(f"column {name!r}: {len(at)} values are taken as missing, as {words[at[0]]!r} in row {rows[at[0]]}")
    if (alone := _alone(found, learner.labels)) is not None:
        learner.alone.append((name, alone))
    return column, ""


def _misfits(found: Any, rows: Rows) -> str:
    """What keeps a column that is mostly numbers from being one."""
    fits = cells.numbers(found, Form()).is_not_null()
    bad = found.is_not_null() & ~fits
    if fits.sum() * 2 < len(found) - found.null_count() or not bad.any():
        return ""
    at = bad.arg_true()
    return f", {fits.sum()} of them numbers and {len(at)} not, first {found[at[0]]!r} in row {rows[at[0]]}"


# --- kinds and forms ---


def _kind(learner: _Learner, series: Any) -> tuple[str, Form]:
    came = cells.kind_of(series)
    if came != "text":
        return came, Form()
    found = cells.text(series)
    known = found.drop_nulls()
    if known.str.to_lowercase().is_in(cells.TRUTH).all():
        return "boolean", Form()
    allowed = max(1, int(len(known) * STRAY)) if len(known) >= JUDGED else 0
    if not known.str.contains(r"^0\d+$").any():
        form, strays = _number_form(learner, series.name, known, allowed)
        if form is not None and _serves(known, strays):
            _say_form(learner, series.name, found, "number", form)
            return "number", form
    elif known.str.contains(r"^\d+$").all():
        learner.say(f"column {series.name!r}: digits with zeros before them, as {known.min()!r}: codes, not numbers")
    form, strays = _date_form(learner, series.name, known, allowed)
    if form is not None and _serves(known, strays):
        _say_form(learner, series.name, found, "date", form)
        return "date", form
    return "category", Form()


def _serves(known: Any, strays: int) -> bool:
    """Few different values with a word among them are categories: 1, 2, 3, x."""
    return strays == 0 or known.n_unique() > FEW


def _number_form(learner: _Learner, name: str, known: Any, allowed: int) -> tuple[Form | None, int]:
    """How a column of text writes its numbers, and how many cells are none; None where it is no column of numbers."""
    decimal = learner.choices.decimal
    plain = cells.numbers(known, Form())
    strays = plain.null_count()
    pointed = known.str.contains(r"^[+-]?\d{1,3}\.\d{3}$")
    if strays == 0 and decimal != ",":
        if pointed.any() and decimal is None and (pointed | known.str.contains(r"^[+-]?\d{1,3}$")).all():
            learner.points.append((name, known.filter(pointed)[0]))
        return Form(), 0
    units = ["", *cells.units(known)]
    if (
        len(units) == 1
        and not known.str.contains(r"\d[,'’ \u00a0\u202f]\d|\d\.\d+\.\d|^\(|−|\d,$|^[+-]?,\d|\d\.\d{3}$").any()
    ):
        return (Form(), strays) if strays <= allowed else (None, strays)
    best: dict[str, tuple[int, Form]] = {}  # by decimal sign, the form that fits most cells
    for unit in units:
        for sign, separators in ((".", ("", ",", " ", "'")), (",", ("", ".", " ", "'"))):
            for separator in separators:
                form = Form(sign, separator, unit)
                fits = len(known) - cells.numbers(known, form).null_count()
                if sign not in best or fits > best[sign][0]:
                    best[sign] = (fits, form)
    (points, by_point), (commas, by_comma) = best["."], best[","]
    if max(points, commas) < len(known) - allowed or max(points, commas) == 0:
        return None, len(known) - max(points, commas)
    if points == commas and not cells.numbers(known, by_point).equals(cells.numbers(known, by_comma)):
        if decimal is None:
            both = cells.numbers(known, by_point), cells.numbers(known, by_comma)
            at = (both[0] != both[1]).fill_null(True).arg_true()[0]
            raise TableError(
                f"column {name!r}: {known[at]!r} could be {both[0][at]:.15g} or {both[1][at]:.15g}; "
                "say --decimal . or --decimal ,"
            )
        chosen = by_point if decimal == "." else by_comma
    else:
        chosen = by_comma if commas > points or (commas == points and decimal == ",") else by_point
        if chosen is by_comma and commas > points:
            learner.comma = name
    return chosen, len(known) - max(points, commas)


def _date_form(learner: _Learner, name: str, known: Any, allowed: int) -> tuple[Form | None, int]:
    sample = known.head(50)
    likely = [date for date in cells.DATES if sample.str.contains(cells.date_pattern(date)).sum() * 2 >= len(sample)]
    fits = {date: len(known) - cells.days(known, Form(date=date)).null_count() for date in likely}
    most = max(fits.values(), default=0)
    if most == 0 or most < len(known) - allowed:
        return None, len(known)
    best = [date for date in likely if fits[date] == most]
    orders = {"day-first": "%d", "month-first": "%m"}
    two = [date for date in best if date[:2] in orders.values() and date[3:5] in orders.values()]
    if len(two) == 2 and not cells.days(known, Form(date=two[0])).equals(cells.days(known, Form(date=two[1]))):
        if learner.choices.dates is None:
            raise TableError(
                f"column {name!r}: dates like {known[0]!r} could have the day or the month first; "
                "say --dates day-first or --dates month-first"
            )
        best = [date for date in two if date.startswith(orders[learner.choices.dates])]
    date = best[0]
    return Form(date="" if date == cells.ISO else date), len(known) - most


def _say_form(learner: _Learner, name: str, found: Any, what: str, form: Form) -> None:
    """What was taken for what, and what did not fit."""
    values = values_of(found, what, form)
    signs = {"parentheses for a minus": r"^\(", "− for a minus": "−"} if what == "number" else {}
    signs = {
        words: sign for words, sign in signs.items() if found.filter(values.is_not_null()).str.contains(sign).any()
    }
    if form != Form() or signs:
        if what == "date":
            words = {"%d": "day", "%m": "month", "%b": "month", "%B": "month", "%Y": "year", "%y": "year"}
            how = "dates as " + re.sub("%.", lambda sign: words[sign[0]], form.date)
        else:
            parts = [f"decimal {form.decimal}" if form.decimal == "," else "", form.unit and f"unit {form.unit}"]
            parts.append(form.thousands and f"{form.thousands!r} between thousands")
            how = "numbers with " + ", ".join(filter(None, [*parts, *signs]))
        shown = values.is_not_null()
        if form == Form():  # a cell that is not plain
            shown &= found.str.contains("|".join(signs.values())).fill_null(False)
        at = shown.arg_true()[0]
        value = f"{values[at]:.10g}" if what == "number" else np.datetime64(round(values[at] * 86_400), "s")
        learner.say(f"column {name!r}: {how}: {found[at]!r} is {value}")
    bad = values.is_null() & found.is_not_null()
    if bad.any():
        at = bad.arg_true()
        learner.say(
            f"column {name!r}: {len(at)} of {len(found)} cells {'is' if len(at) == 1 else 'are'} no {what}, first "
            f"{found[at[0]]!r} in row {learner.rows[at[0]]}: taken as missing"
        )


# --- which columns are of use ---


def _unnamed(name: str) -> bool:
    return name.strip() == "" or name.startswith(("Unnamed: ", "__index_level_"))


def _names_rows(series: Any, found: Any, n: int) -> bool:
    """Whether a column holds whole numbers, written without sign, point or unit, that are all different."""
    if cells.kind_of(series) == "number":
        whole = series.dtype.is_integer() and bool((found >= 0).fill_null(True).all())
    else:
        whole = cells.kind_of(series) == "text" and bool(
            cells.text(series).str.contains(r"^\d+$").fill_null(True).all()
        )
    # as they came: as floats, account numbers of 17 digits may be the same
    return whole and (_unnamed(series.name) or (n >= JUDGED and series.n_unique() - (n < len(series)) == n))


def _counts(found: Any) -> bool:
    """Whether the numbers rise by one, from row to row, or by the rows that are held out."""
    steps = found.diff().drop_nulls()
    return bool((steps >= 1).all()) and float(steps.median()) <= 2


def _alone(found: Any, labels: Rows) -> float | None:
    """The share of rows whose class a column tells alone, where that is nearly all and not due to the classes."""
    step = max(1, len(labels) // 10_000)
    labels, found = labels[::step], found.gather_every(step)
    known = found.is_not_null().to_numpy() & (labels >= 0)
    labels, n = labels[known], int(known.sum())
    if n < 2 * JUDGED:
        return None
    chance = int(np.bincount(labels).max())
    codes = found.filter(known).rank("dense").to_numpy().astype(np.int64) - 1
    count = int(codes.max()) + 1
    if count <= max(FEW, n // 20):
        table = np.zeros((count, int(labels.max()) + 1), dtype=np.int64)
        np.add.at(table, (codes, labels), 1)
        most = table.max(axis=1)
        right = int(most[most > 1].sum())
    elif found.dtype.is_numeric():
        right = _by_thresholds(codes, labels)
    else:
        return None
    return right / n if right >= PERFECT * n and n - right <= 0.1 * (n - chance) else None


def _by_thresholds(codes: Rows, labels: Rows) -> int:
    """How many examples are told right by an interval for each class, in the order of the classes' medians."""
    classes = np.unique(labels)
    order = sorted(classes, key=lambda c: float(np.median(codes[labels == c])))
    rank = np.empty(int(classes.max()) + 1, dtype=np.int64)
    rank[order] = np.arange(len(order))
    ranks, size = rank[labels], int(codes.max()) + 2
    bounds = []
    for k in range(len(order) - 1):
        below = np.cumsum(np.bincount(codes[ranks <= k] + 1, minlength=size)[:size])
        above = np.cumsum(np.bincount(codes[ranks > k] + 1, minlength=size)[:size])
        bounds.append(int(np.argmax(below - above)))
    told = np.searchsorted(np.maximum.accumulate(bounds), codes, side="right") if bounds else np.zeros_like(codes)
    return int((told == ranks).sum())
