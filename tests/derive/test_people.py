"""What people write: letters that come from the file, documents, verdicts, goals, and what must not pass."""

import json

import numpy as np
import pytest

from chainrule.derive.people import report
from chainrule.derive.people.chains import chains_of
from chainrule.derive.people.check import check_derivation
from chainrule.derive.people.documents import read_document
from chainrule.derive.people.functions import functions_of
from chainrule.derive.people.reading import Reading, Role, Roles
from chainrule.derive.people.values import Plain
from chainrule.derive.people.world import Context, World, derivative
from chainrule.errors import InputError

FIRST = r"\frac{\partial L}{\partial z_i} = -\sum_k y_k \frac{1}{p_k} \frac{\partial p_k}{\partial z_i}"
RIGHT = f"$${FIRST}$$\n$$= -\\sum_k y_k (\\delta_{{ik}} - p_i)$$\n$$= p_i - y_i$$\n"


def verdicts(text, name="", **said):
    return [step["verdict"] for step in check_derivation(text, name, **said).steps]


# --- Numbers against an independent truth ---


def reading_of(**conventions):
    from chainrule.derive.people.facts import Facts

    roles = Roles({"z": Role("a"), "p": Role("p"), "y": Role("y"), "L": Role("L"), "W": Role("W"), "b": Role("b")})
    return Reading(roles, Facts(), 2, 2, conventions)


@pytest.mark.parametrize("loss", ["cross entropy", "any", "half squares"])
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("key", [("a", 2), ("h", 2), ("W", 1), ("b", 2), ("h", 1), ("a", 1)])
def test_derivatives_are_central_differences(loss, batch, key):
    world = World(reading_of(loss=loss), 5, batch=batch)
    context = Context(world)
    here = context.node(key)
    exact = derivative(context, ("L",), key)
    assert exact.letters == here.letters or set(exact.letters) == set(here.letters)
    for place in list(np.ndindex(here.data.shape))[:6]:
        moved = []
        step = 1e-6 * float(abs(here.data[place]))
        for sign in (1, -1):
            data = here.data.copy()
            data[place] += sign * step
            moved.append(Context(world, {key: Plain(data, here.letters)}).node(("L",)).data)
        order = [exact.letters.index(letter) for letter in here.letters]
        assert float(exact.data.transpose(order)[place]) == pytest.approx(
            float((moved[0] - moved[1]) / (2 * step)), rel=1e-6, abs=1e-8
        )


@pytest.mark.parametrize("name", ["exp", "log", "logistic", "tanh", "sin", "any", "softplus", "cosh"])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_slopes_of_functions_are_central_differences(name, order):
    x, step = np.linspace(0.2, 1.7, 5), 1e-6
    of = functions_of(name)
    expected = (of(order)(x + step) - of(order)(x - step)) / (2 * step)
    assert np.allclose(
        np.asarray(of(order + 1)(x), dtype=float), np.asarray(expected, dtype=float), rtol=1e-6, atol=1e-7
    )


# --- Letters and documents ---


def test_letters_come_from_the_file_and_the_reading_is_said():
    checked = check_derivation(RIGHT)
    assert [step["verdict"] for step in checked.steps] == ["follows"] * 3
    assert checked.reading == "L: the loss, z: the logits, y: the targets, p: softmax(z)"
    for old, new in (("z", "o"), ("p", "q"), ("y", "t")):
        other = RIGHT.replace(f"{old}_", f"{new}_")
        assert verdicts(other) == ["follows"] * 3
        assert (
            verdicts(other.replace(f"p_i - {new}_i", f"{new}_i - p_i").replace("q_i - y_i", "y_i - q_i"))
            != ["follows"] * 3
            or old == "z"
        )


def test_what_letters_stand_for_can_be_said():
    text = r"$$\frac{\partial A}{\partial B_i} = D_i - E_i$$"
    assert verdicts(text) != ["follows"]
    assert verdicts(text, let="A=loss, B=logits, D=probabilities, E=targets") == ["follows"]
    assert verdicts("% chainrule: A = loss, B = logits, D = probabilities, E = targets\n" + text, "a.tex") == [
        "follows"
    ]
    with pytest.raises(InputError, match="--let: got 'z=zebra', expected a letter = one of"):
        check_derivation(text, let="z=zebra")


def test_the_file_s_own_line_is_named_in_a_notebook():
    notebook = {
        "cells": [
            {"cell_type": "code", "source": ["$$ a = b $$"]},
            {"cell_type": "markdown", "source": ["Then\n", f"$${FIRST}$$\n", "$$= y_i - p_i$$"]},
        ],
        "metadata": {}, "nbformat": 4, "nbformat_minor": 5,
    }  # fmt: skip
    text = json.dumps(notebook, indent=1)
    found = {step["line"]: step["verdict"] for step in check_derivation(text, "a.ipynb").steps}
    lines = text.split("\n")
    assert [k + 1 for k, line in enumerate(lines) if "y_i - p_i" in line] == [
        line for line, word in found.items() if "not" in word
    ]


@pytest.mark.parametrize(
    ("before", "inside"),
    [
        ("Words with a price of \\$5 and $x$.\n\n$$", "$$"),
        ("```python\nx = y\n```\n```math\n", "\n```"),
        ("\\[", "\\]"),
        ("\\begin{align*}", "\\end{align*}"),
        ("\\newcommand{\\foo}[1]{#1}\n\\begin{equation}\\begin{split}", "\\end{split}\\end{equation}"),
    ],
)
def test_displays(before, inside):
    document = read_document(f"{before}{FIRST}{inside}\n", "a.md")
    (chain,) = chains_of(document).chains
    assert [side.node is not None for side in chain.sides] == [True, True]
    assert document.line_of(chain.sides[1].at) == f"{before}".count("\n") + 1


def test_conditions_hold_for_what_they_stand_over():
    left = r"\frac{\partial p_i}{\partial z_j}"
    text = rf"If $i = j$, $${left} = p_i (1 - p_i)$$ if $i \neq j$, $${left} = -p_i p_j$$"
    assert verdicts(text) == ["follows"] * 2
    assert verdicts(text.replace("-p_i p_j", "p_i p_j")) == ["follows", "does not follow"]
    (step,) = check_derivation(r"$$\frac{\partial p_i}{\partial z_j} = p_i (1 - p_j)$$").steps
    assert (step["verdict"], step["cause"]) == ("does not follow", "it holds for i = j only: the case i ≠ j is missing")


# --- Verdicts ---


@pytest.mark.parametrize(
    "line",
    [
        r"= p_i - y_i + (K-2)(K-3)(K-4)(K-5)(K-50)",
        r"= \frac{e^{z_i}}{e^{z_1} + e^{z_2} + e^{z_3}} - y_i",
        r"= p_i - y_i + 10^{-12}",
        r"= p_i - y_i + \delta_{i7}",
        r"= p_i - y_i + 1 - \sum_k k^0 / 4",
        r"= \sum_k p_k - y_i",
        r"= -(p_i - y_i)",
    ],
)  # fmt: skip
def test_a_wrong_line_does_not_pass(line):
    assert verdicts(f"{FIRST}\n{line}")[-1] != "follows"


def test_an_error_is_blamed_once_and_carried_forward():
    steps = check_derivation(f"{FIRST}\n= y_i - p_i\n= -(p_i - y_i)\n= p_i - y_i").steps
    assert [step["verdict"] for step in steps] == ["follows", "does not follow", "follows", "follows"]
    assert steps[1]["cause"] == "the sign"
    assert steps[2]["message"] == "follows from line 2, which is wrong"
    assert report.exit_code(steps) == 1


def test_what_is_not_read_is_not_understood_and_its_neighbours_are_judged():
    steps = check_derivation(f"{FIRST}\n= \\mystery{{z}}\n= p_i - y_i").steps
    assert [step["verdict"] for step in steps] == ["follows", "not understood", "follows"]
    assert report.exit_code(steps) == 3


def test_a_second_run_agrees():
    assert (
        check_derivation(RIGHT.replace("p_i - y_i", "y_i")).steps
        == check_derivation(RIGHT.replace("p_i - y_i", "y_i")).steps
    )


def test_a_note_below_a_brace_is_checked():
    text = r"$$\frac{\partial L}{\partial z_i} = -y_i + p_i \underbrace{\sum_k y_k}_{= 1}$$"
    assert verdicts(text) == ["follows", "follows"]
    assert "does not follow" in verdicts(text.replace("= 1}", "= 2}"))


# --- Goals ---


@pytest.mark.parametrize(
    "goal", ["dL/dz_i = p_i - y_i", r"\frac{\partial L}{\partial z_j} = p_j - y_j", "dL/dz_i = -(y_i - p_i)"]
)
def test_a_goal_is_reached(goal):
    assert verdicts(RIGHT, goal=goal) == ["follows"] * 3
    assert verdicts(RIGHT.rsplit("$$=", 1)[0], goal=goal)[-1] == "incomplete"
    steps = check_derivation(r"$$p_i = p_i$$", goal=goal).steps
    assert steps[-1]["verdict"] == "incomplete"
    assert report.exit_code(steps) == 4


def test_a_goal_that_is_no_equation():
    with pytest.raises(InputError, match="--goal: got 'p_i', expected an equation"):
        check_derivation(RIGHT, goal="p_i")


# --- Ways to write ---

NETWORK = (
    r"$Z_1 = xW_1 + b_1$, $h = \sigma(Z_1)$, $Z_2 = hW_2 + b_2$, $\hat y = softmax(Z_2)$, $J = CE(y, \hat y)$" + "\n"
)


@pytest.mark.parametrize(
    ("written", "wrong"),
    [
        # the chain rule between matrices and vectors, in any layout
        (
            NETWORK
            + r"$$\frac{\partial J}{\partial h} = \frac{\partial J}{\partial Z_2} \frac{\partial Z_2}{\partial h}"
            r" = (\hat y - y) \cdot \frac{\partial}{\partial h}(hW_2 + b_2) = (\hat y - y) W_2^T$$",
            (r"\partial h}(h", r"\partial x}(h"),
        ),
        (
            r"$a^{(2)} = \sigma(z^{(2)})$, $z^{(3)} = W^{(3)} a^{(2)}$, $\hat y = softmax(z^{(3)})$" + "\n"
            r"$$\frac{\partial L}{\partial W^{(3)}} = \frac{\partial L}{\partial z^{(3)}} \frac{\partial z^{(3)}}"
            r"{\partial W^{(3)}} = (\hat y - y) (a^{(2)})^T$$",
            (r"(\hat y - y) (a", r"(\hat y + y) (a"),
        ),
        # equations within cases
        (
            r"$p_i = e^{z_i} / \sum_j e^{z_j}$ $$\frac{\partial p_i}{\partial z_j} = \begin{cases} \frac{\partial p_i}"
            r"{\partial z_i} = p_i (1 - p_i) & i = j \\ -p_i p_j & i \neq j \end{cases}$$",
            ("p_i (1 - p_i)", "p_i (1 + p_i)"),
        ),
        # a Σ that stands for the denominator
        (
            r"$p_i = e^{z_i} / \sum_j e^{z_j}$ $$\frac{\partial p_i}{\partial z_i} = "
            r"\frac{e^{z_i} \Sigma - e^{z_i} e^{z_i}}{\Sigma^2} = p_i (1 - p_i)$$",
            ("- e^{z_i} e", "+ e^{z_i} e"),
        ),
        # a second derivative by a name that is squared
        (
            r"$L = -y \log \hat y - (1 - y) \log(1 - \hat y)$ $$\frac{d^2 L}{d \hat y^2} = \frac{y}{\hat y^2} +"
            r" \frac{1 - y}{(1 - \hat y)^2}$$",
            (r"2} + \f", r"2} - \f"),
        ),
        # the vectors of words: u_o and v_c are no elements of a vector
        (
            r"$$J = -\log \sigma(u_o^T v_c) - \sum_{k=1}^K \log \sigma(-u_k^T v_c)$$" + "\n"
            r"$$\frac{\partial J}{\partial u_o} = -\frac{1}{\sigma(u_o^T v_c)} \sigma(u_o^T v_c) \sigma(-u_o^T v_c) v_c"
            r" = (\sigma(u_o^T v_c) - 1) v_c$$",
            ("- 1) v_c", "- 1) u_o"),
        ),
        # plain text: cases with braces, names of several letters, remarks behind a line
        (
            "p_i = exp(z_i) / sum_j exp(z_j)\ndp_i/dz_j = { p_i (1 - p_i)   if i = j\n"
            "            { -p_i p_j   if i ≠ j\nL = -sum_i y_i log(p_i)\ndL/dz_i = p_i - y_i (error signal)\n",
            ("{ -p_i p_j", "{ p_i p_j"),
        ),
        (
            r"$score_k = w_k^T x + b_k$, $p_k = \exp(score_k) / \sum_j \exp(score_j)$, $y_{pred} = p$"
            + "\n"
            + r"$$L = -\sum_k y_k \log p_k$$ $$\frac{\partial L}{\partial score_k} = p_k - y_k$$",
            ("= p_k - y_k", "= y_k - p_k"),
        ),
        # δ_a is ∂L/∂a, and J_f the slope of f
        (
            r"$z = Wx + b$, $a = \phi(z)$, $L = f(a)$" + "\n"
            r"$$\delta_z = J_\phi(z)^T \delta_a$$ $$\frac{\partial L}{\partial W} = \delta_z x^T$$",
            (r"\delta_z x", r"\delta_a x"),
        ),
    ],
)
def test_a_way_to_write_is_read_and_a_slip_in_it_is_not_passed(written, wrong):
    name = "notes.md" if "$" in written else "notes.txt"
    assert set(verdicts(written, name)) == {"follows"}
    assert written.count(wrong[0]) == 1
    assert set(verdicts(written.replace(*wrong), name)) != {"follows"}
