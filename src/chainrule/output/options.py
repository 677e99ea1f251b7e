"""The loss's options as one record, checked where a call comes in, and the loss that goes by it, into the caller's
arrays. Above them stand the functions that allocate, and above those autograd and the estimators."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy.typing as npt

from chainrule._native import _kernels
from chainrule.boundary.arrays import to_float
from chainrule.boundary.checks import (
    REDUCTIONS,
    check_choice,
    check_class_weights,
    check_fraction,
    check_ignore_index,
    check_labels,
    check_no_ignore_index,
    check_positive,
    check_targets,
    rank_of,
)

__all__ = ["LossOptions", "loss_into", "ordinary_loss"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)  # no tuple, which torch.func would take apart
class LossOptions:
    """What decides the loss beside the logits: `checked` takes what can be kept for many calls, `of` adds the rest.

    softcap: 0 for none; scale: what multiplies the logits; class_weights: (K,), float64; labels: (N,), int64; or else
    targets: (N, K), in target_format, the logits' or a narrower one; divisor: what the sum of the losses is divided by,
    of all rows.
    """

    reduction: str = "mean"
    ignore_index: int | None = None
    label_smoothing: float = 0.0
    temperature: float = 1.0
    z_loss: float = 0.0
    softcap: float = 0.0
    scale: float = 1.0
    class_weights: Array | None = None
    labels: Array | None = None
    targets: Array | None = None
    target_format: str = ""
    divisor: float = 1.0

    @classmethod
    def checked(
        cls,
        reduction: Any = "mean",
        ignore_index: Any = None,
        label_smoothing: Any = 0.0,
        temperature: Any = 1.0,
        z_loss: Any = 0.0,
        softcap: Any = None,
        scale: Any = 1.0,
    ) -> LossOptions:
        """The options that depend on no array."""
        return cls(
            check_choice("reduction", reduction, REDUCTIONS),
            None if ignore_index is None else check_ignore_index(ignore_index),
            check_fraction("label_smoothing", label_smoothing, one=True),
            check_positive("temperature", temperature, least=1e-150),
            check_positive("z_loss", z_loss, zero=True),
            0.0 if softcap is None else check_positive("softcap", softcap, least=1e-150),
            check_positive("scale", scale, least=1e-150),
        )

    @property
    def shapes(self) -> bool:
        """Does the loss see other logits than those given, or a term besides the cross entropy?"""
        return (self.temperature, self.z_loss, self.softcap, self.scale) != (1.0, 0.0, 0.0, 1.0)

    @classmethod
    def kept(cls, *given: Any) -> LossOptions:
        """The same; a record that is made once where Python's own numbers are given, which never change."""
        return _kept(*given) if tuple(map(type, given)) in _BUILT_IN else cls.checked(*given)

    def of(
        self, labels: Any, shape: tuple[int, int], format: str, class_weights: Any = None, *, signed: bool = False
    ) -> LossOptions:
        """With labels or target probabilities and classes' weights, for logits of this shape and format; `signed`
        weights and probabilities may be negative."""
        n, k = shape
        weights = None if class_weights is None else check_class_weights(class_weights, k, signed=signed)
        if rank_of(labels) == 2:
            check_no_ignore_index(self.ignore_index)
            came = check_targets(labels, shape, format, signed=signed)
            given = {"targets": came.view, "target_format": came.format}
        else:
            given = {"labels": check_labels(labels, n, k, self.ignore_index)}
        divisor = self.divisor_for(n, given.get("labels"), weights)
        return self.but(class_weights=weights, divisor=divisor, **given)

    def divisor_for(self, n: int, labels: Any, class_weights: Any) -> float:
        """What the sum is divided by: 1, or for a mean the sum of the counted labels' weights (n without labels), or
        infinity where nothing counts. Of NumPy's arrays or of PyTorch's tensors."""
        if self.reduction != "mean":
            return 1.0
        if labels is None:
            return float(n) or math.inf
        counted = labels if self.ignore_index is None else labels[labels != self.ignore_index]
        return float(len(counted) if class_weights is None else class_weights[counted].sum()) or math.inf

    def rows(self, rows: slice) -> LossOptions:
        """Those of some rows; the divisor stays that of all."""
        if self.labels is not None:
            return self.but(labels=self.labels[rows])
        return self if self.targets is None else self.but(targets=self.targets[rows])

    def but(self, **others: Any) -> LossOptions:
        """These, but with others."""
        made = object.__new__(LossOptions)  # dataclasses.replace takes several times as long
        made.__dict__.update(self.__dict__, **others)
        return made

    def reduced(self, total: float) -> float:
        """The reduced loss of a sum of losses: 0 where nothing counts."""
        return total / self.divisor if self.divisor < math.inf else 0.0


_kept = lru_cache(LossOptions.checked)
_BUILT_IN = {
    (str, index, *floats)
    for index in (int, type(None))
    for floats in ((float,), *((float, float, float, cap, float) for cap in (float, type(None))))
}


def loss_into(
    logits: Array,
    grad: Array,
    options: LossOptions,
    format: str,
    threads: int,
    *,
    factor: float = 1.0,
    into: dict[str, Array] | None = None,
) -> float:
    """Write the gradient of the reduced loss, times a factor, into `grad`, which may be the logits themselves, and
    return the sum of the losses.

    Both are views of the format's storage. `into` names what else is written: "losses" and what layer.EXTRAS has.
    """
    given: dict[str, Any] = {"scale": 1.0 / options.divisor * factor}  # and what differs from the kernels' defaults
    if options.label_smoothing != 0.0:
        given["label_smoothing"] = options.label_smoothing
    if options.temperature != 1.0:
        given["temperature"] = options.temperature
    if options.z_loss != 0.0:
        given["z_loss"] = options.z_loss
    if options.softcap != 0.0:
        given["softcap"] = options.softcap
    if options.scale != 1.0:
        given["multiplier"] = options.scale
    if options.labels is not None:
        given["labels"] = options.labels
    if options.targets is not None:
        targets = options.targets
        if options.target_format != format:
            targets = to_float(targets, options.target_format).astype(format, copy=False)
        given["second"] = targets
    if options.class_weights is not None:
        given["class_weights"] = options.class_weights
    if options.ignore_index is not None:
        given["ignore_index"] = options.ignore_index
    if into:
        given |= into
    return _kernels.run(format, "gradient", logits, grad, given, threads)


def ordinary_loss(logits: Any, labels: Any, options: LossOptions, threads: int) -> tuple[Any, Array] | None:
    """The reduced loss, or the loss of each row, and its gradient; or None for what the native part leaves to the
    boundary's checks: anything but NumPy's own arrays of float32 or float64, and int64 labels that fit."""
    o = options
    if o.softcap != 0.0 or o.scale != 1.0:
        return None
    return _kernels.loss_and_gradient(
        logits, labels, o.reduction, o.ignore_index, o.label_smoothing, o.temperature, o.z_loss, threads
    )
