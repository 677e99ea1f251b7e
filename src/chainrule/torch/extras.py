"""What a loss tells besides, each with its gradient where it has one.

Of a row with ŷ = softmax(z), z(a) being what scale, cap and temperature make of the logits, and targets t as they were
given, neither smoothed nor weighted:

    logsumexp       log Σ exp(z_j)      ∂/∂z = ŷ
    log_likelihood  Σ t_j log ŷ_j       ∂/∂z = t − (Σ t) ŷ
    entropy         −Σ ŷ_j log ŷ_j      ∂/∂z = −ŷ ⊙ (log ŷ + H)
    prediction      the first j whose a_j is the largest, and whether it is the label: correct

Called eagerly, the kernel that computes the loss tells them, and their gradients are computed where they are asked for,
of a last layer a chunk of rows at a time. In programs and under transformations the kernel tells their values, and
their derivatives are those of operations on the logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch.autograd import Function

from chainrule.output.extras import OF_EACH, check_extras
from chainrule.output.options import LossOptions
from chainrule.torch import devices, layer, ops, rows
from chainrule.torch.arguments import in_schema, shape_in_schema
from chainrule.torch.derivatives import Gradient, Loss, Softmax, factor_of, handed_on, log_softmax
from chainrule.torch.layer import Inputs, Plan
from chainrule.torch.shapes import shaped, slopes

__all__ = ["LayerWithExtras", "Losses", "WithExtras", "composed", "names_of", "record"]


class Losses(NamedTuple):
    """A loss and what else was asked for, of the shape of `reduction="none"`; None is what was not."""

    loss: torch.Tensor
    logsumexp: torch.Tensor | None = None
    log_likelihood: torch.Tensor | None = None
    entropy: torch.Tensor | None = None
    prediction: torch.Tensor | None = None
    correct: torch.Tensor | None = None


def names_of(extras: Sequence[str]) -> tuple[str, ...]:
    """The names, each once, in the order of `Losses`."""
    if type(extras) is tuple and not extras:
        return ()
    known = check_extras(extras, OF_EACH)
    return tuple(name for name in OF_EACH if name in known)


def record(names: Sequence[str], results: Sequence[torch.Tensor]) -> Losses:
    """Of a loss, and what the names name."""
    return Losses(results[0], **dict(zip(names, results[1:], strict=True)))


def composed(
    logits: torch.Tensor, target: torch.Tensor, options: LossOptions, names: Sequence[str]
) -> list[torch.Tensor]:
    """The extras of logits (N, K, …), in differentiable operations."""
    z, labels, results = shaped(logits, options), target.dim() < logits.dim(), []
    log_p = log_softmax(z, finite=True)
    predicted = logits.argmax(1)
    values = _values(logits, target, options, names)
    for name in names:
        if name == "logsumexp":
            results.append(_valued(values, name, torch.logsumexp(z, 1)))
        elif name == "entropy":
            results.append(_valued(values, name, 0.0 - (torch.softmax(z, 1) * log_p).sum(1)))
        elif name == "log_likelihood":
            results.append(_valued(values, name, _log_likelihood(log_p, target, options)))
        elif name == "prediction":
            results.append(predicted)
        else:
            right = predicted == (target if labels else target.argmax(1))
            right = right & ~z.isnan().any(1)
            results.append(right & (target != options.ignore_index) if labels else right)
    return results


def _values(
    logits: torch.Tensor, target: torch.Tensor, options: LossOptions, names: Sequence[str]
) -> dict[str, torch.Tensor]:
    """What the kernel tells of those that are no integers; nothing where only PyTorch's operators are known."""
    floats = [name for name in names if name not in ("prediction", "correct")]
    if not floats or torch.onnx.is_in_onnx_export():
        return {}
    given = in_schema(options.but(reduction="none")), shape_in_schema(options)
    values = ops.told(logits.detach(), target.detach(), " ".join(floats), *given[0], *given[1])
    return dict(zip(floats, values.unbind(), strict=True))


def _valued(values: dict[str, torch.Tensor], name: str, derived: torch.Tensor) -> torch.Tensor:
    """The kernel's value with the derivatives of another, whose terms may cancel."""
    if name not in values:
        return derived
    return values[name] + torch.where(derived.isfinite(), derived - derived.detach(), 0.0)


def _log_likelihood(log_p: torch.Tensor, target: torch.Tensor, options: LossOptions) -> torch.Tensor:
    if target.dim() == log_p.dim():
        return (target * log_p).sum(1)
    counted = target != options.ignore_index
    chosen = log_p.gather(1, torch.where(counted, target, 0).long().unsqueeze(1)).squeeze(1)
    return torch.where(counted, chosen, 0.0)


def _gradient(
    logits: torch.Tensor, target: torch.Tensor, options: LossOptions, given: dict[str, torch.Tensor]
) -> torch.Tensor:
    """What cotangents (N, …) of extras give for logits (N, K, …), differentiable."""
    z, total = shaped(logits, options), torch.zeros_like(logits)
    p = Softmax.apply(z)
    if "logsumexp" in given:
        total = total + given["logsumexp"].unsqueeze(1) * p
    if "entropy" in given:
        log_p = log_softmax(z, finite=True)
        entropy = -(p * log_p).sum(1, keepdim=True)
        total = total - given["entropy"].unsqueeze(1) * torch.where(z == -torch.inf, 0.0, p * (log_p + entropy))
    if "log_likelihood" in given:
        cotangent = given["log_likelihood"].unsqueeze(1)
        if target.dim() == logits.dim():
            total = total + cotangent * (target - target.sum(1, keepdim=True) * p)
        else:
            counted = (target != options.ignore_index).unsqueeze(1)
            shape = (-1, *[1] * (logits.dim() - 2))
            hot = torch.arange(logits.shape[1], device=target.device).reshape(shape) == target.unsqueeze(1)
            total = total + torch.where(counted, cotangent * (hot.to(p.dtype) - p), 0.0)
    return total * slopes(logits, options)[0]


def _asked(names: Sequence[str], cotangents: Sequence[Any], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {name: v.to(dtype) for name, v in zip(names, cotangents, strict=True) if v is not None}


class WithExtras(Function):  # type: ignore[misc]
    """(logits, …) → the loss and the extras, eagerly."""

    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, target: torch.Tensor, weight: Any, options: LossOptions, wide: bool, names: Any,
        wants_grad: bool,
    ) -> Any:  # fmt: skip
        grad = rows.new_like(logits) if wants_grad else None
        extras: dict[str, Any] = dict.fromkeys(names)
        loss = rows.loss_and_gradient(logits, target, weight, options, grad, wide, extras)
        ctx.options, ctx.names = options, names
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*(extras[name] for name in names if not extras[name].is_floating_point()))
        ctx.save_for_backward(logits, grad, target, weight)
        return loss, *extras.values()

    @staticmethod
    def backward(ctx: Any, grad_loss: torch.Tensor | None, *others: Any) -> Any:
        logits, grad, target, weight = ctx.saved_tensors
        options, result = ctx.options, None
        wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
        given = _asked(ctx.names, others, wide)
        if given:
            a, t = logits.to(wide), target.to(wide) if target.is_floating_point() else target
            result = _gradient(a, t, options, given)
        if grad_loss is not None:
            if torch.is_grad_enabled():
                factor = factor_of(grad_loss, logits, options)
                of_loss = Gradient.apply(factor, logits, grad, target, weight, options)
            else:
                of_loss = handed_on(grad, factor_of(grad_loss, logits, options, rounded=False))
            result = of_loss if result is None else result + of_loss
        return None if result is None else result.to(logits.dtype), *[None] * 6


class LayerWithExtras(Function):  # type: ignore[misc]
    """(hidden, weight, bias, …) → the loss and the extras, eagerly, and nothing of N × K kept."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, bias: Any, target: torch.Tensor, class_weight: Any,
        plan: Plan, names: Any,
    ) -> Any:  # fmt: skip
        inputs = Inputs(hidden, weight, bias, target, class_weight)
        now = plan.options.reduction != "none"
        grads = [torch.empty_like(x) if want and now else None for x, want in zip(inputs[:3], plan.wants, strict=True)]
        extras: dict[str, Any] = dict.fromkeys(names)
        loss = layer.loss_and_gradients(inputs, plan, grads, extras=extras)
        ctx.plan, ctx.names = plan, names
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*(extras[name] for name in names if not extras[name].is_floating_point()))
        ctx.save_for_backward(*inputs, *grads)
        return loss, *extras.values()

    @staticmethod
    def backward(ctx: Any, grad_loss: torch.Tensor | None, *others: Any) -> Any:
        saved, plan = ctx.saved_tensors, ctx.plan
        inputs, kept = Inputs(*saved[:5]), saved[5:]
        wide = devices.wide_dtype(inputs.hidden) if inputs.hidden.dtype != torch.float32 else torch.float32
        given = _asked(ctx.names, others, wide)
        if torch.is_grad_enabled():
            return *_by_logits(inputs, plan, grad_loss, given), *[None] * 4
        grads: list[Any] = [None] * 3
        if grad_loss is not None and plan.options.reduction != "none":
            grads = [None if grad is None else handed_on(grad, grad_loss) for grad in kept]
        elif grad_loss is not None:
            given_back = ops.layer_backward(grad_loss.to(inputs.hidden.dtype), inputs, plan)
            grads = [grad if want else None for grad, want in zip(given_back, plan.wants, strict=True)]
        if given:
            added = _by_chunks(inputs, plan, given, wide)
            grads = [b if a is None else a if b is None else a + b for a, b in zip(grads, added, strict=True)]
        return *grads, *[None] * 4


def _by_logits(inputs: Inputs, plan: Plan, grad_loss: Any, given: dict[str, torch.Tensor]) -> tuple[Any, Any, Any]:
    """Gradients that have derivatives again: the logits are stored."""
    hidden, weight, bias, target, class_weight = inputs
    logits = torch.nn.functional.linear(hidden, weight, bias)
    target = target.to(logits.dtype) if target.dim() == 2 else target
    delta = torch.zeros_like(logits)
    if given:
        delta = delta + _gradient(logits, target, plan.options, {k: v.to(logits.dtype) for k, v in given.items()})
    if grad_loss is not None:
        grad = Loss.apply(logits, target, class_weight, plan.options, False)[1]
        factor = factor_of(grad_loss, logits, plan.options)
        delta = delta + Gradient.apply(factor, logits, grad, target, class_weight, plan.options)
    wants = plan.wants
    return (
        delta @ weight if wants[0] else None,
        delta.T @ hidden if wants[1] else None,
        delta.sum(0) if wants[2] else None,
    )


def _by_chunks(inputs: Inputs, plan: Plan, given: dict[str, torch.Tensor], dtype: torch.dtype) -> list[Any]:
    """The same of the extras alone, a chunk of rows at a time."""
    hidden, weight, bias, target, _ = inputs
    sums = [torch.zeros(x.shape, dtype=dtype, device=x.device) if want else None
            for x, want in zip(inputs[:3], plan.wants, strict=True)]  # fmt: skip
    wide, biases = weight.to(dtype), None if bias is None else bias.to(dtype)
    budget = devices.CHUNK_BYTES if plan.chunk_bytes is None else plan.chunk_bytes
    step = max(1, budget // (weight.shape[0] * 6 * dtype.itemsize))
    for begin in range(0, hidden.shape[0], step):
        some = slice(begin, begin + step)
        x, t = hidden[some].to(dtype), target[some]
        if t.dim() == 1 and "logsumexp" not in given and "entropy" not in given:  # 0 times NaN is NaN
            x = x.masked_fill((t == plan.options.ignore_index)[:, None], 0.0)
        a = torch.nn.functional.linear(x, wide, biases)
        t = t.to(dtype) if t.dim() == 2 else t
        delta = _gradient(a, t, plan.options, {name: v[some] for name, v in given.items()})
        if sums[0] is not None:
            sums[0][some] = delta @ wide
        if sums[1] is not None:
            sums[1].addmm_(delta.T, x)
        if sums[2] is not None:
            sums[2] += delta.sum(0)
    return [None if x is None else x.to(like.dtype) for x, like in zip(sums, inputs[:3], strict=True)]
