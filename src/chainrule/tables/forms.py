"""What kind of thing a column holds, and how its text writes numbers or dates."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import TableError
from chainrule.tables import cells
from chainrule.tables.cells import Form
from chainrule.tables.schema import values_of

__all__ = ["FEW", "JUDGED", "Choices", "Learner", "kind_and_form"]

FEW = 20  # so many different values may be categories, whatever the number of rows
JUDGED = 10  # rows: of fewer it is not said that they are all different
STRAY = 0.05  # of a column of numbers or dates may be something else: it is taken as missing
Rows = npt.NDArray[Any]


@dataclass(frozen=True)
class Choices:
    """What a user may say of a table where it does not say it itself.

    decimal : "." or ",", where a comma could be either's
    dates : "day-first" or "month-first", where 03/04/2024 could be either
    keep, ignore : columns that are used, or not, whatever they look like
    as_classes : a target with very many different numbers or texts holds classes all the same
    columns : the only columns that are used; none for all
    apart : columns that are no features, since they say something else of a row: its name, its weight, its group
    types : what some columns are, whatever they look like: number, date, time, duration, boolean, category or text,
        which is the same as category
    missing : words, or numbers, that stand for a missing value besides those of `cells.MISSING`
    categories : the most categories that a column keeps; the rare ones beyond are one
    """

    decimal: str | None = None
    dates: str | None = None
    keep: Collection[str] = ()
    ignore: Collection[str] = ()
    as_classes: bool = False
    columns: Collection[str] = ()
    apart: Collection[str] = ()
    types: Mapping[str, str] = field(default_factory=dict)
    missing: Collection[str] = ()
    categories: int = 1000


@dataclass
class Learner:
    """What is found while the columns of a table are looked at, one after another."""

    choices: Choices
    say: Callable[[str], object]
    rows: Rows
    labels: Rows
    comma: str = ""  # a column of numbers whose decimal sign was found to be a comma
    points: list[tuple[str, str]] = field(default_factory=list)  # columns like 1.234, where that may be 1234
    alone: list[tuple[str, float]] = field(default_factory=list)  # columns that tell the class, in what share of rows


def kind_and_form(learner: Learner, series: Any) -> tuple[str, Form]:
    """What kind of thing a column holds, and how its text is read; what is not plain is said."""
    came, told = cells.kind_of(series), learner.choices.types.get(series.name)
    if told is not None:
        return _as_told(learner, series, came, told)
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
        if form is not None:
            word = known.filter(cells.numbers(known, form).is_null())[0]
            learner.say(
                f"column {series.name!r}: few different numbers, and {word!r}: taken as categories "
                f"(--type {series.name}=number)"
            )
    elif known.str.contains(r"^\d+$").all():
        learner.say(f"column {series.name!r}: digits with zeros before them, as {known.min()!r}: codes, not numbers")
    strays = cells.hours(known).null_count()
    if strays <= allowed and _serves(known, strays):
        _say_form(learner, series.name, found, "time", Form())
        return "time", Form()
    form, strays = _length_form(known)
    if strays <= allowed and _serves(known, strays):
        _say_form(learner, series.name, found, "duration", form)
        return "duration", form
    form = _date_form(learner, series.name, known, allowed)
    if form is not None:
        _say_form(learner, series.name, found, "date", form)
        return "date", form
    return "category", Form()


def _as_told(learner: Learner, series: Any, came: str, told: str) -> tuple[str, Form]:
    """A column of the kind that the user says: as many cells as can be are read so, the others are missing."""
    kind, form = "category" if told == "text" else told, None
    if kind == "category" or came == kind:
        return kind, Form()
    known = cells.text(series).drop_nulls()
    if came == "text" and kind == "number":
        form, _ = _number_form(learner, series.name, known, len(known) - 1)
    elif came == "text" and kind == "date":
        form = _date_form(learner, series.name, known, len(known) - 1)
    elif came == "text" and kind == "duration":
        form, strays = _length_form(known)
        form = form if strays < len(known) else None
    elif {kind, came} <= {"number", "boolean"}:
        form = Form()
    elif came == "text":
        form = Form() if values_of(known, kind, Form()).null_count() < len(known) else None
    if form is None:
        first = f"as {known[0]!r:.40}" if len(known) else "for there are none"
        raise TableError(f"column {series.name!r}: --type says {told}, which its values cannot be read as, {first}")
    _say_form(learner, series.name, cells.text(series), kind, form)
    return kind, form


def _serves(known: Any, strays: int) -> bool:
    """Few different values with a word among them are categories: 1, 2, 3, x."""
    return strays == 0 or known.n_unique() > FEW


def _number_form(learner: Learner, name: str, known: Any, allowed: int) -> tuple[Form | None, int]:
    """How a column of text writes its numbers, and how many cells are none; None where it is no column of numbers."""
    decimal = learner.choices.decimal
    plain = cells.numbers(known, Form())
    strays = plain.null_count()
    pointed = known.str.contains(r"^[+-]?\d{1,3}\.\d{3}$")
    if strays == 0 and decimal != ",":
        if pointed.any() and decimal is None and (pointed | known.str.contains(r"^[+-]?\d{1,3}$")).all():
            learner.points.append((name, known.filter(pointed)[0]))
        return Form(), 0
    units = ["", *cells.units(known, words=known.n_unique() > FEW)]  # few are categories: 1st, 2nd
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


def _length_form(known: Any) -> tuple[Form, int]:
    """How lengths of time are written, and how many cells are none. Beside 1:02:15, what has two parts is of minutes
    and seconds: 59:30."""
    form = Form(minutes=bool(known.str.contains(r":\d\d:").any()))
    return form, cells.lengths(known, form).null_count()


def _date_form(learner: Learner, name: str, known: Any, allowed: int) -> Form | None:
    sample = known.head(50)
    likely = [date for date in cells.DATES if sample.str.contains(cells.date_pattern(date)).sum() * 2 >= len(sample)]
    fits = {date: len(known) - cells.days(known, Form(date=date)).null_count() for date in likely}
    most = max(fits.values(), default=0)
    if most == 0 or most < len(known) - allowed:
        return None
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
    return Form(date="" if date == cells.ISO else date)


def _say_form(learner: Learner, name: str, found: Any, what: str, form: Form) -> None:
    """What was taken for what, and what did not fit."""
    values = values_of(found, what, form)
    signs = {"parentheses for a minus": r"^\(", "− for a minus": "−"} if what == "number" else {}
    signs = {
        words: sign for words, sign in signs.items() if found.filter(values.is_not_null()).str.contains(sign).any()
    }
    if what in ("time", "duration"):
        at = values.is_not_null().arg_true()[0]
        of = "times of day" if what == "time" else "durations"
        learner.say(f"column {name!r}: {of} as hours: {found[at]!r} is {values[at]:.4g}")
    elif form != Form() or signs:
        if what == "date":
            words = {"%d": "day", "%m": "month", "%b": "month", "%B": "month", "%Y": "year", "%y": "year"}
            how = "dates as " + re.sub("%.", lambda sign: words[sign[0]], form.date)
        else:
            parts = ["a decimal comma" if form.decimal == "," else "", form.unit and f"unit {form.unit}"]
            parts.append(form.thousands and f"{form.thousands!r} between thousands")
            how = "numbers with " + ", ".join(filter(None, [*parts, *signs]))
        shown = values.is_not_null()
        if form == Form():  # a cell that is not plain
            shown &= found.str.contains("|".join(signs.values())).fill_null(False)
        at = shown.arg_true()[0]
        value = f"{values[at]:.10g}" if what in ("number", "time") else np.datetime64(round(values[at] * 86_400), "s")
        value = str(value).removesuffix("T00:00:00")
        learner.say(f"column {name!r}: {how}: {found[at]!r} is {value}")
    bad = values.is_null() & found.is_not_null()
    if bad.any():
        at = bad.arg_true()
        learner.say(
            f"column {name!r}: {len(at)} of {len(found)} cells {'is' if len(at) == 1 else 'are'} no {what}, first "
            f"{found[at[0]]!r} in row {learner.rows[at[0]]}: taken as missing"
        )
