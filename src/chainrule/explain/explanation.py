"""`explain`: the forward values and gradients of one example, and the chain from the loss back to any of its weights.

Everything is computed in float64, per example: no 1/N is in any number unless a `batch_size` makes it a factor of its
own. Layers, units and inputs are counted from 1, as in the lecture's W_111.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule import equations
from chainrule.boundary.checks import check_integer
from chainrule.errors import InputError, shown
from chainrule.explain.building import build_chain
from chainrule.explain.checking import check_report
from chainrule.explain.comparing import Comparison, compare
from chainrule.explain.findings import diagnose
from chainrule.explain.paths import rounding
from chainrule.explain.records import (
    JSON_VERSION,
    Chain,
    CheckReport,
    Finding,
    OutputUnit,
    Step,
    jsonable,
    output_units,
)
from chainrule.explain.stepping import take_step
from chainrule.network.conversion import begins_with_flatten, to_numpy
from chainrule.network.differences import ChainDifferences
from chainrule.network.network import as_network
from chainrule.notation import subscript

__all__ = ["Chain", "Explanation", "explain"]

Array = npt.NDArray[np.float64]


def explain(
    net: Any,
    x: Any,
    label: Any,
    *,
    feature_names: Sequence[str] | None = None,
    classes: Sequence[Any] | None = None,
    batch_size: int | None = None,
    image: tuple[int, int] | None = None,
) -> Explanation:
    """Explain the gradients of one example.

    Parameters
    ----------
    net : a Network; a PyTorch `Sequential` of linear layers and activations; or scikit-learn's fitted MLPClassifier
    x : array (D,)
    label : int in [0, K), or one of `classes` as a string; for scikit-learn's, one of its `classes_`
    feature_names, classes : names for the inputs and the classes; by default those that scikit-learn's knows, else
        x1, x2, … and class 1, class 2, …, which stand for a blank name too
    batch_size : N, to make the 1/N of a batch's mean loss a factor of its own; by default it is in no number
    image : (rows, columns), where the inputs are an image's pixels

    Raises
    ------
    InputError
        A wrong shape or label, numbers that are not finite, or as many names as there are not inputs or classes.

    Examples
    --------
    >>> from chainrule import Network
    >>> net = Network([np.array([[2.0]]), np.array([[1.0], [-1.0]])], [np.zeros(1), np.zeros(2)], "identity")
    >>> chain = explain(net, [0.5], 0).weight(1, 1, 1)
    >>> round(chain.product, 6), chain.verdict
    (-0.119203, 'good')

    Source: the lecture, "The chain, for one weight".
    """
    return Explanation(net, x, label, feature_names, classes, batch_size, image)


class Explanation:
    """The forward values and gradients of one example, and the chain to any of its weights; see `explain`."""

    def __init__(
        self,
        net: Any,
        x: Any,
        label: Any,
        feature_names: Sequence[str] | None = None,
        classes: Sequence[Any] | None = None,
        batch_size: int | None = None,
        image: tuple[int, int] | None = None,
    ) -> None:
        self.net = as_network(net).astype("float64")
        row = _row(x)
        if begins_with_flatten(net):
            row = row.reshape(-1)
        if row.ndim != 1:
            raise InputError(f"x: got shape {row.shape}, expected ({self.net.widths[0]},), one example")
        inputs, k = self.net.widths[0], self.net.widths[-1]
        if len(row) != inputs:
            raise InputError(f"x: got shape {row.shape}, expected ({inputs},), one example")
        if feature_names is None:
            feature_names = getattr(net, "feature_names_in_", None)
        if classes is None:
            classes = getattr(net, "classes_", None)
        self.feature_names = _names("feature_names", feature_names, inputs, "x")
        self.classes = _names("classes", classes, k, "class ")
        self.label = self._label(label, getattr(net, "classes_", None))
        self.batch_size = None if batch_size is None else check_integer("batch_size", batch_size)
        self.image = _image(image, inputs)
        self.forward = self.net.forward(row[None, :])
        self.x: Array = self.forward.activations[0][0]
        self._check_finite()
        self.backward = self.net.backward(self.forward, [self.label], per_example=True)
        self.loss = float(self.backward.loss[0])
        derivative = equations.ACTIVATIONS[self.net.activation].derivative
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
        return output_units(
            self.classes,
            self.forward.logits[0],
            self.forward.probabilities[0],
            self.backward.grad_probabilities[0],
            self.backward.grad_preactivations[-1][0],
        )

    def weight(self, layer: int, unit: int, input: int) -> Chain:
        """The chain to W_{unit,input} of a layer, each counted from 1.

        Raises
        ------
        InputError
            There is no such weight; the message says which there are.
        """
        self._check("layer", layer, self.net.depth)
        self._check("unit", unit, self.net.widths[layer])
        self._check("input", input, self.net.widths[layer - 1])
        return build_chain(self, layer, unit, input)

    def unit(self, layer: int, unit: int) -> Chain:
        """The chain to the pre-activation a of one unit (and so to its bias), counted from 1.

        Raises
        ------
        InputError
            There is no such unit.
        """
        self._check("layer", layer, self.net.depth)
        self._check("unit", unit, self.net.widths[layer])
        return build_chain(self, layer, unit, None)

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
        self._check("layer", layer, self.net.depth)
        unit = int(np.abs(self.backward.grad_preactivations[layer - 1][0]).argmax())
        source = int(np.abs(self.forward.activations[layer - 1][0]).argmax())
        return layer, unit + 1, source + 1

    def why(self, chain: Chain | None = None) -> str:
        """One sentence on why a weight's gradient is as large as it is; by default the largest of all."""
        return (chain or self.weight(*self.strongest_weight())).why

    def check(self) -> CheckReport:
        """Every factor, the gradient after every group, and the product, held against backward and differences.

        The chain is that of each layer's strongest weight. The report is true where nothing is wrong.
        """
        return check_report(self)

    def step(self, lr: float, *, count: int = 5) -> Step:
        """What a gradient step on this example would do: θ ← θ − lr ∇_θ 𝓛, over all weights and biases.

        The loss to first order is 𝓛 − lr ‖∇_θ 𝓛‖²; the true one is computed. No 1/N is in it.

        Parameters
        ----------
        lr : float > 0
        count : how many of the weights that move most to list

        Raises
        ------
        InputError
            A learning rate that is not a number above 0.
        """
        return take_step(self, lr, count)

    def diagnosis(self) -> list[Finding]:
        """Plain findings with their evidence, the most telling first.

        - probable wrong label: another class has a probability above 0.9;
        - learned: the label's probability is above 0.999;
        - dead units: g′ = 0 in at least three quarters of a layer's ReLUs;
        - saturated units: g′ below 1 % of its largest in at least a quarter of a layer's tanh or logistic units;
        - vanishing or exploding gradient: ‖∂𝓛/∂a‖ at layer 1 is below 1/1000, or above 1000 times, the output layer's;
        - float32 route breaks: −(1/ŷ_ℓ) e(ℓ) times the Jacobian is not finite in float32;
        - rounded to zero: softmax − 1 is 0 in float32, and the gradient is not;
        - largest gradient: always; the weight with the largest gradient, and why it is large.
        """
        return diagnose(self)

    def compare(
        self, other: Explanation, place: tuple[int, ...] | None = None, *, names: tuple[str, str] = ("left", "right")
    ) -> Comparison:
        """Two examples, or one example at two checkpoints, side by side.

        Parameters
        ----------
        other : the explanation on the right, of a network of the same widths
        place : (layer, unit, input) of a weight, or (layer, unit); by default the weight with the largest gradient here
        names : what to call the two

        Raises
        ------
        InputError
            Networks of other widths, or a place that is not there.
        """
        return compare(self, other, place, names)

    def input_name(self, layer: int, source: int) -> str:
        """The name of a layer's input: a feature's, or h with its layer and unit."""
        return self.feature_names[source - 1] if layer == 1 else f"h{subscript(layer - 1)},{subscript(source)}"

    def to_html(self, path: str | os.PathLike[str]) -> FilePath:
        """Write the page, whole or not at all, opened at the weight with the largest gradient (chainrule[cli])."""
        return self.weight(*self.strongest_weight()).to_html(path)

    def to_dict(self) -> dict[str, Any]:
        """Forward values, gradients and output units as JSON data, with the version of its form."""
        data = {
            "version": JSON_VERSION,
            "widths": self.net.widths,
            "activation": self.net.activation,
            "feature_names": self.feature_names,
            "classes": self.classes,
            "image": self.image,
            "batch_size": self.batch_size,
            "label": self.label,
            "loss": self.loss,
            "preactivations": [a[0].tolist() for a in self.forward.preactivations],
            "activations": [h[0].tolist() for h in self.forward.activations],
            "grad_preactivations": [g[0].tolist() for g in self.backward.grad_preactivations],
            "grad_activations": [g[0].tolist() for g in self.backward.grad_activations],
            "output_units": self.output_units(),
            "findings": self.diagnosis(),
        }
        return dict(jsonable(data))

    def _repr_html_(self) -> str:
        from chainrule.explain.views.notebook import explanation_html

        return explanation_html(self)

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
        number, k = check_integer("label", label, minimum=0), len(self.classes)
        if number >= k:
            raise InputError(f"label: got {number}, expected an integer in [0, {k})")
        return number

    def _check(self, name: str, value: int, last: int) -> None:
        if not 1 <= check_integer(name, value, minimum=0) <= last:
            raise InputError(f"{name}: got {value}, expected 1 to {last} (counted from 1, as in W_111)")

    def _check_finite(self) -> None:
        for name, values in (("x", self.x), *((f"a{subscript(k)}", a[0]) for k, a in enumerate(
            self.forward.preactivations, start=1
        ))):  # fmt: skip
            bad = np.flatnonzero(~np.isfinite(values))
            if bad.size:
                where = f"{name}: got {values[bad[0]]} at index {bad[0]}"
                raise InputError(f"{where}, expected finite numbers; there is no gradient to explain")


def _row(x: Any) -> Any:
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
    if len(names) != count:
        raise InputError(f"{name}: got {len(names)} names, expected {count}")
    # a name that cannot be read cannot be chosen either
    return [str(n) if str(n).strip() else f"{otherwise}{i}" for i, n in enumerate(names, start=1)]
