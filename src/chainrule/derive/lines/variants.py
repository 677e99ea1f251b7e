r"""What people meet next: other targets, other terms in the loss, other output layers, and the second derivative."""

# ruff: noqa: E501  # a line of LaTeX is a line

from dataclasses import replace

from chainrule.derive.setting import OUTPUT_LAYER, Free, Setting
from chainrule.derive.written import Written, means

_LOGITS = {"a_L": Free(("K",))}
_SOFTMAX = {"ŷ": means(r"\text{softmax}(\mathbf{a}_L)", ("K",))}

DERIVATIONS = (
    Written(
        name="target_probabilities",
        title="Target probabilities instead of a label",
        intro="The truth is a distribution q over the classes, and the loss is the cross entropy between it and ŷ. With q = e(ℓ) it is the lecture's.",
        setting=Setting(
            free={**_LOGITS, "q": Free(("K",), "simplex")},
            defined={**_SOFTMAX, "𝓛": means(r"-\sum_j q_j \log \hat{y}_j")},
        ),
        lines=r"""
            \frac{\partial \mathcal{L}}{\partial a_{Li}} = -\sum_j q_j \frac{\partial \log \hat{y}_j}{\partial a_{Li}}
                linearity
            = -\sum_j \frac{q_j}{\hat{y}_j} \frac{\partial \hat{y}_j}{\partial a_{Li}}
                chain rule
            = -\sum_j \frac{q_j}{\hat{y}_j} \hat{y}_j (\mathbb{1}_{(j=i)} - \hat{y}_i)
                substitution: See softmax_jacobian.
            = -\sum_j q_j \mathbb{1}_{(j=i)} + \hat{y}_i \sum_j q_j
                algebra
            = -q_i + \hat{y}_i \sum_j q_j
                definition of the indicator
            = -(q_i - \hat{y}_i)
                probabilities sum to 1
            \nabla_{\mathbf{a}_L} \mathcal{L} = -(\mathbf{q} - \hat{\mathbf{y}})
                collecting into a vector
        """,
    ),
    Written(
        name="label_smoothing",
        title="Label smoothing",
        intro="The label keeps 1 − ε of its weight, and the rest is shared among all K classes: the target is (1 − ε) e(ℓ) + ε/K.",
        setting=Setting(
            free={**_LOGITS, "ε": Free((), "unit")},
            defined={
                **_SOFTMAX,
                "q": means(r"(1 - \varepsilon) \mathbb{1}_{(\ell=p)} + \frac{\varepsilon}{K}", ("K",), ("p",)),
                "𝓛": means(r"-\sum_j q_j \log \hat{y}_j"),
            },
        ),
        lines=r"""
            \frac{\partial \mathcal{L}}{\partial a_{Li}} = -\sum_j q_j \frac{\partial \log \hat{y}_j}{\partial a_{Li}}
                linearity
            = -(q_i - \hat{y}_i)
                substitution: See target_probabilities: q sums to 1 here too.
            = -\left( (1 - \varepsilon) \mathbb{1}_{(\ell=i)} + \frac{\varepsilon}{K} - \hat{y}_i \right)
                definition: The gradient is 0 where ŷ is the smoothed target: the logits are no longer driven to
                infinity.
            \nabla_{\mathbf{a}_L} \mathcal{L} = \begin{bmatrix} -\left( (1 - \varepsilon) \mathbb{1}_{(\ell=1)} + \frac{\varepsilon}{K} - \hat{y}_1 \right) \\ \vdots \\ -\left( (1 - \varepsilon) \mathbb{1}_{(\ell=K)} + \frac{\varepsilon}{K} - \hat{y}_K \right) \end{bmatrix}
                collecting into a vector
        """,
    ),
    Written(
        name="temperature",
        title="Temperature",
        intro="The logits are divided by a temperature T > 0 before softmax: ŷ = softmax(a_L / T).",
        setting=Setting(
            free={**_LOGITS, "T": Free((), "positive")},
            defined={
                "ŷ": means(r"\text{softmax}\left( \frac{1}{T} \mathbf{a}_L \right)", ("K",)),
                "𝓛": means(r"-\log \hat{y}_\ell"),
            },
        ),
        lines=r"""
            \frac{\partial (-\log \hat{y}_\ell)}{\partial a_{Li}} = \frac{-1}{\hat{y}_\ell} \frac{\partial \hat{y}_\ell}{\partial a_{Li}}
                chain rule
            = \frac{-1}{\hat{y}_\ell} \frac{\partial}{\partial a_{Li}} \left[ \frac{\exp(a_{L\ell} / T)}{\sum_{i'} \exp(a_{Li'} / T)} \right]
                definition of softmax
            = \frac{-1}{\hat{y}_\ell} \left( \frac{\frac{1}{T} \mathbb{1}_{(\ell=i)} \exp(a_{L\ell} / T)}{\sum_{i'} \exp(a_{Li'} / T)} - \frac{\exp(a_{L\ell} / T) \cdot \frac{1}{T} \exp(a_{Li} / T)}{\left( \sum_{i'} \exp(a_{Li'} / T) \right)^2} \right)
                quotient rule: Each derivative of exp(a/T) has a factor 1/T, by the chain rule.
            = \frac{-1}{\hat{y}_\ell} \frac{1}{T} \left( \mathbb{1}_{(\ell=i)} \hat{y}_\ell - \hat{y}_\ell \hat{y}_i \right)
                definition of softmax
            = -\frac{1}{T} \left( \mathbb{1}_{(\ell=i)} - \hat{y}_i \right)
                algebra: At a high temperature ŷ is flat and the gradient small.
            \nabla_{\mathbf{a}_L} \mathcal{L} = -\frac{1}{T} (\mathbf{e}(\ell) - \hat{\mathbf{y}})
                collecting into a vector
        """,
    ),
    Written(
        name="z_loss",
        title="The z-loss",
        intro="A second term, λ times the square of z = log Σ exp(a_{Lj}), keeps the logits from drifting together: softmax does not notice a number that is added to them all.",
        setting=Setting(
            free={**_LOGITS, "λ": Free((), "positive")},
            defined={
                **_SOFTMAX,
                "z": means(r"\log \sum_j \exp(a_{Lj})"),
                "𝓛": means(r"-\log \hat{y}_\ell + \lambda z^2"),
            },
        ),
        lines=r"""
            \frac{\partial z}{\partial a_{Li}} = \frac{1}{\sum_j \exp(a_{Lj})} \frac{\partial (\sum_j \exp(a_{Lj}))}{\partial a_{Li}}
                derivative of log
            = \frac{\exp(a_{Li})}{\sum_j \exp(a_{Lj})}
                derivative of exp
            = \hat{y}_i
                definition of softmax: The gradient of log Σ exp is softmax.
            \frac{\partial \mathcal{L}}{\partial a_{Li}} = \frac{\partial (-\log \hat{y}_\ell)}{\partial a_{Li}} + \lambda \frac{\partial z^2}{\partial a_{Li}}
                linearity
            = -(\mathbb{1}_{(\ell=i)} - \hat{y}_i) + \lambda \frac{\partial z^2}{\partial a_{Li}}
                substitution: See gradient_wrt_logits.
            = -(\mathbb{1}_{(\ell=i)} - \hat{y}_i) + 2 \lambda z \frac{\partial z}{\partial a_{Li}}
                power rule
            = -(\mathbb{1}_{(\ell=i)} - \hat{y}_i) + 2 \lambda z \hat{y}_i
                substitution
            \nabla_{\mathbf{a}_L} \mathcal{L} = -(\mathbf{e}(\ell) - \hat{\mathbf{y}}) + 2 \lambda z \hat{\mathbf{y}}
                collecting into a vector
        """,
    ),
    Written(
        name="focal_loss",
        title="The focal loss",
        intro="The cross entropy times (1 − ŷ_ℓ)^γ: examples that are already right count for less. With γ = 0 it is the lecture's loss.",
        setting=Setting(
            free={**_LOGITS, "γ": Free((), "positive")},
            defined={**_SOFTMAX, "𝓛": means(r"-(1 - \hat{y}_\ell)^\gamma \log \hat{y}_\ell")},
        ),
        lines=r"""
            \frac{\partial \mathcal{L}}{\partial a_{Li}} = \frac{\partial \mathcal{L}}{\partial \hat{y}_\ell} \frac{\partial \hat{y}_\ell}{\partial a_{Li}}
                chain rule
            = \left( -\frac{\partial (1 - \hat{y}_\ell)^\gamma}{\partial \hat{y}_\ell} \log(\hat{y}_\ell) - (1 - \hat{y}_\ell)^\gamma \frac{\partial \log \hat{y}_\ell}{\partial \hat{y}_\ell} \right) \frac{\partial \hat{y}_\ell}{\partial a_{Li}}
                product rule
            = \left( \gamma (1 - \hat{y}_\ell)^{\gamma-1} \log(\hat{y}_\ell) - \frac{(1 - \hat{y}_\ell)^\gamma}{\hat{y}_\ell} \right) \frac{\partial \hat{y}_\ell}{\partial a_{Li}}
                power rule
            = \left( \gamma (1 - \hat{y}_\ell)^{\gamma-1} \log(\hat{y}_\ell) - \frac{(1 - \hat{y}_\ell)^\gamma}{\hat{y}_\ell} \right) \hat{y}_\ell (\mathbb{1}_{(\ell=i)} - \hat{y}_i)
                substitution: See softmax_jacobian.
            = \left( \gamma \hat{y}_\ell (1 - \hat{y}_\ell)^{\gamma-1} \log(\hat{y}_\ell) - (1 - \hat{y}_\ell)^\gamma \right) (\mathbb{1}_{(\ell=i)} - \hat{y}_i)
                algebra: The lecture's gradient times a number that goes to 0 as ŷ_ℓ goes to 1.
            \nabla_{\mathbf{a}_L} \mathcal{L} = \left( \gamma \hat{y}_\ell (1 - \hat{y}_\ell)^{\gamma-1} \log(\hat{y}_\ell) - (1 - \hat{y}_\ell)^\gamma \right) (\mathbf{e}(\ell) - \hat{\mathbf{y}})
                collecting into a vector
        """,
    ),
    Written(
        name="hessian",
        title="The Hessian w.r.t. the logits",
        intro="The second derivatives: how the gradient −(𝟙[ℓ=i] − ŷ_i) changes with each logit.",
        setting=replace(OUTPUT_LAYER, numeric_classes=(2, 5, 20)),  # 20³ numbers of 100 digits take a second
        lines=r"""
            \frac{\partial^2 \mathcal{L}}{\partial a_{Lj} \partial a_{Li}} = \frac{\partial}{\partial a_{Lj}} \left[ -(\mathbb{1}_{(\ell=i)} - \hat{y}_i) \right]
                substitution: See gradient_wrt_logits.
            = \frac{\partial \hat{y}_i}{\partial a_{Lj}}
                linearity: The indicator is a constant: the Hessian does not depend on the label.
            = \hat{y}_i (\mathbb{1}_{(i=j)} - \hat{y}_j)
                substitution: See softmax_jacobian.
            \frac{\partial}{\partial \mathbf{a}_L} \nabla_{\mathbf{a}_L} \mathcal{L} = \operatorname{diag}(\hat{\mathbf{y}}) - \hat{\mathbf{y}} \hat{\mathbf{y}}^\top
                collecting into a matrix: Times a vector v that is ŷ ⊙ v − ŷ (ŷᵀ v), and the matrix need not be stored.
        """,
    ),
    Written(
        name="binary_cross_entropy",
        title="A logistic output with the binary cross entropy",
        intro="One logit a, one probability ŷ = σ(a) = 1/(1 + exp(−a)), and a target y that is 0, 1 or between.",
        setting=Setting(
            free={"a": Free(), "y": Free((), "unit")},
            defined={"ŷ": means(r"\sigma(a)"), "𝓛": means(r"-y \log(\hat{y}) - (1 - y) \log(1 - \hat{y})")},
        ),
        lines=r"""
            \frac{\partial \mathcal{L}}{\partial a} = \frac{\partial \mathcal{L}}{\partial \hat{y}} \frac{\partial \hat{y}}{\partial a}
                chain rule
            = \left( -\frac{y}{\hat{y}} + \frac{1 - y}{1 - \hat{y}} \right) \frac{\partial \hat{y}}{\partial a}
                derivative of log
            = \left( -\frac{y}{\hat{y}} + \frac{1 - y}{1 - \hat{y}} \right) \hat{y} (1 - \hat{y})
                substitution: See derivative_of_logistic.
            = -y (1 - \hat{y}) + (1 - y) \hat{y}
                algebra
            = -(y - \hat{y})
                algebra: The same as for softmax: σ is softmax of the logits a and 0.
        """,
    ),
    Written(
        name="squared_error",
        title="A linear output with the squared error",
        intro="Regression: the output is ŷ = a_L itself, the target is y, and the loss is half the sum of the squared differences.",
        setting=Setting(
            free={**_LOGITS, "y": Free(("K",))},
            defined={"ŷ": means(r"\mathbf{a}_L", ("K",)), "𝓛": means(r"\frac{1}{2} \sum_j (\hat{y}_j - y_j)^2")},
        ),
        lines=r"""
            \frac{\partial \mathcal{L}}{\partial a_{Li}} = \frac{1}{2} \sum_j \frac{\partial (\hat{y}_j - y_j)^2}{\partial a_{Li}}
                linearity
            = \frac{1}{2} \sum_j 2 (\hat{y}_j - y_j) \frac{\partial \hat{y}_j}{\partial a_{Li}}
                power rule
            = \sum_j (\hat{y}_j - y_j) \mathbb{1}_{(j=i)}
                definition: ŷ_j is a_{Lj}.
            = -(y_i - \hat{y}_i)
                definition of the indicator
            \nabla_{\mathbf{a}_L} \mathcal{L} = -(\mathbf{y} - \hat{\mathbf{y}})
                collecting into a vector: Once more what is said less what is true: the factor ½ is there for that.
        """,
    ),
)
