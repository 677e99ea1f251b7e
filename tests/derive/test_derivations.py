"""The derivations themselves: every line follows by both ways, the lecture's lines are all there, what comes out last
is what the kernels compute, and a line that is broken on purpose is the one that is named."""

import dataclasses
import functools
import math

import mpmath
import numpy as np
import pytest

import chainrule
from chainrule import equations
from chainrule.derive.checking import numeric
from chainrule.derive.checking.step import check_step
from chainrule.derive.checking.values import value_at
from chainrule.derive.derivation import derivations, derive
from chainrule.derive.syntax import Indexed, Negative, Node, Number, Power, Product, Sum, SumOver
from chainrule.derive.writing import unicode
from chainrule.errors import InputError

# lecture.md, line for line, in its order and its letters.
LECTURE = {
    "gradient_wrt_probabilities": [
        "= ∂(−log ŷ_ℓ)/∂ŷ_i",
        "= −1/ŷ_ℓ if i = ℓ, and 0 otherwise",
        "= −𝟙[i=ℓ] / ŷ_ℓ",
        "= −(1/ŷ_ℓ) [𝟙[ℓ=1], …, 𝟙[ℓ=K]]ᵀ",
        "= −(1/ŷ_ℓ) e(ℓ)",
    ],
    "gradient_wrt_logits": [
        "∂(−log ŷ_ℓ)/∂a_{Li}",
        "= (−1/ŷ_ℓ) ∂ŷ_ℓ/∂a_{Li}",
        "= (−1/ŷ_ℓ) ∂ softmax(a_L)_ℓ / ∂a_{Li}",
        "= (−1/ŷ_ℓ) ∂/∂a_{Li} [ exp(a_{Lℓ}) / Σ_{i'} exp(a_{Li'}) ]",
        "= (−1/ŷ_ℓ) ( ∂exp(a_{Lℓ})/∂a_{Li} / Σ_{i'} exp(a_{Li'})  −  exp(a_{Lℓ}) · ∂(Σ_{i'} exp(a_{Li'}))/∂a_{Li} "
        "/ (Σ_{i'} exp(a_{Li'}))² )",
        "= (−1/ŷ_ℓ) ( 𝟙[ℓ=i] exp(a_{Lℓ}) / Σ_{i'} exp(a_{Li'})  −  exp(a_{Lℓ})/Σ_{i'} exp(a_{Li'}) "
        "· exp(a_{Li})/Σ_{i'} exp(a_{Li'}) )",
        "= (−1/ŷ_ℓ) ( 𝟙[ℓ=i] softmax(a_L)_ℓ − softmax(a_L)_ℓ softmax(a_L)_i )",
        "= (−1/ŷ_ℓ) ( 𝟙[ℓ=i] ŷ_ℓ − ŷ_ℓ ŷ_i )",
        "= −(𝟙[ℓ=i] − ŷ_i)",
        "= [−(𝟙[ℓ=1] − ŷ_1), …, −(𝟙[ℓ=K] − ŷ_K)]ᵀ",
        "= −(e(ℓ) − ŷ)",
    ],
    "gradient_wrt_hidden": ["∇_{h_k} 𝓛", "= W_{k+1}ᵀ ∇_{a_{k+1}} 𝓛"],
    "gradient_wrt_preactivations": ["∇_{a_k} 𝓛", "= ∇_{h_k} 𝓛 ⊙ g′(a_k)"],
    "gradient_wrt_weights": ["∇_{W_k} 𝓛", "= ∇_{a_k} 𝓛 · h_{k−1}ᵀ"],
    "gradient_wrt_biases": ["∇_{b_k} 𝓛", "= ∇_{a_k} 𝓛"],
    "one_weight": [
        "∂𝓛/∂W_111",
        "= (∂𝓛/∂ŷ · ∂ŷ/∂a_3) · (∂a_3/∂h_2 · ∂h_2/∂a_2) · (∂a_2/∂h_1 · ∂h_1/∂a_1) · ∂a_1/∂W_111",
    ],
    "loss": ["= −log ŷ_ℓ"],
    "hessian": ["= ŷ_i (𝟙[i=j] − ŷ_j)"],
}


@functools.cache
def checked(name):
    return derive(name).check()


def without_space(text):
    return "".join(text.split())


@pytest.mark.parametrize("name", LECTURE)
def test_every_line_of_the_lecture_is_there_in_order(name):
    shown = []
    for line in derive(name).lines:
        shown += [] if line.left is None else [without_space(unicode.text(line.left))]
        shown.append("=" + without_space(unicode.text(line.right)))
    at = -1
    for line in LECTURE[name]:
        at = shown.index(without_space(line), at + 1)


def test_the_issues_derivations_are_there():
    assert len(derivations()) == len(set(derivations()))
    activations = {f"derivative_of_{name}" for name in equations.ACTIVATIONS}
    variants = {"target_probabilities", "label_smoothing", "temperature", "z_loss", "focal_loss", "hessian"}
    others = {"binary_cross_entropy", "squared_error", "loss_in_code", "gradient_in_code", "softmax_jacobian"}
    assert set(LECTURE) | activations | variants | others <= set(derivations())


@pytest.mark.parametrize("name", derivations())
def test_every_line_follows_by_both_ways(name):
    for check in checked(name):
        assert check.result.symbolic, check.line
        assert check.result.numeric, check.line
        assert "symbolically; K = 2" in check.checked
        assert "at 50 digits" in check.checked
        assert check.line.proof.endswith(f" for {check.checked}.")


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="did you mean softmax_jacobian"):
        derive("softmax_jacobean")


# --- Broken on purpose ---


def broken(node: Node):
    """Expressions with one slip each: a sign, an index, the square of a sum, a factor."""
    yield "sign", Negative(node)
    for part, put in places(node):
        match part:
            case Sum((first, Negative(second), *rest)):
                yield "sign inside", put(Sum((first, second, *rest)))
            case Indexed(symbol, indices) if "i" in indices:
                yield "index", put(Indexed(symbol, tuple("ℓ" if i == "i" else i for i in indices)))
            case Indexed(symbol, indices) if "i'" in indices:
                yield "lost index", put(Indexed(symbol, tuple("ℓ" if i == "i'" else i for i in indices)))
            case Power(SumOver() as total, Number(value)) if value == 2:
                yield "sum of squares", put(dataclasses.replace(total, body=Power(total.body, Number(value))))
            case Power(base, Number(value)) if value == 2:
                yield "square", put(base)
            case Product(factors, _) if len(factors) > 1:
                yield "factor", put(Product(factors[1:], part.signs[1:]))
                yield "factor", put(Product(factors[:-1], part.signs[:-1]))


def places(node: Node):
    """Each part of an expression, and what puts another into its place."""
    yield node, lambda new: new
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        if isinstance(value, Node) and field.name != "variable":
            for part, put in places(value):
                yield part, lambda new, f=field.name, put=put: dataclasses.replace(node, **{f: put(new)})
        elif isinstance(value, tuple):
            for n, one in enumerate(value):
                for part, put in places(one) if isinstance(one, Node) else ():
                    yield (
                        part,
                        lambda new, f=field.name, v=value, n=n, put=put: dataclasses.replace(
                            node, **{f: (*v[:n], put(new), *v[n + 1 :])}
                        ),
                    )


@pytest.mark.parametrize("name", derivations())
def test_the_line_that_is_broken_is_the_one_that_is_named(name):
    derivation = derive(name)
    before = None
    for n, line in enumerate(derivation.lines):
        before = line.left or before
        slips = 0
        for what, wrong in broken(line.right):
            try:
                if numeric.find_difference(before, wrong, derivation.setting, [3]) is None:
                    continue  # such as exp(a_ℓ) for exp(a_i) beside 𝟙[ℓ=i]
            except InputError:
                pass  # it has no value, or no shape, and does not follow either
            slips += 1
            try:
                follows = check_step(before, wrong, derivation.setting).follows
            except InputError:
                follows = False
            assert not follows, (name, n + 1, what, unicode.text(wrong))
        assert slips >= 1, (name, n + 1)
        before = line.right


@pytest.mark.parametrize("name", ["gradient_wrt_logits", "z_loss", "gradient_wrt_weights", "derivative_of_silu"])
def test_a_slip_is_reported_once(name):
    derivation = derive(name)
    for n, line in enumerate(derivation.lines[:-1]):
        lines = list(derivation.lines)
        lines[n] = dataclasses.replace(line, right=Sum((line.right, line.right)))
        start = max(n - 1, 0)
        left = next(one.left for one in reversed(derivation.lines[: start + 1]) if one.left is not None)
        lines[start] = dataclasses.replace(lines[start], left=left)
        verdicts = [
            check.follows for check in dataclasses.replace(derivation, lines=tuple(lines[start : n + 2])).check()
        ]
        assert verdicts == [i + start != n for i in range(len(verdicts))]


# --- What comes out last is what is computed ---


def last_value(name, point, label, classes=3, of=-1, **at):
    setting = derive(name).setting
    value = value_at(derive(name).lines[of].right, setting, classes, point, {"ℓ": label + 1, **at})
    return np.array(value, dtype=float).squeeze()


def columns(x):
    return [[mpmath.mpf(float(v)) for v in row] for row in np.atleast_2d(np.asarray(x, dtype=float).T).T]


LOGITS = np.array([[0.7, -1.3, 2.1]])
A_L = {"a_L": columns(LOGITS[0])}


@pytest.mark.parametrize("label", [0, 1, 2])
@pytest.mark.parametrize(
    ("name", "point", "options"),
    [
        ("gradient_wrt_logits", {}, {}),
        ("temperature", {"T": 1.7}, {"temperature": 1.7}),
        ("label_smoothing", {"ε": 0.2}, {"label_smoothing": 0.2}),
        ("z_loss", {"λ": 0.3}, {"z_loss": 0.3}),
    ],
)
def test_gradients_are_the_kernels(name, point, options, label):
    expected = chainrule.softmax_cross_entropy(LOGITS, [label], reduction="sum", **options).grad_logits[0]
    point = {symbol: mpmath.mpf(value) for symbol, value in point.items()}
    np.testing.assert_allclose(last_value(name, A_L | point, label), expected, rtol=1e-14)


@pytest.mark.parametrize("label", [0, 1, 2])
def test_loss_and_its_form_in_code_are_the_kernels(label):
    found = chainrule.softmax_cross_entropy(LOGITS, [label], reduction="sum")
    for name in ("loss", "loss_in_code"):
        assert last_value(name, A_L, label) == pytest.approx(float(found.loss), rel=1e-14)
    assert last_value("gradient_in_code", A_L, label) == pytest.approx(float(found.grad_logits[0, label]), rel=1e-14)
    grad = chainrule.cross_entropy(chainrule.softmax(LOGITS), [label]).grad_probabilities[0]
    np.testing.assert_allclose(last_value("gradient_wrt_probabilities", A_L, label), grad, rtol=1e-14)


def test_jacobian_hessian_and_targets_are_the_kernels():
    jacobian = chainrule.softmax_jacobian(LOGITS)[0]
    for name in ("softmax_jacobian", "hessian"):
        np.testing.assert_allclose(last_value(name, A_L, 0), jacobian, rtol=1e-13)
    np.testing.assert_allclose(np.diag(jacobian), chainrule.hessian_diagonal(LOGITS)[0], rtol=1e-13)
    v = np.array([[0.3, -2.0, 0.9]])
    np.testing.assert_allclose(jacobian @ v[0], chainrule.hessian_vector_product(LOGITS, v)[0], rtol=1e-13)
    q = np.array([[0.2, 0.5, 0.3]])
    expected = chainrule.softmax_cross_entropy(LOGITS, q, reduction="sum").grad_logits[0]
    np.testing.assert_allclose(last_value("target_probabilities", A_L | {"q": columns(q[0])}, 0), expected, rtol=1e-13)


@pytest.mark.parametrize("name", equations.ACTIVATIONS)
def test_derivatives_of_activations_are_the_networks(name):
    for a in (-1.7, -0.2, 0.4, 2.3):
        expected = equations.ACTIVATIONS[name].derivative(np.array([a]))[0]
        assert last_value(f"derivative_of_{name}", {"a": mpmath.mpf(a)}, 0) == pytest.approx(float(expected), rel=1e-13)


def test_the_numbers_that_the_text_quotes():
    """Two classes, logits 20 and 0: float32 gets 0, the exact loss is 2.06e-9, and so is the gradient."""
    rounded = np.exp(np.float32(20)) / (np.exp(np.float32(20)) + np.exp(np.float32(0)))
    assert rounded == np.float32(1)
    exact = float(mpmath.log1p(mpmath.exp(-20)))
    assert f"{exact:.2e}" == "2.06e-09"
    assert "2.06e-9" in derive("loss_in_code").intro
    assert "−2.06e-9" in derive("gradient_in_code").intro
    found = chainrule.softmax_cross_entropy(np.array([[20, 0]], np.float32), [0])
    assert found.loss == np.float32(exact)
    assert found.grad_logits[0, 0] == np.float32(-1 / (1 + math.exp(20)))
