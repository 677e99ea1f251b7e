"""The logits or probabilities of many examples by the native kernels, some rows through all layers at a time.

A row's numbers are the same bits alone, beside any others, and on any number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule._native import _kernels
from chainrule.boundary.arrays import empty

__all__ = ["infer"]

Array = npt.NDArray[Any]


def infer(
    weights: Sequence[Array], biases: Sequence[Array], activation: str, x: Array, *, softmax: bool, threads: int
) -> Array:
    """Logits (N, K), or their softmax; weights (units, inputs), biases (units,) and x (N, inputs) of one dtype, float32
    or float64."""
    compute = _kernels.infer_float32 if x.dtype == np.float32 else _kernels.infer_float64
    result = empty((len(x), len(weights[-1])), x.dtype)
    compute([*map(_whole, weights)], [*map(_whole, biases)], activation, _whole(x), result, softmax, threads)
    return result


def _whole(array: Array) -> Array:
    """The array as the kernels take it: aligned, and without gaps."""
    return array if array.flags.forc and array.flags.aligned else array.copy()
