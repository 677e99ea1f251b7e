"""Memory for results as large as the logits.

Fresh memory costs a third of a loss's time: the system zeroes it page by page when it is first written. So the last
large block that was freed is kept for the next step of a training loop. Its pages are the system's to take meanwhile,
if others need them (MADV_FREE); those that it has not taken are written again at no cost.
"""

from __future__ import annotations

import math
import mmap
import weakref

import numpy as np
import torch

__all__ = ["LARGE", "empty", "release"]

LARGE = 4 << 20
PAGE = 2 << 20  # a large one
KEEPS = hasattr(mmap, "MADV_FREE") and hasattr(mmap, "MAP_ANONYMOUS")
_kept: list[mmap.mmap] = []  # one at most; lists' methods are atomic, and a finalizer may run at any moment


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """`torch.empty` on the CPU; what is large in the block that was freed last, or on large pages."""
    size = math.prod(shape) * dtype.itemsize
    memory = _take(size) if size >= LARGE else None
    if memory is None:
        return torch.empty(shape, dtype=dtype)
    whole = np.frombuffer(memory, np.uint8)
    start = -whole.ctypes.data % PAGE
    array = whole[start : start + size]
    weakref.finalize(array, _give_back, memory).atexit = False  # the storage holds just this array
    storage = torch.from_numpy(array).untyped_storage()
    return torch.empty(0, dtype=dtype).set_(storage, 0, shape)  # and the tensor is no view


def release() -> None:
    """Keep nothing."""
    _kept.clear()


def _take(size: int) -> mmap.mmap | None:
    if not KEEPS:
        return None
    try:
        memory = _kept.pop()
        if len(memory) >= size + PAGE:
            return memory
    except IndexError:
        pass
    try:
        memory = mmap.mmap(-1, size + PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            memory.madvise(mmap.MADV_HUGEPAGE)
    except OSError:  # PyTorch says it better where there is no memory, and large pages are not everywhere
        return None
    return memory


def _give_back(memory: mmap.mmap) -> None:
    try:
        memory.madvise(mmap.MADV_FREE)
        larger = [memory, *_kept]
    except OSError:
        return
    _kept[:] = [max(larger, key=len)]
