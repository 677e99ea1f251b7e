r"""The derivative of each activation g that a hidden layer may have."""

# ruff: noqa: E501  # a line of LaTeX is a line

from chainrule.derive.setting import Free, Setting
from chainrule.derive.written import Written

_ANY = Setting(free={"a": Free()}, symbolic_classes=(2,), numeric_classes=(2, 5, 50))
_KINKED = Setting(free={"a": Free((), "nonzero")}, symbolic_classes=(2,), numeric_classes=(2, 5, 50))

DERIVATIONS = (
    Written(
        name="derivative_of_identity",
        title="The derivative of the identity",
        intro="The output layer of a regression has it. Hidden layers with it collapse into one.",
        setting=_ANY,
        lines=r"""
            \frac{\partial \text{identity}(a)}{\partial a} = \frac{\partial a}{\partial a}
                definition
            = 1
                power rule
        """,
    ),
    Written(
        name="derivative_of_relu",
        title="The derivative of relu",
        intro="relu(a) = max(a, 0) has a kink at a = 0. It is differentiated on either side; the lines are checked for a < 0 and for a > 0.",
        setting=_KINKED,
        lines=r"""
            \text{relu}(a) = \begin{cases} a & \text{if } a > 0 \\ 0 & \text{otherwise} \end{cases}
                definition
            \frac{\partial \text{relu}(a)}{\partial a} = \begin{cases} 1 & \text{if } a > 0 \\ 0 & \text{if } a < 0 \end{cases}
                derivative on each side: At a = 0 the slope is 0 from the left and 1 from the right: there is no
                derivative.
            = \begin{cases} 1 & \text{if } a > 0 \\ 0 & \text{otherwise} \end{cases}
                convention: At a = 0 the code takes 0.
        """,
    ),
    Written(
        name="derivative_of_leaky_relu",
        title="The derivative of leaky_relu",
        intro="Like relu, but with a slope of 1/100 for a < 0, so that no unit is ever without a gradient.",
        setting=_KINKED,
        lines=r"""
            \text{leaky_relu}(a) = \begin{cases} a & \text{if } a > 0 \\ \frac{1}{100} a & \text{otherwise} \end{cases}
                definition
            \frac{\partial \text{leaky_relu}(a)}{\partial a} = \begin{cases} 1 & \text{if } a > 0 \\ \frac{1}{100} & \text{if } a < 0 \end{cases}
                derivative on each side
            = \begin{cases} 1 & \text{if } a > 0 \\ \frac{1}{100} & \text{otherwise} \end{cases}
                convention: At a = 0 the code takes the slope of the left side.
        """,
    ),
    Written(
        name="derivative_of_tanh",
        title="The derivative of tanh",
        intro="tanh goes from −1 to 1, and its slope is 1 at a = 0.",
        setting=_ANY,
        lines=r"""
            \frac{\partial \tanh(a)}{\partial a} = \frac{\partial}{\partial a} \left[ \frac{\exp(a) - \exp(-a)}{\exp(a) + \exp(-a)} \right]
                definition
            = \frac{\exp(a) + \exp(-a)}{\exp(a) + \exp(-a)} - \frac{(\exp(a) - \exp(-a)) (\exp(a) - \exp(-a))}{(\exp(a) + \exp(-a))^2}
                quotient rule: The derivative of exp(−a) is −exp(−a).
            = 1 - \left( \frac{\exp(a) - \exp(-a)}{\exp(a) + \exp(-a)} \right)^2
                algebra
            = 1 - \tanh(a)^2
                definition
            = 4 \sigma(2 a) (1 - \sigma(2 a))
                algebra: tanh(a) = 2 σ(2a) − 1. The code computes this form: 1 − tanh² loses its digits where tanh is
                near 1.
        """,
    ),
    Written(
        name="derivative_of_logistic",
        title="The derivative of the logistic function",
        intro="σ(a) = 1/(1 + exp(−a)) goes from 0 to 1.",
        setting=_ANY,
        lines=r"""
            \frac{\partial \sigma(a)}{\partial a} = \frac{\partial}{\partial a} \left[ \frac{1}{1 + \exp(-a)} \right]
                definition
            = -\frac{1}{(1 + \exp(-a))^2} \frac{\partial (1 + \exp(-a))}{\partial a}
                quotient rule
            = \frac{\exp(-a)}{(1 + \exp(-a))^2}
                derivative of exp
            = \frac{1}{1 + \exp(-a)} \cdot \frac{\exp(-a)}{1 + \exp(-a)}
                algebra
            = \sigma(a) (1 - \sigma(a))
                definition: At most 1/4, at a = 0: a chain of many such factors vanishes.
        """,
    ),
    Written(
        name="derivative_of_gelu",
        title="The derivative of gelu",
        intro="gelu(a) = a Φ(a), where Φ(a) = ½ (1 + erf(a/√2)) is the normal distribution and φ(a) = exp(−a²/2)/√(2π) its density. This is the exact form, not the one with tanh.",
        setting=_ANY,
        lines=r"""
            \frac{\partial \text{gelu}(a)}{\partial a} = \frac{\partial}{\partial a} \left[ a \Phi(a) \right]
                definition
            = \frac{\partial a}{\partial a} \Phi(a) + a \frac{\partial \Phi(a)}{\partial a}
                product rule
            = \Phi(a) + a \varphi(a)
                definition: A density is the derivative of its distribution.
        """,
    ),
    Written(
        name="derivative_of_silu",
        title="The derivative of silu",
        intro="silu(a) = a σ(a).",
        setting=_ANY,
        lines=r"""
            \frac{\partial \text{silu}(a)}{\partial a} = \frac{\partial}{\partial a} \left[ a \sigma(a) \right]
                definition
            = \frac{\partial a}{\partial a} \sigma(a) + a \frac{\partial \sigma(a)}{\partial a}
                product rule
            = \sigma(a) + a \sigma(a) (1 - \sigma(a))
                substitution: See derivative_of_logistic.
        """,
    ),
    Written(
        name="derivative_of_softplus",
        title="The derivative of softplus",
        intro="softplus(a) = log(1 + exp(a)) is a smooth relu.",
        setting=_ANY,
        lines=r"""
            \frac{\partial \text{softplus}(a)}{\partial a} = \frac{\partial \log(1 + \exp(a))}{\partial a}
                definition
            = \frac{1}{1 + \exp(a)} \frac{\partial (1 + \exp(a))}{\partial a}
                derivative of log
            = \frac{\exp(a)}{1 + \exp(a)}
                derivative of exp
            = \frac{1}{1 + \exp(-a)}
                algebra
            = \sigma(a)
                definition
        """,
    ),
)
