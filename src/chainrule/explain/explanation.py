"""`explain`: the forward values and gradients of one example, and the chain from the loss back to any of its weights.

Everything is computed in float64, per example: no 1/N is in any number unless a `batch_size` makes it a factor of its
own. Layers, units and inputs are counted from 1, as in the lecture's W_111.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainrule.explain.building import build_chain
from chainrule.explain.chain import Chain
from chainrule.explain.checking import CheckReport, check_report
from chainrule.explain.comparing import Comparison, compare
from chainrule.explain.example import Example
from chainrule.explain.records import JSON_VERSION, Finding, Step, jsonable
from chainrule.explain.rows import Rows
from chainrule.explain.stepping import take_step
from chainrule.explain.views.notebook import explanation_html

if TYPE_CHECKING:
    from chainrule.tables.schema import Schema

__all__ = ["Explanation", "explain"]


def explain(
    net: Any,
    x: Any,
    label: Any,
    *,
    feature_names: Sequence[str] | None = None,
    classes: Sequence[Any] | None = None,
    batch_size: int | None = None,
    image: tuple[int, int] | None = None,
    schema: Schema | None = None,
    row: int | None = None,
    rows: Rows | None = None,
    checkpoints: Any = None,
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
    schema : what training learned of the table that x is a row of; names and the page's units are then its own
    row : the number of that row, for the page to name
    rows : examples that travel in the page, for it to train on; by default none do
    checkpoints : networks, or paths of model files or of their folder, that the page walks through: the same network at
        several times of its training, at most 24 of them

    Raises
    ------
    InputError
        A wrong shape or label, numbers that are not finite, too few or too many names of inputs or classes, or a
        schema, rows or checkpoints of another network.
    ModelFileError
        A checkpoint's file that cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import Network
    >>> net = Network([np.array([[2.0]]), np.array([[1.0], [-1.0]])], [np.zeros(1), np.zeros(2)], "identity")
    >>> chain = explain(net, [0.5], 0).weight(1, 1, 1)
    >>> round(chain.product, 6), chain.verdict
    (-0.119203, 'good')

    Source: the lecture, "The chain, for one weight".
    """
    return Explanation(net, x, label, feature_names, classes, batch_size, image, schema, row, rows, checkpoints)


class Explanation(Example):
    """The forward values and gradients of one example, and the chain to any of its weights; see `explain`."""

    def weight(self, layer: int, unit: int, input: int) -> Chain:
        """The chain to W_{unit,input} of a layer, each counted from 1.

        Raises
        ------
        InputError
            There is no such weight; the message says which there are.
        """
        return build_chain(self, layer, unit, input)

    def unit(self, layer: int, unit: int) -> Chain:
        """The chain to the pre-activation a of one unit (and so to its bias), counted from 1.

        Raises
        ------
        InputError
            There is no such unit.
        """
        return build_chain(self, layer, unit)

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
        chain = self.weight(*self.strongest_weight())
        place = {"layer": chain.layer, "unit": chain.unit, "input": chain.input, "gradient": chain.from_backward}
        return [*chain.findings, Finding("largest gradient", chain.why, place)]

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

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write the page, whole or not at all, opened at layer 1's largest gradient (chainrule[cli])."""
        return self.weight(*self.opening_weight()).to_html(path)

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
        return explanation_html(self, self.weight(*self.strongest_weight()), self.diagnosis())
