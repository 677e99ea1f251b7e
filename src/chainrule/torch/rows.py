"""The loss of logits (N, K, …) and its gradient, on whatever device they are: the classes stand in dimension 1.

On the CPU the native kernels read and write the tensors' own memory. Logits of a K-dimensional loss whose positions do
not lie as the rows of one matrix go through a buffer of a few MiB. A loss alone writes its gradients, which nobody
asked for, into such a buffer too, and never into memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from chainrule._native import _kernels
from chainrule.boundary.arrays import Borrowed, borrow, empty
from chainrule.boundary.checks import check_loss_options, check_threads
from chainrule.errors import InputError
from chainrule.output.layer import divisor_of
from chainrule.output.linear import of_rows
from chainrule.torch import buffers, devices
from chainrule.torch.arguments import Options, names
from chainrule.torch.blocks import Block, blocks_of, put

__all__ = ["by_row", "is_even", "is_native", "loss_and_gradient", "new_empty_like", "new_like", "numpy_options"]

NATIVE = ("cpu",)
BUFFER_BYTES = 2 << 20  # stays in the caches
FORMATS = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16", torch.float16: "float16"}


def is_native(tensor: torch.Tensor) -> bool:
    """Do the native kernels compute what is on this tensor's device? A device's own kernels would be chosen here."""
    return tensor.device.type in NATIVE


def loss_and_gradient(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    options: Options,
    grad: torch.Tensor | None,
    wide: bool = False,
) -> torch.Tensor:
    """The loss; `grad` receives the gradient, and may be the logits themselves. `wide`: a reduced loss in float32."""
    compute = _by_kernel if is_native(logits) else devices.loss_and_gradient
    return compute(logits, target, weight, options, grad, torch.float32 if wide else logits.dtype)


def by_row(output: str, logits: torch.Tensor, vector: torch.Tensor | None = None) -> torch.Tensor:
    """ "softmax", "log_softmax", or "hessian_vector_product" with a vector for each row."""
    result = new_like(logits)
    if not is_native(logits):
        devices.by_row(output, logits, vector, result)
        return result
    team, format = check_threads(None), FORMATS[logits.dtype]
    given = [logits, result] if vector is None else [logits, result, vector]
    direct = [_matrix(tensor) for tensor in given]
    if all(view is not None for view in direct):
        a, r, *v = (_bits(view) for view in direct)
        _kernels.run(format, output, a, r, {"second": v[0]} if v else {}, team)
        return result
    for block in blocks_of(logits, BUFFER_BYTES):
        a = _bits(block(logits).clone(memory_format=torch.contiguous_format))  # which the result overwrites
        v = [_bits(block(tensor).contiguous()) for tensor in given[2:]]
        _kernels.run(format, output, a, a, {"second": v[0]} if v else {}, team)
        put(result, block, _tensor(a, result.dtype))
    return result


def _by_kernel(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    options: Options,
    grad: torch.Tensor | None,
    loss_dtype: torch.dtype,
) -> torch.Tensor:
    format, k = FORMATS[logits.dtype], logits.shape[1]
    n = logits.numel() // k
    storage = np.dtype(np.uint16 if logits.dtype.itemsize == 2 else format)
    # stands for the logits where shapes and dtypes are checked; it has no memory
    shape = np.ndarray((n, k), storage, b"\0" * 8, strides=(0, 0))
    like = Borrowed(shape, format, lambda view: view, float)
    probabilities = target.shape == logits.shape
    given = target.movedim(1, -1).reshape(n, k) if probabilities else target.reshape(n)
    kernel = numpy_options(like, given, weight, options)
    divisor = divisor_of(options.reduction, n, kernel)
    kernel["scale"] = 1.0 / divisor
    losses = empty((n,), storage) if options.reduction == "none" else None
    team, totals = check_threads(None), []
    for rows, a, result, block in _steps(logits, grad):
        here = of_rows(kernel, rows, format)
        if losses is not None:
            here["losses"] = losses[rows]
        totals.append(_kernels.run(format, "gradient", a, result, here, team))
        if block is not None and grad is not None:
            put(grad, block, _tensor(result, grad.dtype))
    if losses is not None:
        return _tensor(losses, logits.dtype).reshape(logits.shape[:1] + logits.shape[2:])
    return torch.tensor(math.fsum(totals) / divisor if divisor < math.inf else 0.0, dtype=loss_dtype)


def numpy_options(
    like: Borrowed, target: torch.Tensor, weight: torch.Tensor | None, options: Options
) -> dict[str, Any]:
    """The kernels' options. Weights may be negative, as PyTorch's may."""
    ignore = None if target.dim() == 2 else options.ignore_index
    with names(labels="target"):
        kernel = check_loss_options(like, target, options.reduction, None, options.label_smoothing, ignore, 1.0, 0.0)
    if weight is not None:
        numbers = weight.detach().to(torch.float64).contiguous()
        extreme = ~torch.isfinite(numbers) | ((numbers != 0) & ((numbers.abs() < 1e-150) | (numbers.abs() > 1e150)))
        if extreme.any():
            index = int(extreme.nonzero()[0, 0])
            raise InputError(
                f"weight: got {float(numbers[index])} at index {index}, expected 0 or numbers of 1e-150 to 1e150"
            )
        kernel["class_weights"] = _bits(numbers)
    return kernel


def _steps(logits: torch.Tensor, grad: torch.Tensor | None) -> Iterator[tuple[slice, Any, Any, Block | None]]:
    """Rows, their logits, where the gradient goes, and which block that is of the whole."""
    a, g = _matrix(logits), None if grad is None else _matrix(grad)
    if a is not None and g is not None:
        yield slice(0, len(a)), _bits(a), _bits(g), None
    elif a is not None and grad is None:
        view, (n, k) = _bits(a), a.shape
        rows = max(1, BUFFER_BYTES // (k * view.itemsize))
        unread = empty((min(rows, n), k), view.dtype)
        for begin in range(0, n, rows):
            some = slice(begin, min(begin + rows, n))
            yield some, view[some], unread[: some.stop - begin], None
    else:
        begin = 0
        for block in blocks_of(logits, BUFFER_BYTES):
            rows_of_block = _bits(block(logits).clone(memory_format=torch.contiguous_format))
            yield slice(begin, begin + len(rows_of_block)), rows_of_block, rows_of_block, block
            begin += len(rows_of_block)


def _matrix(tensor: torch.Tensor) -> torch.Tensor | None:
    """(rows, K) in the tensor's own memory, or None where its rows do not lie evenly."""
    if tensor.dim() == 2:
        return tensor
    try:
        return tensor.movedim(1, -1).view(-1, tensor.shape[1])
    except RuntimeError:
        return None


def is_even(tensor: torch.Tensor) -> bool:
    """Can a gradient be put where these logits (N, K, …) lie?"""
    return _matrix(tensor) is not None or tensor.flatten(2).data_ptr() == tensor.data_ptr()


def _bits(tensor: torch.Tensor | None) -> np.ndarray[Any, Any]:
    return borrow("input", tensor, "a tensor").view


def _tensor(view: np.ndarray[Any, Any], dtype: torch.dtype) -> torch.Tensor:
    return torch.from_numpy(view.view(np.int16)).view(dtype) if view.dtype == np.uint16 else torch.from_numpy(view)


def new_like(tensor: torch.Tensor) -> torch.Tensor:
    """An empty tensor, with the strides of `tensor` where they are dense and rows lie evenly, contiguous elsewhere."""
    if is_native(tensor) and tensor.is_contiguous() and type(tensor) is torch.Tensor:
        return buffers.empty(tuple(tensor.shape), tensor.dtype)
    return new_empty_like(tensor)


def new_empty_like(tensor: torch.Tensor) -> torch.Tensor:
    """The same without memory of its own kind, for tensors that have none."""
    like = torch.empty_like(tensor)
    if like.dim() > 2 and not like.is_contiguous() and _matrix(like) is None:
        return torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)
    return like
