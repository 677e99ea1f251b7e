"""The closed form in PyTorch operations, for devices that have no kernels here (CUDA, MPS, …): a chunk at a time.

The formulas are those of _native/rows.hpp: the exponentials of the others are summed apart from the label's, so that
nothing cancels. float32 is computed in float64 where the device has it, 16-bit numbers in float32; float64 keeps the
rounding error of a − m and feeds it back into the exponential.

They are `chainrule.equations` once more, in place and with an index where the equations have a mask: by the equations
themselves a chunk would hold several times as many arrays in the wide format, and take longer.
"""

from __future__ import annotations

import math

import torch

from chainrule.errors import InputError
from chainrule.output.options import LossOptions
from chainrule.torch.blocks import blocks_of, put

__all__ = ["CHUNK_BYTES", "by_row", "check_values", "divisor_of", "loss_and_gradient", "of_matrix", "wide_dtype"]

CHUNK_BYTES = 64 << 20
TEMPORARIES = 6  # arrays of a chunk's shape, in the wide format, that live together at most


def loss_and_gradient(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    options: LossOptions,
    grad: torch.Tensor | None,
    loss_dtype: torch.dtype,
) -> torch.Tensor:
    """See `rows.loss_and_gradient`."""
    n, dtype = logits.numel() // logits.shape[1], wide_dtype(logits)
    check_values(target, weight, options, logits.shape[1], probabilities=target.shape == logits.shape)
    divisor = divisor_of(target, weight, options, n, probabilities=target.shape == logits.shape)
    losses, total = [], torch.zeros((), dtype=dtype, device=logits.device)
    for block in blocks_of(logits, _share(logits)):
        chosen = block(target) if target.shape == logits.shape else block.of_rows(target)
        some, back = of_matrix(block(logits), chosen, weight, options, 1.0 / divisor, wants_grad=grad is not None)
        total += some.sum()
        if options.reduction == "none":
            losses.append(some.to(logits.dtype))
        if grad is not None and back is not None:
            put(grad, block, back)
    if options.reduction == "none":
        shape = logits.shape[:1] + logits.shape[2:]
        return torch.cat(losses).reshape(shape) if losses else logits.new_zeros(shape)
    return (total / divisor).to(loss_dtype) if divisor < math.inf else total.new_zeros(()).to(loss_dtype)


def of_matrix(
    a: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    options: LossOptions,
    scale: float,
    *,
    wants_grad: bool,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Losses (rows,), and their gradients times `scale`, (rows, K), of logits (rows, K), both in the wide format."""
    k, dtype = a.shape[1], wide_dtype(a)
    smoothing, labels = options.label_smoothing, target.dim() == 1
    weights = None if weight is None else weight.to(dtype)
    top = a.amax(1, keepdim=True).to(dtype)
    e = _exponentials(a, top)
    if labels:
        ignored = (target == options.ignore_index)[:, None]
        pivot = torch.where(ignored, 0, target[:, None]).long()
    else:
        ignored, pivot = None, a.argmax(1, keepdim=True)
    e_pivot = e.gather(1, pivot)
    others = e.scatter_(1, pivot, 0.0).sum(1, keepdim=True)
    total = others + e_pivot
    below = top - a.gather(1, pivot).to(dtype)
    log_sum = torch.where(below == 0, torch.log1p(others), torch.log(total))
    if labels and smoothing == 0.0:
        each = torch.ones_like(others) if weights is None else weights[pivot]
        loss = each * (torch.where(below == 0, 0.0, below) + log_sum)
        grad = None
        if wants_grad:
            factor = each * scale / total
            grad = e.mul_(factor).scatter_(1, pivot, 0.0 - others * factor)
    else:
        q = torch.zeros_like(e).scatter_(1, pivot, 1.0) if labels else target.to(dtype)
        q = q * (1.0 - smoothing) + smoothing / k
        if weights is not None:
            q *= weights
        mass, heavy, rest = _masses(q)
        distance = torch.where(q == 0, 0.0, (top - a.to(dtype)).mul_(q))
        loss = distance.sum(1, keepdim=True) + mass * log_sum
        del distance
        grad = None
        if wants_grad:
            e.scatter_(1, pivot, e_pivot)
            o = (total - e).scatter_(1, pivot, others).mul_(q)
            grad = (mass - q).scatter_(1, heavy, rest).mul_(e).sub_(o).mul_(scale / total)
    if ignored is not None:
        loss = loss.masked_fill(ignored, 0.0)
        grad = None if grad is None else grad.masked_fill_(ignored, 0.0)
    return loss[:, 0], grad


def _masses(q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The sum of each row's targets, the heaviest's place, and the sum of the others, apart."""
    heaviest, heavy = q.max(1, keepdim=True)
    rest = q.scatter(1, heavy, 0.0).sum(1, keepdim=True)
    return rest + heaviest, heavy, rest


def _exponentials(a: torch.Tensor, top: torch.Tensor) -> torch.Tensor:
    """exp(a − top); where the difference is rounded, its error is fed back."""
    wide = a.to(top.dtype)
    if wide.dtype != a.dtype:
        return wide.sub_(top).exp_()
    difference = wide - top
    lost = difference - wide  # Knuth's two-sum
    error = (lost - difference).add_(wide).sub_(lost.add_(top)).nan_to_num_(0.0, 0.0, 0.0)
    return difference.exp_().mul_(error.add_(1.0))


def by_row(output: str, logits: torch.Tensor, vector: torch.Tensor | None, result: torch.Tensor) -> None:
    """See `rows.by_row`."""
    for block in blocks_of(logits, _share(logits)):
        a = block(logits)
        top = a.amax(1, keepdim=True).to(wide_dtype(a))
        pivot, e = a.argmax(1, keepdim=True), _exponentials(a, top)
        if output == "log_softmax":
            others = e.scatter_(1, pivot, 0.0).sum(1, keepdim=True)
            e = (a.to(top.dtype) - top).sub_(torch.log1p(others).add_(top - top))
        else:
            e /= e.sum(1, keepdim=True)
        if vector is not None:  # taking the pivot's element from all of them first changes nothing and keeps the tails
            v = block(vector).to(top.dtype)
            v = v - v.gather(1, pivot)
            e.mul_(v.sub_((e * v).sum(1, keepdim=True)))
        put(result, block, e)


def check_values(
    target: torch.Tensor, weight: torch.Tensor | None, options: LossOptions, k: int, *, probabilities: bool
) -> None:
    """Targets and weights that the formulas hold for, which waits for the device once."""
    if weight is not None and not torch.isfinite(weight).all():
        raise InputError("weight: got NaN or an infinity, expected finite numbers")
    if target.numel() == 0:
        return
    if probabilities:
        low, high = (float(bound) for bound in torch.aminmax(target))
        if not (low >= 0 and high < math.inf):
            raise InputError(f"target: got class probabilities from {low} to {high}, expected finite numbers >= 0")
        return
    wrong = ((target < 0) | (target >= k)) & (target != options.ignore_index)
    if wrong.any():
        index = int(wrong.flatten().nonzero()[0, 0])
        came = int(target.flatten()[index])
        raise InputError(
            f"target: got {came} at index {index}, expected integers in [0, {k}) or ignore_index={options.ignore_index}"
        )


def divisor_of(
    target: torch.Tensor, weight: torch.Tensor | None, options: LossOptions, n: int, *, probabilities: bool
) -> float:
    """What the sum is divided by, as in `chainrule.output`."""
    weight = None if weight is None else weight.to(wide_dtype(weight))
    return options.divisor_for(n, None if probabilities else target.long(), weight)


def wide_dtype(tensor: torch.Tensor) -> torch.dtype:
    """The format that sums and exponentials are computed in."""
    return torch.float32 if tensor.dtype.itemsize == 2 or tensor.device.type == "mps" else torch.float64


def _share(logits: torch.Tensor) -> int:
    """Bytes of logits in a chunk, so that its temporaries fit."""
    return int(CHUNK_BYTES * logits.dtype.itemsize // (TEMPORARIES * wide_dtype(logits).itemsize))
