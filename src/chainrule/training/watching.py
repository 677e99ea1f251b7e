"""What training's pages ask of a network after each epoch: which units no longer answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.activations import ACTIVATIONS
from chainrule.training.history import EpochRecord

__all__ = ["Watch", "silent_units"]

SATURATED = 0.05  # of the steepest slope: a unit whose slope is below it for all examples is saturated
Array = npt.NDArray[Any]


class Watch:
    """A callback of `fit` that looks at some examples after each epoch.

    epochs : those that were seen
    dead : for each of them and each hidden layer, how many units have the slope 0 for every example
    saturated : how many have a slope below a twentieth of the steepest for nine in ten of the examples

    Parameters
    ----------
    x : array (N, D), some hundred training examples
    """

    def __init__(self, x: Any) -> None:
        self.x = np.asarray(x)
        self.epochs: list[int] = []
        self.dead: list[list[int]] = []
        self.saturated: list[list[int]] = []

    def __call__(self, record: EpochRecord) -> None:
        dead, saturated = silent_units(record.net, self.x)
        self.epochs.append(record.epoch)
        self.dead.append(dead)
        self.saturated.append(saturated)


def silent_units(net: Any, x: Any) -> tuple[list[int], list[int]]:
    """How many units of each hidden layer are dead, and how many saturated, of examples x (N, D).

    Examples
    --------
    >>> from chainrule import Network
    >>> net = Network([np.array([[1.0], [-1.0]]), np.eye(2)], [np.zeros(2), np.zeros(2)], "relu")
    >>> silent_units(net, np.array([[1.0], [2.0]]))
    ([1], [0])
    """
    row = ACTIVATIONS[net.activation]
    can_die, steepest = row.kink is not None and row.kink[0] == 0, row.steepest
    dead, saturated = [], []
    with np.errstate(over="ignore", invalid="ignore"):
        for a in net.forward(x).preactivations[:-1]:
            slopes = np.abs(row.derivative(a))
            dead.append(int((slopes == 0).all(axis=0).sum()) if can_die else 0)
            flat = (slopes < SATURATED * steepest).mean(axis=0) >= 0.9 if steepest is not None and not can_die else None
            saturated.append(0 if flat is None else int(flat.sum()))
    return dead, saturated
