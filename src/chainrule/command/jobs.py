"""What is done with a model that was written, by path: predictions, verdicts and explanations of a table's rows."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chainrule.boundary.extras import require
from chainrule.command.data import AnyPath, Say, listed
from chainrule.errors import TableError
from chainrule.explain import Explanation
from chainrule.network.gradcheck import GradientReport, check_gradients
from chainrule.output.layer import softmax
from chainrule.pages.gallery import Gallery
from chainrule.tables import Evaluation, Reading, Why, cells, load
from chainrule.tables.model import silent
from chainrule.tables.showing import lines as schema_lines
from chainrule.tables.showing import parts as schema_parts
from chainrule.tables.sparse import dense

__all__ = [
    "FORMATS", "check", "evaluate", "explained", "explanation", "form_of", "gallery", "harmless", "info", "info_text",
    "predict",
]  # fmt: skip

FORMATS = ("csv", "tsv", "jsonl", "parquet", "arrow")
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"


def predict(
    model: AnyPath, table: AnyPath, say: Say = silent, strict: bool = False, *, how: Reading | None = None,
    ids: Sequence[str] = (), beside: bool = False, form: str = "csv",
) -> Any:  # fmt: skip
    """For each row the predicted class, then the probability of each class: text, or bytes of Parquet or Arrow.

    Parameters
    ----------
    say : called with a line for each column and kind of cell that training did not know
    strict : whether there is an error instead
    ids : columns of the table that come first; by default those that training was told to be ids, where they are there
    beside : whether all columns of the table come first
    form : one of FORMATS. In a CSV, text that a spreadsheet would take for a formula has an apostrophe before it.
    """
    pl, known = require("polars", "cli"), load(model)
    frame = known.read(table, how, say)
    judged = known.judged(frame, say, strict=strict)
    logits, names = known.logits(judged), known.classes
    probabilities = softmax(logits)
    columns = {"prediction": [names[i] for i in logits.argmax(axis=1)]}
    columns |= {f"probability of {c}": probabilities[:, i] for i, c in enumerate(names)}
    own = [known.schema.apart[role] for role in known.schema.apart if role.startswith("id")]
    first = listed(ids, frame.columns) or [name for name in own if name in frame.columns]
    if lacking := [name for name in first if name not in frame.columns]:
        raise TableError(f"the table has no column {lacking[0]!r} (--id); it has {', '.join(frame.columns)[:200]}")
    others = frame if beside else frame.select(first)
    others = others.rename({name: f"{name} (input)" for name in others.columns if name in columns})
    found = pl.DataFrame([*others.get_columns(), *pl.DataFrame(columns).get_columns()])
    if form in ("parquet", "arrow"):
        data = io.BytesIO()
        found.write_parquet(data) if form == "parquet" else found.write_ipc(data)
        return data.getvalue()
    text = io.StringIO()
    if form == "jsonl":
        found.write_ndjson(text)
    else:
        harmless(found).write_csv(text, separator="\t" if form == "tsv" else ",")
    return text.getvalue()


def harmless(frame: Any) -> Any:
    """Text that begins as a formula does, with an apostrophe before it, as spreadsheets want; numbers as they are."""
    pl = require("polars", "cli")
    changed = []
    for series in frame.get_columns():
        if series.dtype.is_nested():
            raise TableError(
                f"column {series.name!r}: holds {series.dtype}, which is no text; --format parquet keeps it"
            )
        if series.dtype == pl.Duration:
            changed.append(cells.text(series))
        if series.dtype == pl.String:
            cell = pl.col(series.name)
            formula = cell.str.contains("^[=+@\t\r-]") & ~cell.str.contains(f"^(?:{NUMBER})$")
            changed.append(pl.when(formula).then("'" + cell).otherwise(cell).alias(series.name))
    found = frame.with_columns(changed)
    return found.rename({name: f"'{name}" for name in found.columns if re.match("[=+@\t\r-]", name)})


def form_of(output: AnyPath | None, given: str | None) -> str:
    """The format of predictions: as given, or by the suffix; CSV else."""
    if given is not None:
        return given
    suffix = "" if output is None else Path(output).suffix.lower().lstrip(".")
    return {"ndjson": "jsonl", "ipc": "arrow", "feather": "arrow"}.get(suffix, suffix if suffix in FORMATS else "csv")


def evaluate(
    model: AnyPath, table: AnyPath, say: Say = silent, strict: bool = False, *, how: Reading | None = None,
    bootstrap: int = 1000,
) -> Evaluation:  # fmt: skip
    """How well the classes of a table are predicted; rows without a class are left out, and counted."""
    return load(model).evaluate(table, say=say, strict=strict, bootstrap=bootstrap, how=how)


def explained(
    model: AnyPath, table: AnyPath, row: int | None, image: tuple[int, int] | None = None, say: Say = silent,
    how: Reading | None = None, rows: int = 0, checkpoints: AnyPath | None = None,
) -> tuple[Explanation, Why]:  # fmt: skip
    """The gradients of one row of a table, counted from 0, or of the one with the largest loss where row is None, and
    what each of its columns adds to its prediction.

    image : (rows, columns), where its features are pixels; rows : how many travel in the page
    checkpoints : a folder of the model's epochs
    """
    return load(model).explained(table, row, image=image, say=say, how=how, rows=rows, checkpoints=checkpoints)


def explanation(
    model: AnyPath, table: AnyPath, row: int | None, image: tuple[int, int] | None = None, say: Say = silent
) -> Explanation:
    """The gradients of one row of a table, counted from 0, or of the one with the largest loss where row is None."""
    return explained(model, table, row, image, say)[0]


def gallery(
    model: AnyPath, table: AnyPath, image: tuple[int, int] | None = None, say: Say = silent, how: Reading | None = None
) -> Gallery:
    """All rows of a table that have a class, sorted by loss, each to be explained."""
    known = load(model)
    judged = known.judged(known.read(table, how, say), say, labelled=True)
    if not len(judged.labels):
        raise TableError(f"{table}: no row has a class, expected some to show")
    known.logits(judged)
    names, classes, x = known.schema.feature_names, known.classes, dense(judged.x)
    return Gallery(known.network, x, judged.labels, names, classes, image, judged.rows, known.schema)


def check(model: AnyPath, table: AnyPath, rows: int, say: Say = silent, how: Reading | None = None) -> GradientReport:
    """Every gradient of the chain on a table's first rows, against finite differences."""
    known = load(model)
    judged = known.judged(known.read(table, how, say)[:rows], say, labelled=True)
    return check_gradients(known.network, dense(judged.x), judged.labels)


def info(model: AnyPath) -> dict[str, Any]:
    """What a model file holds, as JSON data."""
    known = load(model)
    net, schema = known.network, known.schema
    keys = ("name", "kind", "features", "values", "odd")
    return {
        "model": str(model), "version": known.version, "target": schema.target, "classes": schema.classes,
        "widths": net.widths, "activation": net.activation, "dtype": str(net.weights[0].dtype),
        "parameters": sum(p.size for p in (*net.weights, *net.biases)), "missing": schema.missing,
        "columns": [dict(zip(keys, part, strict=True)) for part in schema_parts(schema)],
        "training": known.training,
    }  # fmt: skip


def info_text(model: AnyPath) -> str:
    """The same as lines for a terminal."""
    found, schema = info(model), load(model).schema
    training = dict(found["training"])
    results = training.pop("results", [])
    lines = [
        f"{model}: a classifier of {schema.target!r}, {len(schema.classes)} classes, by Chainrule {found['version']}",
        f"network: {'–'.join(map(str, found['widths']))}, {found['activation']}, {found['parameters']:,} parameters, "
        f"{found['dtype']}",
        *results, "", *schema_lines(schema), "",
        *(f"{name}: {value}" for name, value in training.items() if name not in ("target", "widths", "activation")),
    ]  # fmt: skip
    return "\n".join(lines)
