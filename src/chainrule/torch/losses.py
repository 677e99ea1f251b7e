"""Cross entropy of tensors: the checks of what comes, and which way it is computed and differentiated."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from torch.autograd import Function, forward_ad
from torch.overrides import has_torch_function

from chainrule._native import _kernels
from chainrule.boundary.checks import check_no_ignore_index
from chainrule.errors import InputError
from chainrule.output.options import LossOptions
from chainrule.torch import groups, ops, rows
from chainrule.torch.arguments import (
    as_float,
    check_same,
    check_target,
    check_tensor,
    in_program,
    is_wide,
)
from chainrule.torch.derivatives import Loss, factor_of, keeps_graph, log_softmax
from chainrule.torch.extras import WithExtras, composed, record
from chainrule.torch.shapes import shaped
from chainrule.torch.sharded import is_sharded, of_shards

__all__ = ["cross_entropy", "differentiates", "is_transformed", "of_logits", "ordinary", "ordinary_in_program"]


def cross_entropy(
    input: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None, options: LossOptions, inplace: bool = False,
    in_float32: bool = False, extras: tuple[str, ...] = (), group: Any = None,
) -> Any:  # fmt: skip
    if group is not None:
        return groups.cross_entropy(input, target, weight, options, in_float32, extras, groups.checked_group(group))
    if is_sharded(input, target, weight):
        return _of_shards(input, target, weight, options, in_float32, extras)
    check_tensor("input", input, "(C,), (N, C) or (N, C, d_1, …)", 1)
    class_dim = 0 if input.dim() == 1 else 1
    shape = tuple(input.shape)
    if shape[class_dim] == 0:
        raise InputError(f"input: got shape {shape}, expected at least one class")
    probabilities = check_target(target, shape, class_dim, input)
    if probabilities and options.ignore_index is not None and options.ignore_index >= 0:
        check_no_ignore_index(options.ignore_index, "target")
    if weight is not None:
        check_same("weight", weight, (shape[class_dim],), input, dtype=False)
    logits = input if class_dim else input.unsqueeze(0)
    given = target if class_dim else target.unsqueeze(0)
    wide = in_float32 or is_wide(input)
    narrow = probabilities and target.dtype not in (input.dtype, torch.float16)  # the logits, beside their targets
    # float16 would lose gradients before what scales the loss has scaled them
    if wide and (options.reduction == "none" or narrow or input.dtype == torch.float16):
        logits, wide, inplace = logits.float(), False, False
    if probabilities:
        given = as_float(given, logits.dtype)
    if extras:
        if inplace:
            raise InputError(f"inplace: got True with extras={extras!r}, whose gradients need the logits")
        results = _with_extras(logits, given, weight, options, wide, extras)
        if class_dim == 0:
            results = [*(r if r.dim() == 0 else r.squeeze(0) for r in results)]
        return record(extras, results)
    loss = of_logits(logits, given, weight, options, wide, inplace)
    return loss.squeeze(0) if class_dim == 0 and options.reduction == "none" else loss


def _of_shards(
    input: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None, options: LossOptions, in_float32: bool,
    extras: tuple[str, ...],
) -> torch.Tensor:  # fmt: skip
    """The loss of DTensors."""
    if extras or input.dim() < 2:
        came = f"extras={extras!r}" if extras else f"shape {tuple(input.shape)}"
        raise InputError(f"input: got a DTensor with {came}, expected (N, C) or (N, C, d_1, …) without extras")
    probabilities = target.dim() == input.dim()

    def loss(local: Any, options: LossOptions, group: Any) -> Any:
        return cross_entropy(local["input"], local["target"], local["weight"], options, False, in_float32, group=group)

    def scale(local: Any, options: LossOptions) -> torch.Tensor:
        a, t = local["input"], local["target"]
        t = a[:, :1] if probabilities else t  # a mean of probabilities counts rows
        return ops.scales(t, local["weight"], options, 1, probabilities, each=False)

    classes = {"input": 1, "weight": 0} | ({"target": 1} if probabilities else {})
    shape = (*input.shape[:1], *input.shape[2:])
    return of_shards(loss, scale, options, {"input": input, "target": target}, {"weight": weight}, classes, shape)


def _with_extras(
    logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None, options: LossOptions, wide: bool,
    names: tuple[str, ...],
) -> Sequence[torch.Tensor]:  # fmt: skip
    """The loss and the extras of logits (N, K, …) that have been checked."""
    composes = in_program() or is_transformed() or not ops.is_eager(logits, target, weight)
    if composes or differentiates(target, weight):
        loss = of_logits(logits, target, weight, options, wide)
        wider = logits.float() if wide else logits
        given = target.to(wider.dtype) if target.is_floating_point() else target
        return [loss, *composed(wider, given, options, names)]
    results: Sequence[torch.Tensor] = WithExtras.apply(
        logits, target, weight, options, wide, names, differentiates(logits)
    )
    return results


def of_logits(
    logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None, options: LossOptions, wide: bool = False,
    inplace: bool = False,
) -> torch.Tensor:  # fmt: skip
    """The loss of logits (N, K, …) that have been checked."""
    if differentiates(target, weight):
        fixed = target.detach(), None if weight is None else weight.detach()
        return _of_fixed(logits, *fixed, options, wide, False) + _by_targets(logits, target, weight, options)
    return _of_fixed(logits, target, weight, options, wide, inplace)


def _of_fixed(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    options: LossOptions,
    wide: bool,
    inplace: bool,
) -> torch.Tensor:
    """The same where no derivative w.r.t. targets or weights is wanted."""
    wants_grad = differentiates(logits)
    if in_program():
        if torch.onnx.is_in_onnx_export():
            return in_onnx(logits, target, weight, options)
        wants_grad = wants_grad or torch.jit.is_tracing()  # what is traced without gradients may be trained
        return ops.in_program_loss(logits, target, weight, options, wants_grad, wide)[0]
    if not wants_grad:
        return ops.loss_of_logits(logits, target, weight, options, False, wide)[0]
    if inplace and _can_overwrite(logits):
        return _InPlace.apply(logits, target, weight, options, wide)
    if not is_transformed() and ops.is_eager(logits, target, weight):
        return _directly(logits, target, weight, options, wide)
    return Loss.apply(logits, target, weight, options, wide)[0]


def in_onnx(
    logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None, options: LossOptions
) -> torch.Tensor:
    """The loss by PyTorch's operators, which ONNX has."""
    z, index = shaped(logits, options), -100 if options.ignore_index is None else options.ignore_index
    smoothing = options.label_smoothing
    loss = torch.nn.functional.cross_entropy(z, target, weight, None, index, None, options.reduction, smoothing)
    if options.z_loss == 0.0:
        return loss
    each = torch.logsumexp(z, 1).square() * options.z_loss
    if target.dim() < logits.dim():
        each = torch.where(target == index, 0.0, each)
    if options.reduction == "none":
        return loss + each
    probabilities = target.dim() == logits.dim()
    return loss + each.sum() * ops.scales(target, weight, options, logits.shape[1], probabilities, each=False).to(
        z.dtype
    )


def _can_overwrite(logits: torch.Tensor) -> bool:
    """May the gradient be written over these logits, and can it?"""
    if logits.is_leaf:
        raise InputError("inplace: got a leaf that requires its gradient as input, expected logits that are computed")
    if _overlaps(logits):
        raise InputError("inplace: got logits with elements in one place, expected one place for each")
    its_own = type(logits) is torch.Tensor and not logits.is_neg() and not logits._is_zerotensor()
    return its_own and not is_transformed() and rows.is_even(logits)


def is_transformed() -> bool:
    """Is this within a transform of torch.func, or forward mode?"""
    return torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0


def _overlaps(tensor: torch.Tensor) -> bool:
    """Do two elements share a place? PyTorch itself often does not know."""
    known = torch._debug_has_internal_overlap(tensor)
    if known < 2:
        return bool(known)
    steps = sorted((step, size) for step, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1)
    reach = 0
    for step, size in steps:
        if step <= reach:  # interleaved: count the places
            places = sum((torch.arange(n) * s).reshape(-1, *[1] * i) for i, (s, n) in enumerate(steps))
            return bool(torch.unique(places).numel() < tensor.numel())
        reach += step * (size - 1)
    return False


def differentiates(*tensors: torch.Tensor | None) -> bool:
    """Will a derivative w.r.t. one of these be asked for?"""
    floats = [tensor for tensor in tensors if tensor is not None and tensor.is_floating_point()]
    if not floats:
        return False
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in floats):
        return True
    if torch.compiler.is_compiling():
        return False
    return is_transformed() and any(map(_has_derivative, floats))


def _has_derivative(tensor: torch.Tensor) -> bool:
    """Looks through vmap's and other wrappers for one that a transform differentiates: it wraps all arguments."""
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(tensor):
        tracked = functorch.is_gradtrackingtensor(tensor)
        if tracked and (tensor.requires_grad or (forward_ad._current_level >= 0 and _has_tangent(tensor))):
            return True
        tensor = functorch.get_unwrapped(tensor)
    return forward_ad._current_level >= 0 and _has_tangent(tensor)


def _has_tangent(tensor: torch.Tensor) -> bool:
    return forward_ad.unpack_dual(tensor, level=0).tangent is not None


def _by_targets(
    logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None, options: LossOptions
) -> torch.Tensor:
    """0, whose derivatives w.r.t. class probabilities and weights are the loss's."""
    if target.dim() != logits.dim():
        raise InputError(
            "weight: got a tensor whose gradient is wanted, which there is only with class probabilities as target; "
            "expected weight.detach()"
        )
    k = logits.shape[1]
    q = target * (1.0 - options.label_smoothing) + options.label_smoothing / k
    if weight is not None:
        q = q * weight.to(logits.dtype).reshape(k, *[1] * (logits.dim() - 2))
    # where a class is masked its −log ŷ is ∞, and 0 · ∞ would be NaN
    loss = -log_softmax(shaped(logits, options), finite=True) * (q - q.detach())
    each = loss.sum(1)
    return (
        each
        if options.reduction == "none"
        else each.sum() * ops.scales(target, weight, options, k, True, each=False).to(each.dtype)
    )


class _Direct(Function):  # type: ignore[misc]
    """The same loss where nothing but backward is asked for: a function that says more, of vmap and of forward mode,
    takes several times as long to be called."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: torch.Tensor,
        target: torch.Tensor,
        weight: torch.Tensor | None,
        options: LossOptions,
        wide: bool,
    ) -> torch.Tensor:
        grad = rows.new_like(logits)
        loss = rows.loss_and_gradient(logits, target, weight, options, grad, wide)
        ctx.options = options
        ctx.save_for_backward(logits, grad, target, weight)
        return loss

    @staticmethod
    def backward(ctx: Any, grad_loss: torch.Tensor) -> Any:
        return Loss.backward(ctx, grad_loss, None)


# without the questions that Function.apply asks of transforms, which have been asked
_directly = super(Function, _Direct).apply


class _Made(Function):  # type: ignore[misc]
    """The same of an ordinary loss, which has been computed with its gradient: `made`, which nothing looks into."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, made: tuple[Any, ...]) -> torch.Tensor:
        target, ctx.options, loss, grad = made
        ctx.save_for_backward(logits, grad, target, None)
        return loss

    @staticmethod
    def backward(ctx: Any, grad_loss: torch.Tensor) -> Any:
        if not torch.compiler.is_compiling():
            grad = ctx.saved_tensors[1]
            if ordinary.hands_on(grad, grad_loss):
                return grad, None
        return Loss.backward(ctx, grad_loss, None)[0], None


# What a call may be asked for beside labels and the options of an ordinary loss, and what is usual.
USUAL = {
    "weight": None, "size_average": None, "reduce": None, "inplace": False, "temperature": 1.0, "z_loss": 0.0,
    "softcap": None, "scale": 1.0, "loss_dtype": None, "extras": (), "group": None,
}  # fmt: skip
# The loss that most calls ask for, of a matrix on the CPU and its labels, where nobody looks at the call; None for what
# is left to the checks, which take longer than the loss of a few rows. Its last argument is in the order of USUAL.
ordinary = _kernels.OrdinaryLoss(
    {
        "table": rows.TABLE,
        "types": ops.PLAIN,
        "usual": tuple(USUAL.values()),
        "looks": (
            torch._C._len_torch_dispatch_stack, torch._C._len_torch_function_stack, torch._C._is_tracing,
            torch._C._functorch.peek_interpreter_stack, lambda: forward_ad._current_level >= 0,
        ),
        "empty_like": torch.empty_like,
        "new_like": rows.new_like,
        "scalar": tuple(partial(torch.scalar_tensor, dtype=dtype) for dtype in (torch.float32, torch.float64)),
        "options": lru_cache(LossOptions),
        "record": super(Function, _Made).apply,
        "grad_enabled": torch.is_grad_enabled,
        "keeps_graph": keeps_graph,
    }
)  # fmt: skip


def ordinary_in_program(
    input: Any, target: Any, ignore_index: Any, reduction: Any, label_smoothing: Any, others: tuple[Any, ...]
) -> Any:
    """The same of what is compiled, where there is a gradient to compute. A compiled program asks again at each call
    whatever was asked while it was traced, every name that was read too: so the questions are few, and stand here."""
    weight, size_average, reduce, inplace, temperature, z_loss, softcap, scale, loss_dtype, extras, group = others
    if not (weight is size_average is reduce is softcap is loss_dtype is group is None) or inplace or extras:
        return None
    if (temperature, z_loss, scale, label_smoothing) != (1.0, 0.0, 1.0, 0.0):
        return None
    if temperature is True or z_loss is False or scale is True:  # which are equal, and no numbers
        return None
    if type(ignore_index) is not int or not -(2**63) <= ignore_index < 2**63:
        return None
    if reduction not in ("mean", "sum", "none"):
        return None
    if has_torch_function((input, target)) or torch.onnx.is_in_onnx_export():
        return None
    if input.dim() != 2 or target.dim() != 1 or not (input.is_cpu and target.is_cpu and input.requires_grad):
        return None
    if not input.is_floating_point() or input.dtype.itemsize < 4 or not torch.is_grad_enabled():
        return None
    if target.is_floating_point() or target.is_complex() or target.dtype.itemsize != 8:
        return None
    if input.shape[0] != target.shape[0] or input.shape[1] == 0:
        return None
    return ops.cross_entropy(input, target, None, reduction, ignore_index, 0.0, True, False)[0]


class _InPlace(Function):  # type: ignore[misc]
    """The same loss; the gradient overwrites the logits, and backward may run once."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: torch.Tensor,
        target: torch.Tensor,
        weight: torch.Tensor | None,
        options: LossOptions,
        wide: bool,
    ) -> torch.Tensor:
        buffer = logits.detach()
        loss = rows.loss_and_gradient(buffer, target, weight, options, buffer, wide)
        torch.autograd.graph.increment_version(buffer)
        ctx.options, ctx.used = options, False
        ctx.save_for_backward(buffer)
        return loss

    @staticmethod
    def backward(ctx: Any, grad_loss: torch.Tensor) -> Any:
        if ctx.used:
            raise RuntimeError("cross_entropy with inplace=True: its gradient was handed on by the first backward")
        if torch.is_grad_enabled():
            raise RuntimeError("cross_entropy with inplace=True has no second derivative: the logits are overwritten")
        (grad,) = ctx.saved_tensors
        ctx.used = True
        factor = factor_of(grad_loss, grad, ctx.options)
        if factor.dim() or float(factor) != 1.0:
            grad.mul_(factor)
        return grad, None, None, None, None
