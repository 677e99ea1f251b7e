"""The operators that PyTorch knows: what they compute, what shapes they give (fake kernels), how they batch (vmap).

Eager code reaches them by the functions of `derivatives` and `linear`, which know derivatives of every order and
forward mode; compiled and exported programs call them by themselves, with the gradients of `formulas`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch._library.autograd import Info, make_autograd_impl

from chainrule.output.options import LossOptions
from chainrule.torch import devices, layer, rows
from chainrule.torch.arguments import in_schema, shape_in_schema
from chainrule.torch.layer import Inputs, Plan

__all__ = [
    "by_row", "cross_entropy", "differentiated_by", "from_schema", "is_eager", "is_plain", "layer_backward",
    "layer_loss", "linear_backward", "linear_cross_entropy", "loss_of_logits", "scales", "told",
]  # fmt: skip

LOSS = "str reduction, int ignore_index, float label_smoothing"
SHAPE = "float temperature=1.0, float z_loss=0.0, float softcap=0.0, float scale=1.0"
Tensors = tuple[torch.Tensor, ...]
PLAIN = (torch.Tensor, torch.nn.Parameter)
_is_wrapped, _is_batched = torch._C._functorch.is_functorch_wrapped_tensor, torch._C._functorch.is_legacy_batchedtensor
# not torch.library.custom_op, whose Python around each call takes longer than the loss of a hundred short rows
_library = torch.library.Library("chainrule", "FRAGMENT")
_options = lru_cache(LossOptions)
_functions: dict[Any, Callable[..., Any]] = {}  # of the operators


def _operator(name: str, schema: str) -> Callable[[Callable[..., Any]], Any]:
    """A function of tensors, on whatever device they are, as an operator that PyTorch knows."""

    def define(function: Callable[..., Any]) -> Any:
        _library.define(f"{name}{schema}", tags=(torch.Tag.pt2_compliant_tag,))
        _library.impl(name, function, "CompositeExplicitAutograd")
        operator = getattr(torch.ops.chainrule, name).default
        _functions[operator] = function
        return operator

    return define


def _fake(operator: Any) -> Callable[[Callable[..., Any]], Any]:
    """What an operator gives for tensors that have a shape and no numbers."""
    return torch.library.register_fake(operator, lib=_library)  # type: ignore[no-any-return]


def _batched(operator: Any) -> Callable[[Callable[..., Any]], Any]:
    """What it gives under vmap."""
    return torch.library.register_vmap(operator, lib=_library)  # type: ignore[no-any-return]


def differentiated_by(operator: Any, backward: Callable[..., Any], keep: Callable[..., None]) -> None:
    """Its gradients: `keep` keeps what `backward` needs. Where none is recorded, as when a compiled program runs, and
    nobody looks, the function is called at once: PyTorch's dispatcher would be passed once more."""
    recorded = make_autograd_impl(operator, Info(backward, keep))
    function = _functions[operator]

    def run(keys: Any, *args: Any, **others: Any) -> Any:
        records = torch.is_grad_enabled() and torch._C._any_requires_grad(*args)
        if records or torch._C._len_torch_dispatch_stack():
            return recorded(keys, *args, **others)
        plain = all(is_plain(x) for x in args if isinstance(x, torch.Tensor))
        return function(*args, **others) if plain else recorded(keys, *args, **others)

    _library.impl(operator.name(), run, "Autograd", with_keyset=True)


def loss_of_logits(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    options: LossOptions,
    wants_grad: bool,
    wide: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss of logits (N, K, …), and its gradient, or an empty tensor: without PyTorch's way through its dispatcher,
    which takes longer than a small loss, where nobody looks there: no subclass, transform, mode or tracer."""
    if not is_eager(logits, target, weight):
        return in_program_loss(logits, target, weight, options, wants_grad, wide)
    return _loss_of_logits(logits, target, weight, options, wants_grad, wide)


def in_program_loss(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    options: LossOptions,
    wants_grad: bool,
    wide: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same by the operator."""
    shape = shape_in_schema(options)
    loss, grad = cross_entropy(logits, target, weight, *in_schema(options), wants_grad, wide, *shape)
    return loss, grad


def is_eager(logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None) -> bool:
    """Does nobody look at what PyTorch dispatches: no subclass, transform, mode or tracer?"""
    plain = is_plain(logits) and is_plain(target) and (weight is None or is_plain(weight))
    return plain and not torch._C._len_torch_dispatch_stack()


def _loss_of_logits(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    options: LossOptions,
    wants_grad: bool,
    wide: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    grad = rows.new_like(logits) if wants_grad else None
    loss = rows.loss_and_gradient(logits, target, weight, options, grad, wide)
    return loss, logits.new_empty(0) if grad is None else grad


@_operator(
    "cross_entropy",
    f"(Tensor logits, Tensor target, Tensor? weight, {LOSS}, bool wants_grad, bool wide, {SHAPE}) -> (Tensor, Tensor)",
)
def cross_entropy(
    logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None, *others: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    return _loss_of_logits(logits, target, weight, _options(*others[:3], *others[5:]), *others[3:5])


def is_plain(tensor: torch.Tensor) -> bool:
    """Is it no subclass, and of no transform?"""
    return type(tensor) in PLAIN and not (tensor.is_meta or _is_wrapped(tensor) or _is_batched(tensor))


@_fake(cross_entropy)
def _(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    reduction: str,
    ignore_index: int,
    label_smoothing: float,
    wants_grad: bool,
    wide: bool,
    *_: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    shape = logits.shape[:1] + logits.shape[2:] if reduction == "none" else ()
    loss = logits.new_empty(shape, dtype=torch.float32 if wide and reduction != "none" else logits.dtype)
    return loss, rows.new_empty_like(logits) if wants_grad else logits.new_empty(0)


@_batched(cross_entropy)
def _(info: Any, dims: tuple[Any, ...], *args: Any) -> tuple[Tensors, tuple[int, ...]]:
    logits, target, weight, reduction, ignore_index, smoothing, wants_grad, wide, *shape = args
    if dims[2] is not None:  # the classes' weights differ
        return _one_by_one(cross_entropy, info, dims, args)
    logits, target = (_front(x, dim, info.batch_size) for x, dim in zip((logits, target), dims[:2], strict=True))
    options, dtype = LossOptions(reduction, ignore_index, smoothing), logits.dtype
    probabilities = logits.dim() == target.dim()
    single = logits[0].numel() == logits.shape[2] and (weight is None or probabilities)  # its mean divides by 1
    if reduction != "none" and not single and dtype != torch.float64 and logits.device.type != "mps":
        # what is divided and summed is rounded once, after that
        logits, target = logits.double(), target.double() if probabilities else target
    losses, grads = cross_entropy(
        logits.flatten(0, 1), target.flatten(0, 1), weight, "none", ignore_index, smoothing, wants_grad, False, *shape
    )
    losses = losses.unflatten(0, logits.shape[:2])
    grads = grads.unflatten(0, logits.shape[:2]) if wants_grad else grads.new_empty((info.batch_size, 0))
    if reduction != "none":
        losses = losses.flatten(1).sum(1, dtype=torch.float32 if losses.dtype.itemsize == 2 else losses.dtype)
        scale = scales(target, weight, options, logits.shape[2], probabilities, each=True)
        losses = (losses * scale).to(torch.float32 if wide else dtype)
        if wants_grad:
            grads = (grads * scale.to(grads.dtype).reshape(-1, *[1] * (grads.dim() - 1))).to(dtype)
    return (losses, grads), (0, 0)


def scales(
    target: torch.Tensor, weight: torch.Tensor | None, options: LossOptions, k: int, probabilities: bool, *, each: bool
) -> torch.Tensor:
    """1, or what a mean multiplies the sum by; 0 where nothing counts. With `each`, for each of the first dimension.
    `LossOptions.divisor_for` says it of numbers; here they may be traced, batched or differentiated."""
    target = target if each else target[None]
    dtype = torch.float32 if weight is None else weight.dtype
    if options.reduction != "mean":
        scale = torch.ones(target.shape[0], dtype=dtype, device=target.device)
    elif probabilities:
        count = target[0].numel() // k
        scale = torch.full((target.shape[0],), 1.0 / count if count else 0.0, dtype=torch.float64).to(target.device)
    else:
        counted = target != options.ignore_index
        if weight is None:
            mass = counted.flatten(1).sum(1).to(torch.float64 if target.device.type != "mps" else torch.float32)
        else:
            weight = weight.to(devices.wide_dtype(weight))
            mass = torch.where(counted, weight[torch.where(counted, target, 0).long()], 0).flatten(1).sum(1)
        scale = torch.where(mass == 0, 0.0, 1.0 / torch.where(mass == 0, 1.0, mass))
    return scale if each else scale[0]


def _front(tensor: torch.Tensor, dim: int | None, size: int) -> torch.Tensor:
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def _one_by_one(op: Any, info: Any, dims: Sequence[Any], args: Sequence[Any]) -> tuple[Tensors, tuple[int, ...]]:
    """Each of a batch by itself."""
    calls = [
        op(*(a if dim is None else a.select(dim, i) for a, dim in zip(args, dims, strict=True)))
        for i in range(info.batch_size)
    ]
    outputs = tuple(torch.stack(parts) for parts in zip(*calls, strict=True))
    return outputs, (0,) * len(outputs)


@_operator("by_row", "(str output, Tensor logits, Tensor? vector) -> Tensor")
def by_row(output: str, logits: torch.Tensor, vector: torch.Tensor | None) -> torch.Tensor:
    """ "softmax", "log_softmax" or, with a vector, "hessian_vector_product" of each row of (N, K, …)."""
    return rows.by_row(output, logits, vector)


@_fake(by_row)
def _(output: str, logits: torch.Tensor, vector: torch.Tensor | None) -> torch.Tensor:
    return rows.new_empty_like(logits)


@_batched(by_row)
def _(info: Any, dims: tuple[Any, ...], output: str, logits: torch.Tensor, vector: Any) -> tuple[torch.Tensor, int]:
    logits = _front(logits, dims[1], info.batch_size)
    if vector is not None:
        vector = _front(vector, dims[2], info.batch_size).flatten(0, 1)
    return by_row(output, logits.flatten(0, 1), vector).unflatten(0, logits.shape[:2]), 0


@_operator("told", f"(Tensor logits, Tensor target, str names, {LOSS}, {SHAPE}) -> Tensor")
def told(logits: torch.Tensor, target: torch.Tensor, names: str, *others: Any) -> torch.Tensor:
    """Of `output.extras` what `names` names, with spaces between: (number of names, N, …), without derivatives."""
    extras: dict[str, Any] = dict.fromkeys(names.split())
    rows.loss_and_gradient(logits, target, None, _options(*others), None, False, extras)
    return torch.stack(list(extras.values()))


@_fake(told)
def _(logits: torch.Tensor, target: torch.Tensor, names: str, *_: Any) -> torch.Tensor:
    return logits.new_empty((len(names.split()), *logits.shape[:1], *logits.shape[2:]))


@_batched(told)
def _(info: Any, dims: tuple[Any, ...], *args: Any) -> tuple[torch.Tensor, int]:
    logits, target = (_front(x, dim, info.batch_size) for x, dim in zip(args[:2], dims[:2], strict=True))
    values = told(logits.flatten(0, 1), target.flatten(0, 1), *args[2:])
    return values.unflatten(1, logits.shape[:2]), 1


def layer_loss(inputs: Inputs, plan: Plan) -> Tensors:
    """Loss of the logits hidden · weightᵀ + bias, and the gradients that are wanted, empty where they are not or where
    there is a loss of each example."""
    now = [wanted and plan.options.reduction != "none" for wanted in plan.wants]
    given = in_schema(plan.options), shape_in_schema(plan.options)
    results: Tensors = linear_cross_entropy(*inputs, *given[0], now, plan.chunk_bytes, plan.wide, *given[1])
    return results


def layer_backward(factors: torch.Tensor, inputs: Inputs, plan: Plan) -> Tensors:
    """The gradients of the sum of losses, each example's times its factor: what a loss of each example leaves to do."""
    given = in_schema(plan.options), shape_in_schema(plan.options)
    grads: Tensors = linear_backward(factors, *inputs, *given[0], list(plan.wants), plan.chunk_bytes, *given[1])
    return grads


LAYER = f"Tensor hidden, Tensor weight, Tensor? bias, Tensor target, Tensor? class_weight, {LOSS}, bool[] wants"


def from_schema(args: Sequence[Any], *, says_wide: bool) -> tuple[Inputs, Plan]:
    """What the two operators that follow are given."""
    end = 11 if says_wide else 10
    return Inputs(*args[:5]), Plan(LossOptions(*args[5:8], *args[end:]), tuple(args[8]), *args[9:end])


@_operator(
    "linear_cross_entropy",
    f"({LAYER}, int? chunk_bytes, bool wide, {SHAPE}) -> (Tensor, Tensor, Tensor, Tensor)",
)
def linear_cross_entropy(*args: Any) -> Tensors:
    inputs, plan = from_schema(args, says_wide=True)
    grads = _buffers(inputs, plan)
    return (layer.loss_and_gradients(inputs, plan, grads), *_results(inputs, grads))


@_fake(linear_cross_entropy)
def _(*args: Any) -> Tensors:
    inputs, plan = from_schema(args, says_wide=True)
    shape = inputs.hidden.shape[:1] if plan.options.reduction == "none" else ()
    loss = inputs.hidden.new_empty(shape, dtype=torch.float32 if plan.wide else inputs.hidden.dtype)
    return (loss, *_results(inputs, _buffers(inputs, plan)))


def _buffers(inputs: Inputs, plan: Plan) -> list[torch.Tensor | None]:
    return [
        torch.empty(x.shape, dtype=x.dtype, device=x.device) if x is not None and wanted else None
        for x, wanted in zip(inputs[:3], plan.wants, strict=True)
    ]


def _results(inputs: Inputs, grads: Sequence[torch.Tensor | None]) -> Tensors:
    return tuple(inputs.hidden.new_empty(0) if grad is None else grad for grad in grads)


@_batched(linear_cross_entropy)
def _(info: Any, dims: tuple[Any, ...], *args: Any) -> tuple[Tensors, tuple[int, ...]]:
    return _one_by_one(linear_cross_entropy, info, _plain(dims), args)


def _plain(dims: Sequence[Any]) -> list[Any]:
    """PyTorch gives a list of None for a list of flags."""
    return [None if isinstance(dim, list | tuple) else dim for dim in dims]


@_operator(
    "linear_backward",
    f"(Tensor factors, {LAYER}, int? chunk_bytes, {SHAPE}) -> (Tensor, Tensor, Tensor)",
)
def linear_backward(factors: torch.Tensor, *args: Any) -> Tensors:
    inputs, plan = from_schema(args, says_wide=False)
    grads = _buffers(inputs, plan)
    layer.loss_and_gradients(inputs, plan, grads, factors=factors)
    return _results(inputs, grads)


@_fake(linear_backward)
def _(factors: torch.Tensor, *args: Any) -> Tensors:
    inputs, plan = from_schema(args, says_wide=False)
    return _results(inputs, _buffers(inputs, plan))


@_batched(linear_backward)
def _(info: Any, dims: tuple[Any, ...], *args: Any) -> tuple[Tensors, tuple[int, ...]]:
    return _one_by_one(linear_backward, info, _plain(dims), args)
