r"""The lecture, section 1: the loss, and its gradient w.r.t. the probabilities and the logits."""

# ruff: noqa: E501  # a line of LaTeX is a line

from chainrule.derive.setting import OUTPUT_LAYER
from chainrule.derive.written import Written

DERIVATIONS = (
    Written(
        name="loss",
        title="The loss, from the logits",
        intro="The output layer turns the logits a_L into probabilities ŷ = softmax(a_L). The loss is the cross entropy with the true class ℓ.",
        setting=OUTPUT_LAYER,
        lines=r"""
            \mathcal{L} = -\log \hat{y}_\ell
                definition of the loss: Only the probability of the true class counts.
            = -\log \text{softmax}(\mathbf{a}_L)_\ell
                definition
            = -\log \frac{\exp(a_{L\ell})}{\sum_{i'} \exp(a_{Li'})}
                definition of softmax: Every logit is in the denominator, so the loss depends on all of them.
            = \log \left( \sum_{i'} \exp(a_{Li'}) \right) - a_{L\ell}
                logarithms: The first term is a smooth maximum of the logits: the loss is about how far the true class
                falls short of it.
        """,
    ),
    Written(
        name="gradient_wrt_probabilities",
        title="The gradient w.r.t. the probabilities",
        intro="How the loss changes with each probability, the others held fixed: ŷ leaves the simplex for as long as one of its elements is moved.",
        setting=OUTPUT_LAYER,
        lines=r"""
            \frac{\partial \mathcal{L}}{\partial \hat{y}_i} = \frac{\partial (-\log \hat{y}_\ell)}{\partial \hat{y}_i}
                definition of the loss
            = \begin{cases} -\frac{1}{\hat{y}_\ell} & \text{if } i = \ell \\ 0 & \text{otherwise} \end{cases}
                derivative of log: No other probability than that of the true class is in the loss.
            = -\frac{\mathbb{1}_{(i=\ell)}}{\hat{y}_\ell}
                definition of the indicator
            \nabla_{\hat{\mathbf{y}}} \mathcal{L} = -\frac{1}{\hat{y}_\ell} \begin{bmatrix} \mathbb{1}_{(\ell=1)} \\ \vdots \\ \mathbb{1}_{(\ell=K)} \end{bmatrix}
                collecting into a vector
            = -\frac{1}{\hat{y}_\ell} \mathbf{e}(\ell)
                definition of one-hot
        """,
    ),
    Written(
        name="softmax_jacobian",
        title="The Jacobian of softmax",
        intro="How each probability ŷ_i changes with each logit a_{Lj}.",
        setting=OUTPUT_LAYER,
        lines=r"""
            \frac{\partial \hat{y}_i}{\partial a_{Lj}} = \frac{\partial}{\partial a_{Lj}} \left[ \frac{\exp(a_{Li})}{\sum_{i'} \exp(a_{Li'})} \right]
                definition of softmax
            = \frac{\frac{\partial \exp(a_{Li})}{\partial a_{Lj}}}{\sum_{i'} \exp(a_{Li'})} - \frac{\exp(a_{Li}) \cdot \frac{\partial (\sum_{i'} \exp(a_{Li'}))}{\partial a_{Lj}}}{\left( \sum_{i'} \exp(a_{Li'}) \right)^2}
                quotient rule
            = \frac{\mathbb{1}_{(i=j)} \exp(a_{Li})}{\sum_{i'} \exp(a_{Li'})} - \frac{\exp(a_{Li})}{\sum_{i'} \exp(a_{Li'})} \cdot \frac{\exp(a_{Lj})}{\sum_{i'} \exp(a_{Li'})}
                derivative of exp
            = \mathbb{1}_{(i=j)} \hat{y}_i - \hat{y}_i \hat{y}_j
                definition of softmax
            = \hat{y}_i \left( \mathbb{1}_{(i=j)} - \hat{y}_j \right)
                algebra: A probability grows with its own logit and falls with every other one.
            \frac{\partial \hat{\mathbf{y}}}{\partial \mathbf{a}_L} = \operatorname{diag}(\hat{\mathbf{y}}) - \hat{\mathbf{y}} \hat{\mathbf{y}}^\top
                collecting into a matrix: Row i belongs to ŷ_i, column j to a_{Lj}.
        """,
    ),
    Written(
        name="gradient_wrt_logits",
        title="The gradient w.r.t. the logits",
        intro="What is wanted is how the loss changes with the pre-activations a_L of the output layer. ŷ_ℓ depends on every a_{Li}, through the sum in the denominator of softmax.",
        setting=OUTPUT_LAYER,
        lines=r"""
            \frac{\partial (-\log \hat{y}_\ell)}{\partial a_{Li}} = \frac{-1}{\hat{y}_\ell} \frac{\partial \hat{y}_\ell}{\partial a_{Li}}
                chain rule: The loss reaches the logits through ŷ_ℓ alone; the derivative of −log is −1 over its
                argument.
            = \frac{-1}{\hat{y}_\ell} \frac{\partial \text{softmax}(\mathbf{a}_L)_\ell}{\partial a_{Li}}
                definition
            = \frac{-1}{\hat{y}_\ell} \frac{\partial}{\partial a_{Li}} \left[ \frac{\exp(a_{L\ell})}{\sum_{i'} \exp(a_{Li'})} \right]
                definition of softmax: The summed index i' is not ℓ: each class adds its own exponential.
            = \frac{-1}{\hat{y}_\ell} \left( \frac{\frac{\partial \exp(a_{L\ell})}{\partial a_{Li}}}{\sum_{i'} \exp(a_{Li'})} - \frac{\exp(a_{L\ell}) \cdot \frac{\partial (\sum_{i'} \exp(a_{Li'}))}{\partial a_{Li}}}{\left( \sum_{i'} \exp(a_{Li'}) \right)^2} \right)
                quotient rule: The denominator is the square of the sum, not the sum of the squares.
            = \frac{-1}{\hat{y}_\ell} \left( \frac{\mathbb{1}_{(\ell=i)} \exp(a_{L\ell})}{\sum_{i'} \exp(a_{Li'})} - \frac{\exp(a_{L\ell})}{\sum_{i'} \exp(a_{Li'})} \cdot \frac{\exp(a_{Li})}{\sum_{i'} \exp(a_{Li'})} \right)
                derivative of exp: exp(a_{Lℓ}) depends on a_{Li} only where ℓ = i; of the sum, the one term with i' = i
                does.
            = \frac{-1}{\hat{y}_\ell} \left( \mathbb{1}_{(\ell=i)} \text{softmax}(\mathbf{a}_L)_\ell - \text{softmax}(\mathbf{a}_L)_\ell \, \text{softmax}(\mathbf{a}_L)_i \right)
                definition of softmax: Each fraction is a softmax again.
            = \frac{-1}{\hat{y}_\ell} \left( \mathbb{1}_{(\ell=i)} \hat{y}_\ell - \hat{y}_\ell \hat{y}_i \right)
                definition
            = -\left( \mathbb{1}_{(\ell=i)} - \hat{y}_i \right)
                algebra: ŷ_ℓ cancels: what is left is bounded, however small ŷ_ℓ is.
            \nabla_{\mathbf{a}_L} \mathcal{L}(\theta) = \begin{bmatrix} -(\mathbb{1}_{(\ell=1)} - \hat{y}_1) \\ \vdots \\ -(\mathbb{1}_{(\ell=K)} - \hat{y}_K) \end{bmatrix}
                collecting into a vector
            = -(\mathbf{e}(\ell) - \hat{\mathbf{y}})
                definition of one-hot: What the network says, less what is true.
        """,
    ),
)
