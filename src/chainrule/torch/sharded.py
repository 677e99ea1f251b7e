"""The loss of a DTensor that is whole on every device, split by examples, by classes, or by both.

Of examples that are split each device computes its own:

    mean = Σ of the devices' sums / Σ of their counted weights

Of classes that are split each device has its own, and split.py combines them. Every other placement is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from chainrule.errors import InputError
from chainrule.output.options import LossOptions
from chainrule.torch.arguments import describe

__all__ = ["is_sharded", "of_shards"]


def is_sharded(*tensors: Any) -> bool:
    """Is one of these a DTensor? It is not asked for where nobody has made one."""
    return any(type(tensor).__name__ == "DTensor" for tensor in tensors)


def of_shards(
    loss: Callable[..., torch.Tensor],
    scale_of: Callable[..., torch.Tensor],
    options: LossOptions,
    split: dict[str, Any],
    whole: dict[str, Any],
    classes: dict[str, int],
    shape: tuple[int, ...],
) -> torch.Tensor:
    """The loss of tensors that are split by examples, or not at all, beside others that are whole; `classes` says which
    dimension of a tensor holds the classes, and the first of these which devices have which; `shape` is that of each
    example's loss.

    `loss` takes the local tensors, by name, options, and the group that classes are split over, or None; `scale_of` the
    tensors and options, and gives what a mean multiplies a sum by.
    """
    from torch.distributed.tensor import DTensor, Partial, Replicate, Shard

    given = split | whole
    first = next(tensor for tensor in given.values() if isinstance(tensor, DTensor))
    mesh = first.device_mesh
    lead = next((tensor for tensor in split.values() if isinstance(tensor, DTensor)), None)
    main, dim = next(iter(classes.items()))
    weights = "class_weight" if main == "weight" else "weight"  # of the classes
    if lead is None and isinstance(given[main], DTensor) and any(p != Replicate() for p in given[main].placements):
        raise InputError(
            f"linear_weight: got a DTensor with {tuple(given[main].placements)} beside an input that is none; where "
            "FSDP2 split it, expected it as its module's forward, or module.unshard(), gathers it; where classes are "
            "split, expected the input as a DTensor with Replicate()"
        )
    placements = [Replicate()] * mesh.ndim if lead is None else list(lead.placements)
    axis = _axis_of_classes(given[main], dim, None if main in split else lead)
    group = None if axis is None else mesh.get_group(axis)
    if axis is not None:
        placements[axis] = Replicate()
    for placement in placements:
        if placement not in (Replicate(), Shard(0)):
            came = tuple(lead.placements) if lead is not None else ()
            raise InputError(
                f"input: got a DTensor with {came}, expected Replicate(), Shard(0), or one split by classes"
            )
    several = any(placement == Shard(0) for placement in placements)
    added = [Partial() if placement == Shard(0) else placement for placement in placements]
    local: dict[str, Any] = {}
    for name, tensor in given.items():
        if tensor is None:
            local[name] = None
            continue
        there = list(placements) if name in split else [Replicate()] * mesh.ndim
        # a whole tensor's gradient is the sum over the devices' rows
        of_grads = list(placements if name in split else added)
        if axis is not None and name in classes and name != weights:
            there[axis] = of_grads[axis] = Shard(classes[name] % tensor.dim())
        if not isinstance(tensor, DTensor):
            if name in split and (several or there != placements):
                raise InputError(f"{name}: got {describe(tensor)}, expected a DTensor with {tuple(there)}")
            local[name] = tensor
            continue
        local[name] = tensor.redistribute(mesh, there).to_local(grad_placements=of_grads)
    each = dict(local)
    if axis is not None:
        place = mesh.size(axis), mesh.get_local_rank(axis)
        each[weights] = _weights_here(local[weights], given[main].shape[dim], local[main].shape[dim], *place)
    if options.reduction == "none":
        rows = torch.empty(shape, device="meta")  # of all, which a device with fewer does not tell
        made = loss(each, options, group)
        return DTensor.from_local(made, mesh, placements, run_check=False, shape=rows.shape, stride=rows.stride())
    total = loss(each, options.but(reduction="sum"), group)
    if options.reduction == "mean":
        mass = 1.0 / scale_of(local, options)  # infinite where nothing counts
        count = torch.where(torch.isinf(mass), 0.0, mass).to(total.dtype)
        count = DTensor.from_local(count, mesh, added, run_check=False).redistribute(mesh, [Replicate()] * mesh.ndim)
        counted = count.to_local()
        total = torch.where(counted == 0, 0.0, total / torch.where(counted == 0, 1.0, counted))
    return DTensor.from_local(total, mesh, added, run_check=False)


def _axis_of_classes(tensor: Any, dim: int, hidden: Any) -> int | None:
    """Which dimension of the mesh the classes of a tensor are split over; where the rows of its hidden units are split
    over it too, the classes are gathered."""
    if not is_sharded(tensor):
        return None
    axes = [
        axis for axis, p in enumerate(tensor.placements)
        if p.is_shard(dim) and (hidden is None or hidden.placements[axis].is_replicate())
    ]  # fmt: skip
    if len(axes) > 1:
        raise InputError(f"input: got classes split over {len(axes)} dimensions of a mesh, expected one")
    return axes[0] if axes else None


def _weights_here(weights: Any, k: int, here: int, size: int, rank: int) -> Any:
    """Of the classes' weights, which are whole, those that are here: a DTensor is cut as torch.chunk cuts."""
    if weights is None:
        return None
    begin = min(rank * -(-k // size), k)
    return weights[begin : begin + here]
