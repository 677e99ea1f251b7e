"""SGD with momentum, Adam, AdamW: what each does to one flat parameter buffer, in place.

The update rules are PyTorch's, to the rounding. A step allocates nothing: it works in a scratch buffer that its caller
owns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from chainrule.boundary.checks import check_fraction, check_positive
from chainrule.errors import InputError, shown

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "check_optimizer"]

Array = npt.NDArray[Any]


class Optimizer(Protocol):
    """What SGD, Adam and AdamW are: one update rule, said twice.

    `step` states it. `fit` does not call it: it takes the same step in native code, by `native_options`, and so it
    trains by these three and refuses a rule of any other class.
    """

    def state(self, n: int, dtype: Any) -> dict[str, Array]:
        """The buffers that live as long as the training, all zeros, each (n,)."""

    def step(self, parameters: Array, gradient: Array, state: dict[str, Array], t: int, scratch: Array) -> None:
        """Update `parameters` (n,) in place; `t` counts steps from 1. `gradient` and `scratch` are overwritten."""

    def native_options(self) -> dict[str, Any]:
        """What the native trainer needs to know to take the same step, but for the learning rate."""

    @property
    def lr(self) -> float:
        """The learning rate."""


def check_optimizer(optimizer: Any) -> Optimizer:
    """Return an optimizer whose steps native code takes: SGD, Adam, AdamW, or a subclass with the same rule.

    Raises
    ------
    InputError
        Anything else; a subclass with a rule of its own would silently train by that of its base.
    """
    rule = {"step", "state", "native_options"}
    kind = next((c for c in type(optimizer).__mro__ if rule & vars(c).keys()), None)
    if kind not in (SGD, Adam, AdamW):
        raise InputError(
            f"optimizer: got {shown(optimizer)}, expected SGD, Adam or AdamW: their steps are taken in native code, "
            "and `step` of another class would not be called"
        )
    return cast(Optimizer, optimizer)


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum: v ← μv + g, θ ← θ − lr·v (Nesterov: θ ← θ − lr·(g + μv)).

    Parameters
    ----------
    lr : float > 0
    momentum : float in [0, 1)
    nesterov : bool; needs momentum > 0

    Raises
    ------
    InputError
        A value out of its range.

    Examples
    --------
    >>> theta, g = np.array([1.0]), np.array([0.5])
    >>> sgd = SGD(lr=0.1)
    >>> sgd.step(theta, g, sgd.state(1, theta.dtype), 1, np.empty(1))
    >>> theta.tolist()
    [0.95]

    Source: I. Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013.
    """

    lr: float = 0.01
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        check_positive("lr", self.lr)
        check_fraction("momentum", self.momentum)
        if self.nesterov and not self.momentum:
            raise InputError("nesterov: got True with momentum 0, expected a momentum > 0")

    def state(self, n: int, dtype: Any) -> dict[str, Array]:
        return {"velocity": np.zeros(n, dtype)} if self.momentum else {}

    def native_options(self) -> dict[str, Any]:
        return {"rule": "sgd", "momentum": self.momentum, "nesterov": self.nesterov}

    def step(self, parameters: Array, gradient: Array, state: dict[str, Array], t: int, scratch: Array) -> None:
        direction = gradient
        if self.momentum:
            velocity = state["velocity"]
            velocity *= self.momentum
            velocity += gradient
            direction = velocity
            if self.nesterov:
                np.multiply(velocity, self.momentum, out=scratch)
                gradient += scratch
                direction = gradient
        np.multiply(direction, self.lr, out=scratch)
        parameters -= scratch


@dataclass(frozen=True)
class Adam:
    """Adam: m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², θ ← θ − lr · m̂ / (√v̂ + ε), with m̂, v̂ corrected for bias.

    Parameters
    ----------
    lr : float > 0
    betas : two floats in [0, 1)
    eps : float >= 0

    Raises
    ------
    InputError
        A value out of its range.

    Examples
    --------
    >>> theta, g = np.array([1.0]), np.array([0.5])
    >>> adam = Adam(lr=0.1)
    >>> adam.step(theta, g, adam.state(1, theta.dtype), 1, np.empty(1))
    >>> round(float(theta[0]), 6)
    0.9

    Source: D. Kingma and J. Ba, "Adam: A Method for Stochastic Optimization", 2015.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        check_positive("lr", self.lr)
        check_positive("eps", self.eps, zero=True)
        if not isinstance(self.betas, tuple) or len(self.betas) != 2:
            raise InputError(f"betas: got {shown(self.betas)}, expected two numbers in [0, 1)")
        for beta in self.betas:
            check_fraction("betas", beta)

    def state(self, n: int, dtype: Any) -> dict[str, Array]:
        return {"mean": np.zeros(n, dtype), "square": np.zeros(n, dtype)}

    def native_options(self) -> dict[str, Any]:
        return {"rule": "adam", "beta1": self.betas[0], "beta2": self.betas[1], "eps": self.eps}

    def step(self, parameters: Array, gradient: Array, state: dict[str, Array], t: int, scratch: Array) -> None:
        (beta1, beta2), mean, square = self.betas, state["mean"], state["square"]
        mean *= beta1
        np.multiply(gradient, 1 - beta1, out=scratch)
        mean += scratch
        square *= beta2
        np.multiply(gradient, gradient, out=scratch)
        scratch *= 1 - beta2
        square += scratch
        np.sqrt(square, out=scratch)
        scratch *= 1 / (1 - beta2**t) ** 0.5
        scratch += self.eps
        np.divide(mean, scratch, out=scratch)
        scratch *= self.lr / (1 - beta1**t)
        parameters -= scratch


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: θ ← θ − lr·λ·θ before Adam's step. The biases decay too, as PyTorch's do.

    Parameters
    ----------
    lr, betas, eps : as for Adam
    weight_decay : λ, float >= 0

    Raises
    ------
    InputError
        A value out of its range.

    Examples
    --------
    >>> AdamW(weight_decay=-1.0)
    Traceback (most recent call last):
    chainrule.errors.InputError: weight_decay: got -1.0, expected a finite number >= 0

    Source: I. Loshchilov and F. Hutter, "Decoupled Weight Decay Regularization", 2019.
    """

    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("weight_decay", self.weight_decay, zero=True)

    def native_options(self) -> dict[str, Any]:
        return super().native_options() | {"decay": self.weight_decay}

    def step(self, parameters: Array, gradient: Array, state: dict[str, Array], t: int, scratch: Array) -> None:
        parameters *= 1 - self.lr * self.weight_decay
        super().step(parameters, gradient, state, t, scratch)
