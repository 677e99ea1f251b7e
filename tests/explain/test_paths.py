"""The strongest paths against walking them all, what a step does, what is found, and the weight that is named."""

import itertools
import math

import numpy as np
import pytest

from chainrule import Network
from chainrule.errors import InputError
from chainrule.explain import explain
from chainrule.explain.paths import strongest_paths


def walk(weights, slopes, logit_grad, layer, unit, value):
    """Every path's units (from 1) and product, by plain multiplication."""
    found = {}
    for units in itertools.product(*(range(len(w)) for w in weights[layer:])):
        at, product = unit, value
        for k, above in enumerate(units, start=layer):
            product *= slopes[k - 1][at] * weights[k][above, at]
            at = above
        found[unit + 1, *(u + 1 for u in units)] = product * logit_grad[at]
    return found


@pytest.mark.parametrize(
    "widths", [[3, 4, 5, 3], [2, 6, 4, 5, 3], [1, 1, 1, 1], [4, 3], [3, 2, 2, 2, 2, 2, 2], [2, 9, 7]]
)
@pytest.mark.parametrize("count", [1, 5, 12])
@pytest.mark.parametrize("closed", [False, True])
def test_the_strongest_paths_of_all(widths, count, closed):
    random = np.random.default_rng(sum(widths) + count)
    weights = [
        random.normal(size=(u, d)) * random.choice([0.1, 1, 10], size=(u, d)) for d, u in itertools.pairwise(widths)
    ]
    slopes = [random.normal(size=w) * (random.random(w) > 0.4 * closed) for w in widths[1:-1]]
    logit_grad = random.normal(size=widths[-1])
    for layer in range(1, len(weights) + 1):
        unit = int(random.integers(widths[layer]))
        truth = walk(weights, slopes, logit_grad, layer, unit, 1.7)
        best = sorted((p for p in truth.items() if p[1] != 0), key=lambda item: -abs(item[1]))[:count]
        found = strongest_paths(weights, slopes, logit_grad, layer, unit, 1.7, count=count)
        assert found.n_paths == len(truth)
        assert [tuple(path.units) for path in found.strongest] == [units for units, _ in best]
        np.testing.assert_allclose([path.product for path in found.strongest], [v for _, v in best], rtol=1e-12)
        total, sizes = math.fsum(truth.values()), math.fsum(map(abs, truth.values()))
        for path in found.strongest:
            assert path.share == pytest.approx(path.product / total, rel=1e-9)
            assert math.prod(path.factors) == pytest.approx(path.product, rel=1e-12)
        together = math.fsum(v for _, v in best)
        assert found.share == pytest.approx(together / total if total else 0, rel=1e-9)
        assert found.share_of_sizes == pytest.approx(
            math.fsum(abs(v) for _, v in best) / sizes if sizes else 0, rel=1e-9
        )


def test_wide_layers_are_walked_in_parts(monkeypatch):
    random = np.random.default_rng(0)
    weights = [random.normal(size=(u, d)) for d, u in itertools.pairwise([3, 30, 40, 50])]
    slopes, logit_grad = [random.normal(size=30), random.normal(size=40)], random.normal(size=50)
    whole = strongest_paths(weights, slopes, logit_grad, 1, 2, 1.0)
    monkeypatch.setattr("chainrule.explain.paths.CHUNK", 7)
    assert strongest_paths(weights, slopes, logit_grad, 1, 2, 1.0) == whole
    truth = walk(weights, slopes, logit_grad, 1, 2, 1.0)
    assert tuple(whole.strongest[0].units) == max(truth, key=lambda units: abs(truth[units]))


def test_ten_hidden_layers():
    net = Network.create([16] * 11 + [10], activation="tanh", seed=0, dtype="float64")
    x = np.random.default_rng(1).normal(size=16)
    explanation = explain(net, x, 3)
    chain = explanation.weight(1, 5, 6)
    assert chain.n_paths == 16**9 * 10
    # the strongest of all by the largest product to each unit
    forward = net.forward(x[None])
    best = np.zeros(16)
    best[4] = abs(x[5])
    for k in range(1, 11):
        slope = 1 - np.tanh(forward.preactivations[k - 1][0]) ** 2
        best = (np.abs(net.weights[k]) * (best * slope)).max(axis=1)
    p = forward.probabilities[0] - np.eye(10)[3]
    assert abs(chain.paths[0].product) == pytest.approx((best * np.abs(p)).max(), rel=1e-11)
    assert len({tuple(path.units) for path in chain.paths}) == 5


def make(widths=(4, 8, 6, 3), activation="tanh", seed=0, scale=1.0):
    net = Network.create(widths, activation=activation, seed=seed, dtype="float64")
    for weights in net.weights:
        weights *= scale
    return net, np.random.default_rng(seed + 1).normal(size=widths[0])


def gradients(net, x, label):
    return net.backward(net.forward(x[None]), [label]).grad_weights


def test_the_strongest_weight_of_a_layer_and_of_all():
    for seed in range(5):
        net, x = make(seed=seed)
        explanation = explain(net, x, 0)
        grads = [np.abs(g) for g in gradients(net, x, 0)]
        for layer, grad in enumerate(grads, start=1):
            _, unit, source = explanation.strongest_weight(layer)
            assert grad[unit - 1, source - 1] == grad.max()
        layer, unit, source = explanation.strongest_weight()
        assert grads[layer - 1][unit - 1, source - 1] == max(grad.max() for grad in grads)
    with pytest.raises(InputError, match="layer: got 4, expected 1 to 3"):
        explanation.strongest_weight(4)


@pytest.mark.parametrize("lr", [1e-6, 0.01, 0.5])
def test_a_step(lr):
    net, x = make()
    step = explain(net, x, 2).step(lr, count=7)
    backward = net.backward(net.forward(x[None]), [2])
    parts = [*backward.grad_weights, *backward.grad_biases]
    squared = sum(float((g**2).sum()) for g in parts)
    assert step.squared_norm == pytest.approx(squared, rel=1e-12)
    assert step.predicted_loss == pytest.approx(step.loss - lr * squared, rel=1e-12)
    h = x
    for k, (w, b) in enumerate(zip(net.weights, net.biases, strict=True)):
        h = (w - lr * backward.grad_weights[k]) @ h + b - lr * backward.grad_biases[k]
        h = np.tanh(h) if k < 2 else h
    assert step.true_loss == pytest.approx(math.log(np.exp(h).sum()) - h[2], rel=1e-11)
    if lr == 1e-6:
        assert (step.loss - step.true_loss) == pytest.approx(step.loss - step.predicted_loss, rel=1e-4)
    every = [
        (abs(g), k, u, i, w)
        for k, (grad, weights) in enumerate(zip(backward.grad_weights, net.weights, strict=True), start=1)
        for (u, i), g, w in zip(np.ndindex(grad.shape), grad.ravel(), weights.ravel(), strict=True)
    ]
    every.sort(key=lambda move: -move[0])
    assert [(m.layer, m.unit, m.input) for m in step.moves] == [(k, u + 1, i + 1) for _, k, u, i, _ in every[:7]]
    for move, (size, *_, w) in zip(step.moves, every, strict=False):
        assert move.before == w
        assert abs(move.after - move.before) == pytest.approx(lr * size, rel=1e-6)
    x[0] = 0  # of a weight whose gradient is 0, no move
    every = explain(net, x, 2).step(lr, count=1000).moves
    assert len(every) == 8 * 3 + 6 * 8 + 3 * 6
    assert (1, 1) not in {(move.layer, move.input) for move in every}
    assert step.to_dict()["moves"][0]["before"] == step.moves[0].before


@pytest.mark.parametrize("lr", [0, -1, math.nan, "a"])
def test_a_step_that_is_none(lr):
    net, x = make()
    with pytest.raises(InputError, match="lr: got"):
        explain(net, x, 2).step(lr)


def kinds(net, x, label, **options):
    return {f.kind: f for f in explain(net, x, label, **options).diagnosis()}


def test_a_probable_wrong_label():
    net = Network([np.array([[3.0], [0.0], [-1.0]])], [np.zeros(3)])
    p = np.exp([3, 0, -1]) / np.exp([3, 0, -1]).sum()
    assert p[0] > 0.9
    found = kinds(net, [1.0], 1, classes=["cat", "dog", "emu"])["probable wrong label"]
    assert found.evidence["class"] == "cat"
    assert found.evidence["class_probability"] == pytest.approx(p[0])
    assert found.evidence["label_probability"] == pytest.approx(p[1])
    assert found.evidence["output_gradient_norm"] == pytest.approx(np.linalg.norm(p - [0, 1, 0]))
    assert "“cat”" in found.text
    assert "“dog”" in found.text
    assert "probable wrong label" not in kinds(net, [0.6], 1)  # 0.8 is not enough
    assert "probable wrong label" not in kinds(net, [1.0], 0)
    assert "learned" in kinds(net, [3.0], 0)
    for probability, learned in ((0.9985, False), (0.9992, True)):
        two = Network([np.array([[math.log(probability / (1 - probability))], [0.0]])], [np.zeros(2)])
        assert ("learned" in kinds(two, [1.0], 0)) == learned


def test_dead_and_saturated_units():
    net, x = make((4, 8, 3), "relu")
    net.biases[0][:] = [-100] * 6 + [100] * 2
    found = kinds(net, x, 0)["dead units"]
    assert found.evidence == {"layer": 1, "dead": 6, "width": 8, "units": [1, 2, 3, 4, 5, 6]}
    net.biases[0][0] = 100
    assert "dead units" not in kinds(net, x, 0)  # five of eight are below three quarters
    net.biases[0][:] = -100
    every = kinds(net, x, 0)
    assert "No gradient passes" in every["dead units"].text
    assert explain(net, x, 0).weight(1, 1, 1).product == 0
    assert "its unit is off" in explain(net, x, 0).weight(1, 1, 1).why
    net, x = make((4, 8, 3), "tanh")
    assert "saturated units" not in kinds(net, x, 0)
    net.biases[0][3:5] = 9
    found = kinds(net, x, 0)["saturated units"]
    assert found.evidence["units"] == [4, 5]
    slopes = 1 - np.tanh(net.forward(x[None]).preactivations[0][0, 3:5]) ** 2
    assert found.evidence["largest_slope"] == pytest.approx(slopes.max(), rel=1e-6)


@pytest.mark.parametrize(("activation", "steepest"), [("tanh", 1.0), ("logistic", 0.25)])
@pytest.mark.parametrize(("share", "saturated"), [(0.0098, 2), (0.0102, 0), (0.0098, 1)])
def test_saturated_is_a_quarter_of_the_units_below_a_hundredth_of_the_steepest_slope(
    activation, steepest, share, saturated
):
    """Two of eight units, or one, just above or below the hundredth: g′ = g(1 − g) or 1 − g²."""
    root = math.sqrt(1 - share)  # (1 + root)/2 and root have that share of the steepest slope
    at = math.atanh(root) if activation == "tanh" else 2 * math.atanh(root)
    biases = np.zeros(8)
    biases[: saturated or 2] = at
    net = Network([np.zeros((8, 1)), np.ones((2, 8))], [biases, np.zeros(2)], activation)
    found = kinds(net, [1.0], 0).get("saturated units")
    assert (found is not None) == (saturated == 2)
    if found:
        assert found.evidence["units"] == [1, 2]
        assert found.evidence["largest_slope"] == pytest.approx(share * steepest, rel=1e-9)


@pytest.mark.parametrize("ratio", [1 / 1100, 1 / 900, 900, 1100])
def test_a_gradient_drifts_by_a_factor_of_a_thousand(ratio):
    net = Network(
        [np.ones((1, 1)), np.array([[ratio], [-ratio]]) / math.sqrt(2)], [np.zeros(1), np.zeros(2)], "identity"
    )
    found = kinds(net, [1e-9], 0)
    wanted = {1 / 1100: {"vanishing gradient"}, 1100: {"exploding gradient"}}.get(ratio, set())
    assert {"vanishing gradient", "exploding gradient"} & set(found) == wanted
    for kind in wanted:
        assert found[kind].evidence["ratio"] == pytest.approx(ratio, rel=1e-6)


@pytest.mark.parametrize(("scale", "kind"), [(0.3, "vanishing gradient"), (4.0, "exploding gradient"), (1.0, None)])
def test_gradients_that_vanish_or_explode(scale, kind):
    net, x = make([8] * 9 + [3], "identity", scale=scale)
    found = kinds(net, x * scale**-9, 0)
    assert {"vanishing gradient", "exploding gradient"} & set(found) == ({kind} if kind else set())
    if kind:
        grads = net.backward(net.forward(x[None] * scale**-9), [0]).grad_preactivations
        ratio = np.linalg.norm(grads[0]) / np.linalg.norm(grads[-1])
        assert found[kind].evidence["ratio"] == pytest.approx(ratio, rel=1e-10)
        assert not 1e-3 <= ratio <= 1e3
        np.testing.assert_allclose(found[kind].evidence["preactivation_norms"], [np.linalg.norm(g) for g in grads])
        weights = [np.linalg.norm(g) for g in gradients(net, x * scale**-9, 0)]
        np.testing.assert_allclose(found[kind].evidence["weight_norms"], weights, rtol=1e-10)
        assert f"The gradient {'shrinks' if scale < 1 else 'grows'} on its way back" in found[kind].text


def test_the_largest_gradient_and_why_another_is_nothing():
    net, x = make((4, 8, 3))
    x[0] = 0
    explanation = explain(net, x, 0, feature_names=["a", "b", "c", "d"], classes=["cat", "dog", "emu"])
    layer, unit, source = explanation.strongest_weight()
    found = kinds(net, x, 0)["largest gradient"]
    assert (layer, unit, source) == tuple(found.evidence[name] for name in ("layer", "unit", "input"))
    grads = gradients(net, x, 0)
    assert found.evidence["gradient"] == pytest.approx(grads[layer - 1][unit - 1, source - 1], rel=1e-12)
    assert abs(found.evidence["gradient"]) == pytest.approx(max(np.abs(g).max() for g in grads), rel=1e-12)
    assert explanation.why() == explanation.weight(layer, unit, source).why
    p = net.predict_proba(x[None])[0]
    assert f"“cat” the probability {p[0]:.3g} where 1 is right" in explanation.weight(2, 1, 1).why
    thin, x = make((1, 1, 1, 1))
    assert "ŷ is e(ℓ)" in explain(thin, x, 0).weight(1, 1, 1).why
    sure = explain(Network([np.array([[0.0], [-1.0], [-900.0]])], [np.zeros(3)]), [1.0], 1, classes=["a", "b", "c"])
    nothing = "W₁₃₁ has the gradient 0: the network gives “c” the probability 0, which is right."
    assert sure.weight(1, 3, 1).why == nothing
    assert explanation.weight(1, 5, 1).why == "W₁₅₁ has the gradient 0: its input, a, is 0."


def test_the_reasons_are_the_large_factors():
    """A weight whose error, whose weight on the way and whose input are large, each in its turn."""
    x = np.full(10, 0.01)
    x[3] = 5.0
    first, second = np.full((10, 10), 0.01), np.full((2, 10), 0.01)
    first[2, 3], second[1, 2] = 1.0, 3.0
    second[0, 0] = 0.02  # of two equal weights the paths would cancel
    net = Network([first, second], [np.zeros(10), np.zeros(2)], "identity")
    why = explain(net, x, 0, feature_names=[f"feature {i}" for i in range(10)]).weight(1, 3, 4).why
    p = net.predict_proba(x[None])[0]
    assert p[1] > 0.9
    assert "a large error of" in why
    rms = np.sqrt(np.mean(second**2))
    assert f"W₂₂₃ = 3, {3 / rms:.2g} times the root mean square of its layer" in why
    assert f"its input is {5 / np.sqrt(np.mean(x**2)):.2g} times the root mean square" in why
    assert "feature 3" in why
    delta = net.backward(net.forward(x[None]), [0]).grad_preactivations[0][0]
    large = abs(delta[2]) / np.sqrt(np.mean(delta**2))
    assert large > 2
    assert f"∂𝓛/∂a₁,₃ is {large:.2g} times the root mean square and the largest of its layer" in why
    assert why.endswith("times the root mean square and the largest of the inputs.")
    quiet = explain(net, x, 1).weight(1, 1, 1).why
    assert "a small error" in quiet
    assert "its input is" not in quiet


def test_of_a_path_the_largest_weight_is_told():
    weights = [np.eye(2), np.array([[1.0, 0.2], [0.2, 0.1]]), np.array([[9.0, 0.5], [0.2, 0.1]])]
    net = Network(weights, [np.zeros(2)] * 3, "identity")
    chain = explain(net, [0.1, 0.01], 1).weight(1, 1, 1)
    assert chain.paths[0].units == [1, 1, 1]
    large = 1 / np.sqrt(np.mean(weights[1] ** 2)), 9 / np.sqrt(np.mean(weights[2] ** 2))
    assert large[0] < large[1] < 2  # of the root mean square of its layer: not told
    assert chain.why.endswith("its strongest path back goes by W₃₁₁ = 9.")


@pytest.mark.parametrize(("times", "told"), [(1.9, False), (2.1, True)])
def test_large_is_twice_the_root_mean_square(times, told):
    x = np.ones(10)
    x[3] = times * 3 / math.sqrt(10 - times**2)  # so that it is `times` the root of their mean square
    net = Network([np.linspace(-1, 1, 20).reshape(2, 10)], [np.zeros(2)])
    why = explain(net, x, 0).weight(1, 1, 4).why
    assert (f"its input is {times:.2g} times the root mean square" in why) == told
    assert ("its input is" in why) == told


ALIKE = {  # widths and activation of networks all of whose weights of a layer are equal: ŷ − e(ℓ) sums to 0
    "two paths": ([3, 4, 2], "identity"), "ten": ([3, 4, 10], "tanh"), "deep": ([3, 7, 7, 7, 7, 3], "tanh"),
    "wide": ([3, 300, 200, 5], "gelu"),
}  # fmt: skip


@pytest.mark.parametrize("batch_size", [None, 8])
@pytest.mark.parametrize("name", ALIKE)
def test_paths_that_are_open_and_cancel(name, batch_size):
    """The sum is 0 for any numbers; what is computed of it is 0 or anything, by the order of summation."""
    widths, activation = ALIKE[name]
    weights = [np.full((u, d), 0.7 / d) for d, u in itertools.pairwise(widths)]
    net = Network(weights, [np.linspace(-0.5, 0.7, u) for u in widths[1:]], activation)
    explanation = explain(net, [1.0, -2.0, 0.5], 1, batch_size=batch_size)
    for layer in range(1, len(weights)):
        chain = explanation.weight(layer, 1, 2)
        assert chain.cancels
        largest = max(abs(path.product) for path in chain.paths)
        assert largest > 0
        said = f"{chain.symbol} has the gradient 0, but for rounding: its paths are open and cancel, the largest ±"
        assert chain.why.startswith(f"{said}{largest:.3g}".replace("-", "−"))
        assert [path.share for path in chain.paths] == [0] * len(chain.paths)
        assert chain.share == 0
        for view in (chain.to_text(), chain._repr_html_()):
            assert "% of the sum" not in view
            assert "no path" not in view
    last = explanation.weight(len(weights), 1, 1)  # one path
    assert not last.cancels
    assert "cancel" not in last.why


@pytest.mark.parametrize("left", [0.0, 1e-20, -3e-19])
def test_what_rounding_leaves_is_not_told(left, monkeypatch):
    """The same sentence for whatever a processor leaves of a sum that is 0."""
    net = Network([np.full((4, 3), 0.3), np.full((2, 4), 0.01)], [np.zeros(4), np.zeros(2)], "identity")
    backward = Network.backward

    def rounded(self, *arguments, **options):
        found = backward(self, *arguments, **options)
        found.grad_preactivations[0][:] = left
        return found

    truth = explain(net, [1.0, -2.0, 0.5], 1).weight(1, 2, 1).why
    monkeypatch.setattr(Network, "backward", rounded)
    assert explain(net, [1.0, -2.0, 0.5], 1).weight(1, 2, 1).why == truth


def test_a_small_gradient_is_not_taken_for_rounding():
    def sentence(second, x=(1.0, 2.0)):
        net = Network([np.full((2, 2), 0.3), np.array(second)], [np.zeros(2), np.zeros(2)], "identity")
        chain = explain(net, x, 0).weight(1, 1, 1)
        return chain.cancels, chain.why

    for apart in (1e-3, 1e-9, 1e-12):
        cancels, why = sentence([[0.5, 0.1], [0.5 * (1 + apart), 0.2]])
        assert not cancels
        assert "cancel" not in why
    assert sentence([[0.5, 0.1], [0.5, 0.2]])[0]
    assert sentence([[0.5, 0.1], [0.5, 0.2]], x=(0.0, 2.0))[1].endswith("has the gradient 0: its input, x1, is 0.")
    assert sentence([[0.0, 0.1], [0.0, 0.2]])[1].endswith("has the gradient 0: no path from it to the loss is open.")
    # of 100³⁰ paths the sizes add up to 10³⁰ times their sum, which is right all the same
    net = Network.create([100] * 31 + [10], activation="identity", seed=0, dtype="float64")
    explanation = explain(net, np.random.default_rng(0).normal(size=100), 0)
    assert not any(explanation.unit(1, unit).cancels for unit in range(1, 101, 11))
