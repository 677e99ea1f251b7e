"""Habits of LaTeX, in the lecture's letters: what is read as what it means, and what is nearly right does not follow."""

# ruff: noqa: E501  # a line of LaTeX is a line

import pytest

from chainrule.derive.people.check import check_derivation

ELEMENT = r"\frac{\partial}{\partial a_{Li}} - \log \hat{y}_\ell"
VECTOR = r"\nabla_{\mathbf{a}_L} \mathcal{L}(\theta)"
RESULT = r"\hat{y}_i - \mathbb{1}_{(\ell=i)}"


def second(left, right):
    """What is said of a line below another, which begins."""
    (found,) = check_derivation(f"{left}\n{right}").steps
    return found["verdict"]


@pytest.mark.parametrize(
    "line",
    [
        # the indicator
        r"= \hat{y}_i - \mathbb 1_{\ell=i}",
        r"= \hat{y}_i - \mathbf{1}_{\{\ell=i\}}",
        r"= \hat{y}_i - \mathbb{1}\left[\ell=i\right]",
        r"= \hat{y}_i - \mathbb{I}(\ell=i)",
        r"= \hat{y}_i - 1_{(\ell=i)}",
        r"= \hat{y}_i - \delta_{\ell i}",
        r"= \hat{y}_i - \delta_{i,\ell}",
        r"= \hat{y}_i - 1 + \mathbb{1}_{(i \neq \ell)}",
        # cases
        r"= \begin{cases} \hat{y}_i - 1, & \text{if } i = \ell, \\ \hat{y}_i, & \text{otherwise}. \end{cases}",
        r"= \begin{cases} \hat{y}_i - 1 & \text{if $i = \ell$} \\ \hat{y}_i & \text{if $i \neq \ell$} \end{cases}",
        r"= \left\{ \begin{array}{ll} \hat{y}_i - 1 & \mbox{if } i = \ell \\ \hat{y}_i & \mbox{otherwise} \end{array} \right.",
        # functions and fractions
        r"= \operatorname{softmax}_i(\mathbf{a}_L) - \mathbb{1}_{(\ell=i)}",
        r"= \dfrac{\exp\left\{a_{Li}\right\}}{\sum\limits_{j=1}^{K} \exp\left\{a_{Lj}\right\}} - \mathbb{1}_{(\ell=i)}",
        r"= \frac12 \, (2 \hat{y}_i - 2 \cdot \mathbb{1}_{(\ell=i)})",
        r"= \cfrac 1 2 \cdot 2 (\hat{y}_i - \mathbb{1}_{(\ell=i)})",
        # derivatives
        r"= -\frac{d}{d a_{Li}} \ln \hat{y}_\ell",
        r"= -\frac{\mathrm{d} \ln \hat{y}_\ell}{\mathrm{d} a_{Li}}",
        r"= \sum_{k=1}^{K} \frac{\partial \mathcal{L}}{\partial \hat{y}_k} \frac{\partial \hat{y}_k}{\partial a_{Li}}",
        r"= \frac{\partial}{\partial a_{Li}} \left( \log \sum_j e^{a_{Lj}} \right) - \frac{\partial a_{L\ell}}{\partial a_{Li}}",
        r"= \frac{\partial}{\partial a_{Li}} \log \sum_j e^{a_{Lj}} - \frac{\partial}{\partial a_{Li}} a_{L\ell}",
        # layout
        rf"&{{}}= {RESULT}",
        rf"{{}} = {RESULT} \,.",
        rf"= \left. {RESULT} \right.",
        rf"= \boxed{{{RESULT}}}",
        rf"\overset{{\text{{chain rule}}}}{{=}} {RESULT}",
        rf"&\stackrel{{(2)}}{{=}} {RESULT}",
        r"= \underbrace{\hat{y}_i}_{\text{what it says}} - \overbrace{\mathbb{1}_{(\ell=i)}}^{true}",
        rf"= {RESULT} \qquad \text{{since $\sum_j \hat{{y}}_j = 1$}}",
        rf"= {RESULT} \hfill (\text{{algebra}})",
        rf"= {RESULT} \hspace{{1cm}} \text{{algebra.}} \\",
        rf"= {RESULT} \tag{{3}}",
        rf"= {RESULT} % and \foo{{",
    ],
)  # fmt: skip
def test_habits_of_latex_are_read(line):
    assert second(ELEMENT, line) == "follows"
    assert second(ELEMENT.replace("- ", ""), line) == "does not follow"


@pytest.mark.parametrize(
    "line",
    [
        r"= \hat{y} - e(\ell)",
        r"= -(\mathbf{e}_\ell - \hat{\mathbf{y}})",
        r"= \left[\begin{array}{c} \hat{y}_1 - \mathbb{1}_{(\ell=1)} \\ \vdots \\ \hat{y}_K - \mathbb{1}_{(\ell=K)} \end{array}\right]",
        r"= \begin{bmatrix} \hat{y}_1 - \mathbb{1}_{(\ell=1)} & \dots & \hat{y}_K - \mathbb{1}_{(\ell=K)} \end{bmatrix}^T",
        "= \\begin{bmatrix}\n  \\hat{y}_1 - \\mathbb{1}_{\\{\\ell=1\\}} \\\\\n  \\vdots \\\\\n  \\hat{y}_K - \\mathbb{1}_{\\{\\ell=K\\}}\n\\end{bmatrix}",
        r"= \left( \frac{\partial \hat{\mathbf{y}}}{\partial \mathbf{a}_L} \right)^\top \nabla_{\hat{\mathbf{y}}} \mathcal{L}",
    ],
)  # fmt: skip
def test_vectors_as_they_are_written(line):
    assert second(VECTOR, line) == "follows"
    assert second(VECTOR, f"= - \\left( {line.removeprefix('= ')} \\right)") == "does not follow"


@pytest.mark.parametrize(
    "line",
    [
        rf"= {RESULT} + \mathbb{{1}}_{{(i=7)}}",  # at K = 2 and 5 there is no class 7
        rf"= {RESULT} + \begin{{cases}} 1 & i = 9 \\ 0 & \text{{otherwise}} \end{{cases}}",
        rf"= {RESULT} + \mathbb{{1}}_{{(i=2)}} \mathbb{{1}}_{{(\ell=2)}}",
        rf"= {RESULT} + 10^{{-12}}",
        r"= \hat{y}_i - \mathbb{1}_{(\ell=i)} \hat{y}_\ell^{0.0001}",
        r"= \hat{y}_i - \mathbb{1}_{(\ell=1)}",
        r"= \hat{y}_i - \mathbb{1}_{(\ell \neq i)}",
        r"= \frac{\partial}{\partial a_{Li}} \left( \log \sum_j e^{a_{Lj}} - a_{L\ell} \right) - 0.001",
    ],
)  # fmt: skip
def test_what_is_nearly_right_does_not_follow(line):
    assert second(ELEMENT, line) == "does not follow"
