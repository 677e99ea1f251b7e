"""What authors' hands do to a formula: commands of their own, brackets forgotten, code among signs, cases unsaid. Each
is read, and a slip in it does not pass."""

import pytest
from slips import assert_read_without_a_slip

from chainrule.derive.people.check import check_derivation

SOFTMAX = r"$q_r = e^{s_r} / \sum_u e^{s_u}$" + "\n"
BINARY = r"$h(x) = \frac{1}{1 + e^{-\theta^T x}}$" + "\n"


@pytest.mark.parametrize(
    ("written", "wrong"),
    [
        # commands that are defined elsewhere: fonts, letters, functions
        (
            r"$$\bz = \mW \vx + \vb$$ $$\hat{\by} = \softmax(\bz)$$ $$\cL = -\by^\T \log \hat{\by}$$"
            r"$$\frac{\d \cL}{\d \mW} = (\hat{\by} - \by) \bx^\T$$",
            (r"\bx^\T", r"\bx"),
        ),
        (
            r"$$\bs{o} = \mat{V} \v{h}$$ $$\bs{p} = \softmax(\bs{o})$$ $$\nll = -\sum_k t_k \log p_k$$"
            r"$$\del_{\v{h}} \nll = \mat{V}^\top (\bs{p} - \v{t})$$",
            (r"\mat{V}^\top", r"\mat{V}"),
        ),
        # a bracket that is missing within another one, and one too many
        (
            SOFTMAX + r"$$L = -\sum_r t_r \log q_r$$ $$\frac{\partial L}{\partial s_r} = \left[ \sum_u t_u q_r) - t_r"
            r" \right] = q_r - t_r$$",
            ("= q_r - t_r", "= q_r + t_r"),
        ),
        (
            BINARY + r"$$\frac{\partial h(x)}{\partial \theta_j} = h(x) (1 - h(x)) x_j$$"
            r"$$\frac{\partial}{\partial \theta_j} (1 - h(x)) = \frac{\partial (1 - h(x)}{\partial \theta_j}"
            r" = -h(x) (1 - h(x)) x_j$$",
            ("= -h(x)", "= h(x)"),
        ),
        # a loss by words, with what it compares
        (
            r"$$Z = A W + b$$ $$L = \operatorname{CrossEntropyLoss}(Z, Y)$$ $$P = softmax(Z)$$"
            r"$$\frac{\partial L}{\partial W} = \frac{1}{n} A^T (P - Y)$$",
            ("A^T", "A"),
        ),
        (
            r"$$p = softmax(V h)$$ $$J = \text{Cross entropy}(t, p) = -\sum_k t_k \log p_k$$"
            r"$$\frac{\partial J}{\partial h} = V^T (p - t)$$",
            ("(p - t)", "(p + t)"),
        ),
        # sums with dots
        (
            r"$$q_k = e^{s_k} / (e^{s_1} + e^{s_2} + ... + e^{s_K})$$ $$E = -(t_1 \log q_1 + \ldots + t_K \log q_K)$$"
            r"$$\frac{\partial E}{\partial s_k} = -t_1 \frac{\partial \log q_1}{\partial s_k} - t_2 \frac{\partial \log"
            r" q_2}{\partial s_k} - ....  - t_K \frac{\partial \log q_K}{\partial s_k} = q_k - t_k$$",
            ("- t_2 \\frac", "+ t_2 \\frac"),
        ),
        # conditions: behind a display in its line, and of an index that the first side has not
        (
            SOFTMAX + r"$$\frac{\partial q_r}{\partial s_u} = -q_r q_u$$ ($$r \neq u$$)",
            ("-q_r q_u", "-q_r q_r"),
        ),
        (
            SOFTMAX + r"If $r = u$, $$\frac{\partial q_r}{\partial s_r} = q_r (1 - q_r) = q_r (1\{r = u\} - q_u)$$",
            ("- q_u", "+ q_u"),
        ),
        # cases of which no word is said
        (
            SOFTMAX + r"$$\frac{\partial q_r}{\partial s_u} = q_r (1 - q_u)$$"
            r"$$\frac{\partial q_r}{\partial s_u} = -q_r q_u$$",
            ("-q_r q_u", "q_r q_u"),
        ),
        (
            r"$$\ell = \log \sum_j e^{s_j} - s_y$$ $$q_j = \frac{e^{s_j}}{\sum_k e^{s_k}}$$"
            r"$$\frac{\partial \ell}{\partial s_y} = q_y - 1$$ $$\frac{\partial \ell}{\partial s_j} = q_j$$",
            ("= q_j$$", "= q_j - 1$$"),
        ),
        # the samples' sum is missing, where the file says that there is one
        (
            BINARY + r"$$J = -\frac{1}{m} \sum_{i=1}^m [y^{(i)} \log h(x^{(i)}) + (1 - y^{(i)}) \log (1 - h(x^{(i)}))"
            r"]$$ $$\frac{\partial J}{\partial \theta} = \frac{1}{m} \sum_{i=1}^m (h(x^{(i)}) - y^{(i)}) x^{(i)}$$",
            (r"\theta} = \frac{1}{m} \sum_{i=1}^m", r"\theta} ="),
        ),
        # the logarithm of a likelihood
        (
            r"$p_n = \sigma(\beta^T x_n)$ $$\log L(\beta) = \sum_n y_n \log p_n + (1 - y_n) \log(1 - p_n)$$"
            r"$$\frac{\partial \log L(\beta)}{\partial \beta} = \sum_n (y_n - p_n) x_n$$",
            ("(y_n - p_n)", "(p_n - y_n)"),
        ),
        # what the sides are in, and prod for the chain rule
        (
            r"$$Z \in \mathbb{R}^{n \times k} = X W$$ $$P = softmax(Z)$$ $$\frac{\partial L}{\partial W} = \frac{1}{n}"
            r" X^T (P - Y) \in \mathbb{R}^{d \times k}$$",
            ("X^T", "X"),
        ),
        (
            r"$$z = W^{(1)} x$$ $$h = \phi(z)$$ $$o = W^{(2)} h$$ $$\frac{\partial J}{\partial h} = \text{prod}\left("
            r"\frac{\partial J}{\partial o}, \frac{\partial o}{\partial h}\right) = {W^{(2)}}^\top"
            r" \frac{\partial J}{\partial o}$$",
            (r"{W^{(2)}}^\top", r"{W^{(2)}}"),
        ),
        # word2vec's P(o | c), and indices of several letters in one bracket
        (
            r"$$P(o \mid c) = \frac{\exp(u_o^\top v_c)}{\sum_{w \in V} \exp(u_w^\top v_c)}$$"
            r"$$\frac{\partial}{\partial v_c} \log P(o \mid c) = u_o - \sum_{x \in V} P(x \mid c) u_x$$",
            ("u_o - ", "u_o + "),
        ),
    ],
)  # fmt: skip
def test_a_way_to_write_is_read_and_a_slip_in_it_is_not_passed(written, wrong):
    assert_read_without_a_slip(written, wrong)


@pytest.mark.parametrize(
    ("written", "wrong"),
    [
        # exponents in round brackets, indices without braces, Python's conditional
        ("σ = 1/(1 + e^(-z))\ndσ/dz = e^(-z) / (1 + e^(-z))^2\ndσ/dz = σ (1 - σ)\n", ("σ (1 - σ)", "σ (1 + σ)")),
        ("z_i = Σ_j w_ij x_j + b_i\n∂z_i/∂w_ij = x_j\n∂L/∂x_j = Σ_i ∂L/∂z_i w_ij\n", ("∂L/∂z_i w_ij", "∂L/∂z_i w_ji")),
        ("p = softmax(z)\n∂p_i/∂z_j = p_i (1 - p_i) if i == j else -p_i p_j\n", ("else -p_i", "else p_i")),
        # words before a formula
        ("z = W x + b\ny = softmax(z)\nIn matrix form: ∂L/∂x = W^T ∂L/∂z\n", ("W^T", "W")),
    ],
)
def test_plain_text_is_read_and_a_slip_in_it_is_not_passed(written, wrong):
    assert_read_without_a_slip(written, wrong, "notes.txt")


@pytest.mark.parametrize(
    "written",
    [
        # an equation to be solved; ∂L/∂s = ∂(…)/∂s says what L is; a list stands for a row and a column
        r"$$L(p) = \sum_i x_i \log p + \sum_i (1 - x_i) \log(1 - p)$$"
        r"$$\frac{\partial L}{\partial p} = \frac{\sum_i x_i}{p} - \frac{\sum_i (1 - x_i)}{1 - p} = 0$$",
        SOFTMAX + r"$$\frac{\partial loss}{\partial s_1} = \frac{\partial [\log \sum_r e^{s_r} - s_1]}{\partial s_1}"
        r" = q_1 - 1$$",
        r"$\hat y$ = softmax(z) $$g = \frac{\partial L}{\partial \hat y} = [g_1, g_2, \dots, g_C]$$",
        # for other samples, and for some values
        r"$$Y_{b,d} = \sigma(X_{b,d})$$ $$\frac{\partial Y_{b,d}}{\partial X_{b',d'}} = 0$$",
    ],
)
def test_what_is_no_claim_is_not_called_wrong(written):
    assert "does not follow" not in {step["verdict"] for step in check_derivation(written, "notes.md").steps}
