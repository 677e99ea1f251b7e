"""The chain explained: its numbers against PyTorch's, its paths against walking them all, its page against its data."""

import itertools
import json

import numpy as np
import pytest

from chainrule import Network
from chainrule.errors import InputError
from chainrule.explain import chain_text, explain, write_page

NASTY = "<script>alert(1)</script>"


def make(widths, activation="tanh", seed=0):
    net = Network.create(widths, activation=activation, seed=seed, dtype="float64")
    for bias in net.biases:
        bias += 0.1
    return net, np.random.default_rng(seed + 1).normal(size=widths[0])


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("widths", [[1, 1, 1, 2], [3, 4, 3, 2], [5, 3]])
def test_every_weight_equals_pytorch(widths, activation):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    net, x = make(widths, activation)
    weights = [torch.tensor(w, requires_grad=True) for w in net.weights]
    h = torch.tensor(x)
    for k, (w, b) in enumerate(zip(weights, net.biases, strict=True)):
        h = w @ h + torch.tensor(b)
        if k < len(weights) - 1:
            h = torch.relu(h) if activation == "relu" else torch.tanh(h)
    torch.nn.functional.cross_entropy(h[None], torch.tensor([1])).backward()
    explanation = explain(net, x, 1)
    for layer, w in enumerate(weights, start=1):
        for unit, source in itertools.product(range(w.shape[0]), range(w.shape[1])):
            chain = explanation.weight(layer, unit + 1, source + 1)
            truth = float(w.grad[unit, source])
            assert chain.product == pytest.approx(truth, rel=1e-11, abs=1e-15)
            assert chain.from_backward == pytest.approx(truth, rel=1e-11, abs=1e-15)
            assert chain.finite_difference == pytest.approx(truth, rel=1e-5, abs=1e-9)
            assert chain.verdict != "wrong"
    assert explanation.check()


def test_the_factors_of_a_thin_network_multiply_to_the_product():
    net, x = make([1, 1, 1, 2])
    chain = explain(net, x, 0).weight(1, 1, 1)
    assert [g.heading for g in chain.groups] == [
        "the output layer", "hidden layer 2", "hidden layer 1", "the weight itself",
    ]  # fmt: skip
    values = {f.symbol: np.array(f.value) for g in chain.groups for f in g.factors}
    gradient = values["∂𝓛/∂ŷ"] @ values["∂ŷ/∂a₃"] @ values["∂a₃/∂h₂"]
    product = gradient * values["∂h₂/∂a₂"] * values["∂a₂/∂h₁"] * values["∂h₁/∂a₁"] * values["∂a₁/∂W₁₁₁"]
    assert product.item() == pytest.approx(chain.product, rel=1e-12)
    assert chain.symbol == "W₁₁₁"


def test_the_strongest_paths_are_the_strongest():
    net, x = make([3, 4, 5, 3])
    chain = explain(net, x, 2).weight(1, 2, 3)
    assert chain.n_paths == 5 * 3
    forward = net.forward(x[None])
    a1, a2, logits = (a[0] for a in forward.preactivations)
    p = np.exp(logits) / np.exp(logits).sum() - np.eye(3)[2]
    products = {}
    for u, v in itertools.product(range(5), range(3)):
        slopes = (1 - np.tanh(a1[1]) ** 2) * (1 - np.tanh(a2[u]) ** 2)
        products[2, u + 1, v + 1] = x[2] * net.weights[1][u, 1] * net.weights[2][v, u] * slopes * p[v]
    best = sorted(products.items(), key=lambda item: -abs(item[1]))[:5]
    assert [tuple(path.units) for path in chain.paths] == [units for units, _ in best]
    np.testing.assert_allclose([path.product for path in chain.paths], [value for _, value in best], rtol=1e-10)
    assert sum(products.values()) == pytest.approx(chain.product, rel=1e-10)
    assert chain.paths[0].share == pytest.approx(best[0][1] / chain.product)


def test_a_unit_is_its_bias():
    net, x = make([3, 4, 2])
    explanation = explain(net, x, 0)
    for unit in (1, 4):
        truth = net.backward(net.forward(x[None]), [0]).grad_biases[0][unit - 1]
        assert explanation.unit(1, unit).product == pytest.approx(truth, rel=1e-12)


def test_the_strongest_weight():
    net, x = make([3, 4, 2])
    explanation = explain(net, x, 0)
    grad = np.abs(net.backward(net.forward(x[None]), [0]).grad_weights[0])
    _, unit, source = explanation.strongest_weight()
    assert grad[unit - 1, source - 1] == grad.max()


def test_output_units():
    net, x = make([3, 4, 2])
    units = explain(net, x, 1, classes=["cat", "dog"]).output_units()
    p = np.array([u.probability for u in units])
    assert p.sum() == pytest.approx(1)
    assert [u.name for u in units] == ["cat", "dog"]
    assert units[1].grad_probability == pytest.approx(-1 / p[1])
    assert units[0].grad_probability == 0
    assert [u.grad_logit for u in units] == pytest.approx([p[0], p[1] - 1])


@pytest.mark.parametrize(
    ("place", "message"),
    [((0, 1, 1), "layer: got 0, expected 1 to 2"), ((1, 5, 1), "unit: got 5, expected 1 to 4"), ((1, 1, 4), "input")],
)
def test_places_that_are_not_there(place, message):
    net, x = make([3, 4, 2])
    with pytest.raises(InputError, match=message):
        explain(net, x, 0).weight(*place)


def test_bad_input():
    net, x = make([3, 4, 2])
    for bad in ((x[None], 0), (x[:2], 0), (x, 2), (x, -1), (x, 0.5)):
        with pytest.raises(InputError):
            explain(net, *bad)
    with pytest.raises(InputError, match=r"x: got shape \(2,\), expected \(3,\), one example"):
        explain(net, x[:2], 0)
    with pytest.raises(InputError, match="classes: got 1 names, expected 2"):
        explain(net, x, 0, classes=["a"])


def test_a_blank_name_is_the_default_one():
    net, x = make([3, 4, 2])
    e = explain(net, x, 0, feature_names=["", "b", "  "], classes=["cat", ""])
    assert (e.feature_names, e.classes) == (["x1", "b", "x3"], ["cat", "class 2"])


def test_the_mean_of_a_batch_is_in_the_sentence_and_in_the_finding():
    net, x = make([3, 4, 2])
    e = explain(net, x, 0, batch_size=8)
    layer, unit, source = e.strongest_weight()
    own = float(net.backward(net.forward(x[None]), [0]).grad_weights[layer - 1][unit - 1, source - 1])
    assert e.diagnosis()[-1].evidence["gradient"] == pytest.approx(own / 8, rel=1e-12)
    assert f" has the gradient {own / 8:.3g} = 1/8 × ".replace("-", "−") in e.why()
    delta = float(net.backward(net.forward(x[None]), [0]).grad_preactivations[0][0, 1])
    assert f"a₁,₂ has the gradient {delta / 8:.3g} = 1/8 × {delta:.3g}: ".replace("-", "−") in e.unit(1, 2).why


def test_the_page_and_the_text_show_the_numbers(tmp_path):
    pytest.importorskip("jinja2", reason="jinja2 is not installed")
    net, x = make([64, 12, 3])
    explanation = explain(net, x, 0, feature_names=[NASTY] * 64, classes=[NASTY, "b", "c"])
    chain = explanation.weight(1, 2, 3)
    page = write_page(tmp_path / "page.html", explanation, chain).read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    shown = f"{chain.product:.12g}".replace("-", "−")
    assert page.count(shown) >= 2
    for heading in ("the output layer", "hidden layer 1", "the weight itself"):
        assert heading in page
        assert heading in chain_text(explanation, chain)
    assert f"{chain.product:.6g}".replace("-", "−") in chain_text(explanation, chain)


def test_the_chain_is_json():
    net, x = make([3, 4, 2])
    explanation = explain(net, x, 0)
    chain = explanation.weight(2, 1, 1)
    data = json.loads(json.dumps(chain.to_dict()))
    assert data["version"] == 2
    assert data["product"] == chain.product
    assert json.loads(json.dumps(explanation.to_dict()))["loss"] == explanation.loss
