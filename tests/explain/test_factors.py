"""Each factor of a chain: against fifty digits, differences and `Network.backward`, and where it breaks."""

import itertools
import json
import math

import mpmath
import numpy as np
import pytest

from chainrule import Network, equations
from chainrule.errors import InputError
from chainrule.explain import explain

NETWORKS = {
    "64-64-10": ([64, 64, 10], "relu"),
    "784-128-10": ([784, 128, 10], "relu"),
    "4-8-3": ([4, 8, 3], "tanh"),
    "ten hidden layers of 16": ([16] * 11 + [10], "logistic"),
    "ten hidden layers of 16, relu": ([16] * 11 + [10], "relu"),
    "1-1-1-1": ([1, 1, 1, 1], "tanh"),
    "1-1-1-2": ([1, 1, 1, 2], "softplus"),
    "2000-512-1000": ([2000, 512, 1000], "gelu"),
    "no hidden layer": ([5, 3], "relu"),
}


def make(name, seed=0):
    widths, activation = NETWORKS[name]
    net = Network.create(widths, activation=activation, seed=seed, dtype="float64")
    random = np.random.default_rng(seed + 1)
    for bias in net.biases:
        bias += random.normal(size=bias.shape) * 0.1
    return net, random.normal(size=widths[0])


@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_chain_is_what_backward_says_and_every_check_is_good(name):
    net, x = make(name)
    explanation = explain(net, x, net.widths[-1] - 1)
    truth = net.backward(net.forward(x[None]), [net.widths[-1] - 1])
    random = np.random.default_rng(2)
    for layer in range(1, net.depth + 1):
        unit, source = (int(random.integers(net.widths[k])) for k in (layer, layer - 1))
        chain = explanation.weight(layer, unit + 1, source + 1)
        grad = truth.grad_preactivations[layer - 1][0, unit]
        scale = float(np.abs(truth.grad_preactivations[layer - 1]).max()) * abs(
            truth._activations[layer - 1][0, source]
        )
        assert chain.product == pytest.approx(
            grad * truth._activations[layer - 1][0, source], rel=1e-12, abs=1e-14 * scale
        )
        assert explanation.unit(layer, unit + 1).product == pytest.approx(grad, rel=1e-12, abs=1e-14 * scale)
        for group in chain.groups:
            assert group.verdict == "good", group.heading
            for factor in group.factors:
                assert factor.verdict == "good", factor.symbol
                assert factor.held_fixed
            if group.kind != "weight":
                np.testing.assert_allclose(group.gradient, truth.grad_preactivations[group.layer - 1][0], rtol=1e-12)
        assert chain.verdict == "good"
    report = explanation.check()
    assert report
    assert {row.group for row in report.rows} >= {"the output layer", "the weight itself", "the product"}
    assert all(row.verdict == "good" for row in report.rows)
    assert "all" in report.to_text()


def test_the_factors_of_a_thin_network_at_fifty_digits():
    weights, biases, x = [[[0.7]], [[-1.3]], [[0.4], [-2.1]]], [[0.1], [0.2], [0.3, -0.4]], 0.9
    net = Network([np.array(w) for w in weights], [np.array(b) for b in biases], "tanh")
    chain = explain(net, [x], 1).weight(1, 1, 1)
    with mpmath.workdps(50):
        m = mpmath.mpf
        a1 = m(weights[0][0][0]) * m(x) + m(biases[0][0])
        a2 = m(weights[1][0][0]) * mpmath.tanh(a1) + m(biases[1][0])
        h2 = mpmath.tanh(a2)
        a3 = [m(weights[2][i][0]) * h2 + m(biases[2][i]) for i in range(2)]
        e = [mpmath.exp(a) for a in a3]
        p = [v / sum(e) for v in e]
        truth = {
            "∂𝓛/∂ŷ": [0, -1 / p[1]],
            "∂ŷ/∂a₃": [[p[i] * ((i == j) - p[j]) for j in range(2)] for i in range(2)],
            "∂a₃/∂h₂": [[m(weights[2][i][0])] for i in range(2)],
            "∂h₂/∂a₂": [1 - h2**2],
            "∂a₂/∂h₁": [[m(weights[1][0][0])]],
            "∂h₁/∂a₁": [1 - mpmath.tanh(a1) ** 2],
            "∂a₁/∂W₁₁₁": m(x),
        }
        grad = sum((p[i] - (i == 1)) * m(weights[2][i][0]) for i in range(2))
        grad = grad * (1 - h2**2) * m(weights[1][0][0]) * (1 - mpmath.tanh(a1) ** 2) * m(x)
        truth = {symbol: np.array(value, dtype=np.float64) for symbol, value in truth.items()}
        grad, wanted = float(grad), float(p[0])
    factors = {f.symbol: f for g in chain.groups for f in g.factors}
    assert list(factors) == list(truth)
    for symbol, value in truth.items():
        assert factors[symbol].diagonal == symbol.startswith("∂h")
        np.testing.assert_allclose(np.array(factors[symbol].value), value, rtol=1e-14, err_msg=symbol)
        place = tuple(i - 1 for i in factors[symbol].element)
        assert factors[symbol].finite_difference == pytest.approx(value[place if value.ndim else ()], rel=1e-9)
        assert factors[symbol].shape == value.shape
    np.testing.assert_allclose(chain.groups[0].fused.value, [wanted, -wanted], rtol=1e-14)
    assert chain.product == pytest.approx(grad, rel=1e-13)
    assert chain.finite_difference == pytest.approx(grad, rel=1e-8)


@pytest.mark.parametrize("k", [2, 10, 40])
def test_both_routes_meet(k):
    net, x = make("4-8-3")
    net = Network([np.random.default_rng(0).normal(size=(k, 4))], [np.zeros(k)])
    group = explain(net, x, 1).weight(1, 1, 1).groups[0]
    through, jacobian = group.factors
    row = np.array(jacobian.value) if jacobian.part else np.array(jacobian.value)[1]
    assert jacobian.part == ("row 2" if k == 40 else "")
    np.testing.assert_allclose(through.value[1] * row, group.fused.value, rtol=1e-12)
    logits = x @ net.weights[0].T
    p = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(group.fused.value, p - np.eye(k)[1], rtol=1e-12)
    np.testing.assert_allclose(row, p[1] * (np.eye(k)[1] - p), rtol=1e-12)


def logits_as_a_network(*logits):
    return Network([np.array(logits)[:, None]], [np.zeros(len(logits))])


def test_where_float32_breaks_is_said_with_its_numbers():
    explanation = explain(logits_as_a_network(0.0, -120.0), [1.0], 1)
    chain = explanation.weight(1, 2, 1)
    assert chain.product == pytest.approx(-1, rel=1e-15)
    assert chain.verdict == "good"
    assert all(f.verdict == "good" for g in chain.groups for f in g.factors)  # float64 goes this far
    assert chain.groups[0].factors[0].value[1] == pytest.approx(-math.exp(120), rel=1e-13)
    (found,) = [f for f in explanation.diagnosis() if f.kind == "float32 route breaks"]
    assert found.text in [f.text for f in chain.findings]
    # the same by hand in float32
    a = np.array([0, -120], dtype=np.float32)
    p = np.exp(a) / np.exp(a).sum(dtype=np.float32)
    with np.errstate(all="ignore"):
        through = np.array([0, -1 / p[1]], dtype=np.float32)
        product = through @ (np.diag(p) - np.outer(p, p))
    assert p.dtype == product.dtype == np.float32
    assert found.evidence["probability"] == p[1] == 0
    assert found.evidence["grad_probability"] == through[1] == -np.inf
    assert np.isnan(found.evidence["product"]).all()
    assert np.isnan(product).all()
    assert found.evidence["exact"] == pytest.approx([1, -1])
    assert "−∞" in found.text
    assert "NaN" in found.text
    data = json.loads(json.dumps(chain.to_dict(), allow_nan=False))
    evidence = next(f for f in data["findings"] if f["kind"] == found.kind)["evidence"]
    assert evidence["grad_probability"] == "-Infinity"
    assert evidence["product"] == ["NaN", "NaN"]
    # where it does not break, nothing is said
    for label in (0, 1):
        said = [f.kind for f in explain(logits_as_a_network(0.0, -8.0), [1.0], label).diagnosis()]
        assert not {"float32 route breaks", "rounded to zero"} & set(said)
    only = explain(logits_as_a_network(3.0), [1.0], 0)  # of one class, whose gradient is 0 in truth
    assert "rounded to zero" not in [f.kind for f in only.diagnosis()]


def test_where_float64_breaks_too():
    chain = explain(logits_as_a_network(0.0, -1200.0), [1.0], 1).weight(1, 2, 1)
    through = chain.groups[0].factors[0]
    assert through.value[1] == -math.inf
    assert through.verdict == "underflow"
    assert chain.product == -1
    assert chain.loss == 1200
    assert explain(logits_as_a_network(0.0, -1200.0), [1.0], 1).check()
    json.dumps(chain.to_dict(), allow_nan=False)


def test_a_gradient_that_float32_rounds_to_zero():
    explanation = explain(logits_as_a_network(0.0, -40.0), [1.0], 0)
    (found,) = [f for f in explanation.diagnosis() if f.kind == "rounded to zero"]
    p = np.float32(1) / (np.float32(1) + np.exp(np.float32(-40)))
    assert found.evidence["ordinary"] == p - np.float32(1) == 0
    with mpmath.workdps(50):
        truth = float(-mpmath.exp(-40) / (1 + mpmath.exp(-40)))
    assert found.evidence["exact"] == pytest.approx(truth, rel=1e-14, abs=0)
    chain = explanation.weight(1, 1, 1)
    assert chain.product == pytest.approx(truth, rel=1e-14, abs=0)
    assert chain.finite_difference == pytest.approx(truth, rel=1e-7, abs=0)
    jacobian = chain.groups[0].factors[1]  # ŷ₁ŷ₂ on its diagonal, and less than nothing beside it
    np.testing.assert_allclose(jacobian.value, [[-truth, truth], [truth, -truth]], rtol=1e-14)
    assert jacobian.checked == jacobian.value[0][jacobian.element[1] - 1]
    assert jacobian.finite_difference == pytest.approx(jacobian.checked, rel=1e-7, abs=0)


def test_a_wrong_derivative_is_found(monkeypatch):
    net, x = make("4-8-3")
    right = equations.ACTIVATIONS["tanh"]
    wrong = right._replace(derivative=lambda a: 1.001 * right.derivative(a))
    monkeypatch.setitem(equations.ACTIVATIONS, "tanh", wrong)
    explanation = explain(net, x, 0)
    report = explanation.check()
    assert not report
    assert not report.ok
    found = {row.quantity: row.verdict for row in report.rows}
    assert found["∂h₁/∂a₁"] == found["∂𝓛/∂a₁"] == "wrong"
    assert found["∂a₂/∂h₁"] == found["∂𝓛/∂a₂"] == "good"
    assert explanation.weight(1, 1, 1).verdict == "wrong"
    assert "wrong" in report.to_text().splitlines()[-1]


def test_a_wrong_backward_is_found():
    net, x = make("4-8-3")
    explanation = explain(net, x, 0)
    explanation.backward.grad_preactivations[0][0] *= 1 + 1e-6
    assert {row.quantity for row in explanation.check().rows if row.verdict == "wrong"} == {
        "∂𝓛/∂a₁", f"∂𝓛/∂{explanation.weight(*explanation.strongest_weight(1)).symbol}",
    }  # fmt: skip


def test_kinks_are_called_kinks():
    net = Network([np.array([[1.0], [2.0]]), np.array([[1.0, 1.0], [-1.0, 0.5]])], [np.array([-1.0, 0.3]), np.zeros(2)])
    chain = explain(net, [1.0], 0).weight(1, 1, 1)  # a₁,₁ = 0 exactly
    slope = chain.groups[1].factors[1]
    assert (slope.verdict, slope.element) == ("kink", (1,))
    assert chain.verdict == "kink"
    assert explain(net, [1.0], 0).check()
    # on its own side of the kink, however near, there is a derivative to compare with
    for near in (1 + 1e-6, 1 - 1e-6):
        chain = explain(net, [near], 0).weight(1, 1, 1)
        assert chain.groups[1].factors[1].verdict == "good"


@pytest.mark.parametrize("activation", list(equations.ACTIVATIONS))
def test_nothing_right_is_called_wrong(activation):
    """Steep, flat, saturated and tiny: networks at whose numbers a difference with one fixed step would fail."""
    random = np.random.default_rng(len(activation))
    for seed in range(12):
        widths = [int(n) for n in random.integers(1, 12, size=random.integers(2, 7))]
        net = Network.create(widths, activation=activation, seed=seed, dtype="float64")
        scale = 10 ** random.uniform(-3, 1.3)
        net = Network([w * scale for w in net.weights], [random.normal(size=len(b)) for b in net.biases], activation)
        x = random.normal(size=widths[0]) * 10 ** random.uniform(-3, 2)
        report = explain(net, x, int(random.integers(widths[-1]))).check()
        assert report, report.to_text()
        assert sum(row.verdict == "good" for row in report.rows) >= 0.8 * len(report.rows) - 1


def test_a_batchs_mean_is_a_factor_of_its_own():
    net, _ = make("4-8-3")
    x, labels = np.random.default_rng(5).normal(size=(6, 4)), [0, 1, 2, 2, 1, 0]
    mean = net.backward(net.forward(x), labels)
    for place in ((1, 3, 2), (2, 1, 8)):
        chains = [explain(net, row, label, batch_size=6).weight(*place) for row, label in zip(x, labels, strict=True)]
        together = sum(chain.product for chain in chains)
        assert together == pytest.approx(mean.grad_weights[place[0] - 1][place[1] - 1, place[2] - 1], rel=1e-11)
        first = chains[0].groups[0]
        assert (first.kind, first.factors[0].symbol, first.factors[0].value) == ("mean", "∂J/∂𝓛", 1 / 6)
        assert first.verdict == "good"
        assert chains[0].product == pytest.approx(explain(net, x[0], 0).weight(*place).product / 6, rel=1e-14)
        assert chains[0].finite_difference == pytest.approx(chains[0].product, rel=1e-7)
        assert chains[0].of == "J"
        assert math.prod(chains[0].paths[0].factors) == pytest.approx(chains[0].paths[0].product, rel=1e-13)
    assert explain(net, x[0], 0, batch_size=6).check()
    with pytest.raises(InputError, match="batch_size: got 0, expected an integer >= 1"):
        explain(net, x[0], 0, batch_size=0)


def test_large_factors_are_given_by_the_part_that_matters():
    net, x = make("2000-512-1000")
    explanation = explain(net, x, 7)
    chain = explanation.weight(1, 30, 40)
    jacobian, weights = chain.groups[0].factors[1], chain.groups[1].factors[0]
    p = net.forward(x[None]).probabilities[0]
    assert (jacobian.shape, jacobian.part) == ((1000, 1000), "row 8")
    np.testing.assert_allclose(jacobian.value, p[7] * (np.eye(1000)[7] - p), rtol=1e-11)
    assert (weights.shape, weights.part) == ((1000, 512), "column 30")
    assert weights.value == net.weights[1][:, 29].tolist()
    assert weights.checked == net.weights[1][weights.element[0] - 1, weights.element[1] - 1]
    assert abs(weights.checked) == np.abs(net.weights[1][:, 29]).max()
    assert len(json.dumps(chain.to_dict())) < 300_000


def test_every_number_says_where_it_stands():
    net, x = make("4-8-3")
    explanation = explain(net, x, 1)
    for group in explanation.weight(1, 2, 3).groups:
        for f in [*group.factors, *([group.fused] if group.fused else [])]:
            value = np.array(f.value)
            assert value.shape == f.shape
            assert value[tuple(i - 1 for i in f.element)] == f.checked
        assert abs(group.gradient[group.element - 1]) == max(map(abs, group.gradient))


@pytest.mark.parametrize(
    ("x", "label", "message"),
    [
        ([math.nan, 0, 0, 0], 0, "x: got nan at index 0"),
        ([0, 0, 0, math.inf], 0, "x: got inf at index 3"),
        ([1, 2, 3, "a"], 0, "x: got dtype"),
        ([[1, 2], [3]], 0, "x: got list, expected an array"),
        ([0, 0, 0, 0], 3, r"label: got 3, expected an integer in \[0, 3\)"),
        ([0, 0, 0, 0], "cow", "label: got 'cow', expected the name of one class"),
        ([0, 0, 0, 0], True, "label: got True"),
    ],
)
def test_examples_that_cannot_be_explained(x, label, message):
    net, _ = make("4-8-3")
    with pytest.raises(InputError, match=message):
        explain(net, x, label)


def test_other_bad_input():
    net, x = make("4-8-3")
    net.weights[1][0, 0] = math.inf
    with pytest.raises(InputError, match="a₂: got"):
        explain(net, x, 0)
    net, x = make("4-8-3")
    for image in ((2, 3), (4,), 4, (2.0, 2), "2x2"):
        with pytest.raises(InputError, match="image"):
            explain(net, x, 0, image=image)
    assert explain(net, x, 0, image=(2, 2)).image == (2, 2)
    assert explain(net, x, "dog", classes=["cat", "dog", "emu"]).label == 1
    for place in itertools.product((0, 1, 3), (0, 9), (0, 5)):
        with pytest.raises(InputError, match="counted from 1"):
            explain(net, x, 0).weight(*place)
