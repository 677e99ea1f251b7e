"""The kernels as XLA calls them, through JAX's foreign function interface: `_native/xla.cpp` has the handlers."""

from __future__ import annotations

import atexit
import warnings
from contextlib import suppress
from functools import cache

import jax

from chainrule._native import _kernels

__all__ = ["registered"]


@cache
def registered() -> bool:
    """Make the handlers known to XLA's CPU; False, with a warning, where it refuses them.

    Called when something is compiled for the CPU, and not before: what is refused while JAX starts its CPU is an error
    that leaves JAX without one.
    """
    try:
        for name, handler in _kernels.xla_handlers().items():
            jax.ffi.register_ffi_target(name, handler, platform="cpu", api_version=1)
    except Exception as error:  # whatever XLA raises
        warnings.warn(f"chainrule.jax goes by jax.numpy, not by its kernels: {error}", RuntimeWarning, stacklevel=2)
        return False
    atexit.register(_finish)
    return True


def _finish() -> None:
    """Before Python ends, wait for what was begun and not waited for: no kernel is at work while the process takes its
    memory apart. A computation of each CPU is waited for too, as it comes after those whose results nobody holds any
    more."""
    begun = [array for array in jax.live_arrays() if not array.is_deleted()]
    for device in jax.local_devices(backend="cpu"):
        begun.append(jax.device_put(0.0, device) + 1)
    for array in begun:
        with suppress(Exception):  # a computation that failed has been waited for too
            array.block_until_ready()
