"""Why a row is predicted as it is: what each column adds to its class's logit, against the training mean."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.activations import ACTIVATIONS
from chainrule.network.network import Network
from chainrule.tables.schema import Column, Schema, shown_value

__all__ = ["Part", "Why", "attribute", "why"]

Array = npt.NDArray[Any]
STEPS = 256


@dataclass(frozen=True)
class Part:
    """What a column adds. value, mean : as the table writes them"""

    column: str
    value: str
    mean: str
    adds: float


@dataclass(frozen=True)
class Why:
    """What the columns add to the logit of a row's class, the largest first; the sum is `logit` − `base`.

    logit, base : of the class, for the row and for the means of the training rows
    """

    name: Any
    probability: float
    logit: float
    base: float
    parts: list[Part]

    def text(self, most: int = 12) -> str:
        """Lines for a terminal: the columns that add most, and the sum of the others."""
        shown, rest = self.parts[:most], self.parts[most:]
        rows = [(p.column, p.value, p.mean, f"{p.adds:+.4f}") for p in shown]
        if rest:
            rows.append((f"{len(rest)} more columns", "", "", f"{sum(p.adds for p in rest):+.4f}"))
        rows.append(("sum", "", "", f"{self.logit - self.base:+.4f}"))
        heads = ("column", "value", "mean", "adds")
        cut = [tuple(c if len(c) <= 34 else c[:33] + "…" for c in row) for row in (heads, *rows)]
        wide = [max(len(row[i]) for row in cut) for i in range(4)]
        lines = [
            f"prediction: {self.name}, with the probability {self.probability:.4g}",
            f"what each column adds to the logit of {self.name} ({self.logit:.4f}) against the training mean's "
            f"({self.base:.4f}):",
        ]
        for row in cut:
            lines.append(f"  {row[0]:<{wide[0]}}  {row[1]:>{wide[1]}}  {row[2]:>{wide[2]}}  {row[3]:>{wide[3]}}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON data."""
        return {
            "class": self.name, "probability": self.probability, "logit": self.logit, "mean_logit": self.base,
            "columns": [{"column": p.column, "value": p.value, "mean": p.mean, "adds": p.adds} for p in self.parts],
        }  # fmt: skip


def attribute(net: Network, x: Array, base: Array, c: int, *, steps: int = STEPS) -> Array:
    """What each input adds to the logit of class c on the way from `base` to x, (D,), float64.

    ∫₀¹ ∂a_c/∂x_j (base + t(x − base)) dt · (x_j − base_j), by midpoints. What rounding and the kinks leave of a step's
    change is shared in the proportion of the step's parts, so that the sum is a_c(x) − a_c(base).

    Parameters
    ----------
    x, base : array (D,)
    c : int in [0, K)

    Examples
    --------
    >>> net = Network([np.array([[1.0, -2.0], [0.0, 1.0]])], [np.zeros(2)])
    >>> attribute(net, np.array([3.0, 1.0]), np.array([1.0, 0.0]), 0).tolist()
    [2.0, -2.0]

    Source: M. Sundararajan, A. Taly and Q. Yan, "Axiomatic Attribution for Deep Networks", 2017.
    """
    net = net.astype("float64")
    x, base = np.asarray(x, dtype=np.float64), np.asarray(base, dtype=np.float64)
    move = (x - base) / steps
    ends = base + np.arange(steps + 1)[:, None] * move
    ends[-1] = x
    change = np.diff(net.forward(ends).logits[:, c])
    derivative = ACTIVATIONS[net.activation].derivative
    middle = net.forward(base + (np.arange(steps) + 0.5)[:, None] * move)
    gradient = np.broadcast_to(net.weights[-1][c], (steps, net.weights[-1].shape[1]))
    for w, a in zip(net.weights[-2::-1], middle.preactivations[-2::-1], strict=True):
        gradient = (gradient * derivative(a)) @ w
    parts = gradient * move
    sizes = np.abs(parts)
    still = sizes.sum(axis=1) == 0
    sizes[still] = np.abs(move)
    total = sizes.sum(axis=1, keepdims=True)
    shares = np.divide(sizes, total, out=np.zeros_like(sizes), where=total > 0)
    parts += shares * (change - parts.sum(axis=1))[:, None]
    return np.asarray(parts.sum(axis=0))


def why(net: Network, schema: Schema, frame: Any, x: Array) -> Why:
    """Why the one row of a data frame, whose features are x (D,), is predicted as it is."""
    base = schema.means()
    wide = net.astype("float64")
    forward = wide.forward(np.stack([np.asarray(x, dtype=np.float64), base]))
    c = int(forward.logits[0].argmax())
    adds = attribute(wide, x, base, c)
    parts, at = [], 0
    for column in schema.columns:
        end = at + len(column.feature_names)
        value, mean = _written(column, frame)
        parts.append(Part(column.name, value, mean, float(adds[at:end].sum())))
        at = end
    parts.sort(key=lambda part: -abs(part.adds))
    logit, from_mean = (float(v) for v in forward.logits[:, c])
    return Why(schema.classes[c], float(forward.probabilities[0, c]), logit, from_mean, parts)


def _written(column: Column, frame: Any) -> tuple[str, str]:
    cell = frame[column.name][0] if column.name in frame.columns else None
    value = "missing" if cell is None else str(cell).strip() or "missing"
    if column.kind == "number" and re.fullmatch(r"-?\d*\.\d{7,}", value):
        value = f"{float(value):.6g}"
    if column.kind == "category":
        most = max(range(len(column.categories)), key=lambda i: column.means[i], default=None)
        return value, "" if most is None else f"{column.categories[most]} {100 * column.means[most]:.0f} %"
    return value, shown_value(column, column.mean)
