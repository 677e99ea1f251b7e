"""The operators' gradients, for compiled and exported programs, which call the operators by themselves.

An operator's gradients are outputs of it beside the loss, so its formula has cotangents for them too, which second
derivatives send. So an exported program has derivatives of every order; PyTorch compiles first ones only, and says so.
"""

from __future__ import annotations

from typing import Any

import torch

from chainrule.output.options import LossOptions
from chainrule.torch import ops
from chainrule.torch.derivatives import Softmax, curvature, factor_of, hessian_product, third
from chainrule.torch.layer import Inputs, Plan
from chainrule.torch.linear import Head

__all__: list[str] = []


def _sum(first: torch.Tensor | None, second: torch.Tensor | None) -> torch.Tensor | None:
    return second if first is None else first if second is None else first + second


def _of_those(v: tuple[torch.Tensor | None, ...], there: Any) -> tuple[torch.Tensor | None, ...]:
    """The cotangents of the gradients that were computed; the others are empty tensors."""
    return tuple(x if wanted else None for x, wanted in zip(v, there, strict=True))


def _keep_logits(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, torch.Tensor]) -> None:
    ctx.options, wants_grad = LossOptions(*inputs[3:6], *inputs[8:]), inputs[6]
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:3], output[1] if wants_grad else None)


def _of_logits(ctx: Any, grad_loss: torch.Tensor | None, v: torch.Tensor | None) -> tuple[Any, ...]:
    logits, target, weight, grad = ctx.saved_tensors
    if grad is None:
        raise RuntimeError("chainrule::cross_entropy: its gradient is asked for, and was not computed (wants_grad)")
    first = None if grad_loss is None else grad * factor_of(grad_loss, logits, ctx.options)
    second = None if v is None else curvature(logits, v, target, weight, ctx.options)
    return _sum(first, second), *[None] * 11


def _keep_row(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    ctx.output = inputs[0]
    ctx.save_for_backward(*inputs[1:])


def _of_row(ctx: Any, v: torch.Tensor) -> tuple[Any, ...]:
    logits, vector = ctx.saved_tensors
    if ctx.output == "log_softmax":
        return None, v - Softmax.apply(logits) * v.sum(1, keepdim=True), None
    if vector is None:
        return None, hessian_product(logits, v), None
    return None, third(logits, v, vector), hessian_product(logits, v)


def _keep_layer(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    tensors, ctx.plan = ops.from_schema(inputs, says_wide=True)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, *output[1:])


def _of_layer(ctx: Any, grad_loss: torch.Tensor | None, *v: torch.Tensor | None) -> tuple[Any, ...]:
    saved = ctx.saved_tensors
    tensors, grads, wants = Inputs(*saved[:5]), saved[5:], tuple(ctx.needs_input_grad[:3])
    options = ctx.plan.options
    first: Any = (None,) * 3
    if grad_loss is not None and options.reduction == "none":
        first = ops.layer_backward(grad_loss.to(tensors[0].dtype), tensors, Plan(options, wants, ctx.plan.chunk_bytes))
    elif grad_loss is not None:
        first = tuple(grad * grad_loss.to(grad.dtype) for grad in grads)
    second: Any = (None,) * 3
    v = _of_those(v, ctx.plan.wants)
    if any(x is not None for x in v):
        one = tensors[0].new_ones(())
        second = Head(one, tensors, options).second(*v)[1:]
    sums = (_sum(a, b) if wanted else None for a, b, wanted in zip(first, second, wants, strict=True))
    return (*sums, *[None] * 12)


def _keep_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    tensors, ctx.plan = ops.from_schema(inputs[1:], says_wide=False)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(inputs[0], *tensors)


def _of_backward(ctx: Any, *v: torch.Tensor | None) -> tuple[Any, ...]:
    v = _of_those(v, ctx.plan.wants)
    if all(x is None for x in v):
        return (None,) * 15
    factors, *tensors = ctx.saved_tensors
    return *Head(factors, tensors, ctx.plan.options).second(*v), *[None] * 11


ops.differentiated_by(ops.cross_entropy, _of_logits, _keep_logits)
ops.differentiated_by(ops.by_row, _of_row, _keep_row)
ops.differentiated_by(ops.linear_cross_entropy, _of_layer, _keep_layer)
ops.differentiated_by(ops.linear_backward, _of_backward, _keep_backward)
