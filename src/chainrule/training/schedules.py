"""Learning-rate schedules: what the optimizer's learning rate is multiplied by at each step.

A schedule is a function of the time t, in epochs (2.5 is the middle of the third), and of the losses so far, so that a
resumed run has no state of it to restore.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from chainrule.boundary.checks import check_fraction, check_integer, check_positive
from chainrule.errors import InputError, shown

__all__ = ["Constant", "Cosine", "OnPlateau", "Schedule", "StepDecay", "WarmUp", "check_schedule", "checked_factors"]

Array = npt.NDArray[np.float64]


class Schedule(Protocol):
    """What `fit` asks of a schedule."""

    def factors(self, t: Array, epochs: int, losses: list[float]) -> Array:
        """The factor of the learning rate at each of the times `t` of one epoch, (steps,); `losses` are those of the
        epochs before it: of the validation examples where there are any."""


@dataclass(frozen=True)
class Constant:
    """The learning rate as it is.

    Examples
    --------
    >>> Constant().factors(np.array([0.0, 0.5]), 1, []).tolist()
    [1.0, 1.0]
    """

    def factors(self, t: Array, epochs: int, losses: list[float]) -> Array:
        return np.ones_like(t)


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from 1 to `floor`: floor + (1 − floor)(1 + cos(π t/epochs))/2.

    Examples
    --------
    >>> Cosine().factors(np.array([0.0, 5.0, 10.0]), 10, []).round(3).tolist()
    [1.0, 0.5, 0.0]

    Source: I. Loshchilov and F. Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017.
    """

    floor: float = 0.0

    def __post_init__(self) -> None:
        check_fraction("floor", self.floor, one=True)

    def factors(self, t: Array, epochs: int, losses: list[float]) -> Array:
        share = np.minimum(t / epochs, 1.0)
        return np.asarray(self.floor + (1 - self.floor) * 0.5 * (1 + np.cos(np.pi * share)))


@dataclass(frozen=True)
class StepDecay:
    """Multiplied by `factor` after every `every` epochs.

    Examples
    --------
    >>> StepDecay(every=2, factor=0.5).factors(np.array([0.0, 1.5, 2.0, 4.0]), 5, []).tolist()
    [1.0, 1.0, 0.5, 0.25]
    """

    every: int = 10
    factor: float = 0.1

    def __post_init__(self) -> None:
        check_integer("every", self.every)
        check_positive("factor", self.factor)

    def factors(self, t: Array, epochs: int, losses: list[float]) -> Array:
        return np.asarray(self.factor ** np.floor(t / self.every))


@dataclass(frozen=True)
class WarmUp:
    """Rises linearly over the first `epochs`, times another schedule.

    Examples
    --------
    >>> WarmUp(epochs=1).factors(np.array([0.0, 0.5, 1.0]), 2, []).tolist()
    [0.5, 1.0, 1.0]

    Source: P. Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 2.2.
    """

    epochs: float = 1.0
    then: Schedule = field(default_factory=Constant)

    def __post_init__(self) -> None:
        check_positive("epochs", self.epochs)
        check_schedule("then", self.then)

    def factors(self, t: Array, epochs: int, losses: list[float]) -> Array:
        step = t[1] - t[0] if len(t) > 1 else 1.0  # the first step is taken with one step's share, not with nothing
        return np.minimum((t + step) / self.epochs, 1.0) * self.then.factors(t, epochs, losses)


@dataclass(frozen=True)
class OnPlateau:
    """Multiplied by `factor` whenever the loss has not fallen for `patience` epochs.

    Examples
    --------
    >>> OnPlateau(factor=0.5, patience=2).factors(np.array([4.0]), 9, [1.0, 0.9, 0.9, 1.1]).tolist()
    [0.5]
    """

    factor: float = 0.5
    patience: int = 5

    def __post_init__(self) -> None:
        check_positive("factor", self.factor)
        check_integer("patience", self.patience)

    def factors(self, t: Array, epochs: int, losses: list[float]) -> Array:
        best, waited, factor = np.inf, 0, 1.0
        for loss in losses:
            waited = 0 if loss < best else waited + 1
            best = min(best, loss)
            if waited == self.patience:
                factor, waited = factor * self.factor, 0
        return np.full_like(t, factor)


def check_schedule(name: str, schedule: Any) -> None:
    """Refuse what has no `factors`, and a class in place of an object."""
    if isinstance(schedule, type) or not callable(getattr(schedule, "factors", None)):
        raise InputError(f"{name}: got {shown(schedule)}, expected one of chainrule.training.schedules, as Cosine()")


def checked_factors(schedule: Schedule, epoch: int, steps: int, epochs: int, losses: list[float]) -> Array:
    """The factors at an epoch's steps, of a schedule that anybody may have written: finite and not negative."""
    t = epoch + np.arange(steps) / steps
    came = schedule.factors(t, epochs, list(losses))
    try:
        factors = np.asarray(came, dtype=np.float64)
    except (TypeError, ValueError):
        factors = np.zeros(0)
    if factors.shape != t.shape or not ((factors >= 0) & (factors < np.inf)).all():
        raise InputError(f"schedule: got the factors {came!r:.100} from {schedule!r}, expected {t.shape} numbers >= 0")
    return factors
