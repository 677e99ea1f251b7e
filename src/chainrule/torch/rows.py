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
from chainrule.boundary.arrays import borrow, empty
from chainrule.boundary.checks import check_threads
from chainrule.output.extras import dtype_of, kept_correct
from chainrule.output.layer import row_into
from chainrule.output.options import LossOptions, loss_into
from chainrule.torch import buffers, devices
from chainrule.torch.arguments import names
from chainrule.torch.blocks import Block, blocks_of, put

__all__ = [
    "by_row", "is_even", "is_native", "is_one", "loss_and_gradient", "new_empty_like", "new_like", "of_each",
    "of_tensors",
]  # fmt: skip

NATIVE = ("cpu",)
BUFFER_BYTES = 2 << 20  # stays in the caches
TABLE = torch.Tensor.__dlpack_c_exchange_api__  # by which the native part finds a tensor's numbers
FORMATS = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16", torch.float16: "float16"}


def is_native(tensor: torch.Tensor) -> bool:
    """Do the native kernels compute what is on this tensor's device? A device's own kernels would be chosen here."""
    return tensor.device.type in NATIVE


def loss_and_gradient(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    options: LossOptions,
    grad: torch.Tensor | None,
    wide: bool = False,
    extras: dict[str, Any] | None = None,
) -> torch.Tensor:
    """The loss; `grad` receives the gradient, and may be the logits themselves. `wide`: a reduced loss, and extras, in
    float32. `extras` are replaced by what they name."""
    loss_dtype = torch.float32 if wide else logits.dtype
    if not is_native(logits):
        return devices.loss_and_gradient(logits, target, weight, options, grad, loss_dtype, extras)
    if weight is None and not options.shapes and not extras:
        loss = _ordinary(logits, target, options, grad, loss_dtype)
        if loss is not None:
            return loss
    return _by_kernel(logits, target, weight, options, grad, loss_dtype, extras)


def _ordinary(
    logits: torch.Tensor,
    target: torch.Tensor,
    options: LossOptions,
    grad: torch.Tensor | None,
    loss_dtype: torch.dtype,
) -> torch.Tensor | None:
    """The loss of a matrix and its labels, which the native part looks at by itself; None for what it leaves to the
    checks of the boundary, and those take many times as long as the kernel does for a few rows."""
    if logits.is_neg() or logits._is_zerotensor():  # numbers that are not what the memory holds
        return None
    if grad is None and logits.nbytes <= BUFFER_BYTES:
        grad = torch.empty(logits.shape, dtype=logits.dtype)
    if grad is None or not grad.is_contiguous():
        return None
    losses = torch.empty(logits.shape[:1], dtype=logits.dtype) if options.reduction == "none" else None
    given = options.reduction, options.ignore_index, options.label_smoothing
    loss = _kernels.loss_and_gradient_into(TABLE, logits, target, grad, losses, *given)
    if loss is None:
        return None
    return torch.scalar_tensor(loss, dtype=loss_dtype) if losses is None else losses


def is_one(tensor: torch.Tensor) -> bool:
    """Is this the number 1, on the CPU? No device is waited for."""
    return _kernels.is_one(TABLE, tensor)


def by_row(output: str, logits: torch.Tensor, vector: torch.Tensor | None = None) -> torch.Tensor:
    """ "softmax", "log_softmax", or "hessian_vector_product" with a vector for each row."""
    result = new_like(logits)
    if not is_native(logits):
        devices.by_row(output, logits, vector, result)
        return result
    team, format = check_threads(None), FORMATS[logits.dtype]
    given = [logits, result] if vector is None else [logits, result, vector]
    direct = [_aligned(_matrix(tensor)) for tensor in given]
    if all(view is not None for view in direct):
        a, r, *v = (_bits(view) for view in direct)
        row_into(output, a, r, format, team, *v)
        return result
    for block in blocks_of(logits, BUFFER_BYTES):
        a = _bits(block(logits).clone(memory_format=torch.contiguous_format))  # which the result overwrites
        v = [_bits(block(tensor).contiguous()) for tensor in given[2:]]
        row_into(output, a, a, format, team, *v)
        put(result, block, _tensor(a, result.dtype))
    return result


def _by_kernel(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    options: LossOptions,
    grad: torch.Tensor | None,
    loss_dtype: torch.dtype,
    extras: dict[str, Any] | None,
) -> torch.Tensor:
    format, k = FORMATS[logits.dtype], logits.shape[1]
    n = logits.numel() // k
    probabilities = target.shape == logits.shape
    given = target.movedim(1, -1).reshape(n, k) if probabilities else target.reshape(n)
    options = of_tensors(options, given, weight, (n, k), format)
    told = FORMATS[loss_dtype]
    into: dict[str, Any] = dict.fromkeys(extras or ())
    for name in into | {"losses": None} if options.reduction == "none" or "correct" in into else into:
        into[name] = empty((n,), dtype_of(name, told))
    team, totals = check_threads(None), []
    for rows, a, result, block in _steps(logits, grad):
        each = {name: array[rows] for name, array in into.items()}
        totals.append(loss_into(a, result, options.rows(rows), format, team, into=each))
        if block is not None and grad is not None:
            put(grad, block, _tensor(result, grad.dtype))
    losses, shape = into.pop("losses", None), logits.shape[:1] + logits.shape[2:]
    kept_correct(into, losses, told)
    if extras:
        extras.update((name, of_each(array, loss_dtype).reshape(shape)) for name, array in into.items())
    if options.reduction == "none":
        return _tensor(losses, loss_dtype).reshape(shape)
    return torch.tensor(options.reduced(math.fsum(totals)), dtype=loss_dtype)


def of_tensors(
    options: LossOptions, target: torch.Tensor, weight: torch.Tensor | None, shape: tuple[int, int], format: str
) -> LossOptions:
    """The options with a target (N,) or (N, K). Weights may be negative, as PyTorch's may."""
    if target.dim() == 2:
        options = options.but(ignore_index=None)
    with names(labels="target", class_weights="weight"):
        return options.of(target, shape, format, weight, signed=True)


def _steps(logits: torch.Tensor, grad: torch.Tensor | None) -> Iterator[tuple[slice, Any, Any, Block | None]]:
    """Rows, their logits, where the gradient goes, and which block that is of the whole."""
    a, g = _aligned(_matrix(logits)), None if grad is None else _matrix(grad)
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


def _aligned(tensor: torch.Tensor | None) -> torch.Tensor | None:
    """The tensor if its elements lie as the kernels read them; those of a file's or a message's memory need not."""
    return None if tensor is None or tensor.data_ptr() % tensor.itemsize else tensor


def is_even(tensor: torch.Tensor) -> bool:
    """Can a gradient be put where these logits (N, K, …) lie?"""
    if tensor.data_ptr() % tensor.itemsize:
        return False
    return _matrix(tensor) is not None or tensor.flatten(2).data_ptr() == tensor.data_ptr()


def _bits(tensor: torch.Tensor | None) -> np.ndarray[Any, Any]:
    return borrow("input", tensor, "a tensor").view


def of_each(array: np.ndarray[Any, Any], dtype: torch.dtype) -> torch.Tensor:
    """An extra of each row as a tensor; `dtype` is that of those that are floats."""
    return torch.from_numpy(array) if array.dtype in (np.int64, np.bool_) else _tensor(array, dtype)


def _tensor(view: np.ndarray[Any, Any], dtype: torch.dtype) -> torch.Tensor:
    return torch.from_numpy(view.view(np.int16)).view(dtype) if view.dtype == np.uint16 else torch.from_numpy(view)


def new_like(tensor: torch.Tensor) -> torch.Tensor:
    """An empty tensor, with the strides of `tensor` where they are dense and rows lie evenly, contiguous elsewhere."""
    large = tensor.nbytes >= buffers.LARGE
    if large and is_native(tensor) and tensor.is_contiguous() and type(tensor) is torch.Tensor:
        return buffers.empty(tuple(tensor.shape), tensor.dtype)
    return new_empty_like(tensor)


def new_empty_like(tensor: torch.Tensor) -> torch.Tensor:
    """The same without memory of its own kind, for tensors that have none."""
    like = torch.empty_like(tensor)
    if like.dim() > 2 and not like.is_contiguous() and _matrix(like) is None:
        return torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)
    return like
