"""The closed form in PyTorch operations, for devices that have no kernels here (CUDA, MPS, …): a chunk at a time.

The formulas are those of _native/rows.hpp: the exponentials of the others are summed apart from the label's, so that
nothing cancels. float32 is computed in float64 where the device has it, 16-bit numbers in float32; float64 keeps the
rounding error of a − m and feeds it back into the exponential. What cancels all the same is left to `exact`.

They are `chainrule.equations` once more, in place and with an index where the equations have a mask: by the equations
themselves a chunk would hold several times as many arrays in the wide format, and take longer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

from chainrule.errors import InputError
from chainrule.output.options import LossOptions
from chainrule.torch import exact
from chainrule.torch.blocks import blocks_of, put
from chainrule.torch.shapes import shaped

__all__ = [
    "CHUNK_BYTES", "ON_HOST", "ROWS", "by_row", "check_values", "join", "loss_and_gradient", "of_matrix", "scale_of",
    "wide_dtype",
]  # fmt: skip

CHUNK_BYTES = 64 << 20
ROWS = 4096  # of a chunk's products, where the device is not a CPU
ON_HOST = ("cpu",)  # where a number is there without waiting for it
TEMPORARIES = 6  # arrays of a chunk's shape, in the wide format, that live together at most


def loss_and_gradient(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    options: LossOptions,
    grad: torch.Tensor | None,
    loss_dtype: torch.dtype,
    extras: dict[str, Any] | None = None,
) -> torch.Tensor:
    """See `rows.loss_and_gradient`."""
    n, dtype = logits.numel() // logits.shape[1], wide_dtype(logits)
    check_values(target, weight, options, logits.shape[1], probabilities=target.shape == logits.shape)
    scale = scale_of(target, weight, options, n, probabilities=target.shape == logits.shape)
    told: list[dict[str, torch.Tensor]] = []
    share = _share(logits, probabilities=target.shape == logits.shape, options=options)
    for block in blocks_of(logits, share):
        chosen = block(target) if target.shape == logits.shape else block.of_rows(target)
        wants = grad is not None
        some, back = of_matrix(block(logits), chosen, weight, options, scale, wants_grad=wants, extras=extras or ())
        told.append(some)
        if grad is not None and back is not None:
            put(grad, block, back)
    shape = logits.shape[:1] + logits.shape[2:]
    each = [some.pop("losses") for some in told]
    losses = torch.cat(each) if each else torch.zeros(0, dtype=dtype, device=logits.device)
    join(extras, told, losses, loss_dtype, shape)
    if options.reduction == "none":
        return losses.to(loss_dtype).reshape(shape)
    return (losses.sum() * scale).to(loss_dtype)


def join(
    extras: dict[str, Any] | None, told: list[dict[str, torch.Tensor]], losses: torch.Tensor, dtype: torch.dtype,
    shape: Any = (-1,),
) -> None:  # fmt: skip
    """Fill in the extras of all rows from those of chunks."""
    for name in extras or ():
        kind = {"prediction": torch.int64, "correct": torch.bool}.get(name, dtype)
        parts = [some[name] for some in told]
        joined = torch.cat(parts) if parts else losses
        if name == "correct":
            joined = joined & ~losses.isnan()
        extras[name] = joined.to(kind).reshape(shape)  # type: ignore[index]


def of_matrix(
    a: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    options: LossOptions,
    scale: torch.Tensor,
    *,
    wants_grad: bool,
    extras: Iterable[str] = (),
) -> tuple[dict[str, torch.Tensor], torch.Tensor | None]:
    """Losses and extras, each (rows,), and the gradients times `scale`, (rows, K), of logits (rows, K), in the wide
    format or in float64. A label that is out of range makes its row NaN."""
    names, labels = set(extras), target.dim() == 1
    if labels:
        ignored = (target == options.ignore_index)[:, None]
        wrong = ((target < 0) | (target >= a.shape[1]))[:, None] & ~ignored
        pivot = torch.where(ignored | wrong, 0, target[:, None]).long()
    else:
        ignored, wrong, pivot = None, None, a.argmax(1, keepdim=True)
    if exact.applies(a, probabilities=not labels, options=options):
        told, grad = exact.of_matrix(a, pivot if labels else target, weight, options, wants_grad, names)
        grad = None if grad is None else grad.mul_(scale)
    else:
        told, grad = _of_matrix(a, target, pivot, weight, options, scale, wants_grad, names)
    if "prediction" in names or "correct" in names:
        told["prediction"] = a.argmax(1, keepdim=True)
        told["correct"] = told["prediction"] == (pivot if labels else target.argmax(1, keepdim=True))
    if ignored is not None and wrong is not None:
        told["losses"] = told["losses"].masked_fill(ignored, 0.0).masked_fill_(wrong, torch.nan)
        grad = None if grad is None else grad.masked_fill_(ignored, 0.0).masked_fill_(wrong, torch.nan)
        for name, none in (("log_likelihood", 0.0), ("correct", False)):
            if name in told:
                told[name] = told[name].masked_fill(ignored, none)
    return {name: value[:, 0] for name, value in told.items()}, grad


def _of_matrix(
    a: torch.Tensor, target: torch.Tensor, pivot: torch.Tensor, weight: torch.Tensor | None, options: LossOptions,
    scale: torch.Tensor, wants_grad: bool, names: set[str],
) -> tuple[dict[str, torch.Tensor], torch.Tensor | None]:  # fmt: skip
    """The same as columns, in the wide format, before rows that do not count are filled in."""
    k, dtype = a.shape[1], wide_dtype(a)
    slope: torch.Tensor | float | None = None
    if options.softcap != 0.0 or options.scale != 1.0 or options.temperature != 1.0:
        raw = a.to(dtype)
        a, slope = shaped(raw, options), _slope(raw, options)
    smoothing, labels = options.label_smoothing, target.dim() == 1
    weights = None if weight is None else weight.to(dtype)
    top = a.amax(1, keepdim=True).to(dtype)
    e = _exponentials(a, top)
    told = _of_softmax(a, top, e, names)
    e_pivot = e.gather(1, pivot)
    others = e.scatter_(1, pivot, 0.0).sum(1, keepdim=True)
    total = others + e_pivot
    below = top - a.gather(1, pivot).to(dtype)
    log_sum = torch.where(below == 0, torch.log1p(others), torch.log(total))
    logsumexp = top + log_sum
    pull = logsumexp * (2.0 * options.z_loss)
    if "log_likelihood" in names:
        told["log_likelihood"] = 0.0 - _cross_entropy(a, top, target, below, log_sum)
    if labels and smoothing == 0.0:
        each = torch.ones_like(others) if weights is None else weights[pivot]
        loss = each * (torch.where(below == 0, 0.0, below) + log_sum)
        grad = None
        if wants_grad:
            factor = scale / total
            grad = e.mul_((each + pull) * factor).scatter_(1, pivot, (pull * e_pivot - others * each) * factor)
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
            grad = (mass - q).scatter_(1, heavy, rest).add_(pull).mul_(e).sub_(o).mul_(scale / total)
    if options.z_loss != 0.0:
        loss = loss + logsumexp * logsumexp * options.z_loss
    if grad is not None and slope is not None:
        grad *= slope
    return told | {"losses": loss}, grad


def _of_softmax(a: torch.Tensor, top: torch.Tensor, e: torch.Tensor, names: set[str]) -> dict[str, torch.Tensor]:
    """logsumexp and entropy: the exponentials beside the largest are summed apart, whatever the label is."""
    told: dict[str, torch.Tensor] = {}
    if names & {"logsumexp", "entropy"}:
        rest = torch.log1p(e.scatter(1, a.argmax(1, keepdim=True), 0.0).sum(1, keepdim=True))
        if "logsumexp" in names:
            told["logsumexp"] = torch.where(top.isinf(), top, top + rest)
        if "entropy" in names:
            far = torch.where(e == 0, 0.0, (top - a.to(top.dtype)) * e).sum(1, keepdim=True)
            told["entropy"] = rest + far / e.sum(1, keepdim=True)
    return told


def _slope(a: torch.Tensor, options: LossOptions) -> torch.Tensor | float:
    """What the logits' gradients are multiplied with."""
    if options.softcap == 0.0:
        return options.scale / options.temperature
    e = torch.exp(-2.0 * (a * (options.scale / options.softcap)).abs_())  # 1 − tanh² would cancel
    return e.div_((1.0 + e).square_()).mul_(4.0 * options.scale / options.temperature)


def _cross_entropy(
    a: torch.Tensor, top: torch.Tensor, target: torch.Tensor, below: torch.Tensor, log_sum: torch.Tensor
) -> torch.Tensor:
    """−log ŷ_ℓ, or −Σ q log ŷ of targets as they were given."""
    if target.dim() == 1:
        return torch.where(below == 0, 0.0, below) + log_sum
    q = target.to(top.dtype)
    far = torch.where(q == 0, 0.0, (top - a.to(top.dtype)) * q).sum(1, keepdim=True)
    return far + q.sum(1, keepdim=True) * log_sum


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
    """Targets and weights that the formulas hold for, where that waits for no device: elsewhere a bad label makes its
    row NaN, as what is not finite does everywhere."""
    if target.device.type not in ON_HOST:
        return
    if weight is not None and not torch.isfinite(weight).all():
        raise InputError("weight: got NaN or an infinity, expected finite numbers")
    if target.numel() == 0:
        return
    if probabilities:
        low, high = (float(bound) for bound in torch.aminmax(target))
        if not (low > -math.inf and high < math.inf):
            raise InputError(f"target: got class probabilities from {low} to {high}, expected finite numbers")
        return
    wrong = ((target < 0) | (target >= k)) & (target != options.ignore_index)
    if wrong.any():
        index = int(wrong.flatten().nonzero()[0, 0])
        came = int(target.flatten()[index])
        raise InputError(
            f"target: got {came} at index {index}, expected integers in [0, {k}) or ignore_index={options.ignore_index}"
        )


def scale_of(
    target: torch.Tensor, weight: torch.Tensor | None, options: LossOptions, n: int, *, probabilities: bool
) -> torch.Tensor:
    """What the sum of the losses is multiplied by, on the device; `LossOptions.divisor_for` says it of numbers."""
    dtype = torch.float32 if target.device.type == "mps" else torch.float64
    one = torch.ones((), dtype=dtype, device=target.device)
    if options.reduction != "mean":
        return one
    if probabilities:
        return one / n if n else one * 0.0
    counted = target != options.ignore_index
    if weight is None:
        mass = counted.sum().to(dtype)
    else:
        wrong = (target < 0) | (target >= len(weight))
        chosen = weight.to(dtype)[torch.where(counted & ~wrong, target, 0).long()]
        mass = torch.where(counted, chosen, 0).sum()
    return torch.where(mass == 0, 0.0, 1.0 / torch.where(mass == 0, 1.0, mass))


def wide_dtype(tensor: torch.Tensor) -> torch.dtype:
    """The format that sums and exponentials are computed in."""
    return torch.float32 if tensor.dtype.itemsize == 2 or tensor.device.type == "mps" else torch.float64


def temporaries(logits: torch.Tensor, *, probabilities: bool, options: LossOptions | None) -> int:
    """The bytes, for each logit of a chunk, of the arrays that live together beside it."""
    if options is not None and exact.applies(logits, probabilities=probabilities, options=options):
        return exact.TEMPORARIES * 8
    return int(TEMPORARIES * wide_dtype(logits).itemsize)


def _share(logits: torch.Tensor, *, probabilities: bool = False, options: LossOptions | None = None) -> int:
    """Bytes of logits in a chunk, so that its temporaries fit."""
    each = temporaries(logits, probabilities=probabilities, options=options)
    return int(CHUNK_BYTES * logits.dtype.itemsize // each)
