"""Ways to write that only some authors have: each is read, and a slip in it does not pass."""

import pytest
from slips import assert_read_without_a_slip

from chainrule.derive.people.check import check_derivation

SOFTMAX = r"$p_i = e^{z_i} / \sum_j e^{z_j}$" + "\n"


@pytest.mark.parametrize(
    ("written", "wrong"),
    [
        # mathematics in the comments of a program, and quoted
        (
            "# $p_i = e^{z_i} / \\sum_j e^{z_j}$\n# $$\n"
            "# \\frac{\\partial p_i}{\\partial z_j} = p_i (\\delta_{ij} - p_j)\n# $$",
            ("- p_j", "+ p_j"),
        ),
        (
            "> $p_i = e^{z_i} / \\sum_j e^{z_j}$\n> $$\n"
            "> \\frac{\\partial p_i}{\\partial z_j}\n> = p_i (\\delta_{ij} - p_j)\n> $$",
            ("- p_j", "+ p_j"),
        ),
        # a fence of mathematics around a display
        (
            SOFTMAX + "```mathjax!\n$$\n\\frac{\\partial p_i}{\\partial z_j} = p_i (\\delta_{ij} - p_j)\n$$\n```",
            ("- p_j", "+ p_j"),
        ),
        # cases whose conditions stand behind a wide space
        (
            SOFTMAX + r"$$\frac{\partial p_i}{\partial z_j} = \left\{ \begin{array}{l} p_i (1 - p_j) \quad i = j \\"
            r" -p_i p_j \qquad i \neq j \end{array} \right.$$",
            (r"\\ -p_i", r"\\ p_i"),
        ),
        # the sum of the exponentials, as a letter that nothing defines, or as a bare Σ
        (
            SOFTMAX + r"$$\frac{\partial p_i}{\partial z_i} = \frac{\partial}{\partial z_i} \frac{e^{z_i}}{D} ="
            r" \frac{e^{z_i} D - e^{z_i} e^{z_i}}{D^2} = p_i (1 - p_i)$$",
            ("D - e", "D + e"),
        ),
        (
            SOFTMAX + r"If $i = j$, $$\frac{\partial p_i}{\partial z_j} = \frac{e^{z_i} \sum - e^{z_j} e^{z_i}}{\sum^2}"
            r" = \frac{e^{z_i}}{\sum} \frac{\sum - e^{z_j}}{\sum} = p_i (1 - p_j)$$",
            (r"\sum - e^{z_j} e", r"\sum + e^{z_j} e"),
        ),
        # a function glued to what it is of, words as names, and a Σ without its _
        (
            SOFTMAX + r"$$L = -\sum_k y_k logp_k$$ $$\frac{\partial L}{\partial p_k} = -y_k \frac{\partial logp_k}"
            r"{\partial p_k} = -\frac{y_k}{p_k}$$",
            (r"= -\frac{y_k}", r"= \frac{y_k}"),
        ),
        (
            r"$$\delta^l = ((w^{l+1})^T \delta^{l+1}) \odot g'(in^l)$$ $$\frac{\partial C}{\partial w^l_{jk}} ="
            r" a^{l-1}_k \delta^l_j$$",
            (r"\delta^{l+1})", r"\delta^{l})"),
        ),
        (
            SOFTMAX + r"$$L = -\sum{k=1}^K y_k \ln p_k$$ $$\frac{\partial L}{\partial z_k} = p_k - y_k$$",
            ("p_k - y_k", "p_k + y_k"),
        ),
        # ∂_z L, each of which acts on what stands next to it
        (
            r"$$\hat y_i = \frac{e^{w_i^T r}}{\sum_j e^{w_j^T r}}$$ $$J = -\sum_i y_i \log \hat y_i$$ $$z_k = w_k^T r$$"
            r"$$\partial_{w_k} J = \partial_{z_k} J \partial_{w_k} z_k = (\hat y_k - y_k) r$$",
            (r"J = \partial_{z_k} J", r"J = \partial_{z_k} z_k"),
        ),
        (
            r"$$f(x) = \frac{\sinh(x)}{\cosh(x)}$$ $$f'(x) = \frac{\frac{\partial}{\partial x} \sinh(x) \cosh(x) -"
            r" \frac{\partial}{\partial x} \cosh(x) \sinh(x)}{\cosh^2(x)} = 1 - \tanh^2(x)$$",
            (r"\cosh(x) - \f", r"\cosh(x) + \f"),
        ),
        # the prime of a bracket
        (
            r"$$L = -y \log a - (1 - y) \log(1 - a)$$ $$\frac{\partial L}{\partial a} = (-y \log a - (1 - y)"
            r" \log(1 - a))^{'} = -\frac{y}{a} + \frac{1 - y}{1 - a}$$",
            (r"} + \frac{1 - y", r"} - \frac{1 - y"),
        ),
        # braces that mean nothing, across brackets and around both factors of an exponent
        (
            r"$$p = \frac{1}{1 + {{e}^{{-w^{T}}{{x}}}}}$$ $$L = {[-y \log p - (1 - y) \log (1 - p)}]$$"
            r"$$\frac{\partial L}{\partial w} = (p - y) x$$",
            ("(p - y)", "(p + y)"),
        ),
        # a substitution that is named below what it stands in
        (
            r"$$p = \sigma(z) = \frac{1}{1 + e^{-z}} = (1 + e^{-z})^{-1}$$ $$u = 1 + e^{-z}$$"
            r"$$\frac{dp}{dz} = \frac{dp}{du} \frac{du}{dz} = -u^{-2} \cdot (-e^{-z}) = p (1 - p)$$",
            ("-u^{-2}", "-u^{-1}"),
        ),
        # the chain rule sums over all samples
        (
            r"$$a = x W + b$$ $$\hat y = softmax(a)$$ $$J = -\sum_n \sum_k y_{nk} \log \hat y_{nk}$$"
            r"$$\nabla_b J = \frac{\partial J}{\partial a} \frac{\partial a}{\partial b} = \sum_n (\hat y_n - y_n)$$",
            (r"\hat y_n - y_n", r"\hat y_n + y_n"),
        ),
        # what a program assigns, of which only the change is an equation; o is a word's number, as J(v_c, o, U) says
        (
            r"$$z = W x + b$$ $$p = \sigma(z)$$ $$L = -y \log p - (1 - y) \log(1 - p)$$"
            r"$$W^{(t+1)} = W^{(t)} - \eta (p - y) x^T$$ $$b(t+1) = b(t) - \eta (p - y)$$"
            r"$$W := W - \eta \frac{\partial L}{\partial W} = W - \eta (p - y) x^T$$",
            (r"= W - \eta (p", r"= W - (p"),
        ),
        (
            r"\begin{align} v_c &: v_c - \alpha \frac{\partial J(v_c, o, U)}{\partial v_c} \\"
            r" &= v_c - \alpha (-u_o + \sum_{x \in Vocab} \hat y_x u_x) \\ &= v_c - \alpha U (\hat y - y) \end{align}"
            r" $$\frac{\delta}{\delta{v_c}} J(v_c, o, U) = U (\hat y - y)$$",
            (r"(-u_o", r"(u_o"),
        ),
        # formulas that are broken off at a sign, and conditions
        (
            SOFTMAX + r"If i$\neq$ j, $\frac{\partial p_i}{\partial z_j}$ ="
            r" $$-\frac{e^{z_i} e^{z_j}}{(\sum_k e^{z_k})^2}$$"
            r" = $-p_i p_j$",
            ("$$-", "$$"),
        ),
        # σ{…}, and the number of a word that is an index: the step between two right ones is the wrong one
        (
            r"$$J = -\log \sigma(u_o^T v_c) - \sum_{s=1}^K \log \sigma(-u_{w_s}^T v_c)$$"
            r"$$\frac{\partial J}{\partial v_c} = (\sigma{u_o^T v_c} - 1) u_o +"
            r" \sum_{s=1}^K \sigma(u_{w_s}^T v_c) u_{w_s}$$",
            ("- 1) u_o +", "- 1) u_o -"),
        ),
        # brackets that close behind their group, an upright d with all that it stands before, macros that are not shown
        (
            r"$$a^{(2}) = \sigma(z^{(2}))$$"
            r"$$\frac{\partial \Loss}{\partial z^{(2})} = \frac{\partial \Loss}{\partial a^{(2})}"
            r" \odot \sigma'(z^{(2}))$$",
            (r"\odot \sigma'", r"\odot \sigma"),
        ),
        (
            r"$$\log(\sigma(t))' = 1 - \sigma(t)$$ $$\frac{\mathrm{d \log(1 - \sigma(t))}}{\mathrm{d} t} = -\sigma(t)$$"
            r" $$\sigma(t) = \frac{1}{1 + e^{-t}}$$",
            ("= -\\sigma", "= \\sigma"),
        ),
        # as many inputs as are written out
        (
            r"$$L = (\hat y - y)^2$$ $$\hat y = w_1 x_1 + w_2 x_2$$$$\begin{bmatrix} \frac{\partial L}{\partial w_1} \\"
            r" \frac{\partial L}{\partial w_2} \end{bmatrix} = \begin{bmatrix} 2 (\hat y - y) x_1 \\ 2 (\hat y - y) x_2"
            r" \end{bmatrix} = 2 (\hat y - y) \begin{bmatrix} x_1 \\ x_2 \end{bmatrix}$$",
            (r"= 2 (\hat y - y) \b", r"= (\hat y - y) \b"),
        ),
        # what is said beside a row that goes on: the next row goes on from that row
        (
            r"$$\begin{aligned} &\frac{\partial (-\log p_k)}{\partial p_k} \\"
            r" &= -\frac{\partial}{\partial p_k} \log p_k \quad"
            r" \because \frac{d}{dx} \log(x) = \frac{1}{x} \\ &= -\frac{1}{p_k} \end{aligned}$$",
            (r"&= -\frac{1}", r"&= \frac{1}"),
        ),
        (
            r"$$p = \sigma(z)$$ $$\begin{aligned} \frac{\partial p}{\partial z} &= \sigma'(z) \\"
            r" &= \sigma(z) (1 - \sigma(z)), \quad \sigma(z) = \frac{1}{1 + e^{-z}} \\ &= p (1 - p) \end{aligned}$$",
            ("&= p (1 - p)", "&= p (1 + p)"),
        ),
        # Σ_x over all inputs
        (
            r"$$z^L = w^L a^{L-1} + b^L$$ $$\delta^L = a^L - y$$"
            r"$$\frac{\partial C}{\partial w^L_{jk}} = \frac{1}{n} \sum_x a^{L-1}_k (a^L_j - y_j)$$",
            ("(a^L_j - y_j)", "(a^L_j + y_j)"),
        ),
        (
            r"$$\frac{\partial C}{\partial w_j} = -\frac{1}{n} \sum_x \left( \frac{y}{\sigma(z)}"
            r" - \frac{1 - y}{1 - \sigma(z)} \right) \frac{\partial \sigma}{\partial w_j} = -\frac{1}{n} \sum_x"
            r" \left( \frac{y}{\sigma(z)} - \frac{1 - y}{1 - \sigma(z)} \right) \sigma'(z) x_j$$",
            (r"\sigma'(z) x_j", r"\sigma(z) x_j"),
        ),
        # a sum over the other classes, and what set they are in
        (
            SOFTMAX + r"$$L = -\sum_k y_k \log p_k$$ $$\frac{\partial L}{\partial z_i} = -y_i (1 - p_i)"
            r" + \sum_{j \neq i \in C} y_j p_i$$",
            ("y_j p_i", "y_j p_j"),
        ),
        # an inner product within brackets
        (
            SOFTMAX + r"$$J = \operatorname{diag}(p) - p p^\top$$ $$J^\top g = p \odot (g - \langle g, p \rangle)$$",
            ("(g - ", "(g + "),
        ),
        # a derivative by \over, and a prime for the slope of the output's activation
        (
            r"$${\partial L \over \partial w_j} = {dL \over da} \cdot {\partial a \over \partial z} \cdot"
            r" {\partial z \over \partial w_j} = \left( -\frac{y}{a} + \frac{1 - y}{1 - a} \right) a' x_j"
            r" = (a - y) x_j$$"
            r"$${\partial L \over \partial b} = a - y$$",
            ("a' x_j", "a x_j"),
        ),
        # a layer's number beside a unit's index, and alone
        (
            r"$$\frac{\partial L}{\partial z_{2,i}} = \hat y_i - y_i$$"
            r"$$\frac{\partial L}{\partial z_2} = \hat y - y$$",
            (r"\hat y - y", r"\hat y + y"),
        ),
        # the gradient that comes in, by a name that nothing says the meaning of
        (
            r"$$Q_{i,j} = \sum_k X_{i,k} V_{k,j} + c_j$$ $$\frac{\partial E}{\partial X_{i,k}} = \sum_j \frac{\partial"
            r" E}{\partial Q_{i,j}} \frac{\partial Q_{i,j}}{\partial X_{i,k}} = \sum_j G_{i,j} V_{k,j}$$"
            r"$$\frac{\partial E}{\partial V} = X^\top G$$",
            (r"G_{i,j} V_{k,j}", r"G_{j,i} V_{k,j}"),
        ),
        # errors by a letter of which the file says once what it is; rows are samples, a bias's gradient sums over them
        (
            r"$$H = X U + c$$ $$A = \operatorname{ReLU}(H)$$ $$Z = A V + d$$"
            r"$$L = \operatorname{CrossEntropyLoss}(Z, y)$$ $$G_Z = \frac{\partial L}{\partial Z}$$"
            r"$$\frac{\partial L}{\partial V} = A^\top G_Z$$ $$G_A = G_Z V^\top$$ $$G_H = G_A \odot \mathbb{1}(H > 0)$$"
            r"$$\frac{\partial L}{\partial U} = X^\top G_H$$"
            r"$$\frac{\partial L}{\partial c} = \sum_{i=1}^{B} (G_H)_i$$",
            (r"G_A \odot", r"G_Z \odot"),
        ),
        # batches in small letters
        (
            r"$$\delta^{(2)} = \frac{q - t}{N}$$ $$\nabla_{W^{(2)}} L = (h^{(1)})^\top \delta^{(2)} \qquad"
            r" \nabla_{b^{(2)}} L = \sum_i \delta^{(2)}_i$$ $$\delta^{(1)} = (\delta^{(2)} (W^{(2)})^\top) \odot"
            r" \operatorname{ReLU}'(z^{(1)})$$ $$\nabla_{W^{(1)}} L = X^\top \delta^{(1)}$$",
            (r"X^\top \delta^{(1)}", r"X^\top \delta^{(2)}"),
        ),
        # a matrix of samples beside the weights of one output, and the x of σ(x) beside it
        (
            r"$$\sigma(x) = \frac{1}{1 + e^{-x}}$$"
            r"$$\frac{\partial J}{\partial \beta} = X^\top (\sigma(X \beta) - t)$$",
            (r") - t)", r") + t)"),
        ),
        (
            r"$$\sigma(x) = \frac{1}{1 + e^{-x}}$$ $$q(x) = \sigma(w^\top x)$$ $$\frac{\partial}{\partial w_j} E(w) ="
            r" \frac{\partial}{\partial w_j} \sum_{i=1}^n -\log(\sigma(w^\top x^{(i)})) t^{(i)} - \log(1 -"
            r" \sigma(w^\top x^{(i)})) (1 - t^{(i)}) = \sum_{i=1}^n (q(x^{(i)}) - t^{(i)}) x_j^{(i)}$$",
            ("q(x^{(i)}) - t", "q(x^{(i)}) + t"),
        ),
        # labels of −1 and 1
        (
            r"$$E(u) = \frac{1}{m} \sum_{i=1}^m \log(1 + e^{-t_i u^\top x_i})$$ $$\frac{\partial E}{\partial u} ="
            r" -\frac{1}{m} \sum_{i=1}^m \frac{e^{-t_i u^\top x_i}}{1 + e^{-t_i u^\top x_i}} t_i x_i$$",
            ("}} t_i x_i", "}} x_i"),
        ),
        (
            r"$g(z) = 1 / (1 + e^{-z})$, $h_w(x) = g(w^T x)$"
            r"$$E(w) = -\frac{1}{m} \sum_{i=1}^m \log(h_w(y^{(i)} x^{(i)}))$$"
            r"$$\frac{\partial E}{\partial w_k} = -\frac{1}{m} \sum_{i=1}^m"
            r" (1 - h_w(y^{(i)} x^{(i)})) y^{(i)} x_k^{(i)}$$",
            (r"w_k} = -\frac", r"w_k} = \frac"),
        ),
        # the logarithm of a likelihood; ω · x_i of sample i
        (
            r"$$\log L(\omega) = \sum_i y_i \omega \cdot x_i - \log(1 + e^{\omega \cdot x_i})$$"
            r"$$\frac{\partial \log L(\omega)}{\partial \omega} = \sum_i y_i x_i - \frac{e^{\omega \cdot x_i} x_i}"
            r"{1 + e^{\omega \cdot x_i}}$$",
            (r"y_i x_i - \frac", r"y_i x_i + \frac"),
        ),
        # weights to y, and words for a loss
        (
            r"$$o = W_y h_t + b_y$$ $$\hat y = \text{softmax}(o)$$ $$J = \text{Cross entropy}(y, \hat y) ="
            r" -\sum_i y_i \log \hat y_i$$ $$\frac{dJ}{dW_y} = \frac{dJ}{do} \frac{do}{dW_y} = (\hat y - y) h_t^\top$$",
            (r"(\hat y - y) h_t^\top", r"h_t^\top (\hat y - y)"),
        ),
        # what is said of one class and of the others, in displays of their own
        (
            r"$$p_i = \frac{e^{s_i}}{\sum_j e^{s_j}}$$ $$\frac{\partial p_i}{\partial s_j} = p_i (1 - p_j)$$"
            r"$$\frac{\partial p_i}{\partial s_j} = -p_j p_i$$",
            ("= -p_j p_i", "= p_j p_i"),
        ),
        # capitals with two indices, and without
        (
            r"$\hat Q = $ softmax$(S)$ $$E = -\frac{1}{B} \sum_{i=1}^B \sum_j T_{ij} \log \hat Q_{ij}$$"
            r"$\hat Q = \operatorname{softmax}(S)$ $$\frac{\partial E}{\partial S} = \frac{1}{B} (\hat Q - T)$$",
            (r"(\hat Q - T)", r"(\hat Q + T)"),
        ),
        # a loss of all samples, and a sum that reaches as far as its letter
        (
            r"$$J(w) = \frac{1}{n} \sum_{i=1}^n -t^{(i)} \log q_w(x^{(i)}) - (1 - t^{(i)}) \log(1 - q_w(x^{(i)}))$$"
            r"$$\frac{\partial J}{\partial w} = \frac{1}{n} \sum_{i=1}^n x^{(i)} (q_w(x^{(i)}) - t^{(i)})$$",
            (r"= \frac{1}{n} \sum_{i=1}^n x^", r"= x^"),
        ),
        # what the output is, said in the prose alone
        (
            r"With $q = \sigma(u)$ and $u = v s + c$: $$E = \frac12 (t - q)^2$$"
            r"$$\frac{\partial E}{\partial v} = (q - t) \sigma'(u) s$$"
            r"$$\frac{\partial E}{\partial c} = (q - t) \sigma'(u)$$",
            (r"(q - t) \sigma'(u)$$", r"(t - q) \sigma'(u)$$"),
        ),
        # the loss of all samples, by what belongs to one
        (
            r"$$L = -\frac{1}{M} \sum_{n=1}^M \sum_{k=1}^K t_{nk} \log q_{nk}$$"
            r"$$\frac{\partial L}{\partial q_{nk}} = -\frac{t_{nk}}{M q_{nk}}$$",
            ("{M q_{nk}}", "{q_{nk}}"),
        ),
        # layers told by their index letters, and once more by a letter above
        (
            r"$$net_j = \sum_i v_{ij} x_i + b_j, \quad h_j = f(net_j)$$"
            r"$$net_k = \sum_j w_{jk} h_j + b_k, \quad y_k = g(net_k)$$ $$E = \frac12 \sum_k (t_k - y_k)^2$$"
            r"$$\delta_k^o = \frac{\partial E}{\partial net_k} = (y_k - t_k) g'(net_k)$$"
            r"$$\delta_j^h = \left( \sum_k \delta_k^o w_{jk} \right) f'(net_j)$$",
            (r"w_{jk} \right)", r"w_{kj} \right)"),
        ),
    ],
)  # fmt: skip
def test_a_notation_is_read_and_a_slip_in_it_is_not_passed(written, wrong):
    assert_read_without_a_slip(written, wrong)


@pytest.mark.parametrize(
    "written",
    [
        # of two losses, the one of which nothing says what it is may be the mean of the other
        r"$$Z = X W + b$$ $$\frac{\partial J}{\partial W} = \frac{1}{m} \frac{\partial L}{\partial W}$$"
        r"$$\frac{\partial J}{\partial b} = \frac{1}{m} \sum \frac{\partial L}{\partial Z}$$",
        # f(x_j) for the j-th output of f
        r"$$y_j = \frac{\exp(f(x_j))}{\sum_k \exp(f(x_k))}$$ $$f(x_j) = \sum_{d=1}^D w_{jd} x_d + b_j$$",
        # a file that compares two losses
        r"$$\frac{\partial C}{\partial w^L_{jk}} = \frac{1}{n} \sum_x a^{L-1}_k (a^L_j - y_j) \sigma'(z^L_j)$$"
        r"$$\delta^L = a^L - y$$ $$\frac{\partial C}{\partial w^L_{jk}} = \frac{1}{n} \sum_x a^{L-1}_k (a^L_j - y_j)$$",
        # what depends on what is another network than the usual letters tell
        r"$$\frac{\partial L}{\partial b} = \frac{\partial L}{\partial a} \cdot \frac{\partial a}{\partial h} \cdot"
        r" \frac{\partial h}{\partial b} = \delta$$",
        # one loss that is made of another, and what is set to 0
        r"$$s = \frac{\lambda}{2} \|W\|^2$$ $$J = L + s$$ $$\frac{\partial s}{\partial W} = \lambda W$$",
        r"$$\ell(p) = y \log p + (1 - y) \log(1 - p)$$"
        r"$$\frac{\partial \ell(p)}{\partial p} = \frac{y}{p} - \frac{1 - y}{1 - p} = 0$$",
        # of each sample's loss, or of the mean
        r"$$Z = W A + b$$ $$dW = \frac{\partial L}{\partial W} = \frac{1}{m} dZ A^T$$",
        # errors as rows in one line, and as columns in the other
        r"$$\delta^{(l)} = \frac{\partial L}{\partial z^{(l)}}$$ $$\delta^{(l)} = \delta^{(l+1)} W^{(l+1)}"
        r" \mathrm{diag}(\phi'(z^{(l)}))$$ $$\frac{\partial L}{\partial W^{(l)}} = \delta^{(l)} (a^{(l-1)})^T$$",
    ],
)
def test_what_may_be_meant_otherwise_is_not_called_wrong(written):
    assert "does not follow" not in {step["verdict"] for step in check_derivation(written, "notes.md").steps}
