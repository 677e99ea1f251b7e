"""The last layer and its loss: gradients in the forward's own pass, and derivatives of every order.

A reduced loss keeps the gradients that its chunks leave, and backward hands them on. A loss of each example cannot know
what each will be multiplied with, nor can a sum into `.grad`; both compute theirs in backward, from hidden units and
weights. Second derivatives and forward mode store the logits.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.autograd import Function

from chainrule.boundary.checks import check_integer, check_no_ignore_index
from chainrule.errors import InputError
from chainrule.output.options import LossOptions
from chainrule.torch import groups, layer, ops
from chainrule.torch.arguments import as_float, check_same, check_target, in_program
from chainrule.torch.derivatives import Gradient, Loss, curvature, handed_on
from chainrule.torch.extras import LayerWithExtras, composed, record
from chainrule.torch.forward_mode import no_tangent, saved_primals
from chainrule.torch.heads import check_head, check_leaf, in_autocast, scalable
from chainrule.torch.layer import Inputs, Plan
from chainrule.torch.losses import differentiates, is_transformed, of_logits
from chainrule.torch.sharded import is_sharded, of_shards

__all__ = ["Head", "flat_loss", "linear_cross_entropy"]


def linear_cross_entropy(
    inputs: Inputs,
    options: LossOptions,
    chunk_bytes: int | None,
    *,
    ignores: bool = True,
    accumulate: bool = False,
    in_float32: bool = False,
    extras: tuple[str, ...] = (),
    group: Any = None,
) -> Any:
    """The loss of tensors as the caller gave them. `ignores`: there was an `ignore_index`; `in_float32`: multiply and
    return in float32 what has 16 bits."""
    if chunk_bytes is not None:
        check_integer("chunk_bytes", chunk_bytes)
    if group is not None:
        processes = groups.checked_group(group)
        return groups.linear_cross_entropy(
            inputs, options, processes, chunk_bytes, ignores=ignores, accumulate=accumulate, in_float32=in_float32,
            extras=extras,
        )  # fmt: skip
    if is_sharded(*inputs):
        return _of_shards(inputs, options, chunk_bytes, ignores, accumulate, in_float32, extras)
    leaf, weight = inputs.weight, inputs.class_weight
    target: torch.Tensor = inputs.target
    input, linear_weight, linear_bias, wide = in_autocast(*inputs[:3])
    check_head(input, linear_weight, linear_bias)
    wide = wide or (in_float32 and input.dtype.itemsize == 2)
    if in_float32:
        input, linear_weight, linear_bias = scalable(input, linear_weight, linear_bias)
    lead, (k, *positions) = tuple(input.shape[:-1]), linear_weight.shape[:-1]
    if positions and len(lead) != 1:
        shapes = f"{tuple(input.shape)} with linear_weight of shape {tuple(linear_weight.shape)}"
        raise InputError(f"input: got shape {shapes}, expected (N, D) with a K-dimensional loss")
    probabilities = check_target(target, (*lead, k, *positions), len(lead), input)
    if probabilities and ignores:
        check_no_ignore_index(options.ignore_index, "target")
    if weight is not None:
        check_same("weight", weight, (k,), input, dtype=False)
    if accumulate:
        check_leaf(leaf, linear_weight, bool(positions))
    target = as_float(target, torch.float32 if input.dtype.itemsize == 2 else input.dtype) if probabilities else target
    if positions and extras:
        raise InputError(
            f"extras: got {extras!r} with linear_weight of shape {tuple(linear_weight.shape)}, expected (K, D)"
        )
    if positions:
        return _of_positions(Inputs(input, linear_weight, linear_bias, target, weight), options, chunk_bytes, wide)
    hidden = input.reshape(-1, input.shape[-1])
    given = target.reshape(-1, k) if probabilities else target.reshape(-1)
    flat = Inputs(hidden, linear_weight, linear_bias, given, weight)
    if extras:
        if accumulate:
            raise InputError(f"accumulate: got True with extras={extras!r}, expected one of the two")
        results = _with_extras(flat, options, chunk_bytes, wide, extras)
        return record(extras, [r if r.dim() == 0 else r.reshape(lead) for r in results])
    loss = flat_loss(flat, options, chunk_bytes, wide, leaf if accumulate else None)
    return loss.reshape(lead) if options.reduction == "none" else loss


def _of_shards(
    inputs: Inputs, options: LossOptions, chunk_bytes: int | None, ignores: bool, accumulate: bool, in_float32: bool,
    extras: tuple[str, ...],
) -> torch.Tensor:  # fmt: skip
    """The loss of DTensors, whose hidden units and targets may be split by examples, and whose weights by classes."""
    if extras or accumulate or inputs.hidden.dim() < 2 or inputs.weight.dim() != 2:
        raise InputError("input: got a DTensor, expected (N, …, D) with linear_weight (K, D), no extras, no accumulate")
    probabilities = inputs.target.dim() == inputs.hidden.dim()

    def loss(local: Any, options: LossOptions, group: Any) -> Any:
        given = Inputs(**local)
        return linear_cross_entropy(given, options, chunk_bytes, ignores=ignores, in_float32=in_float32, group=group)

    def scale(local: Any, options: LossOptions) -> torch.Tensor:
        t = local["hidden"][..., :1] if probabilities else local["target"]  # a mean of probabilities counts rows
        t = t.reshape(-1, 1) if probabilities else t.reshape(-1)
        return ops.scales(t, local["class_weight"], options, 1, probabilities, each=False)

    split = {"hidden": inputs.hidden, "target": inputs.target}
    whole = {"weight": inputs.weight, "bias": inputs.bias, "class_weight": inputs.class_weight}
    classes = {"weight": 0, "bias": 0, "class_weight": 0} | ({"target": -1} if probabilities else {})
    return of_shards(loss, scale, options, split, whole, classes, tuple(inputs.hidden.shape[:-1]))


def _of_positions(inputs: Inputs, options: LossOptions, chunk_bytes: int | None, wide: bool) -> torch.Tensor:
    """A K-dimensional loss: each position has weights of its own."""
    input, linear_weight, linear_bias, target, weight = inputs
    k, shape = linear_weight.shape[0], target.shape
    probabilities = target.dim() == linear_weight.dim()
    weights = linear_weight.reshape(k, -1, linear_weight.shape[-1])
    biases = None if linear_bias is None else linear_bias.reshape(k, -1)
    targets = target.flatten(2) if probabilities else target.flatten(1)
    each = options if options.reduction == "none" else replace(options, reduction="sum")
    losses = []
    for i in range(weights.shape[1]):
        of_one = Inputs(input, weights[:, i], None if biases is None else biases[:, i], targets[..., i], weight)
        losses.append(flat_loss(of_one, each, chunk_bytes, wide))
    loss = torch.stack(losses, -1) if losses else input.new_zeros((input.shape[0], 0))
    if options.reduction == "none":
        return loss.reshape(shape[:1] + shape[2 if probabilities else 1 :])
    scale = ops.scales(target, weight, options, k, probabilities, each=False)
    return (loss.sum() * scale).to(loss.dtype)


def flat_loss(
    inputs: Inputs, options: LossOptions, chunk_bytes: int | None, wide: bool, leaf: torch.Tensor | None = None
) -> torch.Tensor:
    """The loss of hidden units (N, D) and weights (K, D) that have been checked."""
    hidden, weight, bias, target, class_weight = inputs
    exports = torch.jit.is_tracing() or (in_program() and torch.onnx.is_in_onnx_export())
    if exports or differentiates(target, class_weight) or _in_forward_transform():  # which need the logits, stored
        logits = torch.nn.functional.linear(hidden, weight, bias)
        target = as_float(target, hidden.dtype) if target.dim() == 2 else target
        return of_logits(logits, target, class_weight, options, wide and options.reduction != "none")
    if leaf is not None and torch.is_grad_enabled():
        return _Accumulating.apply(*inputs, Plan(options, chunk_bytes=chunk_bytes, wide=wide))
    wants = differentiates(hidden), differentiates(weight), differentiates(bias)
    plan = Plan(options, wants, chunk_bytes, wide)
    if in_program() or not any(wants):
        return ops.layer_loss(inputs, plan)[0]
    return _Loss.apply(*inputs, plan)[0]


def _with_extras(
    inputs: Inputs, options: LossOptions, chunk_bytes: int | None, wide: bool, names: tuple[str, ...]
) -> Sequence[torch.Tensor]:
    """The loss and the extras, which in programs and under transformations need the logits, stored."""
    hidden, weight, bias, target, class_weight = inputs
    if in_program() or is_transformed() or not _are_plain(inputs) or differentiates(target, class_weight):
        loss = flat_loss(inputs, options, chunk_bytes, wide)
        head = [x.float() if wide and x is not None else x for x in (hidden, weight, bias)]
        logits = torch.nn.functional.linear(*head)
        given = target.to(logits.dtype) if target.dim() == 2 else target
        return [loss, *composed(logits, given, options, names)]
    wants = differentiates(hidden), differentiates(weight), differentiates(bias)
    results: Sequence[torch.Tensor] = LayerWithExtras.apply(*inputs, Plan(options, wants, chunk_bytes, wide), names)
    return results


def _are_plain(inputs: Inputs) -> bool:
    return all(x is None or ops.is_plain(x) for x in inputs) and not torch._C._len_torch_dispatch_stack()


def _in_forward_transform() -> bool:
    """Is torch.func in forward mode? PyTorch fails there when it batches `_Gradients`, which has several outputs."""
    if torch.compiler.is_compiling() or torch._C._functorch.peek_interpreter_stack() is None:
        return False
    stack = torch._C._functorch.get_interpreter_stack()
    return any(level.key() == torch._C._functorch.TransformType.Jvp for level in stack)


class _Loss(Function):  # type: ignore[misc]
    """(hidden, weight, bias, …) → the loss and, beside it, the gradients that are wanted."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, target: torch.Tensor,
        class_weight: torch.Tensor | None, plan: Plan,
    ) -> Any:  # fmt: skip
        return ops.layer_loss(Inputs(hidden, weight, bias, target, class_weight), plan)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        *tensors, ctx.plan = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, *output[1:])
        ctx.save_for_forward(*tensors, *output[1:])

    @staticmethod
    def backward(ctx: Any, grad_loss: torch.Tensor | None, *_: Any) -> Any:
        if grad_loss is None:
            return (None,) * 6
        saved = ctx.saved_tensors  # once: what unpacks it may do so once
        tensors, grads = Inputs(*saved[:5]), saved[5:]
        factor = grad_loss.to(tensors[0].dtype)
        plan = ctx.plan
        if torch.is_grad_enabled():
            grads = _Gradients.apply(factor, *tensors, *grads, plan)
        elif plan.options.reduction == "none":
            grads = ops.layer_backward(factor, tensors, plan)
        else:
            grads = tuple(handed_on(grad, factor) for grad in grads)
        return (*(grad if wanted else None for grad, wanted in zip(grads, plan.wants, strict=True)), *[None] * 3)

    @staticmethod
    def jvp(ctx: Any, d_hidden: Any, d_weight: Any, d_bias: Any, *_: Any) -> Any:
        tangents = d_hidden, d_weight, d_bias
        with saved_primals(ctx) as saved:
            tensors, grads = saved[:5], saved[5:]
            others = [no_tangent(ctx, grad) for grad in grads]
            one = torch.ones((), dtype=tensors[0].dtype, device=tensors[0].device)
            if ctx.plan.options.reduction == "none":
                head = Head(one, tensors, ctx.plan.options)
                return (head.gradient * head.along(*tangents)).sum(1), *others
            grads = _Gradients.apply(one, *tensors, *grads, ctx.plan)
            moved = [(grad, tangent) for grad, tangent in zip(grads, tangents, strict=True) if tangent is not None]
            parts = [(grad * tangent).sum() for grad, tangent in moved]
            return sum(parts[1:], parts[0]) if parts else None, *others


_Loss.forward.__signature__ = inspect.signature(_Loss.forward)  # type: ignore[attr-defined]  # PyTorch asks for it with each call


class Head:
    """The logits, stored, and what derivatives of the gradients need of them, in differentiable operations."""

    def __init__(self, factor: torch.Tensor, tensors: Any, options: LossOptions):
        hidden, weight, bias, target, class_weight = tensors
        self.hidden, self.weight, self.bias = hidden, weight, bias
        self.logits = hidden @ weight.T if bias is None else hidden @ weight.T + bias
        target = as_float(target, hidden.dtype) if target.dim() == 2 else target
        self.factor = factor.unsqueeze(1) if factor.dim() else factor
        grad = Loss.apply(self.logits, target, class_weight, options, False)[1]
        one = torch.ones_like(self.factor)
        self.plain = Gradient.apply(one, self.logits, grad, target, class_weight, options)
        self.gradient = self.plain * self.factor  # w.r.t. the logits
        self.rest = target, class_weight, options, self.factor

    def along(self, hidden: Any, weight: Any, bias: Any) -> torch.Tensor:
        """The logits' change along changes of what they are made of."""
        change = torch.zeros_like(self.logits)
        if hidden is not None:
            change = change + hidden @ self.weight.T
        if weight is not None:
            change = change + self.hidden @ weight.T
        return change if bias is None else change + bias

    def curved(self, change: torch.Tensor) -> torch.Tensor:
        """The change of the gradient w.r.t. the logits."""
        return curvature(self.logits, change, *self.rest)

    def moved(self, change: torch.Tensor, hidden: Any, weight: Any) -> tuple[Any, Any, Any]:
        """The changes of the three gradients along one of that w.r.t. the logits, of hidden units, and of weights."""
        to_hidden, to_weight = change @ self.weight, change.T @ self.hidden
        if weight is not None:
            to_hidden = to_hidden + self.gradient @ weight
        if hidden is not None:
            to_weight = to_weight + self.gradient.T @ hidden
        return to_hidden, to_weight, change.sum(0)

    def second(self, v_hidden: Any, v_weight: Any, v_bias: Any) -> tuple[Any, Any, Any, Any]:
        """What cotangents of the three gradients give for the factor, hidden units, weights and biases."""
        change = self.along(v_hidden, v_weight, v_bias)
        grad_factor = (self.plain * change).sum(1) if self.factor.dim() else (self.plain * change).sum()
        grad_hidden, grad_weight, grad_bias = self.moved(self.curved(change), v_hidden, v_weight)
        return grad_factor, grad_hidden, grad_weight, None if self.bias is None else grad_bias


class _Gradients(Function):  # type: ignore[misc]
    """(factor, hidden, weight, bias, …) → factor · gradients, differentiable; those of the forward pass if they are
    there."""

    generate_vmap_rule = True

    @staticmethod
    def forward(factor: torch.Tensor, *others: Any) -> Any:
        *inputs, grad_hidden, grad_weight, grad_bias, plan = others
        if plan.options.reduction == "none":
            return ops.layer_backward(factor, Inputs(*inputs), plan)
        return grad_hidden * factor, grad_weight * factor, grad_bias * factor

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        tensors, ctx.plan = inputs[:6], inputs[9]
        ctx.mark_non_differentiable(*(grad for grad, wanted in zip(output, ctx.plan.wants, strict=True) if not wanted))
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *v: Any) -> Any:
        v_hidden, v_weight, v_bias = (x if wanted else None for x, wanted in zip(v, ctx.plan.wants, strict=True))
        factor, *tensors = ctx.saved_tensors
        return *Head(factor, tensors, ctx.plan.options).second(v_hidden, v_weight, v_bias), *[None] * 6

    @staticmethod
    def jvp(ctx: Any, d_factor: Any, d_hidden: Any, d_weight: Any, d_bias: Any, *_: Any) -> Any:
        with saved_primals(ctx) as (factor, *tensors):
            head = Head(factor, tensors, ctx.plan.options)
            change = head.curved(head.along(d_hidden, d_weight, d_bias))
            if d_factor is not None:
                change = change + head.plain * (d_factor.unsqueeze(1) if d_factor.dim() else d_factor)
            tangents = head.moved(change, d_hidden, d_weight)
        return tuple(tangent if wanted else None for tangent, wanted in zip(tangents, ctx.plan.wants, strict=True))


class _Accumulating(Function):  # type: ignore[misc]
    """The loss alone; backward adds the weights' gradient to what their `.grad` holds, and hands the others on."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, target: torch.Tensor,
        class_weight: torch.Tensor | None, plan: Plan,
    ) -> torch.Tensor:  # fmt: skip
        ctx.leaf, ctx.plan = weight, plan  # what save_for_backward gives back has no .grad
        inputs = Inputs(hidden, weight, bias, target, class_weight)
        ctx.save_for_backward(*inputs)
        return ops.layer_loss(inputs, plan)[0]

    @staticmethod
    def backward(ctx: Any, grad_loss: torch.Tensor) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError("linear_cross_entropy with accumulate=True has no second derivative")
        hidden, weight, bias, *others = ctx.saved_tensors
        wanted = torch._C._will_engine_execute_node(ctx.next_functions[1][0])  # not where hidden's alone is asked for
        first = ctx.leaf.grad is None and wanted
        sums = (torch.zeros_like(weight) if first else ctx.leaf.grad) if wanted else None
        grad_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        grad_bias = torch.zeros_like(bias) if ctx.needs_input_grad[2] else None
        inputs, grads = Inputs(hidden, weight.detach(), bias, *others), (grad_hidden, sums, grad_bias)
        layer.loss_and_gradients(inputs, ctx.plan, grads, factors=grad_loss, adds=True)
        if first:
            ctx.leaf.grad = sums
        return grad_hidden, None, grad_bias, *[None] * 3
