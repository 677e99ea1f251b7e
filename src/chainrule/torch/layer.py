"""The last layer's loss and gradients, (N, D) with (K, D), by the native products or by chunked PyTorch operations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from chainrule.boundary.arrays import borrow, empty
from chainrule.boundary.checks import check_integer, check_threads
from chainrule.errors import InputError
from chainrule.output.extras import dtype_of, kept_correct
from chainrule.output.linear import Gradients, check_layer, layer_into
from chainrule.output.options import LossOptions
from chainrule.torch import devices, rows
from chainrule.torch.arguments import names

__all__ = ["Inputs", "Plan", "loss_and_gradients"]

Buffers = Sequence[torch.Tensor | None]


class Inputs(NamedTuple):
    """The tensors: hidden units (N, D), weights (K, D), biases (K,) or None, target, classes' weights or None."""

    hidden: Any
    weight: Any
    bias: Any
    target: Any
    class_weight: Any


@dataclass(frozen=True)
class Plan:
    """What is no tensor, in one argument that torch.func does not take apart.

    wants: whose gradients of hidden units, weights and biases; chunk_bytes: as in `linear_cross_entropy`; wide: a loss
    in float32, whatever the hidden units are in.
    """

    options: LossOptions
    wants: tuple[bool, ...] = (False, False, False)
    chunk_bytes: int | None = None
    wide: bool = False


def loss_and_gradients(
    inputs: Inputs,
    plan: Plan,
    grads: Buffers,
    *,
    factors: torch.Tensor | None = None,
    adds: bool = False,
    extras: dict[str, Any] | None = None,
) -> torch.Tensor:
    """The loss; the buffers that are there receive the gradients, in the order hidden, weight, bias. `factors`, (N,)
    or a scalar, multiply each example's gradient; with `adds` the weights' and biases' are added to what is
    there. `extras` are replaced by what they name."""
    compute = _by_kernel if rows.is_native(inputs.hidden) else _by_chunks
    return compute(inputs, plan, grads, factors, adds, extras)


def _by_kernel(
    inputs: Inputs, plan: Plan, grads: Buffers, factors: torch.Tensor | None, adds: bool, extras: dict[str, Any] | None
) -> torch.Tensor:
    with names(hidden="input", weight="linear_weight", bias="linear_bias"):
        layer = check_layer(*inputs[:3])
    options = rows.of_tensors(plan.options, inputs.target, inputs.class_weight, layer.shape, layer.format)
    each: Any = 1.0
    if factors is not None and factors.dim() == 0:
        each = float(factors)
    elif factors is not None:
        each = borrow("factors", factors.detach().to(getattr(torch, layer.format)), "a tensor").view
    beside: dict[str, Any] = dict.fromkeys(extras or ())
    for name in beside | {"losses": None} if options.reduction == "none" or "correct" in beside else beside:
        beside[name] = empty(layer.shape[:1], dtype_of(name, layer.format))
    into = Gradients(*(None if grad is None else borrow("gradient", grad, "a tensor").view for grad in grads))
    team = check_threads(None)
    with names(hidden="input", weight="linear_weight"):
        total = layer_into(layer, into, options, team, plan.chunk_bytes, of_each=beside, factors=each, adds=adds)
    dtype = torch.float32 if plan.wide else inputs.hidden.dtype
    losses = beside.pop("losses", None)
    kept_correct(beside, losses, layer.format)
    if extras:
        extras.update((name, rows.of_each(array, getattr(torch, layer.format))) for name, array in beside.items())
        extras.update((name, value.to(dtype)) for name, value in extras.items() if value.is_floating_point())
    if options.reduction == "none":
        return torch.from_numpy(losses).to(dtype)
    return torch.tensor(options.reduced(total), dtype=dtype)


def _by_chunks(
    inputs: Inputs, plan: Plan, grads: Buffers, factors: torch.Tensor | None, adds: bool, extras: dict[str, Any] | None
) -> torch.Tensor:
    (hidden, weight, bias, target, class_weight), options = inputs, plan.options
    (n, d), k = hidden.shape, weight.shape[0]
    probabilities, dtype = target.dim() == 2, devices.wide_dtype(hidden)
    devices.check_values(target, class_weight, options, k, probabilities=probabilities)
    scale = devices.scale_of(target, class_weight, options, n, probabilities=probabilities)
    grad_hidden, grad_weight, grad_bias = grads
    beside = devices.temporaries(hidden, probabilities=probabilities, options=options)
    step, blocks = _chunks(n, d, k, hidden, plan.chunk_bytes, beside)
    sums = None if grad_weight is None else _sums_of(grad_weight, adds)
    sum_bias = None if grad_bias is None else torch.zeros(k, dtype=dtype, device=hidden.device)
    wants, losses, told = any(grad is not None for grad in grads), [], []
    for begin in range(0, n, step):
        chunk = slice(begin, min(begin + step, n))
        x, t = hidden[chunk], target[chunk]
        a = x @ weight.T if bias is None else torch.addmm(bias, x, weight.T)
        each = None if factors is None else factors if factors.dim() == 0 else factors[chunk]
        some = _in_parts(a, t, class_weight, options, scale, wants, each, sum_bias, extras)
        losses.append(some.pop("losses"))
        told.append(some)
        if not wants:
            continue
        delta = a
        if not probabilities:  # a gradient of 0 times a hidden unit that is NaN is NaN
            x = x.masked_fill((t == options.ignore_index)[:, None], 0.0)
        if sums is not None:
            for block in blocks:
                product = delta[:, block].T @ x
                sums[block] = sums[block] + product if adds or begin else product
        if grad_hidden is not None:
            torch.mm(delta, weight, out=grad_hidden[chunk])
    if sums is not None and grad_weight is not None:
        if n == 0 and not adds:
            sums.zero_()
        if sums is not grad_weight:
            grad_weight.copy_(sums)
    if grad_bias is not None and sum_bias is not None:
        grad_bias.copy_(sum_bias + grad_bias if adds else sum_bias)
    loss_dtype = torch.float32 if plan.wide else hidden.dtype
    losses_of_all = torch.cat(losses) if losses else torch.zeros(0, dtype=dtype, device=hidden.device)
    devices.join(extras, told, losses_of_all, loss_dtype)
    if options.reduction == "none":
        return losses_of_all.to(loss_dtype)
    return (losses_of_all.sum() * scale).to(loss_dtype)


def _in_parts(
    a: torch.Tensor, target: torch.Tensor, class_weight: Any, options: LossOptions, scale: torch.Tensor, wants: bool,
    factors: torch.Tensor | None, sum_bias: torch.Tensor | None, extras: Any,
) -> dict[str, torch.Tensor]:  # fmt: skip
    """Losses and extras of a chunk's logits, whose gradients replace them, so many rows at a time as fit."""
    beside = devices.temporaries(a, probabilities=target.dim() == 2, options=options)
    step = max(1, devices.CHUNK_BYTES // (a.shape[1] * beside))
    parts = []
    for begin in range(0, a.shape[0], step):
        some = slice(begin, begin + step)
        found, back = devices.of_matrix(
            a[some], target[some], class_weight, options, scale, wants_grad=wants, extras=extras or ()
        )
        parts.append(found)
        if back is None:
            continue
        if factors is not None:
            back *= factors if factors.dim() == 0 else factors[some, None]
        if sum_bias is not None:
            sum_bias += back.sum(0)
        a[some] = back  # of the dtype that the products take
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _sums_of(buffer: torch.Tensor, adds: bool) -> torch.Tensor:
    """The buffer itself, or for 16 bits float32 sums, which are rounded once."""
    if buffer.dtype.itemsize > 2:
        return buffer
    return buffer.to(torch.float32) if adds else torch.empty(buffer.shape, dtype=torch.float32, device=buffer.device)


def _chunks(
    n: int, d: int, k: int, hidden: torch.Tensor, chunk_bytes: int | None, beside: int
) -> tuple[int, list[slice]]:
    """How many rows of logits go together, with so many bytes beside each, and which classes' weights' gradients."""
    budget = devices.CHUNK_BYTES if chunk_bytes is None else check_integer("chunk_bytes", chunk_bytes)
    classes = max(1, min(k, budget // 4 // (2 * d * 4)))
    fixed = 2 * classes * d * max(4, hidden.dtype.itemsize) + 16 * k
    a_row = k * (hidden.dtype.itemsize + beside) + 16 * d
    if fixed + a_row > budget and chunk_bytes is not None:
        raise InputError(f"chunk_bytes: got {budget}, expected at least {fixed + a_row}, which holds one row of logits")
    step = max(1, min(n, (budget - fixed) // a_row))
    if chunk_bytes is None and hidden.device.type not in devices.ON_HOST:
        step = max(step, min(n, devices.ROWS))  # a GPU's products want many rows
    return step, [slice(begin, min(begin + classes, k)) for begin in range(0, k, classes)]
