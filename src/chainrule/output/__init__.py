"""The output layer: softmax and cross entropy from logits, or from the hidden units before them."""

from chainrule.output.extras import EXTRAS
from chainrule.output.layer import (
    CrossEntropy,
    SoftmaxCrossEntropy,
    cross_entropy,
    hessian_diagonal,
    hessian_vector_product,
    log_softmax,
    softmax,
    softmax_cross_entropy,
    softmax_jacobian,
    which_kernel,
)
from chainrule.output.linear import LinearCrossEntropy, linear_cross_entropy

__all__ = [
    "EXTRAS",
    "CrossEntropy",
    "LinearCrossEntropy",
    "SoftmaxCrossEntropy",
    "cross_entropy",
    "hessian_diagonal",
    "hessian_vector_product",
    "linear_cross_entropy",
    "log_softmax",
    "softmax",
    "softmax_cross_entropy",
    "softmax_jacobian",
    "which_kernel",
]
