"""The table of symbols: its names are in the code, with its shapes and meanings, and the lecture's page has it too."""

import re
from pathlib import Path

import numpy as np
import pytest

from chainrule import Network, equations, notation

WIDTHS, N = [3, 4, 6, 2], 5
TABLE = {row.symbol: row for row in notation.SYMBOLS}


@pytest.fixture(scope="module")
def names():
    """What the table's code is read in: a network, and its forward and backward pass over five examples."""
    net = Network.create(WIDTHS, activation="tanh", seed=0, dtype="float64")
    for bias in net.biases:
        bias += np.linspace(-1, 1, len(bias))
    labels = np.arange(N) % 2
    forward = net.forward(np.random.default_rng(1).normal(size=(N, 3)))
    backward = net.backward(forward, labels)
    parts = {name: getattr(forward, name) for name in ("logits", "probabilities", "preactivations", "activations")}
    gradients = {name: getattr(backward, name) for name in dir(backward) if name.startswith("grad_")}
    names = {"labels": labels, "loss": backward.loss, "weights": net.weights, "biases": net.biases}
    return names | parts | gradients | {"one_hot": lambda labels: equations.one_hot(labels, forward.logits)}


def shape(text, k):
    """The shape that a row of the table tells, for layer k."""
    (inner,) = re.match(r"\((.*?)\)", text).groups()
    sizes = {"N": N, "K": WIDTHS[-1], "width_k": WIDTHS[k], "width_{k-1}": WIDTHS[k - 1]}
    return tuple(sizes[size] for size in re.findall(r"[\w{}-]+", inner))


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("symbol", [symbol for symbol in TABLE if symbol != "∇_z 𝓛"])
def test_each_name_is_there_with_its_shape(symbol, k, names):
    if (symbol, k) != ("h_k", 3):  # there is no activation of the output layer but softmax
        found = eval(TABLE[symbol].code, {**names, "k": k})
        assert np.shape(found) == shape(TABLE[symbol].shape, k)


@pytest.mark.parametrize("z", ["probabilities", "preactivations", "activations", "weights", "biases"])
def test_a_gradient_has_its_variables_name_and_shape(z, names):
    assert TABLE["∇_z 𝓛"].code.replace("z", z) == f"grad_{z}"
    found, of = names[f"grad_{z}"], names[z]
    assert [np.shape(part) for part in found] == [np.shape(part) for part in of]


def test_each_name_has_its_meaning(names):
    def at(symbol, k):
        return eval(TABLE[symbol].code, {**names, "k": k})

    x, labels = names["activations"][0], at("ℓ", 0)
    for k in (1, 2, 3):
        before = at("h_k", k - 1) if k > 1 else x
        np.testing.assert_allclose(at("a_k", k), [at("W_k", k) @ h + at("b_k", k) for h in before], rtol=1e-13)
    for k in (1, 2):
        np.testing.assert_allclose(at("h_k", k), np.tanh(at("a_k", k)), rtol=1e-15)
    np.testing.assert_array_equal(at("a_L", 0), at("a_k", 3))
    exponentials = np.exp(at("a_L", 0))
    np.testing.assert_allclose(at("ŷ", 0), exponentials / exponentials.sum(axis=1, keepdims=True), rtol=1e-14)
    np.testing.assert_allclose(at("𝓛", 0), -np.log(at("ŷ", 0)[np.arange(N), labels]).mean(), rtol=1e-14)
    np.testing.assert_array_equal(at("e(ℓ)", 0), np.eye(2)[labels])


def test_the_lectures_page_has_the_same_table():
    page = (Path(__file__).parents[1] / "docs" / "lecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\S.*?) \| `(.+?)`.*? \| (.+?)(?::.*)? \|$", page, re.MULTILINE)
    told = [(row.symbol, row.code, row.shape) for row in notation.SYMBOLS if row.symbol != "𝓛"]
    assert rows == told


def test_the_equations_docstrings_use_the_tables_symbols():
    documents = "\n".join(getattr(equations, name).__doc__ for name in equations.__all__)
    letters = set(re.findall(r"(?<!\w)(\w)_\{?[kL]", documents))
    assert letters - {"i", "Π"} == {symbol[0] for symbol in TABLE if re.fullmatch("._[kL]", symbol)} == set("ahWb")
    assert all(symbol in documents for symbol in ("ℓ", "ŷ", "𝓛", "e(ℓ)"))


def test_a_symbol_is_told_once():
    assert len(TABLE) == len(notation.SYMBOLS)
