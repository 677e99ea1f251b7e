"""The loss of a DTensor that is whole on every device, or split by examples: each device computes its own rows.

    mean = Σ of the devices' sums / Σ of their counted weights

Every other placement, such as classes split over devices, is refused.
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
) -> torch.Tensor:
    """The loss of tensors that are split by examples, or not at all, beside others that are whole.

    `loss` takes the local tensors, by name, and options; `scale_of` the same, and gives what a mean multiplies a sum
    by.
    """
    from torch.distributed.tensor import DTensor, Partial, Replicate, Shard

    first = next(tensor for tensor in (*split.values(), *whole.values()) if isinstance(tensor, DTensor))
    mesh = first.device_mesh
    lead = next((tensor for tensor in split.values() if isinstance(tensor, DTensor)), None)
    placements = [Replicate()] * mesh.ndim if lead is None else list(lead.placements)
    for placement in placements:
        if placement not in (Replicate(), Shard(0)):
            raise InputError(f"input: got a DTensor with {tuple(placements)}, expected Replicate() and Shard(0)")
    several = any(placement == Shard(0) for placement in placements)
    added = [Partial() if placement == Shard(0) else placement for placement in placements]
    local: dict[str, Any] = {}
    for name, tensor in (split | whole).items():
        if tensor is None:
            local[name] = None
            continue
        there = placements if name in split else [Replicate()] * mesh.ndim
        if not isinstance(tensor, DTensor):
            if several and name in split:
                raise InputError(f"{name}: got {describe(tensor)}, expected a DTensor with {tuple(placements)}")
            local[name] = tensor
            continue
        # a whole tensor's gradient is the sum over the devices' rows
        of_grads = placements if name in split else added
        local[name] = tensor.redistribute(mesh, there).to_local(grad_placements=of_grads)
    if options.reduction == "none":
        return DTensor.from_local(loss(local, options), mesh, placements, run_check=False)
    total = loss(local, options.but(reduction="sum"))
    if options.reduction == "mean":
        mass = 1.0 / scale_of(local, options)  # infinite where nothing counts
        count = torch.where(torch.isinf(mass), 0.0, mass).to(total.dtype)
        count = DTensor.from_local(count, mesh, added, run_check=False).redistribute(mesh, [Replicate()] * mesh.ndim)
        counted = count.to_local()
        total = torch.where(counted == 0, 0.0, total / torch.where(counted == 0, 1.0, counted))
    return DTensor.from_local(total, mesh, added, run_check=False)
