"""The data of an explanation: frozen records, of which text, LaTeX, HTML and JSON are views.

All numbers are float64 and of one example; layers, units, inputs and elements are counted from 1, as in W_111.
In JSON a number that is not finite is a string: "NaN", "Infinity" or "-Infinity", as JavaScript's Number() reads it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np

from chainrule.network.differences import Verdict

__all__ = [
    "JSON_VERSION", "WHOLE", "CheckRow", "Factor", "Finding", "Group", "Move", "OutputUnit", "PathToLoss", "Record",
    "Step", "Verdict", "jsonable", "output_units",
]  # fmt: skip

JSON_VERSION = 2
UNTOLD = "explanation", "gradients"  # fields that are no part of the JSON data
WHOLE = 1024  # a matrix of more elements is given by the row or column that matters


class Record:
    """What can be told as JSON data."""

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON data, with the version of its form."""
        return {"version": JSON_VERSION, **jsonable(self)}


@dataclass(frozen=True)
class Factor:
    """One factor of the chain: ∂(what stands before)/∂(what comes next), checked by a difference of its own.

    value : a number, or nested lists of the factor's shape; of a matrix of more than 1024 elements, its `part`
    finite_difference, relative_error, verdict : of one element, which stands at `element` and has the value `checked`
    part : "" where `value` is whole, else "row 3" or "column 17"
    diagonal : whether the factor is a diagonal matrix of which `value` is the diagonal
    held_fixed : what does not move while the difference is taken
    """

    symbol: str
    meaning: str
    shape: tuple[int, ...]
    value: Any
    finite_difference: float
    relative_error: float
    verdict: Verdict
    element: tuple[int, ...] = ()
    checked: float = math.nan
    part: str = ""
    diagonal: bool = False
    held_fixed: str = ""


@dataclass(frozen=True)
class Group:
    """Factors that the lecture groups together, and the gradient that the chain has reached after them.

    kind : "mean" (the 1/N of a batch), "output", "hidden" or "weight"; layer : the layer that the group is about
    reached : the name of what the gradient is with respect to; gradient : that gradient, by `Network.backward`
    element : the element of the gradient that was checked: its largest
    fused : of the output layer: both factors as one, ŷ − e(ℓ), which is what is computed; else None
    """

    heading: str
    factors: list[Factor]
    reached: str
    gradient: list[float]
    finite_difference: float
    relative_error: float
    verdict: Verdict
    kind: str = "hidden"
    layer: int = 0
    element: int = 1
    fused: Factor | None = None
    held_fixed: str = ""


@dataclass(frozen=True)
class PathToLoss:
    """One path from the weight to the loss: its unit in each layer (from 1), and its product of factors.

    factors : the numbers multiplied, from the loss backwards: ∂𝓛/∂a_{L,i}, then for each layer before it a weight
    and a g′, then the weight's own input; where a batch's mean is explained, its 1/N stands first
    share : of the sum over all paths; paths that cancel make shares above 1 or below 0
    """

    units: list[int]
    product: float
    share: float
    factors: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Finding:
    """Something worth knowing about an example, with the numbers that it rests on."""

    kind: str
    text: str
    evidence: dict[str, Any]


@dataclass(frozen=True)
class OutputUnit:
    """One class: its logit, its probability, and the gradients w.r.t. both."""

    unit: int
    name: str
    logit: float
    probability: float
    grad_probability: float
    grad_logit: float


def output_units(names: Sequence[str], *columns: Any) -> list[OutputUnit]:
    """A row for each class from its name, logit, probability and the gradients w.r.t. both, each (K,)."""
    numbers = zip(names, *(np.asarray(column).tolist() for column in columns), strict=True)
    return [OutputUnit(i, *values) for i, values in enumerate(numbers, start=1)]


@dataclass(frozen=True)
class CheckRow:
    """One quantity of the chain: what the chain says, what `Network.backward` says, and a central difference.

    quantity : the factor's or gradient's symbol; element : where it was looked at
    chain, from_backward : None where one of them has no such number (a factor is not a gradient)
    """

    group: str
    quantity: str
    element: tuple[int, ...]
    chain: float
    from_backward: float | None
    finite_difference: float
    relative_error: float
    verdict: Verdict


@dataclass(frozen=True)
class Move:
    """A weight before and after a step."""

    layer: int
    unit: int
    input: int
    before: float
    after: float


@dataclass(frozen=True)
class Step(Record):
    """One gradient step on one example: θ ← θ − lr ∇𝓛, over all weights and biases.

    loss, predicted_loss, true_loss : before; to first order, loss − lr ‖∇𝓛‖²; and as it truly is afterwards
    moves : the weights that move most
    """

    lr: float
    loss: float
    predicted_loss: float
    true_loss: float
    squared_norm: float
    moves: list[Move]


def jsonable(value: Any) -> Any:
    """Records, lists and numbers as JSON data; numbers that are not finite as strings.

    Examples
    --------
    >>> jsonable(Finding("a kind", "a text", {"number": -math.inf}))
    {'kind': 'a kind', 'text': 'a text', 'evidence': {'number': '-Infinity'}}
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: jsonable(getattr(value, f.name)) for f in fields(value) if f.name not in UNTOLD}
    if isinstance(value, dict):
        return {key: jsonable(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
