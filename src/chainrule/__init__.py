"""Backpropagation for softmax classifiers in closed form, with its work shown."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
from chainrule.version import __version__

__all__ = [
    "SGD", "Adam", "AdamW", "Backward", "ChainruleError", "Constant", "Cosine", "CrossEntropy", "Forward",
    "GradientReport", "History", "LinearCrossEntropy", "Network", "OnPlateau", "SoftmaxCrossEntropy", "StepDecay",
    "WarmUp", "__version__", "check_gradients", "cross_entropy", "fit", "hessian_diagonal", "hessian_vector_product",
    "linear_cross_entropy", "load", "log_softmax", "softmax", "softmax_cross_entropy", "softmax_jacobian",
    "which_kernel",
]  # fmt: skip

if TYPE_CHECKING:
    import os

    from chainrule.tables.model import TableModel
    from chainrule.training.fit import fit
    from chainrule.training.history import History
    from chainrule.training.optimizers import SGD, Adam, AdamW
    from chainrule.training.schedules import Constant, Cosine, OnPlateau, StepDecay, WarmUp

# What trains is imported when it is asked for: whoever takes a loss alone, as in PyTorch, does not wait for it.
_LATER = {
    "fit": "fit", "History": "history", "SGD": "optimizers", "Adam": "optimizers", "AdamW": "optimizers",
    "Constant": "schedules", "Cosine": "schedules", "OnPlateau": "schedules", "StepDecay": "schedules",
    "WarmUp": "schedules",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "training":
        return import_module("chainrule.training")
    if name not in _LATER:
        raise AttributeError(f"module 'chainrule' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"chainrule.training.{_LATER[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})


def load(path: str | os.PathLike[str]) -> TableModel:
    """A model that `chainrule train` wrote, with its table's schema: it predicts, judges and explains files and data
    frames of polars and pandas as the command does (chainrule[cli]).

    Raises
    ------
    ModelFileError
        The file is damaged, or holds no table's schema; see `chainrule.tables.load`.

    Examples
    --------
    >>> load("nothing.safetensors")
    Traceback (most recent call last):
    chainrule.errors.ModelFileError: nothing.safetensors: cannot be read: No such file or directory
    """
    from chainrule.tables.model import load as read

    return read(path)


announce()
