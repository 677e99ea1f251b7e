"""Homework as students write it: habits of LaTeX that are read, slips that are named with their position, files that
are whole documents, and what must not be let pass."""

# ruff: noqa: E501  # a line of LaTeX is a line

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from chainrule.derive import homework
from chainrule.derive.checking import numeric
from chainrule.derive.homework import check_homework
from chainrule.derive.reading.latex import read_expression, read_line
from chainrule.derive.reading.layout import read_lines
from chainrule.derive.reading.subscripts import UnreadableError
from chainrule.derive.setting import OUTPUT_LAYER
from chainrule.errors import InputError

ELEMENT = r"\frac{\partial}{\partial a_{Li}} - \log \hat{y}_\ell"
VECTOR = r"\nabla_{\mathbf{a}_L} \mathcal{L}(\theta)"
RESULT = r"\hat{y}_i - \mathbb{1}_{(\ell=i)}"


def second(left, right):
    """What is said of the second of two lines; the first is where the derivation begins."""
    first, found = check_homework(f"{left}\n{right}")
    assert first["verdict"] == "follows"
    return found


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
    assert second(ELEMENT, line)["verdict"] == "follows"
    assert second(ELEMENT.replace("- ", ""), line)["verdict"] == "does not follow"


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
    assert second(VECTOR, line)["verdict"] == "follows"
    assert second(VECTOR, f"= - \\left( {line.removeprefix('= ')} \\right)")["verdict"] == "does not follow"


@pytest.mark.parametrize(
    "line",
    [
        rf"= {RESULT} + \mathbb{{1}}_{{(i=7)}}",  # at K = 2 and 5 there is no class 7
        rf"= {RESULT} + \begin{{cases}} 1 & i = 9 \\ 0 & \text{{otherwise}} \end{{cases}}",
        rf"= {RESULT} + \left( \mathbf{{e}}(7) \right)_1",
        rf"= {RESULT} + \hat{{y}}_7 - \hat{{y}}_7",
        rf"= {RESULT} + \mathbb{{1}}_{{(i=2)}} \mathbb{{1}}_{{(\ell=2)}}",
        rf"= {RESULT} + 10^{{-12}}",
        r"= \hat{y}_i - \mathbb{1}_{(\ell=i)} \hat{y}_\ell^{0.0001}",
        r"= \hat{y}_i - \mathbb{1}_{(\ell=1)}",
        r"= \hat{y}_i - \mathbb{1}_{(\ell \neq i)}",
        r"= \hat{\mathbf{y}} - \mathbf{e}(\ell)",
        r"= \frac{\partial}{\partial a_{Li}} \left( \log \sum_j e^{a_{Lj}} - a_{L\ell} \right) - 0.001",
    ],
)  # fmt: skip
def test_what_is_nearly_right_does_not_follow(line):
    assert second(ELEMENT, line)["verdict"] == "does not follow"


@pytest.mark.parametrize(
    ("line", "position", "said"),
    [
        (r"= 2 p_i - \mathbb{1}_{(\ell=i)}", 5, "p is not a name that is known here"),
        (r"= \hat{y}_i - \frac{\mathbf{t}_i}{1}", 21, "t is not a name that is known here"),
        (r"= \hat{y}_{i+1}", 3, "the index i+1"),
        (r"= \hat{y}_{1.5}", 12, "an index is a letter or a number"),
        (r"= \hat{y}_{" + "9" * 5000 + "}", 12, "an index is a letter or a number of up to 6 digits"),
        (r"= \hat{y}_0", 3, "indices count from 1"),
        (r"= \hat{y}_{}", 3, "a subscript is not complete"),
        (r"= \mathbf{e}(1.5)_i", 13, "e( ) holds one index"),
        (r"= \begin{cases} 1 & i = 1.5 \\ 0 & \text{otherwise} \end{cases}", 3, "compare indices"),
        (r"= \tanh" + "'" * 3000 + "(a_{L1})", 3, "more than 3 primes"),
        (r"= \log_2(\hat{y}_i)", 3, "log with a subscript"),
        (r"= \sum_j^\top \hat{y}_j", 3, "ends at a letter or a number"),
        (r"= \overset{!}{x} \hat{y}_i", 3, r"\overset is not a command"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_has_its_position(line, position, said):
    found = second(ELEMENT, line)
    assert found["verdict"] == "unreadable"
    assert found["message"].startswith(f"at character {position}: ")
    assert said in found["message"]


def test_derivatives_within_each_other_are_as_many_as_the_numbers_have_digits_for():
    three, four = (r"\frac{\partial}{\partial a_{Li}} " * n for n in (3, 4))
    right = r"\frac{\partial^2}{\partial a_{Li}^2} \hat{y}_\ell (\delta_{i\ell} - \hat{y}_i)"
    assert second(rf"{three} \hat{{y}}_\ell", f"= {right}")["verdict"] == "follows"
    found = second(ELEMENT, rf"= {four} \hat{{y}}_\ell")
    assert (found["verdict"], found["message"]) == ("unreadable", "more than 3 derivatives within each other")
    assert second(ELEMENT, r"= \frac{\partial}{\partial a_{Li}} \tanh'''(a_{Li})")["verdict"] == "unreadable"


def test_how_an_operator_was_read_is_said_where_that_may_be_the_slip():
    found = second(ELEMENT, r"= \frac{\partial}{\partial a_{Li}} \log \sum_j e^{a_{Lj}} - \mathbb{1}_{(\ell=i)}")
    assert found["verdict"] == "does not follow"
    assert found["message"].endswith("(∂/∂a_{Li} is taken to act on log(Σ_j exp(a_{Lj})) − 𝟙[ℓ=i])")


def test_with_what_a_line_was_compared():
    text = (
        f"{ELEMENT} &= 1 \\\\ &= 2 \\\\\n&= {RESULT} \\\\ &= 3 \\\\\n"
        f"{VECTOR} &= \\mathbf{{e}}(\\ell) \\\\\n&= \\hat{{\\mathbf{{y}}}}\n"
    )
    found = check_homework(f"\\begin{{align*}}\n{text}\\end{{align*}}")
    compared = [(one["line"], one["message"].split(":")[0]) for one in found]
    assert compared == [
        (2, "not equal to its left side"),
        (2, "not equal to the step before"),
        (3, "checked for K = 2, 3, 4 symbolically; K = 2, 5, 50 at 50 digits"),
        (3, "not equal to the step before"),
        (4, "not equal to its left side"),
        (5, "not equal to line 4"),
    ]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (r"\hat{y}_i^{0.5}", r"\sum_j \hat{y}_j \hat{y}_i^{1/2}"),
        (r"\left( \sum_j e^{a_{Lj}} \right)^{3/2}", r"\left( \sum_j e^{a_{Lj}} \right)^{1/2} \sum_m e^{a_{Lm}}"),
        (r"\left( \hat{y}_i^{1/2} + 1 \right)^2", r"\hat{y}_i + 2 \hat{y}_i^{1/2} + 1"),
        (r"\frac{1}{(1 + a_{L1}^2)^{1/3}}", r"\frac{(1 + a_{L1}^2)^{2/3}}{1 + a_{L1}^2}"),
        (r"((1 - \hat{y}_i)^{1/2} - 1) ((1 - \hat{y}_i)^{1/2} + 1)", r"-\hat{y}_i"),
        (r"\frac{\partial}{\partial a_{Li}} \hat{y}_i^{1/2}", r"\frac{1}{2} \hat{y}_i^{1/2} (1 - \hat{y}_i)"),
    ],
)
def test_roots_are_known_for_what_they_are_roots_of(left, right):
    found = second(left, f"= {right}")
    assert found["message"].startswith("checked for K = 2, 3, 4 symbolically; ")
    assert second(left, f"= {right} + 10^{{-12}}")["verdict"] == "does not follow"


def test_what_is_positive_is_on_one_side_of_a_kink():
    for line in (
        r"\hat{y}_i \text{relu}(1)",
        r"\text{relu}(-1) + \hat{y}_i",
        r"\text{leaky_relu}(0) + \text{relu}(\hat{y}_i)",
    ):
        assert second(r"\hat{y}_i", f"= {line}")["verdict"] == "follows"
        assert second(r"\hat{y}_i", f"= 2 ({line})")["verdict"] == "does not follow"


@pytest.mark.parametrize(
    "line",
    [
        r"\text{relu}((-2)^{1/3})",
        r"\text{leaky_relu}((-2)^{1/3})",
        r"\text{gelu}((-2)^{0.5})",
        r"\Phi((-2)^{0.5})",
        r"\begin{cases} 1 & (-2)^{0.5} > 0 \\ 0 & \text{otherwise} \end{cases}",
    ],
)
def test_a_number_that_is_not_real_lies_on_no_side_of_a_kink(line):
    found = second(r"\hat{y}_i", f"= {line}")
    assert found["verdict"] == "does not follow"
    assert "a number that is not real" in found["message"]


def test_a_name_that_is_not_known_is_reported_once():
    found = check_homework(
        "L = \\hat{y}_\\ell\n= \\text{softmax}(\\mathbf{a}_L)_\\ell\n= q\n= \\hat{y}_i\n= \\hat{y}_\\ell"
    )
    assert [one["verdict"] for one in found] == ["unreadable", "follows", "unreadable", "does not follow", "follows"]
    assert found[3]["message"].startswith("not equal to line 2")


BODY = (
    "\\begin{align*}\n" + ELEMENT + "\n  &{}= \\hat{y}_i \\\\\n  &\\qquad {} - \\mathbb{1}_{(\\ell=i)}\n\\end{align*}\n"
)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (BODY, 2),
        (BODY.replace("\n", "\r\n"), 2),
        ("\ufeff" + BODY, 2),
        ("\\documentclass{article}\n\\usepackage{amsmath}\n\\begin{document}\n" + BODY + "\\end{document}\nnotes\n", 5),
        (f"$$ {ELEMENT} $$\n$$ = {RESULT} $$", 1),
        (f"\\[\n{ELEMENT}\n\\]\n\\[ = {RESULT} \\]", 2),
    ],
)
def test_a_file_as_it_comes(text, line):
    found = check_homework(text.encode())
    assert {one["verdict"] for one in found} == {"follows"}
    assert found[0]["line"] == line
    wrong = check_homework(text.replace(r"- \log", r"\log").encode())
    assert wrong[-1]["verdict"] == "does not follow"


def test_a_step_goes_on_before_a_sign_but_a_new_left_side_does_not():
    found = read_lines("a\n= b\n - c_{i=1}\n- d = e\n\\cdot f")
    assert [(one.number, one.text) for one in found] == [(1, "a"), (2, "= b\n- c_{i=1}"), (4, "- d = e\n\\cdot f")]


@pytest.mark.parametrize(
    "unit", ["& ", " . , ; ", "\\quad ", "\\underbrace{", "{ }\\underbrace{", "\\text{$", "\\\\[", "\\left."]
)
def test_layout_takes_no_longer_than_it_is_long(unit):
    """A file that makes a careless pattern quadratic is answered like any other."""
    read_expression("1")
    text = "= x " + unit * (9000 // len(unit)) + "x"
    start = time.process_time()
    try:
        found = check_homework(f"{ELEMENT}\n{text}")
    except InputError:
        found = []  # too many lines
    assert "follows" not in {one["verdict"] for one in found[1:]}
    assert time.process_time() - start < 2


def test_brackets_of_sets_do_not_end_a_matrix():
    steps = read_lines(
        "= \\begin{bmatrix} \\mathbb{1}_{\\{\\ell=1\\}} \\\\\n \\vdots \\\\ \\mathbb{1}_{\\{\\ell=K\\}} \\end{bmatrix}\n= 2"
    )
    assert [step.number for step in steps] == [1, 3]
    right = read_line(steps[0].text).rights[0]
    value = numeric.find_difference(right, read_expression(r"\mathbf{e}(\ell)"), OUTPUT_LAYER, [2, 5])
    assert value is None


def test_an_unreadable_error_is_an_input_error_with_a_position():
    with pytest.raises(UnreadableError) as error:
        read_line(r"= \hat{y}_{i-1}")
    assert error.value.position == 3


def test_all_lines_share_the_time_for_symbols(monkeypatch):
    monkeypatch.setattr(homework, "SECONDS", 0.0)
    found = check_homework(f"{ELEMENT}\n= {RESULT}\n= {RESULT} + 1\n= {RESULT} + 0")
    given_up = "checked for no K symbolically (given up: it would take too long); K = 2, 5, 50 at 50 digits"
    assert [one["verdict"] for one in found] == ["follows", "follows", "does not follow", "follows"]
    assert found[1]["message"] == found[3]["message"] == given_up


def test_lines_are_checked_in_any_thread():
    texts = [f"{ELEMENT}\n= {RESULT} + {n}" for n in range(4)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(check_homework, texts))
    assert [one[1]["verdict"] for one in found] == ["follows"] + ["does not follow"] * 3
