"""Backpropagation for softmax classifiers in closed form, with its work shown."""

from chainrule.boundary.threads import announce
from chainrule.errors import ChainruleError
from chainrule.network.gradcheck import GradientReport, check_gradients
from chainrule.network.network import Backward, Forward, Network
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
from chainrule.training.fit import fit
from chainrule.training.history import History
from chainrule.training.optimizers import SGD, Adam, AdamW
from chainrule.training.schedules import Constant, Cosine, OnPlateau, StepDecay, WarmUp
from chainrule.version import __version__

__all__ = [
    "SGD", "Adam", "AdamW", "Backward", "ChainruleError", "Constant", "Cosine", "CrossEntropy", "Forward",
    "GradientReport", "History", "LinearCrossEntropy", "Network", "OnPlateau", "SoftmaxCrossEntropy", "StepDecay",
    "WarmUp", "__version__", "check_gradients", "cross_entropy", "fit", "hessian_diagonal", "hessian_vector_product",
    "linear_cross_entropy", "log_softmax", "softmax", "softmax_cross_entropy", "softmax_jacobian", "which_kernel",
]  # fmt: skip

announce()
