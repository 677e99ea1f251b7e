"""What a loss tells besides: by which names, how it is stored, and the record that holds it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.boundary.arrays import Borrowed, to_float
from chainrule.boundary.checks import check_choice
from chainrule.errors import InputError, shown

__all__ = ["EXTRAS", "OF_EACH", "WithExtras", "check_extras", "dtype_of", "kept_correct", "loss_format", "scalar"]

EXTRAS = ("probabilities", "logsumexp", "log_likelihood", "entropy", "prediction", "correct")
OF_EACH = EXTRAS[1:]  # a number for each example


class WithExtras:
    """What else was asked for, by name, in `extras`, and as attributes."""

    extras: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        extras = self.__dict__.get("extras", {})
        if name in extras:
            return extras[name]
        hint = f"; ask for it with extras=({name!r},)" if name in EXTRAS else ""
        raise AttributeError(f"{type(self).__name__} has no {name!r}{hint}")


def check_extras(extras: Sequence[str], known: Sequence[str]) -> dict[str, Any]:
    """A place for each that is asked for."""
    if isinstance(extras, str) or not isinstance(extras, Iterable):
        raise InputError(f"extras: got {shown(extras)}, expected a sequence of names, such as ('entropy',)")
    return {check_choice("extras", name, known): None for name in extras}


def kept_correct(extras: dict[str, Any], losses: Any, format: str) -> None:
    """A prediction is not correct where the loss is NaN: NaN is the largest for argmax, and no class's logit."""
    if "correct" in extras:
        extras["correct"] &= ~np.isnan(to_float(losses, format))


def loss_format(loss_dtype: Any, format: str) -> str:
    """The format of the losses of logits of this one."""
    if loss_dtype is None:
        return format
    name = str(getattr(loss_dtype, "__name__", loss_dtype)).removeprefix("torch.")
    if name != "float32" or format == "float64":
        raise InputError(f"loss_dtype: got {shown(loss_dtype)} for {format}, expected None, or float32 for 16 bits")
    return name


def dtype_of(name: str, format: str) -> npt.DTypeLike:
    """How losses, or an extra of each example, are stored."""
    floats = np.uint16 if format.endswith("16") else format
    return {"prediction": np.int64, "correct": np.bool_}.get(name, floats)


def scalar(a: Borrowed, loss: float, format: str) -> Any:
    """A reduced loss as a scalar of the array's kind, in a format: the array's or float32."""
    with np.errstate(under="ignore", over="ignore"):
        return a.scalar(loss) if format == a.format else a.give(np.asarray(loss, format))[()]
