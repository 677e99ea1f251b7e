"""The lecture as code: each equation once, for any Array API array. The specification and the oracle.

Everything here says what is true, in the lecture's order; the kernels are only speed and are tested against it. What
`chainrule.softmax_cross_entropy` adds to the lecture stands in `options`, logistic output units in `binary`. Shapes:
K classes, D inputs of a layer, U units of a layer; "..." is any number of leading batch axes, none for one example.
Arrays may be NumPy's, PyTorch's, JAX's or any other library's that follows the Array API standard. Input is not
checked here; `chainrule.output` and `chainrule.network` do that.
"""

from chainrule.activations import ACTIVATIONS, Activation, array_namespace
from chainrule.equations.binary import binary_loss, grad_binary, hessian_binary, multilabel_loss
from chainrule.equations.hidden import (
    grad_biases,
    grad_hidden,
    grad_preactivations,
    grad_weights,
    grad_weights_per_example,
    path_product,
    preactivation,
    sum_over_paths,
)
from chainrule.equations.options import (
    capped_logits,
    grad_from_targets,
    hessian_diagonal,
    hessian_product,
    loss_from_targets,
    softmax_cross_entropy,
    weighted_targets,
)
from chainrule.equations.output import (
    cross_entropy,
    grad_logit,
    grad_logits,
    grad_logits_by_chain_rule,
    grad_probabilities,
    grad_probability,
    log_softmax,
    loss_from_logits,
    one_hot,
    softmax,
    softmax_jacobian,
)
from chainrule.equations.per_example import grad_norms_per_example, grad_products_per_example, norms, weighted_grads

__all__ = [
    "ACTIVATIONS", "Activation", "array_namespace", "binary_loss", "capped_logits", "cross_entropy", "grad_biases",
    "grad_binary", "grad_from_targets", "grad_hidden", "grad_logit", "grad_logits", "grad_logits_by_chain_rule",
    "grad_norms_per_example", "grad_preactivations", "grad_probabilities", "grad_probability",
    "grad_products_per_example", "grad_weights", "grad_weights_per_example", "hessian_binary", "hessian_diagonal",
    "hessian_product", "log_softmax", "loss_from_logits", "loss_from_targets", "multilabel_loss", "norms", "one_hot",
    "path_product", "preactivation", "softmax", "softmax_cross_entropy", "softmax_jacobian", "sum_over_paths",
    "weighted_grads", "weighted_targets",
]  # fmt: skip
