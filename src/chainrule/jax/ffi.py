"""The kernels as XLA calls them: handlers for JAX's foreign function interface (FFI), in Python.

XLA calls a handler with one argument, a frame that points at the operands and at the results' memory; the kernel reads
and writes them where they lie. The layout of a frame is a stable C interface of XLA's: within a major version structs
only grow at their ends, and each begins with its own size. The few that are needed are declared here by hand, in
ctypes, so that Chainrule is built without jaxlib and its headers. XLA compares versions when a handler is registered;
sizes are compared in every call, and a stranger gets an error.

XLA's threads flush subnormal numbers to zero. The kernels do not (`_native/mode.hpp`), and nothing here computes with
floating-point numbers by itself.
"""

from __future__ import annotations

import atexit
import ctypes
import math
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from chainrule._native import _kernels
from chainrule.boundary.arrays import empty
from chainrule.errors import InputError
from chainrule.output.layer import row_into
from chainrule.output.options import LossOptions, loss_into

__all__ = ["TARGETS", "registered"]

Array = npt.NDArray[Any]
MAJOR = 0  # of the interface's versions
DTYPES: dict[
    int, tuple[np.dtype[Any], str]
] = {  # by XLA's number of a dtype, as NumPy sees it, with 16 bits as their bits, and the format's name
    4: (np.dtype(np.int32), ""),
    5: (np.dtype(np.int64), ""),
    10: (np.dtype(np.uint16), "float16"),
    11: (np.dtype(np.float32), "float32"),
    12: (np.dtype(np.float64), "float64"),
    16: (np.dtype(np.uint16), "bfloat16"),
}
NAN = {"float16": 0x7E00, "bfloat16": 0x7FC0, "float32": np.nan, "float64": np.nan}
SCRATCH = 1 << 20  # logits whose gradient is computed together and thrown away, where only the loss is asked for

_Pointer = ctypes.c_void_p


class _Version(ctypes.Structure):
    _fields_ = (("size", ctypes.c_size_t), ("more", _Pointer), ("major", ctypes.c_int), ("minor", ctypes.c_int))


class _Metadata(ctypes.Structure):
    _fields_ = (("size", ctypes.c_size_t), ("version", _Version), ("traits", ctypes.c_uint32))


class _Extension(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("kind", ctypes.c_int),
        ("next", _Pointer),
        ("metadata", ctypes.POINTER(_Metadata)),
    )


class _ErrorArguments(ctypes.Structure):
    _fields_ = (("size", ctypes.c_size_t), ("more", _Pointer), ("message", ctypes.c_char_p), ("code", ctypes.c_int))


class _Api(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("more", _Pointer),
        ("version", _Version),
        ("internal", _Pointer),
        ("make_error", ctypes.CFUNCTYPE(_Pointer, ctypes.POINTER(_ErrorArguments))),
    )


class _Buffer(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("more", _Pointer),
        ("dtype", ctypes.c_int),
        ("data", _Pointer),
        ("rank", ctypes.c_int64),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
    )


class _Buffers(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("more", _Pointer),
        ("count", ctypes.c_int64),
        ("kinds", _Pointer),
        ("each", ctypes.POINTER(ctypes.POINTER(_Buffer))),
    )


class _Frame(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("extension", ctypes.POINTER(_Extension)),
        ("api", ctypes.POINTER(_Api)),
        ("context", _Pointer),
        ("stage", ctypes.c_int),
        ("operands", _Buffers),
        ("results", _Buffers),
    )


_BUFFER_SIZE, _BUFFERS_SIZE, _FRAME_SIZE = (ctypes.sizeof(struct) for struct in (_Buffer, _Buffers, _Frame))
_METADATA = 1  # the kind of extension that asks for a handler's version
_WRITABLE = 0x200
_INTERNAL = 13  # the code of an error that is the handler's own
_memory = ctypes.pythonapi.PyMemoryView_FromMemory
_memory.restype, _memory.argtypes = ctypes.py_object, (_Pointer, ctypes.c_ssize_t, ctypes.c_int)


def _views(buffers: _Buffers) -> list[tuple[Array, str]]:
    """The memory of operands or results as NumPy sees it, and each one's format."""
    found = []
    if buffers.size != _BUFFERS_SIZE:
        raise NotImplementedError("XLA's FFI has another layout of its buffers than Chainrule knows")
    for pointer in buffers.each[: buffers.count]:
        buffer = pointer.contents
        if buffer.size != _BUFFER_SIZE:
            raise NotImplementedError("XLA's FFI has another layout of a buffer than Chainrule knows")
        dtype, format = DTYPES[buffer.dtype]
        shape = buffer.shape[: buffer.rank]
        length = math.prod(shape)
        memory = _memory(buffer.data, length * dtype.itemsize, _WRITABLE) if length else b""
        found.append((np.frombuffer(memory, dtype).reshape(shape), format))
    return found


def _tell_version(frame: Any) -> None:
    """Answer that the handler is of XLA's own minor version, which only ever adds; of another major version it is not,
    and XLA refuses it then."""
    version = frame.extension.contents.metadata.contents.version
    minor = frame.api.contents.version.minor if frame.api else 1  # jaxlib 0.6 asks without its interface
    version.major, version.minor = MAJOR, minor


_Compute = Callable[[list[tuple[Array, str]], list[Array]], None]


def _handler(compute: _Compute) -> Any:
    """A C function that XLA calls: it gives `compute` operands and results, and reports what that raises."""

    def call(address: Any) -> int | None:
        frame = address.contents
        if frame.extension and frame.extension.contents.kind == _METADATA:
            _tell_version(frame)
            return None
        try:
            if frame.size < _FRAME_SIZE:
                raise NotImplementedError("XLA's FFI has another layout of a call than Chainrule knows")
            compute(_views(frame.operands), [view for view, _ in _views(frame.results)])
        except BaseException as error:  # it must not get into XLA
            text = f"chainrule: {type(error).__name__}: {error}".encode()
            arguments = _ErrorArguments(ctypes.sizeof(_ErrorArguments), None, text, _INTERNAL)
            return int(frame.api.contents.make_error(ctypes.byref(arguments)))
        return None

    return ctypes.CFUNCTYPE(_Pointer, ctypes.POINTER(_Frame))(call)


def _rows(format: str, logits: Array, given: Array, losses: Array, grad: Array) -> None:
    """Losses (N,) and gradient (N, K) for labels (N,) or targets (N, K); NaN where a label is out of range."""
    threads, into = _kernels.max_threads(), {"losses": losses}
    if given.ndim == 2:
        loss_into(logits, grad, LossOptions("none", targets=given, target_format=format), format, threads, into=into)
        return
    labels = given.astype(np.int64, copy=False)
    try:
        loss_into(logits, grad, LossOptions("none", labels=labels), format, threads, into=into)
    except InputError:  # a label is out of range, and nothing has been written yet
        wrong = (labels < 0) | (labels >= logits.shape[1])
        options = LossOptions("none", -1, labels=np.where(wrong, np.int64(-1), labels))
        loss_into(logits, grad, options, format, threads, into=into)
        losses[wrong] = grad[wrong] = NAN[format]


def _flat(operands: list[tuple[Array, str]]) -> tuple[str, Array, Array]:
    """The format, logits (N, K), and labels (N,) or targets (N, K)."""
    (logits, format), (given, of_targets) = operands
    k = logits.shape[-1]
    return format, logits.reshape(-1, k), given.reshape(-1, k) if of_targets else given.reshape(-1)


def _loss_and_gradient(operands: list[tuple[Array, str]], results: list[Array]) -> None:
    format, logits, given = _flat(operands)
    losses, grad = results
    _rows(format, logits, given, losses.reshape(-1), grad.reshape(logits.shape))


_spare: list[Array] = []  # scratch that no thread is using; new memory for every call would cost more than the kernel


def _loss(operands: list[tuple[Array, str]], results: list[Array]) -> None:
    format, logits, given = _flat(operands)
    losses, (n, k) = results[0].reshape(-1), logits.shape
    rows = min(n, max(1, SCRATCH // k))
    length = rows * k * logits.itemsize
    try:
        scratch = _spare.pop()
    except IndexError:
        scratch = empty((0,), np.uint8)
    if scratch.nbytes < length:
        scratch = empty((length,), np.uint8)
    grad = scratch[:length].view(logits.dtype).reshape(rows, k)
    for begin in range(0, n, max(rows, 1)):
        part = slice(begin, min(begin + rows, n))
        _rows(format, logits[part], given[part], losses[part], grad[: part.stop - begin])
    _spare.append(scratch)


def _by_row(output: str) -> _Compute:
    def compute(operands: list[tuple[Array, str]], results: list[Array]) -> None:
        logits, format = operands[0]
        a, result = (array.reshape(-1, logits.shape[-1]) for array in (logits, results[0]))
        row_into(output, a, result, format, _kernels.max_threads())

    return compute


TARGETS = {
    "chainrule_loss": _handler(_loss),
    "chainrule_loss_and_gradient": _handler(_loss_and_gradient),
    "chainrule_softmax": _handler(_by_row("softmax")),
    "chainrule_log_softmax": _handler(_by_row("log_softmax")),
}


@cache
def registered() -> bool:
    """Make the handlers known to XLA's CPU; False, with a warning, where it refuses them.

    Called when something is compiled for the CPU, and not before: what is refused while JAX starts its CPU is an error
    that leaves JAX without one.
    """
    try:
        for name, handler in TARGETS.items():
            capsule = jax.ffi.pycapsule(ctypes.cast(handler, _Pointer))
            jax.ffi.register_ffi_target(name, capsule, platform="cpu", api_version=1)
    except Exception as error:  # whatever XLA raises
        warnings.warn(f"chainrule.jax goes by jax.numpy, not by its kernels: {error}", RuntimeWarning, stacklevel=2)
        return False
    atexit.register(_finish)
    return True


def _finish() -> None:
    """Before Python ends, wait for what was begun and not waited for: XLA must not call a handler after it. A
    computation of each CPU is waited for too, as it comes after those whose results nobody holds any more."""
    begun = [array for array in jax.live_arrays() if not array.is_deleted()]
    for device in jax.local_devices(backend="cpu"):
        begun.append(jax.device_put(0.0, device) + 1)
    for array in begun:
        with suppress(Exception):  # a computation that failed has been waited for too
            array.block_until_ready()
