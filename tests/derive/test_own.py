"""Derivations that are judged by nothing but what they define, whatever their letters usually stand for."""

import pytest

from chainrule.derive.people.check import check_derivation

# What is written, and slips in it that must be named.
DERIVATIONS = [
    (  # log-sum-exp with a vector and a number for each term
        r"$$f(u) = \log \left( \sum_{k=1}^{n} \exp(c_k^\top u + d_k) \right)$$ "
        r"$$\frac{\partial f(u)}{\partial u_r} = \frac{\sum_{k=1}^{n} c_{kr} e^{c_k^\top u + "
        r"d_k}}{\sum_{k=1}^{n} e^{c_k^\top u + d_k}}$$",
        [(r"c_{kr} e^", r"c_{kr} d_k e^"), (r"\sum_{k=1}^{n} c_{kr}", r"-\sum_{k=1}^{n} c_{kr}")],
    ),
    (  # a function by what it maps to what
        r"$$g : \mathbb{R}^n \rightarrow \mathbb{R} : v \mapsto \log(1 + \exp(c^\top v))$$ "
        r"$$\nabla g(v) = c \frac{\exp(c^\top v)}{1 + \exp(c^\top v)} \in \mathbb{R}^n$$",
        [(r"= c \frac", r"= -c \frac"), (r"= c \frac", r"= v \frac")],
    ),
    (  # derivatives by intermediates, of a loss of which nothing is said
        r"$$u_k = e^{a_k}$$ "
        r"$$r = \sum_k u_k$$ "
        r"$$q_k = \frac{u_k}{r}$$ "
        r"$$\frac{\partial G}{\partial r} = -\sum_k \frac{\partial G}{\partial q_k} \frac{q_k}{r}$$ "
        r"$$\frac{\partial G}{\partial u_k} = \frac{\partial G}{\partial q_k} \frac{1}{r} + \frac{\partial "
        r"G}{\partial r}$$",
        [(r"= -\sum_k \frac", r"= \sum_k \frac"), (r"\frac{1}{r} +", r"\frac{1}{r} -")],
    ),
    (  # the quotient rule of functions of which nothing is said
        r"$$f(x) = \frac{u(x)}{v(x)}$$ "
        r"$$f'(x) = \frac{u'(x) v(x) - u(x) v'(x)}{v(x)^2}$$",
        [(r"- u(x)", r"+ u(x)"), (r"v(x)^2", r"v'(x)^2")],
    ),
    (  # a network of numbers, written out
        r"$$s(x) = \frac{1}{1 + e^{-x}}$$ "
        r"$$q = s(v_2 s(v_1 t + 1) + v_3)$$ "
        r"$$\frac{\partial q}{\partial v_1} = q (1 - q) v_2 s(v_1 t + 1) (1 - s(v_1 t + 1)) t$$",
        [(r"v_2 s(v_1 t + 1) (1", r"v_3 s(v_1 t + 1) (1"), (r"= q (1 - q)", r"= q (1 + q)")],
    ),
    (  # labels that are 1 or -1
        r"$$\ell(w) = \sum_{i=1}^n \log(1 + e^{-t_i w^\top x_i})$$ "
        r"$$\nabla_w \ell = -\sum_{i=1}^n \frac{t_i x_i}{1 + e^{t_i w^\top x_i}}$$",
        [(r"= -\sum", r"= \sum"), (r"{t_i x_i}", r"{x_i}")],
    ),
    (  # a policy of features of states and actions
        r"$$\pi_\theta(s,a) = \frac{e^{\psi(s,a)^\top \theta}}{\sum_b e^{\psi(s,b)^\top \theta}}$$ "
        r"$$\nabla_\theta \log \pi_\theta(s,a) = \psi(s,a) - \sum_b \pi_\theta(s,b) \psi(s,b)$$",
        [(r"- \sum_b \pi", r"+ \sum_b \pi"), (r"\theta(s,b) \psi", r"\theta(s,a) \psi")],
    ),
    (  # a function of a vector by its elements
        r"$$[S(v)]_k = \frac{e^{v_k}}{\sum_j e^{v_j}}$$ "
        r"$$\frac{\partial [S(v)]_k}{\partial v_i} = [S(v)]_k (\delta_{ki} - [S(v)]_i)$$",
        [(r"- [S(v)]_i", r"- [S(v)]_k")],
    ),
    (  # a name for a function, and for its value
        r"$$\sigma = \sigma(u^\top x)$$ "
        r"$$\nabla_u R = \nabla_u t \log \sigma + \nabla_u (1 - t) \log(1 - \sigma)$$ "
        r"$$= \frac{t}{\sigma} \nabla_u \sigma - \frac{1 - t}{1 - \sigma} \nabla_u \sigma = \frac{t - "
        r"\sigma}{\sigma (1 - \sigma)} \nabla_u \sigma$$",
        [(r"- \frac{1 - t}{1 - \sigma}", r"+ \frac{1 - t}{1 - \sigma}")],
    ),
    (  # indices as in code, and dS for the gradient of S
        r"$$P[i] = \frac{e^{S[i]}}{\sum_k e^{S[k]}}$$ "
        r"$$dS[i] = \sum_j \frac{\partial L}{\partial P[j]} \frac{\partial P[j]}{\partial S[i]} = P[i] "
        r"(\frac{\partial L}{\partial P[i]} - \sum_j P[j] \frac{\partial L}{\partial P[j]})$$",
        [(r"- \sum_j P", r"+ \sum_j P")],
    ),
    (  # an expectation
        r"$$q_i = \frac{e^{a_i}}{\sum_k e^{a_k}}$$ "
        r"$$G = \log \sum_k e^{a_k}$$ "
        r"$$V = \mathbb{E}_{j \sim q}[f_j]$$ "
        r"$$\frac{\partial V}{\partial a_i} = q_i (f_i - V)$$",
        [(r"- V", r"+ V")],
    ),
    (  # a prime that is a transpose
        r"$$\ln L = \sum_i \left( d_i \beta' x_i - \ln(1 + e^{\beta' x_i}) \right)$$ "
        r"$$\frac{\partial \ln L}{\partial \beta} = \sum_i \left( d_i - \frac{e^{\beta' x_i}}{1 + e^{\beta' "
        r"x_i}} \right) x_i$$",
        [(r"( d_i - ", r"( d_i + ")],
    ),
    (  # negative samples
        r"$$J = -\log \sigma(u_o^\top v_c) - \sum_{k=1}^K \log \sigma(-u_k^\top v_c)$$ "
        r"$$\frac{\partial J}{\partial v_c} = (\sigma(u_o^\top v_c) - 1) u_o + \sum_{k=1}^K \sigma(u_k^\top "
        r"v_c) u_k$$ "
        r"$$\frac{\partial J}{\partial u_o} = (\sigma(u_o^\top v_c) - 1) v_c$$ "
        r"$$\frac{\partial J}{\partial u_k} = \sigma(u_k^\top v_c) v_c$$",
        [(r"- 1) v_c", r"+ 1) v_c")],
    ),
    (  # derivatives by inner products
        r"$$R = -\log \sigma(w_o^\top h) - \sum_{j} \log \sigma(-w_j^\top h)$$ "
        r"$$\frac{\partial R}{\partial w_j^\top h} = \sigma(w_j^\top h)$$ "
        r"$$\frac{\partial R}{\partial w_o^\top h} = \sigma(w_o^\top h) - 1$$",
        [(r"h} = \sigma(w_j", r"h} = -\sigma(w_j")],
    ),
    (  # a loss with its arguments, and targets that sum to 1
        r"$$H(y, q) = -\sum_k y_k \log q_k$$ "
        r"$$q_k = \frac{e^{v_k}}{\sum_j e^{v_j}}$$ "
        r"$$\sum_k y_k = 1$$ "
        r"$$\frac{\partial H(y, q)}{\partial v_k} = q_k - y_k$$",
        [(r"q_k - y_k", r"y_k - q_k")],
    ),
    (  # probabilities as functions of a class
        r"$$P_u(j) = \frac{e^{u_j}}{\sum_k e^{u_k}}$$ "
        r"$$M = -\sum_j P_t(j) \log P_u(j)$$ "
        r"$$\sum_j P_t(j) = 1$$ "
        r"$$\frac{\partial M}{\partial u_i} = P_u(i) - P_t(i)$$",
        [(r"P_u(i) - P_t(i)", r"P_t(i) - P_u(i)")],
    ),
    (  # a second derivative, of samples that are rows
        r"$$\mathcal{L} = \sum_{i=1}^N -d_i \log \sigma(x_i \beta) - (1 - d_i) \log(1 - \sigma(x_i \beta))$$ "
        r"$$\frac{\partial^2 \mathcal{L}}{\partial \beta_j \partial \beta_k} = \sum_{i=1}^N \sigma(x_i "
        r"\beta)(1 - \sigma(x_i \beta)) x_{ij} x_{ik}$$",
        [(r"x_{ij} x_{ik}$$", r"x_{ij} x_{ij}$$"),
         (r"= \sum_{i=1}^N \sigma(x_i \beta)(1 -", r"= \sum_{i=1}^N \sigma(x_i \beta)(1 +")],
    ),
    (  # a family over its sum
        r"$$h_i = b_i / r$$ "
        r"$$r = \sum_k b_k$$ "
        r"$$\frac{\partial h_i}{\partial b_j} = \frac{\delta_{ij} - h_i}{r}$$",
        [(r"- h_i", r"- h_j"), (r"- h_i", r"+ h_i")],
    ),
    (  # what is scaled and shifted
        r"$$y = \gamma \hat x + \beta$$ "
        r"$$\hat x = \frac{x - \mu}{s}$$ "
        r"$$\frac{\partial C}{\partial x} = \frac{\partial C}{\partial y} \frac{\gamma}{s}$$",
        [(r"\frac{\gamma}{s}$$", r"\frac{\gamma}{s^2}$$")],
    ),
    (  # a policy of an action, given a state
        r"$$\pi_\theta(a|s) = \frac{e^{\theta^\top \phi(s,a)}}{\sum_b e^{\theta^\top \phi(s,b)}}$$ "
        r"$$\nabla_\theta \log \pi_\theta(a|s) = \phi(s,a) - \sum_b \pi_\theta(b|s) \phi(s,b)$$",
        [(r"- \sum_b", r"+ \sum_b")],
    ),
    (  # log-sum-exp to the second derivative
        r"$$\ell = \log \sum_i e^{x_i}$$ "
        r"$$\frac{\partial \ell}{\partial x_k} = \frac{e^{x_k}}{\sum_i e^{x_i}} = q_k$$ "
        r"$$\frac{\partial^2 \ell}{\partial x_k \partial x_j} = q_k (\delta_{kj} - q_j)$$",
        [(r"- q_j", r"+ q_j")],
    ),
]  # fmt: skip


def verdicts(text):
    return [step["verdict"] for step in check_derivation(text, "notes.md").steps]


@pytest.mark.parametrize(("written", "slips"), DERIVATIONS)
def test_a_derivation_is_judged_by_its_own_definitions(written, slips):
    assert set(verdicts(written)) == {"follows"}
    for slip in slips:
        assert written.count(slip[0]) == 1
        assert "does not follow" in verdicts(written.replace(*slip)), slip


@pytest.mark.parametrize(
    "written",
    [
        r"$$u_k = e^{a_k}$$ $$\frac{\partial G}{\partial a_k} = h_k u_k$$",  # what h is, nobody says
        r"$$u_k = e^{a_k}$$ $$\frac{\partial G}{\partial a_k} = 0$$",  # nor what G is
    ],
)
def test_what_is_not_said_is_neither_right_nor_wrong(written):
    assert verdicts(written)[-1] == "not understood"
