r"""Why the code computes the same numbers otherwise: two forms that do not cancel."""

# ruff: noqa: E501  # a line of LaTeX is a line

from chainrule.derive.setting import OUTPUT_LAYER
from chainrule.derive.written import Written

DERIVATIONS = (
    Written(
        name="loss_in_code",
        title="Why the code computes the loss otherwise",
        intro="A confident network has ŷ_ℓ near 1, where −log ŷ_ℓ is nearly 0 and floating point has few numbers. With two classes and logits 20 and 0, float32 rounds ŷ_ℓ to 1, so that −log ŷ_ℓ is 0; the loss is 2.06e-9, which is what the last line gives.",
        setting=OUTPUT_LAYER,
        lines=r"""
            \mathcal{L} = -\log \frac{\exp(a_{L\ell})}{\sum_j \exp(a_{Lj})}
                definition of softmax
            = \log \frac{\sum_j \exp(a_{Lj})}{\exp(a_{L\ell})}
                logarithms
            = \log \left( \sum_j \exp(a_{Lj} - a_{L\ell}) \right)
                algebra: The logits count only by their distance from that of the true class.
            = \log \left( 1 + \sum_{j \neq \ell} \exp(a_{Lj} - a_{L\ell}) \right)
                algebra: The term j = ℓ is exp(0) = 1. To add it in float32 loses all of a sum below 6e-8.
            = \text{log1p}\left( \sum_{j \neq \ell} \exp(a_{Lj} - a_{L\ell}) \right)
                definition: log1p(x) is log(1 + x), computed without adding the 1. The others are summed apart, and no
                digit is lost.
        """,
    ),
    Written(
        name="gradient_in_code",
        title="Why the code computes the gradient otherwise",
        intro="At the true class the gradient is −(1 − ŷ_ℓ). With two classes and logits 20 and 0, float32 rounds ŷ_ℓ to 1 and gets 0: the example no longer teaches anything. The sum over the other classes is −2.06e-9, right to the last digit.",
        setting=OUTPUT_LAYER,
        lines=r"""
            \frac{\partial \mathcal{L}}{\partial a_{L\ell}} = -(1 - \hat{y}_\ell)
                substitution: gradient_wrt_logits, where i = ℓ.
            = -\left( \sum_j \hat{y}_j - \hat{y}_\ell \right)
                probabilities sum to 1
            = -\sum_{j \neq \ell} \hat{y}_j
                algebra: Small numbers are added, and nothing is subtracted: nothing can cancel.
        """,
    ),
)
