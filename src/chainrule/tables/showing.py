"""A schema as a table for people: what each column is taken for, and what is odd about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule.tables.schema import Column, Schema, shown_value

__all__ = ["lines", "parts"]

MOST = 40  # lines of columns
FOLDED = 4  # columns of a kind, one after another, are one line


def parts(schema: Schema) -> list[tuple[str, str, str, str, str]]:
    """For each column of the table: its name, what it is taken for, its number of features, its values, its oddity."""
    used = {c.name: c for c in schema.columns}
    what = {name: f"the {role}, no feature" for role, name in schema.apart.items()}
    found = [(schema.target, "target", "", _several(schema.classes), "")]
    for name in schema.names or list(used):
        if name == schema.target:
            continue
        if name in used:
            column = used[name]
            found.append((name, column.kind, str(len(column.feature_names)), _values(column), _odd(column)))
        else:
            found.append((name, "left out", "0", "", what.get(name, schema.left_out.get(name, "ignored"))))
    return found


def lines(schema: Schema) -> list[str]:
    """The same as lines for a terminal; equal columns side by side are folded."""
    heads = ("column", "taken for", "features", "values", "odd")
    rows: list[Sequence[str]] = []
    run: list[tuple[str, str, str, str, str]] = []
    for part in [*parts(schema), None]:
        if run and (part is None or part[1:3] != run[0][1:3] or part[4] != run[0][4]):
            rows += (
                [
                    (
                        f"{run[0][0]} … {run[-1][0]}",
                        *run[0][1:2],
                        str(sum(int(r[2] or 0) for r in run)),
                        f"in {len(run)} columns",
                        run[0][4],
                    )
                ]
                if len(run) > FOLDED
                else run
            )
            run = []
        if part is not None:
            run.append(part)
    more = len(rows) - MOST
    rows = [heads, *rows[: MOST if more > 0 else None]]
    cut = [[c if len(c) <= 36 else c[:35] + "…" for c in row[:4]] + [row[4]] for row in rows]
    wide = [max(len(row[i]) for row in cut) for i in range(5)]
    told = ["  ".join(c.ljust(w) for c, w in zip(row, wide, strict=True)).rstrip() for row in cut]
    return [*told, f"… {more} more"] if more > 0 else told


def _values(column: Column) -> str:
    if column.kind == "category":
        return f"{len(column.categories)}: " + _several(column.categories)
    low, high = shown_value(column, column.low), shown_value(column, column.high)
    return f"{low} to {high}" if low != high else low


def _several(names: Sequence[Any]) -> str:
    return ", ".join(str(name)[:20] for name in names[:4]) + (", …" if len(names) > 4 else "")


def _odd(column: Column) -> str:
    gone = f"{100 * column.means[-1]:.2g} % missing" if column.missing and column.means else ""
    return ", ".join(filter(None, [column.note, gone]))
