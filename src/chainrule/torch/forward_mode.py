"""Forward mode within forward mode: what a `jvp` rule computes is itself differentiated by the levels outside.

PyTorch switches forward mode off while it runs a Function's `jvp`, so that the level at hand does not differentiate its
own tangents; but that switches it off for every level outside too, and jvp of jvp would be 0 in silence. Here it is on
again, and what was saved is taken without this level's tangents.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.autograd import forward_ad

__all__ = ["no_tangent", "saved_primals"]

_functorch = torch._C._functorch


@contextmanager
def saved_primals(ctx: Any) -> Iterator[list[Any]]:
    """What was saved for a `jvp` rule, within a block whose operations the levels outside differentiate."""
    with forward_ad._set_fwd_grad_enabled(True):
        yield [_primal(tensor) for tensor in ctx.saved_tensors]


def _primal(tensor: Any) -> Any:
    """Without the tangent of the innermost level that differentiates, which may lie below levels that batch."""
    if tensor is None or not tensor.is_floating_point():
        return tensor
    if _functorch.is_batchedtensor(tensor):
        inside = _primal(_functorch.get_unwrapped(tensor))
        level, dim = _functorch.maybe_get_level(tensor), _functorch.maybe_get_bdim(tensor)
        return _functorch._add_batch_dim(inside, dim, level)
    return forward_ad.unpack_dual(tensor, level=0).primal


def no_tangent(ctx: Any, output: Any) -> Any:
    """Of an output that is marked as not differentiable: None, or 0 where PyTorch's batching has lost the mark."""
    lost = hasattr(ctx, "_pt_inner_ctx") and _functorch.is_batchedtensor(output)
    return torch.zeros_like(output) if lost else None
