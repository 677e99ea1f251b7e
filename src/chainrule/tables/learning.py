"""What training decides of its table, once: what kind of thing each column holds, how its text is read, which columns
are of use. Whatever is not plain is said."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from chainrule.boundary.extras import require
from chainrule.errors import TableError
from chainrule.tables import cells
from chainrule.tables.cells import Form
from chainrule.tables.forms import FEW, JUDGED, Choices, Learner, kind_and_form
from chainrule.tables.reading import as_frame
from chainrule.tables.schema import Column, Schema, Target, keys_of, no_target, values_of

__all__ = ["Found", "by_thresholds", "learn_schema", "learn_target", "told_share"]

PERFECT = 0.98  # of the rows
COVERED = 0.35  # of the rows have a category that others have too: the rare ones can be one
NAMES = 0.9  # of the texts are different: they name the rows
MEASURED = (
    r"^\W*\d+(?:[.,' ]\d+)*(?:[.,' ]\d+|\D{1,8})$"  # a number and something behind it: of use when it is cleaned up
)
STAND_INS = {float(sign + nines) for sign in ("", "-") for nines in ("99", "999", "9999", "99999", "999999")}
LARGEST_WHOLE = 2.0**53  # every integer up to it is a float64
Rows = npt.NDArray[Any]


class Found(NamedTuple):
    """What is learned of one column: it, or None where it cannot be used; why it is left out, or ""; and what is said,
    as `Learner` has it."""

    column: Column | None
    reason: str
    said: list[str]
    comma: str
    points: list[tuple[str, str]]
    alone: list[tuple[str, float]]


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
    series = cells.without(frame[target].to_frame(), choices.missing)[target]
    told = choices.types.get(target)
    kind = _kind_of_target(pl, series) if told in (None, "number", "date") else "category"
    kind = "text" if told == "text" else kind
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
    if len(text) and text.is_in(["+"]).all() and series.cast(pl.String).str.strip_chars().is_in(["-"]).any():
        return "sign"
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
    each: Callable[[Callable[[str], Found], list[str]], list[Found]] = lambda learn, names: [*map(learn, names)],
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
    each : gives what is learned of each of some columns, of the function that learns it and their names; several
        processes share them so

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
    for option in ("keep", "ignore", "columns", "apart", "types"):
        strange = [name for name in getattr(choices, option) if name not in names]
        if strange and not (option == "types" and strange == [target.name]):
            word = {"keep": "keep or ignore", "ignore": "keep or ignore", "types": "give a type"}.get(option, "use")
            raise TableError(f"the table has no column {strange[0]!r} to {word}; it has {', '.join(names)[:200]}")
    rows = np.arange(frame.height) if rows is None else rows
    labels = target.labels(frame, rows)
    learner = Learner(choices, say, rows, labels)

    def learn(name: str) -> Found:
        said: list[str] = []
        of_one = Learner(choices, said.append, rows, labels)
        series = cells.without(frame[name].to_frame(), choices.missing)[name]
        return Found(*_learn_column(of_one, series), said, of_one.comma, of_one.points, of_one.alone)

    def unused(name: str) -> bool:
        return name in choices.apart or name in choices.ignore or bool(choices.columns and name not in choices.columns)

    used = [name for name in names if not unused(name)]
    of_name = dict(zip(used, each(learn, used), strict=True))
    columns: list[Column] = []
    usable: list[Column] = []  # of those that are left out
    left_out: dict[str, str] = {}
    constants: list[str] = []
    unsaid: dict[str, str] = {}
    for name in names:
        if name not in of_name:
            unsaid[name] = "ignored" if name not in choices.apart else "no feature"
            continue
        column, reason, said, comma, points, alone = of_name[name]
        learner.comma = comma or learner.comma
        learner.points += points
        learner.alone += alone
        for line in said:
            say(line)
        if column is not None and column.constant:
            constants.append(name + (" (for floats)" if reason else ""))
            columns.append(column)
        elif column is None or (reason and name not in choices.keep and name not in choices.columns):
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
        kept = any(c.name == name for c in spare)
        say(f"column {name!r}: {reason}: {'used, since no other column is left' if kept else f'left out{keep}'}")
    advice = "; if it is known only afterwards, leave it out: --ignore {!r}"
    if sum(not column.constant for column in columns) == 1:
        advice = ", and no other column is used: make sure that it is known before the class is"
    for name, share in learner.alone:
        say(f"column {name!r}: tells the class alone in {told_share(share)} of the rows" + advice.format(name))
    notes = {name: f"tells the class alone in {told_share(share)}" for name, share in learner.alone}
    columns = [replace(c, note=notes.get(c.name, "constant" if c.constant else c.note)) for c in columns]
    taken = {c.name for c in columns}
    left_out = {name: why for name, why in left_out.items() if name not in taken} | unsaid
    return Schema(target.name, target.classes, columns, target.kind, [*choices.missing], list(frame.columns), left_out)


def _learn_column(learner: Learner, series: Any) -> tuple[Column | None, str]:
    """The column, and a reason to leave it out or ""; None where it cannot be used."""
    kind, form = kind_and_form(learner, series)
    found = values_of(series, kind, form)
    n = len(found) - found.null_count()
    if n == 0:
        return None, "has no values"
    missing = n < len(found)
    if kind == "category":
        return _learn_categories(learner, series, found, n)
    infinite = found.is_infinite().fill_null(False)
    if infinite.any():
        at = infinite.arg_true()[0]
        raise TableError(
            f"column {series.name!r}, row {learner.rows[at]}: is infinite, expected a finite number; "
            f"--missing={series[at]} takes it as missing"
        )
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
    means = [0.0, found.null_count() / len(found)][: 1 + missing]
    column = Column(series.name, kind, mean, scale, missing, low=low, high=high, form=form, means=means)
    if width == 0.0:
        exact = series.dtype.is_float() or cells.text(series).n_unique() - missing == 1
        return column, "" if exact else "for floats"
    if _names_rows(series, found, n):
        numbered = _counts(found) or _unnamed(series.name)
        return column, "numbers the rows" if numbered else "holds whole numbers that are all different"
    if (alone := _alone(found, learner.labels)) is not None:
        learner.alone.append((series.name, alone))
    for end in (low, high) if kind == "number" else ():
        if count := _stands_in(found, end, end == low):
            learner.say(
                f"column {series.name!r}: {end:g} in {count} of {n} rows is far from the others; if it stands for a "
                f"missing value, say --missing={end:g}"
            )
            column = replace(column, note=f"{end:g} in {count} rows: missing?")
    return column, ""


def _stands_in(found: Any, end: float, lowest: bool) -> int:
    """How many rows have an extreme that is usual for a missing value, farther from the others than they from each
    other; 0 where it is none."""
    if end not in STAND_INS:
        return 0
    others = found.filter(found != end).drop_nulls()
    count = len(found) - found.null_count() - len(others)
    if count < 2 or others.n_unique() < 3:
        return 0
    gap = others.min() - end if lowest else end - others.max()
    return count if gap > others.max() - others.min() else 0


def _learn_categories(learner: Learner, series: Any, found: Any, n: int) -> tuple[Column, str]:
    name, rows = series.name, learner.rows
    counted = found.drop_nulls().value_counts(name="rows of it").iter_rows()
    sizes: dict[str, int] = dict(sorted(counted))
    categories = list(sizes)
    kept = name in learner.choices.keep or learner.choices.types.get(name) in ("category", "text")
    kept = kept or name in learner.choices.columns
    column = _categories(name, sizes, categories, [], found)
    if len(categories) == 1 and n == len(found):
        return column, "is constant"
    if n >= JUDGED and len(categories) > NAMES * n and not kept:
        measured = found.drop_nulls().str.contains(MEASURED).sum()
        if measured * 2 < n:
            return column, f"holds texts that are {'nearly ' * (len(categories) < n)}all different"
    limit = learner.choices.categories
    if len(categories) > limit or (n >= JUDGED and len(categories) > max(FEW, n / 2) and not kept):
        frequent = sorted((c for c in categories if sizes[c] > 1 or kept), key=lambda c: -sizes[c])[:limit]
        covered = sum(sizes[c] for c in frequent)
        if covered >= COVERED * n or (kept and frequent):
            rare = [c for c in categories if c not in set(frequent)]
            learner.say(
                f"column {name!r}: of {len(categories)} categories the {len(frequent)} most frequent are kept; the "
                f"other {len(rare)}, in {n - covered} of {n} rows, are one: rare (--categories N keeps at most N)"
            )
            return _categories(name, sizes, sorted(frequent), rare, found), ""
        misfits = _misfits(found, rows)
        measured = found.drop_nulls().str.contains(MEASURED).sum()
        if not misfits and measured * 2 < n:
            return column, "holds texts of which most stand in a single row"
        some = ", ".join(repr(v)[:30] for v in found.drop_nulls().head(3))
        raise TableError(
            f"column {name!r}: text with {len(categories)} categories in {n} rows ({some}, …){misfits}; "
            f"write it as plain numbers, dates or fewer categories, or leave it out: --ignore {name!r}; "
            f"--keep {name!r} takes each as a category"
        )
    words = series.cast(require("polars", "cli").String).str.strip_chars()
    gone = found.is_null() & words.is_not_null() & (words != "")
    if gone.any():
        at = gone.arg_true()
        count = "1 value is" if len(at) == 1 else f"{len(at)} values are"
        learner.say(f"column {name!r}: {count} taken as missing, as {words[at[0]]!r} in row {rows[at[0]]}")
    if (alone := _alone(found, learner.labels)) is not None:
        learner.alone.append((name, alone))
    return column, ""


def _categories(name: str, sizes: dict[str, int], categories: list[str], rare: list[str], found: Any) -> Column:
    n, gone = len(found), found.null_count()
    means = [sizes[c] / n for c in categories]
    means += [sum(sizes[c] for c in rare) / n] * bool(rare) + [gone / n] * bool(gone)
    note = f"{len(rare)} rare categories are one" if rare else ""
    return Column(name, "category", missing=gone > 0, categories=categories, rare=rare, means=means, note=note)


def _misfits(found: Any, rows: Rows) -> str:
    """What keeps a column that is mostly numbers from being one."""
    fits = cells.numbers(found, Form()).is_not_null()
    bad = found.is_not_null() & ~fits
    if fits.sum() * 2 < len(found) - found.null_count() or not bad.any():
        return ""
    at = bad.arg_true()
    return f", {fits.sum()} of them numbers and {len(at)} not, first {found[at[0]]!r} in row {rows[at[0]]}"


def told_share(share: float) -> str:
    """A share of the rows; 100 % where it is all of them."""
    return f"{100 * share if share == 1.0 else math.floor(round(1e4 * share, 6)) / 100:.4g} %"


def _unnamed(name: str) -> bool:
    return name.strip() == "" or name.startswith(("Unnamed: ", "__index_level_"))


def _names_rows(series: Any, found: Any, n: int) -> bool:
    """Whether a column holds whole numbers, written without sign, point or unit, that are all different; as floats,
    which one missing value makes of an index, those that count the rows."""
    unnamed = _unnamed(series.name)
    if cells.kind_of(series) == "number":
        whole = series.dtype.is_integer() and bool((found >= 0).fill_null(True).all())
    else:
        whole = cells.kind_of(series) == "text" and bool(
            cells.text(series).str.contains(r"^\d+$").fill_null(True).all()
        )
        if not whole and cells.text(series).str.contains(r"^\d+\.0*$").fill_null(True).all():
            return unnamed or (n >= JUDGED and _counts(found))
    if series.dtype.is_float() and bool(((found >= 0) & (found % 1 == 0)).fill_null(True).all()):
        return unnamed or (n >= JUDGED and _counts(found))
    # as they came: as floats, account numbers of 17 digits may be the same
    return whole and (unnamed or (n >= JUDGED and series.n_unique() - (n < len(series)) == n))


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
        right = by_thresholds(codes, labels)
    else:
        return None
    return right / n if right >= PERFECT * n and n - right <= 0.1 * (n - chance) else None


def by_thresholds(codes: Rows, labels: Rows) -> int:
    """Of numbers that are given by their ranks, (N,) from 0: how many examples are told right by an interval for each
    class, in the order of the classes' medians."""
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
