"""`Example`: one example's forward values and gradients, which the chain and everything else are told from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from chainrule.activations import ACTIVATIONS
from chainrule.boundary.checks import check_index, check_integer, check_names
from chainrule.errors import InputError, shown
from chainrule.explain.checkpoints import some_checkpoints
from chainrule.explain.paths import rounding
from chainrule.explain.records import OutputUnit, output_units
from chainrule.explain.rows import Rows
from chainrule.network.conversion import begins_with_flatten, to_numpy
from chainrule.network.differences import ChainDifferences
from chainrule.network.network import as_network
from chainrule.notation import subscript

if TYPE_CHECKING:
    from chainrule.tables.schema import Schema

__all__ = ["Example", "check_counted"]

Array = npt.NDArray[np.float64]


class Example:
    """A network, one example and its label in float64, checked; what a pass forward and one back give; and the names.

    See `chainrule.explain.explain` for the arguments.
    """

    def __init__(
        self, net: Any, x: Any, label: Any, feature_names: Sequence[str] | None = None,
        classes: Sequence[Any] | None = None, batch_size: int | None = None, image: tuple[int, int] | None = None,
        schema: Schema | None = None, row: int | None = None, rows: Rows | None = None,
        checkpoints: Any = None,
    ) -> None:  # fmt: skip
        self.net = as_network(net).astype("float64")
        vector = _vector(x)
        if begins_with_flatten(net):
            vector = vector.reshape(-1)
        inputs, k = self.net.widths[0], self.net.widths[-1]
        if vector.shape != (inputs,):
            raise InputError(f"x: got shape {vector.shape}, expected ({inputs},), one example")
        if schema is not None and len(schema.feature_names) != inputs:
            raise InputError(f"schema: got one of {len(schema.feature_names)} features, expected {inputs}, as in x")
        if feature_names is None:
            feature_names = getattr(net, "feature_names_in_", None) if schema is None else schema.feature_names
        if classes is None:
            classes = getattr(net, "classes_", None) if schema is None else schema.classes
        self.schema = schema
        self.row = None if row is None else check_integer("row", row, minimum=0)
        self.feature_names = _names("feature_names", feature_names, inputs, "x")
        self.classes = _names("classes", classes, k, "class ")
        self.label = self._label(label, getattr(net, "classes_", None))
        self.batch_size = None if batch_size is None else check_integer("batch_size", batch_size)
        self.image = _image(image, inputs)
        self.checkpoints = [] if checkpoints is None else some_checkpoints(checkpoints, self.net)
        self.rows = rows
        if rows is not None:
            rows.fit(inputs, k)
        self.forward = self.net.forward(vector[None, :])
        self.x: Array = self.forward.activations[0][0]
        self._check_finite()
        self.backward = self.net.backward(self.forward, [self.label], per_example=True)
        self.loss = float(self.backward.loss[0])
        derivative = ACTIVATIONS[self.net.activation].derivative
        self.derivatives: list[Array] = [derivative(a[0]) for a in self.forward.preactivations[:-1]]
        self.rounding = rounding(self.net.weights, self.derivatives, [g[0] for g in self.backward.grad_preactivations])
        self.differences = ChainDifferences(self.net, self.forward.preactivations, [self.label])

    @property
    def scale(self) -> float:
        """1/N where a batch's mean is explained, else 1."""
        return 1.0 if self.batch_size is None else 1.0 / self.batch_size

    @property
    def of(self) -> str:
        """What is derived: 𝓛, or J, the mean of a batch's losses."""
        return "𝓛" if self.batch_size is None else "J"

    def output_units(self) -> list[OutputUnit]:
        """For each class: a_i, ŷ_i, ∂𝓛/∂ŷ_i = −𝟙[i=ℓ]/ŷ_ℓ and ∂𝓛/∂a_i = −(𝟙[ℓ=i] − ŷ_i)."""
        f, b = self.forward, self.backward
        columns = f.logits, f.probabilities, b.grad_probabilities, b.grad_preactivations[-1]
        return output_units(self.classes, *(column[0] for column in columns))

    def gradient(self, layer: int, unit: int, input: int) -> float:
        """∂𝓛/∂W_{unit,input} of a layer, each counted from 1, of this example alone."""
        delta = self.backward.grad_preactivations[layer - 1][0, unit - 1]
        return float(delta * self.forward.activations[layer - 1][0, input - 1])

    def strongest_weight(self, layer: int | None = None) -> tuple[int, int, int]:
        """(layer, unit, input) of the weight with the largest |gradient|, of one layer or of all.

        Raises
        ------
        InputError
            There is no such layer.
        """
        if layer is None:
            found = [self.strongest_weight(k) for k in range(1, self.net.depth + 1)]
            return max(found, key=lambda place: abs(self.gradient(*place)))
        check_counted("layer", layer, self.net.depth)
        unit = int(np.abs(self.backward.grad_preactivations[layer - 1][0]).argmax())
        source = int(np.abs(self.forward.activations[layer - 1][0]).argmax())
        return layer, unit + 1, source + 1

    def opening_weight(self) -> tuple[int, int, int]:
        """(layer, unit, input) of the weight that is explained unless another is asked for: the largest |gradient| of
        layer 1, from which every factor is seen; where nothing reaches that layer, of the first that something does."""
        found = [self.strongest_weight(k) for k in range(1, self.net.depth + 1)]
        return next((place for place in found if self.gradient(*place) != 0), found[0])

    def input_name(self, layer: int, source: int) -> str:
        """The name of a layer's input: a feature's, or h with its layer and unit."""
        return self.feature_names[source - 1] if layer == 1 else f"h{subscript(layer - 1)},{subscript(source)}"

    def _label(self, label: Any, known: Any) -> int:
        if known is not None:
            places = np.flatnonzero(np.asarray(known) == label)
            if len(places) != 1:
                raise InputError(
                    f"label: got {shown(label)}, expected one of the classifier's classes_: {known!s:.200}"
                )
            return int(places[0])
        if isinstance(label, str):
            if self.classes.count(label) != 1:
                some = ", ".join(map(repr, self.classes[:10]))
                raise InputError(f"label: got {shown(label)}, expected the name of one class: {some}")
            return self.classes.index(label)
        return check_index("label", label, len(self.classes))

    def _check_finite(self) -> None:
        for k, values in enumerate([self.x, *(a[0] for a in self.forward.preactivations)]):
            bad = np.flatnonzero(~np.isfinite(values))
            if bad.size:
                where = f"{f'a{subscript(k)}' if k else 'x'}: got {values[bad[0]]} at index {bad[0]}"
                raise InputError(f"{where}, expected finite numbers; there is no gradient to explain")


def check_counted(name: str, value: int, last: int) -> None:
    """Refuse a layer, unit or input that is not there."""
    if not 1 <= check_integer(name, value, minimum=0) <= last:
        raise InputError(f"{name}: got {value}, expected 1 to {last} (counted from 1, as in W_111)")


def _vector(x: Any) -> Any:
    try:
        return to_numpy(x)
    except (ValueError, TypeError) as error:
        raise InputError(f"x: got {type(x).__name__}, expected an array (D,) of numbers") from error


def _image(image: Any, inputs: int) -> tuple[int, int] | None:
    if image is None:
        return None
    if not isinstance(image, tuple | list) or len(image) != 2:
        raise InputError(f"image: got {shown(image)}, expected (rows, columns)")
    rows, columns = (check_integer("image", side) for side in image)
    if rows * columns != inputs:
        raise InputError(f"image: got {rows}x{columns}, {rows * columns} pixels, expected as many as inputs, {inputs}")
    return rows, columns


def _names(name: str, names: Sequence[Any] | None, count: int, otherwise: str) -> list[str]:
    if names is None:
        return [f"{otherwise}{i}" for i in range(1, count + 1)]
    check_names(name, names, count)
    # a name that cannot be read cannot be chosen either
    return [str(n) if str(n).strip() else f"{otherwise}{i}" for i, n in enumerate(names, start=1)]
