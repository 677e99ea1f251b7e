"""Memory for results as large as the logits.

Fresh memory costs a third of a loss's time: the system zeroes it page by page when it is first written. So the last
large block that nobody looks at any more is kept for the next step of a training loop. Its pages are the system's to
take meanwhile, if others need them (MADV_FREE); those that it has not taken are written again at no cost.

The blocks are PyTorch's own, so that what lies in them can be resized as any tensor can.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import sys
import weakref
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import torch

__all__ = ["LARGE", "empty", "release"]

LARGE = 4 << 20
PAGE = 2 << 20  # a large one
LOOSE = 8  # a block is used for what leaves at most the eighth part of it empty
_madvise = getattr(ctypes.CDLL(None), "madvise", None) if hasattr(mmap, "MADV_FREE") else None
KEEPS = _madvise is not None
_kept: list[_Block] = []  # one at most; lists' methods are atomic, and what follows may run at any moment
_watched: list[_Watch] = []


class _Block(NamedTuple):
    """Memory, which counts who looks at it, tensors too."""

    storage: torch.UntypedStorage

    def is_free(self) -> bool:
        """Does nobody look at it but this record?"""
        return self.users() == _ALONE

    def users(self) -> int:
        return sys.getrefcount(self.storage)

    def advise(self, advice: int) -> None:
        """Of the large pages that lie in it as a whole."""
        begin, end = self.storage.data_ptr(), self.storage.data_ptr() + self.storage.nbytes()
        first, last = -(-begin // PAGE) * PAGE, end // PAGE * PAGE
        if last > first and _madvise is not None:
            _madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), advice)


def _fresh(size: int) -> _Block:
    return _Block(torch.empty(size, dtype=torch.uint8, device="cpu").untyped_storage())


_ALONE = _fresh(1).users()


class _Watch(weakref.ref):  # type: ignore[type-arg]
    """A tensor that lies in a block."""

    block: _Block


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """`torch.empty` on the CPU; what is large in the block that was free last, or on large pages."""
    size = math.prod(shape) * dtype.itemsize
    if size < LARGE or not KEEPS:
        return torch.empty(shape, dtype=dtype, device="cpu")
    block = _take(size)
    tensor = torch.empty(0, dtype=dtype, device="cpu").set_(block.storage, 0, shape)  # and no view
    watch = _Watch(tensor, _when_gone)
    watch.block = block
    _watched.append(watch)
    return tensor


def release() -> None:
    """Keep nothing."""
    _collect()
    _kept.clear()


def _take(size: int) -> _Block:
    _collect()
    with suppress(IndexError):
        block = _kept.pop()
        if not block.is_free():
            _kept.append(block)
        elif size <= block.storage.nbytes() <= size + size // LOOSE:
            return block
        del block  # before there is another
    block = _fresh(size)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        block.advise(mmap.MADV_HUGEPAGE)
    return block


def _collect() -> None:
    """Keep the blocks whose tensors are gone, of which others may still look at, as a leaf's `.grad` does."""
    for watch in [watch for watch in _watched if watch() is None]:
        with suppress(ValueError):  # another thread was faster
            _watched.remove(watch)
            _kept[:] = [max((watch.block, *_kept), key=lambda block: (block.is_free(), block.storage.nbytes()))]


def _soon(_: Any) -> int:
    """The pages of what is kept, if nobody looks at them, are the system's."""
    if _watched:  # None when Python ends
        _collect()
        with suppress(IndexError):
            block = _kept.pop()
            if block.is_free():
                block.advise(mmap.MADV_FREE)
            _kept.append(block)
    return 0


# A tensor takes its eyes off its memory after those who wait for its end were told: what they call is C and leaves the
# rest to the next Python, which the interpreter runs later.
_pending = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(_soon)
_when_gone = partial(
    ctypes.PYFUNCTYPE(ctypes.c_int, type(_pending), ctypes.py_object)(("Py_AddPendingCall", ctypes.pythonapi)), _pending
)
