"""The derivatives of every order, reverse and forward, in closed form.

With ŷ = softmax(a), targets q (weighted and smoothed) of mass Q = Σ q, and a loss L = Σ_j q_j (−log ŷ_j) of each row:

    ∂L/∂a = Q ŷ − q,    ∂²L/∂a² = Q H,    H v = ŷ⊙v − ŷ (ŷᵀv)
    ∂(uᵀ H v)/∂a = H (u⊙v) − (ŷᵀv) H u − (ŷᵀu) H v,    ∂ŷ/∂a = H

so products with H, which a kernel computes, are all that any derivative needs. L is linear in q: its derivatives
w.r.t. class probabilities and weights are those of q_j (−log ŷ_j). Where z(a) stands between the logits and the loss,
and a z-loss λ lse² beside it, with ⊙ element by element and P = Q + 2λ lse:

    ∂L/∂a = z′ ⊙ (P ŷ − q),    (∂²L/∂a²) v = z′ ⊙ (P H u + 2λ ŷ (ŷᵀu)) + z″ ⊙ (P ŷ − q) ⊙ v,    u = z′ ⊙ v
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch.autograd import Function

from chainrule.output.options import LossOptions
from chainrule.torch import ops, rows
from chainrule.torch.arguments import in_program
from chainrule.torch.forward_mode import no_tangent, saved_primals
from chainrule.torch.shapes import shaped, slopes

__all__ = [
    "Gradient", "Loss", "Softmax", "curvature", "factor_of", "handed_on", "hessian_product", "keeps_graph",
    "log_softmax", "masses", "third",
]  # fmt: skip
# Does this backward keep the graph for another one? PyTorch's compiler asks the same, before it reuses a buffer.
keeps_graph = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: True)


def masses(
    target: torch.Tensor,
    weight: torch.Tensor | None,
    options: LossOptions,
    logits: torch.Tensor,
    *,
    reduced: bool = True,
) -> torch.Tensor:
    """Q of each row, as (N, 1, …), times what the reduction multiplies a row with."""
    k, epsilon = logits.shape[1], options.label_smoothing
    each = torch.ones(k, dtype=logits.dtype, device=logits.device) if weight is None else weight.to(logits.dtype)
    probabilities = target.dim() == logits.dim()
    if probabilities:
        shape = (k, *[1] * (logits.dim() - 2))
        q = ((target * (1.0 - epsilon) + epsilon / k) * each.reshape(shape)).sum(1, keepdim=True)
    else:
        counted = target != options.ignore_index
        chosen = each[torch.where(counted, target, 0).long()]
        q = torch.where(counted, chosen * (1.0 - epsilon) + each.sum() * (epsilon / k), 0.0).unsqueeze(1)
    if reduced:
        q = q * ops.scales(target, weight, options, k, probabilities, each=False).to(q.dtype)
    return q


def hessian_product(logits: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    """H v of each row, differentiable."""
    return _HessianProduct.apply(logits, vector)


class Loss(Function):  # type: ignore[misc]
    """(logits, …) → the loss and, beside it, the gradient w.r.t. the logits, which backward hands on."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None, options: LossOptions, wide: bool
    ) -> Any:
        return ops.loss_of_logits(logits, target, weight, options, True, wide)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        logits, target, weight, ctx.options, _ = inputs
        grad = output[1]
        ctx.mark_non_differentiable(grad)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(logits, grad, target, weight)
        ctx.save_for_forward(logits, grad, target, weight)

    @staticmethod
    def backward(ctx: Any, grad_loss: torch.Tensor | None, _: Any) -> Any:
        if grad_loss is None:
            return None, None, None, None, None
        logits, grad, target, weight = ctx.saved_tensors
        if torch.is_grad_enabled():
            factor = factor_of(grad_loss, logits, ctx.options)
            return Gradient.apply(factor, logits, grad, target, weight, ctx.options), None, None, None, None
        return handed_on(grad, factor_of(grad_loss, logits, ctx.options, rounded=False)), None, None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: torch.Tensor | None, *_: Any) -> Any:
        if tangent is None:
            return None, None
        with saved_primals(ctx) as (logits, grad, target, weight):
            one = torch.ones((), dtype=logits.dtype, device=logits.device)
            product = Gradient.apply(one, logits, grad, target, weight, ctx.options) * tangent
            loss = product.sum(1) if ctx.options.reduction == "none" else product.sum()
            return loss, no_tangent(ctx, grad)


Loss.forward.__signature__ = inspect.signature(Loss.forward)  # type: ignore[attr-defined]  # PyTorch asks for it with each call


def factor_of(
    grad_loss: torch.Tensor, logits: torch.Tensor, options: LossOptions, *, rounded: bool = True
) -> torch.Tensor:
    """The loss's gradient, as a scalar or (N, 1, …); `rounded` to the logits' dtype."""
    factor = grad_loss if grad_loss.dtype is logits.dtype or not rounded else grad_loss.to(logits.dtype)
    return factor.unsqueeze(1) if options.reduction == "none" else factor


def handed_on(grad: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """factor · gradient in the kept gradient's own memory, unless the graph is kept for another backward."""
    if torch.compiler.is_compiling() or keeps_graph() or not ops.is_eager(grad, factor, None):
        return (grad * factor).to(grad.dtype)
    return grad if rows.is_one(factor) else grad.mul_(factor)


class Gradient(Function):  # type: ignore[misc]
    """(factor, logits, the gradient as it was computed, …) → factor · gradient, differentiable in both."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        factor: torch.Tensor, logits: torch.Tensor, grad: torch.Tensor, target: torch.Tensor, weight: Any,
        options: LossOptions,
    ) -> torch.Tensor:  # fmt: skip
        return grad * factor

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        *tensors, ctx.options = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, v: torch.Tensor) -> Any:
        factor, logits, grad, target, weight = ctx.saved_tensors
        grad_factor = grad_logits = None
        if ctx.needs_input_grad[0]:
            product = v * Gradient.apply(torch.ones_like(factor), logits, grad, target, weight, ctx.options)
            grad_factor = product.sum(1, keepdim=True) if factor.dim() else product.sum()
        if ctx.needs_input_grad[1]:
            grad_logits = curvature(logits, v, target, weight, ctx.options, factor)
        return grad_factor, grad_logits, None, None, None, None

    @staticmethod
    def jvp(ctx: Any, d_factor: torch.Tensor | None, d_logits: torch.Tensor | None, *_: Any) -> Any:
        with saved_primals(ctx) as (factor, logits, grad, target, weight):
            tangent = torch.zeros_like(logits)
            if d_factor is not None:
                one = torch.ones_like(factor)
                tangent = tangent + d_factor * Gradient.apply(one, logits, grad, target, weight, ctx.options)
            if d_logits is not None:
                tangent = tangent + curvature(logits, d_logits, target, weight, ctx.options, factor)
            return tangent


def curvature(
    logits: torch.Tensor,
    vector: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    options: LossOptions,
    factor: torch.Tensor | float = 1.0,
) -> torch.Tensor:
    """The loss's Hessian times v, and a factor; a row that counts for nothing has none, even if its logits are NaN."""
    mass = masses(target, weight, options, logits) * factor
    if not options.shapes:
        return torch.where(mass == 0, 0.0, hessian_product(logits, vector) * mass)
    z, (first, second) = shaped(logits, options), slopes(logits, options)
    labels = target.dim() < logits.dim()
    counted = (target != options.ignore_index).unsqueeze(1) if labels else torch.ones_like(mass, dtype=torch.bool)
    p, u = Softmax.apply(z), first * vector
    reduced = ops.scales(target, weight, options, logits.shape[1], not labels, each=False).to(logits.dtype) * factor
    pull = reduced * (2.0 * options.z_loss)
    both = mass + pull * torch.logsumexp(z, 1, keepdim=True)
    product = (both * hessian_product(z, u) + pull * p * (p * u).sum(1, keepdim=True)) * first
    if second is not None:
        q = _targets(target, weight, options, logits) * reduced
        product = product + second * (both * p - q) * vector
    return torch.where(counted, product, 0.0)


def _targets(
    target: torch.Tensor, weight: torch.Tensor | None, options: LossOptions, logits: torch.Tensor
) -> torch.Tensor:
    """q, of the logits' shape, weighted and smoothed."""
    k, epsilon, shape = logits.shape[1], options.label_smoothing, (-1, *[1] * (logits.dim() - 2))
    q = target
    if target.dim() < logits.dim():
        q = (torch.arange(k, device=target.device).reshape(shape) == target.unsqueeze(1)).to(logits.dtype)
    q = q * (1.0 - epsilon) + epsilon / k
    return q if weight is None else q * weight.to(logits.dtype).reshape(shape)


class _HessianProduct(Function):  # type: ignore[misc]
    """(logits, vector) → H v."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
        return ops.by_row("hessian_vector_product", logits, vector)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, u: torch.Tensor) -> Any:
        logits, v = ctx.saved_tensors
        wants_logits, wants_vector = ctx.needs_input_grad
        return third(logits, u, v) if wants_logits else None, hessian_product(logits, u) if wants_vector else None

    @staticmethod
    def jvp(ctx: Any, d_logits: torch.Tensor | None, d_vector: torch.Tensor | None) -> Any:
        with saved_primals(ctx) as (logits, v):
            tangent = torch.zeros_like(logits)
            if d_logits is not None:
                tangent = tangent + third(logits, d_logits, v)
            if d_vector is not None:
                tangent = tangent + hessian_product(logits, d_vector)
            return tangent


def third(logits: torch.Tensor, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """∂(uᵀ H v)/∂a, which is symmetric in u, v and the direction."""
    p = Softmax.apply(logits)
    hu, hv = hessian_product(logits, u), hessian_product(logits, v)
    return hessian_product(logits, u * v) - (p * v).sum(1, keepdim=True) * hu - (p * u).sum(1, keepdim=True) * hv


class Softmax(Function):  # type: ignore[misc]
    """logits → ŷ."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: torch.Tensor) -> torch.Tensor:
        return ops.by_row("softmax", logits, None)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, v: torch.Tensor) -> torch.Tensor:
        return hessian_product(ctx.saved_tensors[0], v)

    @staticmethod
    def jvp(ctx: Any, tangent: torch.Tensor) -> Any:
        with saved_primals(ctx) as (logits,):
            return hessian_product(logits, tangent)


class _LogSoftmax(Function):  # type: ignore[misc]
    """logits → log ŷ, and 0 for a masked class if its −∞ is not wanted."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: torch.Tensor, finite: bool) -> torch.Tensor:
        return _log_probabilities(logits, finite)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])

    @staticmethod
    def backward(ctx: Any, v: torch.Tensor) -> Any:
        return v - Softmax.apply(ctx.saved_tensors[0]) * v.sum(1, keepdim=True), None

    @staticmethod
    def jvp(ctx: Any, tangent: torch.Tensor, _: Any) -> Any:
        with saved_primals(ctx) as (logits,):
            return tangent - (Softmax.apply(logits) * tangent).sum(1, keepdim=True)


def log_softmax(logits: torch.Tensor, *, finite: bool = False) -> torch.Tensor:
    """log ŷ of logits (N, K, …), differentiable; if `finite`, 0 for a masked class, whose derivatives stay its own."""
    return _log_probabilities(logits, finite) if in_program() else _LogSoftmax.apply(logits, finite)


def _log_probabilities(logits: torch.Tensor, finite: bool) -> torch.Tensor:
    values = ops.by_row("log_softmax", logits, None)
    return torch.where(torch.isinf(values), 0.0, values) if finite else values
