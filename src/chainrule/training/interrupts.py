"""Ctrl-C while training runs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy.typing as npt

__all__ = ["stopping"]


@contextmanager
def stopping(stopped: npt.NDArray[Any]) -> Iterator[None]:
    """Let the first Ctrl-C set the engine's flag, which ends training between two steps, and the second raise
    KeyboardInterrupt. In the main thread only, and not where the caller ignores Ctrl-C."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT) if main else None
    if before is None or before == signal.SIG_IGN:  # None: not Python's own, so that nothing could restore it
        yield
        return
    pressed = False

    def on_interrupt(number: int, frame: Any) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True
        stopped[0] = 1

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
