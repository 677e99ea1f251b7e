"""The data: factors, their groups, and the chain from the loss back to one weight of one example.

Everything is computed in float64, per example: no 1/N is in any number. Layers, units and inputs are counted
from 1, as in the lecture's W_111.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule import equations
from chainrule.checks import check_integer
from chainrule.errors import InputError
from chainrule.gradcheck import Difference, central_difference, judge
from chainrule.network import Network
from chainrule.notation import subscript

__all__ = ["Chain", "Explanation", "Factor", "Group", "Path", "explain"]

Array = npt.NDArray[np.float64]
STEP = 1e-3
JSON_VERSION = 1


@dataclass(frozen=True)
class Factor:
    """One factor of the chain: ∂(what stands before)/∂(what comes next)."""

    symbol: str
    meaning: str
    shape: tuple[int, ...]
    value: Any


@dataclass(frozen=True)
class Group:
    """Factors that the lecture groups together, and the gradient that the chain has reached after them.

    reached : the name of what the gradient is with respect to; gradient : that gradient, as `Network.backward` has
    it for this example; finite_difference, relative_error, verdict : its largest element, checked
    """

    heading: str
    factors: list[Factor]
    reached: str
    gradient: list[float]
    finite_difference: float
    relative_error: float
    verdict: str


@dataclass(frozen=True)
class Path:
    """One path from the weight to the loss: its unit in each layer (from 1), and its product of factors."""

    units: list[int]
    product: float
    share: float


@dataclass(frozen=True)
class Chain:
    """The chain for one weight, W_{unit,input} of a layer, or for one unit's pre-activation (input is None)."""

    symbol: str
    layer: int
    unit: int
    input: int | None
    label: int
    loss: float
    groups: list[Group]
    product: float
    from_backward: float
    finite_difference: float
    relative_error: float
    verdict: str
    n_paths: int
    paths: list[Path]

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON data, with the version of its form."""
        return {"version": JSON_VERSION, **asdict(self)}


@dataclass(frozen=True)
class OutputUnit:
    """One class: its logit, its probability, and the gradients w.r.t. both."""

    unit: int
    name: str
    logit: float
    probability: float
    grad_probability: float
    grad_logit: float


def explain(
    net: Network,
    x: Any,
    label: int,
    *,
    feature_names: Sequence[str] | None = None,
    classes: Sequence[Any] | None = None,
) -> Explanation:
    """Explain the gradients of one example.

    Parameters
    ----------
    net : a network of NumPy arrays
    x : array (D,)
    label : int in [0, K)
    feature_names, classes : names for the inputs and the classes, optional

    Raises
    ------
    InputError
        A wrong shape or label, or as many names as there are not inputs or classes.

    Examples
    --------
    >>> net = Network([np.array([[2.0]]), np.array([[1.0], [-1.0]])], [np.zeros(1), np.zeros(2)], "identity")
    >>> chain = explain(net, [0.5], 0).weight(1, 1, 1)
    >>> round(chain.product, 6), chain.verdict
    (-0.119203, 'good')

    Source: the lecture, "The chain, for one weight".
    """
    return Explanation(net, x, label, feature_names, classes)


class Explanation:
    """The forward values and gradients of one example, and the chain to any of its weights; see `explain`."""

    def __init__(
        self, net: Network, x: Any, label: int, feature_names: Sequence[str] | None, classes: Sequence[Any] | None
    ) -> None:
        self.net = net.astype("float64")
        row = np.asarray(x)
        if row.ndim != 1:
            raise InputError(f"x: got shape {row.shape}, expected ({net.widths[0]},), one example")
        self.label = check_integer("label", label, minimum=0)
        self.forward = self.net.forward(row[None, :])
        self.backward = self.net.backward(self.forward, [self.label], per_example=True)
        self.x: Array = self.forward.activations[0][0]
        inputs, k = net.widths[0], net.widths[-1]
        self.feature_names = _names("feature_names", feature_names, inputs, "x")
        self.classes = _names("classes", classes, k, "class ")
        self.loss = float(self.backward.loss[0])
        derivative = equations.ACTIVATIONS[net.activation].derivative
        self.derivatives: list[Array] = [derivative(a[0]) for a in self.forward.preactivations[:-1]]

    def output_units(self) -> list[OutputUnit]:
        """For each class: a_i, ŷ_i, ∂𝓛/∂ŷ_i = −𝟙[i=ℓ]/ŷ_ℓ and ∂𝓛/∂a_i = −(𝟙[ℓ=i] − ŷ_i)."""
        columns = (
            self.forward.logits[0],
            self.forward.probabilities[0],
            self.backward.grad_probabilities[0],
            self.backward.grad_preactivations[-1][0],
        )
        return [
            OutputUnit(i, name, *map(float, values))
            for i, (name, *values) in enumerate(zip(self.classes, *columns, strict=True), start=1)
        ]

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
        return self._chain(layer, unit, input)

    def unit(self, layer: int, unit: int) -> Chain:
        """The chain to the pre-activation a of one unit (and so to its bias), counted from 1.

        Raises
        ------
        InputError
            There is no such unit.
        """
        self._check("layer", layer, self.net.depth)
        self._check("unit", unit, self.net.widths[layer])
        return self._chain(layer, unit, None)

    def strongest_weight(self, layer: int = 1) -> tuple[int, int, int]:
        """(layer, unit, input) of the weight of a layer with the largest gradient."""
        self._check("layer", layer, self.net.depth)
        unit = int(np.abs(self.backward.grad_preactivations[layer - 1][0]).argmax())
        source = int(np.abs(self.forward.activations[layer - 1][0]).argmax())
        return layer, unit + 1, source + 1

    def check(self) -> bool:
        """Whether the strongest weight of every layer passes its checks."""
        chains = [self.weight(*self.strongest_weight(k)) for k in range(1, self.net.depth + 1)]
        return all(c.verdict != "wrong" and all(g.verdict != "wrong" for g in c.groups) for c in chains)

    def _check(self, name: str, value: int, last: int) -> None:
        if not 1 <= check_integer(name, value, minimum=0) <= last:
            raise InputError(f"{name}: got {value}, expected 1 to {last} (counted from 1, as in W_111)")

    def _chain(self, layer: int, unit: int, source: int | None) -> Chain:
        depth, grads = self.net.depth, self.backward
        groups = [self._output_group()]
        groups += [self._hidden_group(k) for k in range(depth - 1, layer - 1, -1)]
        logit_grad = equations.grad_logits(self.forward.logits[0], self.label)
        h = self.forward.activations[layer - 1][0]
        input_value = 1.0 if source is None else float(h[source - 1])
        if source is not None:
            groups.append(self._weight_group(layer, unit, source))
        product = equations.sum_over_paths(
            self.net.weights, self.derivatives, logit_grad, np.array([input_value]), layer, unit - 1, 0
        )
        a = grads.grad_preactivations[layer - 1][0]
        from_backward = a[unit - 1] if source is None else grads.grad_weights[layer - 1][0, unit - 1, source - 1]
        start = np.array([unit - 1])
        difference = self._difference(layer, np.eye(len(a))[start[0]] * input_value)
        error, verdict = judge(float(product), difference, float(np.abs(a).max()))
        symbol = f"a{subscript(layer)},{subscript(unit)}"
        if source is not None:
            symbol = _weight_symbol(layer, unit, source)
        n_paths, paths = self._paths(layer, unit, input_value, logit_grad, float(product))
        return Chain(
            symbol, layer, unit, source, self.label, self.loss, groups, float(product), float(from_backward),
            difference.value, error, verdict, n_paths, paths,
        )  # fmt: skip

    def _output_group(self) -> Group:
        depth, k = self.net.depth, self.net.widths[-1]
        a = subscript(depth)
        with np.errstate(all="ignore"):
            grad = self.backward.grad_probabilities[0]
        factors = [
            Factor("∂𝓛/∂ŷ", f"−(1/ŷ{subscript('ℓ')}) e(ℓ)", (k,), grad.tolist()),
            Factor(
                f"∂ŷ/∂a{a}", "softmax's Jacobian ŷᵢ(𝟙[i=j] − ŷⱼ)", (k, k),
                equations.softmax_jacobian(self.forward.logits[0]).tolist(),
            ),
        ]  # fmt: skip
        return self._reached("the output layer", factors, depth)

    def _hidden_group(self, k: int) -> Group:
        width, above = self.net.widths[k], self.net.widths[k + 1]
        low, high = subscript(k), subscript(k + 1)
        factors = [
            Factor(f"∂a{high}/∂h{low}", f"W{high}", (above, width), self.net.weights[k].tolist()),
            Factor(f"∂h{low}/∂a{low}", f"g′(a{low}), diagonal", (width,), self.derivatives[k - 1].tolist()),
        ]
        return self._reached(f"hidden layer {k}", factors, k)

    def _weight_group(self, layer: int, unit: int, source: int) -> Group:
        name = self.feature_names[source - 1] if layer == 1 else f"h{subscript(layer - 1)},{subscript(source)}"
        value = float(self.forward.activations[layer - 1][0, source - 1])
        symbol = _weight_symbol(layer, unit, source)
        grad = float(self.backward.grad_weights[layer - 1][0, unit - 1, source - 1])
        factor = Factor(f"∂a{subscript(layer)}/∂{symbol}", f"its input, {name}", (), value)
        move = np.eye(self.net.widths[layer])[unit - 1] * value
        difference = self._difference(layer, move)
        error, verdict = judge(grad, difference, float(np.abs(self.backward.grad_preactivations[layer - 1]).max()))
        return Group("the weight itself", [factor], symbol, [grad], difference.value, error, verdict)

    def _reached(self, heading: str, factors: list[Factor], layer: int) -> Group:
        grad = self.backward.grad_preactivations[layer - 1][0]
        place = int(np.abs(grad).argmax())
        difference = self._difference(layer, np.eye(len(grad))[place])
        error, verdict = judge(float(grad[place]), difference, float(np.abs(grad).max()))
        return Group(heading, factors, f"a{subscript(layer)}", grad.tolist(), difference.value, error, verdict)

    def _difference(self, layer: int, direction: Array) -> Difference:
        """Of the loss, when a_layer moves along `direction`; all before it is held fixed."""
        a0 = self.forward.preactivations[layer - 1]
        g = equations.ACTIVATIONS[self.net.activation].function

        def loss(move: float) -> tuple[float, list[Array]]:
            a, hidden = a0 + move * direction, []
            for k in range(layer, self.net.depth):
                hidden.append(a)
                a = equations.preactivation(g(a), self.net.weights[k], self.net.biases[k])
            return float(equations.loss_from_logits(a, np.array([self.label]))[0]), hidden

        size = float(np.abs(direction).max())
        difference = central_difference(loss, STEP / max(size, 1.0))
        kinked = self.net.activation in ("relu", "leaky_relu")
        return difference if kinked else replace(difference, kink=False)

    def _paths(
        self, layer: int, unit: int, input_value: float, logit_grad: Array, total: float, count: int = 5
    ) -> tuple[int, list[Path]]:
        """How many paths there are, and the strongest: the best few to each unit, layer by layer, contain them."""
        best: list[list[tuple[float, list[int]]]] = [[] for _ in range(self.net.widths[layer])]
        best[unit - 1] = [(input_value, [unit])]
        n_paths = 1
        for k in range(layer, self.net.depth):
            weights, slope = self.net.weights[k], self.derivatives[k - 1]
            n_paths *= len(weights)
            alive = [(p * slope[u], units) for u, some in enumerate(best) for p, units in some if p * slope[u] != 0]
            best = []
            for v in range(len(weights)):
                steps = [(p * weights[v, units[-1] - 1], [*units, v + 1]) for p, units in alive]
                best.append(sorted(steps, key=lambda step: -abs(step[0]))[:count])
        ends = [(p * logit_grad[u], units) for u, some in enumerate(best) for p, units in some]
        ends = sorted(ends, key=lambda end: -abs(end[0]))[:count]
        return n_paths, [Path(u, float(p), float(p) / total if total else 0.0) for p, u in ends if p != 0]

    def to_dict(self) -> dict[str, Any]:
        """Forward values, gradients and output units as JSON data, with the version of its form."""
        return {
            "version": JSON_VERSION,
            "label": self.label,
            "loss": self.loss,
            "preactivations": [a[0].tolist() for a in self.forward.preactivations],
            "activations": [h[0].tolist() for h in self.forward.activations],
            "grad_preactivations": [g[0].tolist() for g in self.backward.grad_preactivations],
            "output_units": [asdict(unit) for unit in self.output_units()],
        }


def _weight_symbol(layer: int, unit: int, source: int) -> str:
    between = "" if max(unit, source) < 10 else ","
    return f"W{subscript(layer)}{between}{subscript(unit)}{between}{subscript(source)}"


def _names(name: str, names: Sequence[Any] | None, count: int, otherwise: str) -> list[str]:
    if names is None:
        return [f"{otherwise}{i}" for i in range(1, count + 1)]
    if len(names) != count:
        raise InputError(f"{name}: got {len(names)} names, expected {count}")
    return [str(n) for n in names]
