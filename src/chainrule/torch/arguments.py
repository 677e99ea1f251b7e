"""The checks of what comes into the PyTorch face: shapes, dtypes and devices. Values are looked at by the operators,
which have them: a traced or a fake tensor has none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from chainrule.errors import InputError
from chainrule.output.options import LossOptions

__all__ = [
    "DTYPES", "as_float", "autocasts", "check_same", "check_target", "check_tensor", "in_program", "in_schema",
    "is_wide", "loss_is_wide", "names", "options_of", "reduction_of", "shape_in_schema",
]  # fmt: skip

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
NOT_DTYPES = (torch.bool, torch.complex32, torch.complex64, torch.complex128)


def describe(value: Any) -> str:
    if not isinstance(value, torch.Tensor):
        return f"{type(value).__name__}"
    return f"a tensor of shape {tuple(value.shape)}, {value.dtype}, on {value.device}"


def check_tensor(name: str, value: Any, expected: str, least: int) -> None:
    """A dense tensor of one of the four formats, of at least so many dimensions."""
    if not isinstance(value, torch.Tensor):
        raise InputError(f"{name}: got {describe(value)}, expected a tensor {expected}")
    if value.dtype not in DTYPES:
        raise InputError(f"{name}: got dtype {value.dtype}, expected float32, float64, bfloat16 or float16")
    if value.is_nested:
        raise InputError(f"{name}: got a nested tensor, expected a dense tensor {expected}")
    if value.dim() < least or value.layout != torch.strided:
        layout = "" if value.layout == torch.strided else f", {value.layout}"
        raise InputError(f"{name}: got shape {tuple(value.shape)}{layout}, expected a dense tensor {expected}")


def check_same(name: str, value: Any, shape: tuple[int, ...], like: torch.Tensor, *, dtype: bool) -> None:
    """A dense tensor of this shape on the device of `like`, and of its dtype where that is asked for."""
    kind = f", {like.dtype}" if dtype else ""
    expected = f"shape {shape}{kind}, on {like.device}"
    if not isinstance(value, torch.Tensor):
        raise InputError(f"{name}: got {describe(value)}, expected a tensor of {expected}")
    fits = tuple(value.shape) == shape and value.device == like.device and value.layout == torch.strided
    if not fits or value.dtype not in ((like.dtype,) if dtype else DTYPES):
        raise InputError(f"{name}: got {describe(value)}, expected {expected}")


def check_target(target: Any, logits_shape: tuple[int, ...], class_dim: int, like: torch.Tensor) -> bool:
    """Does `target` hold class probabilities, of the logits' shape? Else it holds indices, of that without classes."""
    if not isinstance(target, torch.Tensor):
        raise InputError(f"target: got {describe(target)}, expected a tensor of {_targets(logits_shape, class_dim)}")
    if target.device != like.device:
        raise InputError(f"target: got a tensor on {target.device}, expected one on {like.device}, as the input is")
    if target.layout != torch.strided:
        raise InputError(f"target: got {target.layout}, expected a dense tensor of {_targets(logits_shape, class_dim)}")
    shape = tuple(target.shape)
    if shape == logits_shape:
        if target.dtype not in DTYPES:
            raise InputError(
                f"target: got dtype {target.dtype} in the logits' shape {shape}, "
                f"expected {_targets(logits_shape, class_dim)}"
            )
        return True
    if shape != logits_shape[:class_dim] + logits_shape[class_dim + 1 :]:
        raise InputError(
            f"target: got shape {shape} for logits of shape {logits_shape}, "
            f"expected {_targets(logits_shape, class_dim)}"
        )
    if target.is_floating_point() or target.dtype in NOT_DTYPES:
        raise InputError(
            f"target: got dtype {target.dtype} and shape {shape}, expected {_targets(logits_shape, class_dim)}"
        )
    return False


def _targets(logits_shape: tuple[int, ...], class_dim: int) -> str:
    """What is expected, in words: made where something else came."""
    without = logits_shape[:class_dim] + logits_shape[class_dim + 1 :]
    indices = f"class indices of shape {without} in [0, {logits_shape[class_dim]})"
    return f"{indices}, or class probabilities of shape {logits_shape}"


def options_of(reduction: str, ignore_index: Any, label_smoothing: Any, *shape: Any) -> LossOptions:
    """The options, checked. No `ignore_index` is −100, and PyTorch takes True for a number. `shape`: temperature,
    z-loss, softcap and scale, or nothing."""
    index = -100 if ignore_index is None else ignore_index
    smoothing = float(label_smoothing) if isinstance(label_smoothing, bool) else label_smoothing
    if torch.compiler.is_compiling():  # which traces what makes a record, and would not keep it
        return LossOptions.checked(reduction, index, smoothing, *shape)
    return LossOptions.kept(reduction, index, smoothing, *shape)


def in_schema(options: LossOptions) -> tuple[str, int | None, float]:
    """As the operators take them, and LossOptions takes them back."""
    return options.reduction, options.ignore_index, options.label_smoothing


def shape_in_schema(options: LossOptions) -> tuple[float, float, float, float]:
    """The rest of them, which the operators take last."""
    return options.temperature, options.z_loss, options.softcap, options.scale


def reduction_of(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """`reduction`, unless one of the two deprecated arguments says otherwise, with PyTorch's own warning."""
    if size_average is None and reduce is None:
        return reduction
    from torch.nn import _reduction

    return str(_reduction.legacy_get_string(size_average, reduce))


def in_program() -> bool:
    """Is this traced into a program of operators, by torch.compile, torch.export or torch.jit?"""
    return bool(torch.compiler.is_compiling() or torch.jit.is_tracing())


def is_wide(like: torch.Tensor) -> bool:
    """Does autocast ask for a float32 loss of these 16-bit numbers?"""
    return bool(like.dtype.itemsize == 2 and autocasts(like))


def loss_is_wide(loss_dtype: Any, like: Any) -> bool:
    """Does `loss_dtype` ask for a float32 loss of 16-bit numbers?"""
    if loss_dtype is None:
        return False
    if loss_dtype is not torch.float32 or (isinstance(like, torch.Tensor) and like.dtype == torch.float64):
        came = f"{loss_dtype} for input of {getattr(like, 'dtype', type(like).__name__)}"
        raise InputError(f"loss_dtype: got {came}, expected None, or torch.float32 for 16 bits and float32")
    return isinstance(like, torch.Tensor) and like.dtype.itemsize == 2


def autocasts(like: torch.Tensor) -> bool:
    """Is autocast on for this tensor's device? Not every device has one."""
    device = like.device.type
    return bool(torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device))


def as_float(tensor: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    return tensor if tensor is None or tensor.dtype == dtype else tensor.to(dtype)


@contextmanager
def names(**given: str) -> Iterator[None]:
    """Errors of `chainrule.boundary.checks` name an argument as the caller knows it."""
    try:
        yield
    except InputError as error:
        name, colon, rest = str(error).partition(":")
        raise InputError(given.get(name, name) + colon + rest) from None
