"""How a chain is built: its groups, the factors in each with their differences, and the product."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from chainrule import equations
from chainrule.explain.chain import Chain
from chainrule.explain.example import Example, check_counted
from chainrule.explain.findings import example_findings, why
from chainrule.explain.paths import strongest_paths
from chainrule.explain.records import WHOLE, Factor, Group, Verdict
from chainrule.explain.symbols import unit_symbol, weight_symbol
from chainrule.network.differences import STEP, VERDICTS, factor_difference, judge_each, worst
from chainrule.notation import subscript

__all__ = ["build_chain"]

Array = npt.NDArray[np.float64]


def build_chain(e: Example, layer: int, unit: int, *inputs: int) -> Chain:
    """The chain to W_{unit,input} of a layer, or to a_{unit} without an input; each counted from 1."""
    net = e.net
    check_counted("layer", layer, net.depth)
    check_counted("unit", unit, net.widths[layer])
    for place in inputs:
        check_counted("input", place, net.widths[layer - 1])
    source = inputs[0] if inputs else None
    logit_grad = e.backward.grad_preactivations[-1][0]
    h = e.forward.activations[layer - 1][0]
    input_value = 1.0 if source is None else float(h[source - 1])
    scale = e.scale
    a = e.backward.grad_preactivations[layer - 1][0]
    found = strongest_paths(net.weights, e.derivatives, logit_grad, layer, unit - 1, input_value, scale=scale)
    cancels = bool(found.strongest) and abs(float(a[unit - 1])) <= float(e.rounding[layer - 1][unit - 1])
    if cancels:
        found = found._replace(strongest=[replace(path, share=0.0) for path in found.strongest], share=0.0)
    best = found.strongest[0] if found.strongest else None
    on_path = {layer: unit} if best is None else dict(enumerate(best.units, start=layer))

    by_factors = equations.sum_over_paths(
        net.weights, e.derivatives, equations.grad_logits(e.forward.logits[0], e.label), np.array([input_value]),
        layer, unit - 1, 0,
    )  # fmt: skip
    product = float(by_factors) * scale
    from_backward = float(a[unit - 1]) if source is None else e.gradient(layer, unit, source)
    direction = np.zeros(len(a))
    direction[unit - 1] = input_value
    difference, error, verdict = _along(e, layer, direction, from_backward)
    groups = [] if e.batch_size is None else [_mean_group(e, e.batch_size)]
    groups.append(_output_group(e))
    groups += [_hidden_group(e, k, on_path.get(k)) for k in range(net.depth - 1, layer - 1, -1)]
    if source is not None:
        groups.append(_weight_group(e, layer, unit, source, (difference, error, verdict)))
    symbol = unit_symbol(layer, unit) if source is None else weight_symbol(layer, unit, source)
    if source is None:
        held = f"every other pre-activation of layer {layer} and all that comes before it; what comes after follows"
    else:
        held = "the example and every other weight and bias; what comes after the weight follows"
    return Chain(
        symbol=symbol, layer=layer, unit=unit, input=source, label=e.label, loss=e.loss, groups=groups,
        product=product, from_backward=from_backward * scale, finite_difference=difference * scale,
        relative_error=error, verdict=verdict, n_paths=found.n_paths, paths=found.strongest, of=e.of,
        batch_size=e.batch_size, share=found.share, share_of_sizes=found.share_of_sizes,
        cancels=cancels, why=why(e, layer, unit, source, best, cancels=cancels), findings=example_findings(e),
        conventions=_conventions(e), held_fixed=held, explanation=e,
    )  # fmt: skip


def _conventions(e: Example) -> list[str]:
    mean = "Of this example alone: the 1/N of a batch's mean is in no number."
    if e.batch_size is not None:
        mean = f"Of this example's part in J, the mean loss of a batch of {e.batch_size}: 1/N is a factor of its own."
    return [
        mean,
        "Layers, units and inputs are counted from 1, as in W₁₁₁.",
        "Everything is computed in float64; the differences are central, of fourth order, link by link.",
        "For ∂𝓛/∂ŷ the other probabilities are held fixed: ŷ leaves the simplex.",
    ]


def _mean_group(e: Example, batch_size: int) -> Group:
    """J = (1/N) Σ 𝓛ₙ: its derivative w.r.t. this example's loss."""
    loss = e.loss
    difference, error, verdict = factor_difference(e.scale, lambda move: (loss + move) / batch_size, max(1.0, loss))
    held = "the other examples' losses"
    factor = Factor(
        "∂J/∂𝓛", f"1/N of the mean of N = {batch_size} losses", (), e.scale, difference, error, verdict, (), e.scale,
        held_fixed=held,
    )  # fmt: skip
    return Group(
        "the batch's mean", [factor], "𝓛", [e.scale], difference, error, verdict, "mean", e.net.depth, held_fixed=held
    )


def _output_group(e: Example) -> Group:
    depth, k, label = e.net.depth, e.net.widths[-1], e.label
    a, logits = subscript(depth), e.forward.logits[0]
    ell = float(e.forward.probabilities[0, label])
    grad = e.backward.grad_probabilities[0]
    with np.errstate(all="ignore"):
        by_probability = Factor(
            "∂𝓛/∂ŷ", f"−(1/ŷ{subscript('ℓ')}) e(ℓ)", (k,), grad.tolist(),
            *factor_difference(float(grad[label]), lambda move: -float(np.log(ell + move)), STEP * ell),
            (label + 1,), float(grad[label]), held_fixed="the other probabilities: ŷ leaves the simplex",
        )  # fmt: skip
    # ∂ŷ_ℓ/∂a_j for every j: the one row that −(1/ŷ_ℓ) e(ℓ) takes from the Jacobian
    exact = equations.grad_logits(logits, label)
    row = -equations.softmax(logits)[label] * exact
    j = int(np.abs(row).argmax())

    def at_label(move: float) -> float:
        """ŷ_ℓ, or ŷ_ℓ − 1 by the others where ŷ_ℓ is near 1: their derivatives are the same."""
        moved = logits.copy()
        moved[j] += move
        q = equations.softmax(moved)
        return float(q[label]) if ell <= 0.5 else -float(np.delete(q, label).sum())

    whole = k * k <= WHOLE
    jacobian = Factor(
        f"∂ŷ/∂a{a}", "softmax's Jacobian ŷᵢ(𝟙[i=j] − ŷⱼ)", (k, k),
        equations.softmax_jacobian(logits).tolist() if whole else row.tolist(),
        *factor_difference(float(row[j]), at_label), (label + 1, j + 1), float(row[j]),
        part="" if whole else f"row {label + 1}", held_fixed="the other logits",
    )  # fmt: skip
    reached = _reached(e, depth)
    place = reached[0]
    fused = Factor(
        f"∂𝓛/∂a{a}", "ŷ − e(ℓ), both factors as one", (k,), exact.tolist(), *reached[1:],
        (place + 1,), float(exact[place]), held_fixed="the other logits",
    )  # fmt: skip
    return _group(e, "the output layer", [by_probability, jacobian], "output", depth, reached, fused)


def _hidden_group(e: Example, k: int, unit: int | None) -> Group:
    """∂a_{k+1}/∂h_k · ∂h_k/∂a_k; `unit` (from 1) is the one whose column is shown where the matrix is large."""
    width, above = e.net.widths[k], e.net.widths[k + 1]
    low, high = subscript(k), subscript(k + 1)
    w, b = e.net.weights[k], e.net.biases[k]
    h, slopes = e.forward.activations[k][0], e.derivatives[k - 1]
    whole = above * width <= WHOLE
    column = 0 if unit is None else unit - 1
    if whole:
        i, j = (int(n) for n in np.unravel_index(np.abs(w).argmax(), w.shape))
    else:
        i, j = int(np.abs(w[:, column]).argmax()), column
    own = w[i]

    def preactivation(move: float) -> float:
        moved = h.copy()
        moved[j] += move
        return float(own @ moved + b[i])

    matrix = Factor(
        f"∂a{high}/∂h{low}", f"W{high}", (above, width), (w if whole else w[:, column]).tolist(),
        *factor_difference(float(own[j]), preactivation, STEP * max(1.0, abs(float(h[j])))), (i + 1, j + 1),
        float(own[j]), part="" if whole else f"column {column + 1}",
        held_fixed=f"W{high}, b{high} and the other units of h{low}",
    )  # fmt: skip
    differences, *unsure = (v[0] for v in e.differences.slopes[k - 1])
    errors, ranks = judge_each(slopes, differences, *unsure)
    place = worst(errors, ranks)
    slope = Factor(
        f"∂h{low}/∂a{low}", f"g′(a{low}), diagonal", (width,), slopes.tolist(), float(differences[place]),
        float(errors[place]), VERDICTS[ranks[place]], (place + 1,), float(slopes[place]), diagonal=True,
        held_fixed=f"the other units of a{low}",
    )  # fmt: skip
    return _group(e, f"hidden layer {k}", [matrix, slope], "hidden", k, _reached(e, k))


def _weight_group(e: Example, layer: int, unit: int, source: int, checked: tuple[float, float, Verdict]) -> Group:
    h = e.forward.activations[layer - 1][0]
    value = float(h[source - 1])
    w, b = e.net.weights[layer - 1][unit - 1], float(e.net.biases[layer - 1][unit - 1])
    symbol = weight_symbol(layer, unit, source)

    def preactivation(move: float) -> float:
        moved = w.copy()
        moved[source - 1] += move
        return float(moved @ h + b)

    held = "the inputs, the bias and the unit's other weights"
    factor = Factor(
        f"∂a{subscript(layer)}/∂{symbol}", f"its input, {e.input_name(layer, source)}", (), value,
        *factor_difference(value, preactivation, STEP * max(1.0, abs(float(w[source - 1])))), (), value,
        held_fixed=held,
    )  # fmt: skip
    reached = [e.gradient(layer, unit, source) * e.scale]
    difference, error, verdict = checked
    return Group(
        "the weight itself", [factor], symbol, reached, difference * e.scale, error, verdict, "weight", layer,
        held_fixed="the example and every other weight and bias",
    )  # fmt: skip


def _reached(e: Example, layer: int) -> tuple[int, float, float, Verdict]:
    """The largest element of ∂𝓛/∂a of a layer: its place, its difference, relative error and verdict."""
    grad = e.backward.grad_preactivations[layer - 1][0]
    place = int(np.abs(grad).argmax())
    direction = np.zeros(len(grad))
    direction[place] = 1.0
    return place, *_along(e, layer, direction, float(grad[place]))


def _along(e: Example, layer: int, direction: Array, value: float) -> tuple[float, float, Verdict]:
    """Of the loss as a_layer moves: the difference, its relative error, and the verdict on `value`."""
    difference, floor, kink = e.differences.along(layer, direction[None])
    errors, ranks = judge_each(np.array([value]), difference[None], floor, kink)
    return float(difference), float(errors[0]), VERDICTS[ranks[0]]


def _group(
    e: Example, heading: str, factors: list[Factor], kind: str, layer: int,
    reached: tuple[int, float, float, Verdict], fused: Factor | None = None,
) -> Group:  # fmt: skip
    """The group, with the gradient that it reaches and how the largest element of that was checked."""
    place, difference, error, verdict = reached
    values: list[float] = (e.backward.grad_preactivations[layer - 1][0] * e.scale).tolist()
    return Group(
        heading, factors, f"a{subscript(layer)}", values, difference * e.scale, error, verdict, kind, layer,
        place + 1, fused, f"the other units of a{subscript(layer)} and all that comes before them",
    )  # fmt: skip
