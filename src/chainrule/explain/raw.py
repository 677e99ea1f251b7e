"""An example in its table's own units: what a feature was before it was standardised, and an image in grey."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from chainrule.boundary import html

if TYPE_CHECKING:
    from chainrule.tables.schema import Column, Schema

__all__ = ["fields", "grey", "image_shape", "raw_text", "raw_values", "span"]

Array = npt.NDArray[np.float64]
DIGITS = 8  # of a number in a table: as many as a float32 feature tells apart


def fields(schema: Schema) -> list[dict[str, Any]]:
    """Each column, and the place, from 0, of the first of the features that it becomes."""
    found, at = [], 0
    for c in schema.columns:
        found.append({
            "name": c.name, "kind": c.kind, "at": at, "mean": c.mean, "scale": c.scale, "low": c.low, "high": c.high,
            "categories": c.categories, "missing": c.missing,
        })  # fmt: skip
        at += len(c.feature_names)
    return found


def raw_values(schema: Schema | None, x: Any) -> Array:
    """Each feature of an example in its column's units, (D,); those of a category and of what is missing stay 0 or 1.

    A number is the shortest, by its decimals and then by its digits, that becomes the same float32 feature; a constant
    column's is what training saw.
    """
    found: Array = np.array(x, dtype=np.float64)
    at = 0
    for c in [] if schema is None else schema.columns:
        if c.kind != "category":
            found[at] = _number(c, found[at])
        at += len(c.feature_names)
    return found


def raw_text(schema: Schema | None, x: Any, feature: int) -> str:
    """A number or date of the table as it reads there; "" where the feature is no number of a column."""
    at = 0
    for c in [] if schema is None else schema.columns:
        if at == feature and c.kind != "category":
            value = _number(c, float(x[feature]))
            if c.kind != "date":
                return html.number(value, DIGITS)
            return str(np.datetime64(round(value * 86_400), "s").astype("datetime64[D]"))
        at += len(c.feature_names)
    return ""


def image_shape(inputs: int, schema: Schema | None, told: tuple[int, int] | None) -> tuple[int, int] | None:
    """(rows, columns) of the inputs as an image: as told, or square where there are 64 or 784 that may be pixels."""
    pixels = schema is None or all(c.kind == "number" and not c.missing for c in schema.columns)
    known: dict[int, tuple[int, int]] = {64: (8, 8), 784: (28, 28)}
    return told or (known.get(inputs) if pixels else None)


def span(schema: Schema | None, x: Any) -> tuple[float, float]:
    """What is blank and what is ink: the columns' range in training, or without a schema what x holds, 0 included."""
    if schema is None:
        low, high = min(0.0, float(np.min(x, initial=0.0))), float(np.max(x, initial=0.0))
    else:
        low = min((c.low for c in schema.columns if c.kind != "category"), default=0.0)
        high = max((c.high for c in schema.columns if c.kind != "category"), default=1.0)
    return (low, high) if high > low else (low, low + 1.0)


def grey(
    x: Any, schema: Schema | None = None, shape: tuple[int, int] | None = None,
    between: tuple[float, float] | None = None,
) -> dict[str, Any] | None:  # fmt: skip
    """An example as a grey image of its raw values, from blank to ink, for the templates; None where it is no image."""
    shape = image_shape(len(x), schema, shape)
    if shape is None:
        return None
    low, high = span(schema, x) if between is None else between
    values = (raw_values(schema, x) - low) / (high - low)
    return html.image(np.clip(values, 0.0, 1.0).tolist(), shape, largest=1.0)


def _number(c: Column, feature: float) -> float:
    if c.scale == 0.0:
        return c.low
    value = feature * c.scale + c.mean
    if c.missing and feature == 0.0:
        return value
    candidates = [round(value, digits) for digits in range(DIGITS)]
    for short in [*candidates, *(float(f"{value:.{digits}g}") for digits in range(1, DIGITS + 1))]:
        if np.float32((short - c.mean) / c.scale) == np.float32(feature):
            return short
    return value
