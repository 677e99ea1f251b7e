"""The public losses with a `group`, each of whose processes has some of the classes. What one process finds wrong with
its arguments is raised by all, lest the others wait for it."""

from __future__ import annotations

from typing import Any

import torch

from chainrule.boundary.checks import check_no_ignore_index
from chainrule.boundary.processes import Processes
from chainrule.errors import InputError
from chainrule.output.options import LossOptions
from chainrule.torch import devices
from chainrule.torch.arguments import check_same, check_target, check_tensor, describe, is_wide
from chainrule.torch.extras import record
from chainrule.torch.heads import check_head, check_leaf, in_autocast
from chainrule.torch.layer import Inputs

__all__ = ["checked_group", "cross_entropy", "linear_cross_entropy"]


def cross_entropy(
    input: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None, options: LossOptions, in_float32: bool,
    extras: tuple[str, ...], processes: Processes,
) -> Any:  # fmt: skip
    """The loss of logits of which each process of a group has those of some classes."""
    error, flat, lead, dtype = None, Inputs(input, None, None, target, weight), (), torch.float32
    try:
        check_tensor("input", input, "(C_r,), (N, C_r) or (N, C_r, d_1, …)", 1)
        class_dim = 0 if input.dim() == 1 else 1
        probabilities = check_target(target, tuple(input.shape), class_dim, input)
        if probabilities and options.ignore_index is not None and options.ignore_index >= 0:
            check_no_ignore_index(options.ignore_index, "target")
        if weight is not None:
            check_same("weight", weight, (input.shape[class_dim],), input, dtype=False)
        _check_fixed(target, weight)
        values = target if probabilities else target.reshape(-1)[:0]  # labels are looked at when all classes are known
        devices.check_values(values, weight, options, 1, probabilities=probabilities)
        lead = input.shape[:class_dim] + input.shape[class_dim + 1 :]
        dtype = torch.float32 if in_float32 or is_wide(input) else input.dtype
        matrix = input.movedim(class_dim, -1).reshape(lead.numel(), input.shape[class_dim])
        given = target.movedim(class_dim, -1).reshape(matrix.shape) if probabilities else target.reshape(-1)
        flat = Inputs(matrix, None, None, given, weight)
    except InputError as found:
        error = found
    results = _of_rows(flat, options, processes, dtype=dtype, extras=extras, error=error)
    results = [r if r.dim() == 0 else r.reshape(lead) for r in results]
    return record(extras, results) if extras else results[0]


def linear_cross_entropy(
    inputs: Inputs, options: LossOptions, processes: Processes, chunk_bytes: int | None, *, ignores: bool = False,
    accumulate: bool = False, in_float32: bool = False, extras: tuple[str, ...] = (),
) -> Any:  # fmt: skip
    """The loss of a layer of which each process of a group has the weights of some classes."""
    error, flat, lead, wide = None, inputs, (), False
    leaf = inputs.weight if accumulate else None
    try:
        input, linear_weight, linear_bias, wide = in_autocast(*inputs[:3])
        check_head(input, linear_weight, linear_bias, empty=True)
        wide = wide or (in_float32 and input.dtype.itemsize == 2)
        if linear_weight.dim() != 2:
            raise InputError(f"linear_weight: got shape {tuple(linear_weight.shape)} with a group, expected (C_r, D)")
        lead, k, target = input.shape[:-1], linear_weight.shape[0], inputs.target
        probabilities = check_target(target, (*lead, k), len(lead), input)
        if probabilities and ignores:
            check_no_ignore_index(options.ignore_index, "target")
        if inputs.class_weight is not None:
            check_same("weight", inputs.class_weight, (k,), input, dtype=False)
        if accumulate:
            check_leaf(inputs.weight, linear_weight, False)
        _check_fixed(target, inputs.class_weight)
        values = target if probabilities else target.reshape(-1)[:0], inputs.class_weight
        devices.check_values(*values, options, 1, probabilities=probabilities)
        rows = target.reshape(-1, k) if probabilities else target.reshape(-1)
        flat = Inputs(input.reshape(-1, input.shape[-1]), linear_weight, linear_bias, rows, inputs.class_weight)
    except InputError as found:
        error = found
    dtype = torch.float32 if wide else getattr(flat.hidden, "dtype", torch.float32)
    results = _of_rows(
        flat, options, processes, dtype=dtype, chunk_bytes=chunk_bytes, extras=extras, leaf=leaf, error=error
    )
    results = [r if r.dim() == 0 else r.reshape(lead) for r in results]
    return record(extras, results) if extras else results[0]


def _of_rows(inputs: Inputs, options: LossOptions, processes: Processes, **others: Any) -> list[torch.Tensor]:
    from chainrule.torch.split import of_rows  # a quarter of what this face takes to import, and few need it

    return of_rows(inputs, options, processes, **others)


def _check_fixed(target: torch.Tensor, weight: torch.Tensor | None) -> None:
    for name, tensor in (("target", target), ("weight", weight)):
        if tensor is not None and tensor.requires_grad and torch.is_grad_enabled():
            raise InputError(f"{name}: got a tensor whose gradient is wanted, expected {name}.detach() with a group")


def checked_group(group: Any) -> Processes:
    """The processes of a `group` argument: a group, or its device mesh of one dimension.

    Raises
    ------
    InputError
        It is neither, or this process is not in it; or the call is compiled whole, or within torch.func.
    """
    if torch.compiler.is_compiling():
        raise InputError("group: got a group within torch.compile, expected an eager call (torch.compiler.disable)")
    if torch._C._functorch.peek_interpreter_stack() is not None:
        raise InputError("group: got a group within torch.func or vmap, expected an eager call with `backward`")
    if type(group).__name__ == "DeviceMesh":
        if group.ndim != 1:
            raise InputError(f"group: got a mesh of {group.ndim} dimensions, expected one, as mesh['classes']")
        group = group.get_group()
    if group is None:
        raise InputError(f"group: got {describe(group)}, expected a process group")
    return Processes(group)
