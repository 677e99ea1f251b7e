"""Arrays of the caller's own kind: borrowed as NumPy views, without a copy, and results handed back in that kind.

NumPy, PyTorch and JAX arrays, anything else that speaks DLPack, and nested lists. What lives on another device
than the CPU is refused. The kernels read 16-bit formats as their bits, so bfloat16 needs no package of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from chainrule._native import _kernels
from chainrule.errors import InputError, shown

__all__ = ["FORMATS", "Borrowed", "as_numpy", "borrow", "describe", "empty", "from_float", "to_float"]

Array = npt.NDArray[Any]
FORMATS = ("float16", "bfloat16", "float32", "float64")


class Borrowed(NamedTuple):
    """An array as the kernels see it.

    view: the caller's memory, uint16 where the format has 16 bits; format: one of FORMATS, or the dtype's name;
    give: from such a view to an array of the caller's kind; scalar: from a float to that kind's scalar;
    copied: what is written into the view does not reach the caller.
    """

    view: Array
    format: str
    give: Callable[[Array], Any]
    scalar: Callable[[float], Any]
    copied: bool = False


def borrow(name: str, value: Any, expected: str) -> Borrowed:
    """Borrow `value` without a copy; `expected` ends the message if that cannot be done.

    Raises
    ------
    InputError
        It is no array, or lives on another device.

    Examples
    --------
    >>> borrow("logits", np.zeros((2, 3), "float16"), "a matrix").view.dtype.name
    'uint16'
    """
    torch, jax = sys.modules.get("torch"), sys.modules.get("jax")  # or a user's own file of that name
    if isinstance(value, getattr(torch, "Tensor", ())):
        return _from_torch(torch, name, value, expected)
    if isinstance(value, getattr(jax, "Array", ())):
        return _from_jax(jax, name, value, expected)
    if hasattr(value, "__dlpack__") and not isinstance(value, np.ndarray | np.generic):
        return _from_dlpack(name, value, expected)
    array = as_numpy(name, value, expected)
    if not hasattr(value, "dtype") and array.dtype.kind in "iuf" and not array.dtype.hasobject and array.ndim == 2:
        array = array.astype(np.float64)  # nested lists of Python numbers
    dtype = array.dtype

    def give(result: Array) -> Any:
        return result.view(dtype) if result.dtype == np.uint16 else result

    return Borrowed(_bits(array), _name_of(dtype), give, dtype.type)


def as_numpy(name: str, value: Any, expected: str) -> Array:
    """`value` as NumPy takes it, with no element masked; `expected` ends the message if that cannot be done."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise InputError(f"{name}: got an array with masked elements, expected {expected}, every one of them")
    try:
        return np.asarray(value)
    except Exception as error:  # whatever a foreign __array__ raises
        raise InputError(f"{name}: got {describe(value)}, expected {expected}") from error


def _bits(array: Array) -> Array:
    dtype = array.dtype
    half = dtype.itemsize == 2 and dtype.isnative and _name_of(dtype) in ("float16", "bfloat16")
    return array.view(np.uint16) if half else array


@lru_cache
def _name_of(dtype: np.dtype[Any]) -> str:
    """The name, which NumPy puts together anew with each question."""
    return dtype.name


def _from_torch(torch: Any, name: str, value: Any, expected: str) -> Borrowed:
    if value.device.type != "cpu" or value.layout != torch.strided:
        came = f"a {value.layout} tensor on {value.device}"
        raise InputError(f"{name}: got {came}, expected {expected}, dense, on the CPU")
    dtype = value.dtype
    try:
        elsewhere = value.is_neg() or value._is_zerotensor()  # numbers that are not what the memory holds
        plain = value.detach().clone() if elsewhere else value.detach()
        half = dtype in (torch.float16, torch.bfloat16)
        view = _share(plain.view(torch.int16)).view(np.uint16) if half else _share(plain)
    except (TypeError, RuntimeError, BufferError) as error:  # no such dtype in NumPy, or a transform's tensor
        raise InputError(
            f"{name}: got a tensor of dtype {dtype} that NumPy cannot read, expected {expected}"
        ) from error

    def give(result: Array) -> Any:
        if result.dtype == np.uint16:
            return torch.from_numpy(result.view(np.int16)).view(dtype)
        return torch.from_numpy(result)

    return Borrowed(
        view, str(dtype).removeprefix("torch."), give, lambda number: torch.tensor(number, dtype=dtype), elsewhere
    )


def _share(tensor: Any) -> Array:
    """The tensor's memory. `tensor.numpy()` would forbid for ever that the storage is resized, as FSDP2 does."""
    view = np.from_dlpack(tensor)
    return view if view.flags.writeable else tensor.numpy()  # older versions of DLPack only read


def _from_jax(jax: Any, name: str, value: Any, expected: str) -> Borrowed:
    try:
        on_cpu = all(device.platform == "cpu" for device in value.devices())
        array = np.asarray(value) if on_cpu else None
    except (TypeError, RuntimeError) as error:  # a tracer has no values yet
        raise InputError(f"{name}: got {type(value).__name__} without values, expected {expected}") from error
    if array is None:
        raise InputError(f"{name}: got a JAX array on {value.devices()}, expected {expected}, on the CPU")
    dtype = array.dtype

    def give(result: Array) -> Any:
        return jax.numpy.asarray(result.view(dtype) if result.dtype == np.uint16 else result)

    return Borrowed(_bits(array), _name_of(dtype), give, lambda number: jax.numpy.asarray(number, dtype=dtype))


def _from_dlpack(name: str, value: Any, expected: str) -> Borrowed:
    try:
        on_cpu = int(value.__dlpack_device__()[0]) == 1
        array = np.from_dlpack(value) if on_cpu else None
    except Exception as error:  # whatever a foreign __dlpack__ raises
        raise InputError(f"{name}: got {describe(value)}, expected {expected}") from error
    if array is None:
        raise InputError(f"{name}: got {describe(value)}, expected {expected}, on the CPU")
    dtype = array.dtype
    space = value.__array_namespace__() if hasattr(value, "__array_namespace__") else np

    def give(result: Array) -> Any:
        return space.from_dlpack(result.view(dtype) if result.dtype == np.uint16 else result)

    return Borrowed(_bits(array), _name_of(dtype), give, lambda number: give(np.asarray(number, dtype=dtype)))


def describe(value: object) -> str:
    """What came, for a message: type, shape and dtype, or the value itself."""
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        return f"{type(value).__name__} {shown(value)}"
    return f"{type(value).__name__} of shape {tuple(getattr(value, 'shape', ()))} and dtype {dtype}"


def empty(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """Like np.empty, on a cache line's boundary: stores do not straddle lines, and JAX takes it without a copy."""
    return _kernels.empty(shape, np.dtype(dtype))


def to_float(view: Array, format: str) -> Array:
    """The numbers of a borrowed view: itself, or a float32 copy of a 16-bit format."""
    if format == "bfloat16":
        bits = view.astype(np.uint32)
        bits <<= 16
        return bits.view(np.float32)
    return view.view(np.float16).astype(np.float32) if format == "float16" else view


def from_float(numbers: npt.NDArray[np.floating[Any]], format: str) -> Array:
    """Numbers rounded to a format, as a view of that format holds them."""
    if format != "bfloat16":
        return _bits(numbers.astype(format))
    bits = numbers.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
