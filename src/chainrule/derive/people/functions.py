"""The functions of one number that a derivation may use, each with its derivatives up to the third."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.derive.people.tree import NotReadError

__all__ = ["functions_of"]

Entry = Callable[[Any], Any]
_LEAK = 0.01


def _logistic(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _polynomial(start: Entry, *orders: Entry) -> Callable[[int], Entry]:
    """Derivatives as polynomials of a function's own value."""

    def of(order: int) -> Entry:
        if order == 0:
            return start
        if order > len(orders):
            raise NotReadError("a derivative of the fourth order")
        return lambda x: orders[order - 1](start(x))

    return of


def _listed(*entries: Entry) -> Callable[[int], Entry]:
    def of(order: int) -> Entry:
        if order >= len(entries):
            raise NotReadError("a derivative of the fourth order")
        return entries[order]

    return of


def _cyclic(*entries: Entry) -> Callable[[int], Entry]:
    return lambda order: entries[order % len(entries)]


def _log(order: int) -> Entry:
    factor = 1.0
    for k in range(1, order):
        factor *= -k
    return np.log if order == 0 else lambda x: factor * np.power(x, -float(order))


def _step(x: Any) -> Any:
    return (x > 0) * np.longdouble(1)


def _zero(x: Any) -> Any:
    return x * 0


_FUNCTIONS: dict[str, Callable[[int], Entry]] = {
    "exp": lambda order: np.exp,
    "log": _log,
    "logistic": _polynomial(
        _logistic, lambda s: s * (1 - s), lambda s: s * (1 - s) * (1 - 2 * s),
        lambda s: s * (1 - s) * (1 - 6 * s + 6 * s * s),
        lambda s: s * (1 - s) * (1 - 2 * s) * (1 - 12 * s + 12 * s * s),
    ),
    "tanh": _polynomial(
        np.tanh, lambda t: 1 - t * t, lambda t: -2 * t * (1 - t * t), lambda t: (1 - t * t) * (6 * t * t - 2),
        lambda t: (1 - t * t) * t * (16 - 24 * t * t),
    ),
    "relu": _listed(lambda x: x * _step(x), _step, _zero, _zero),
    "leaky": _listed(
        lambda x: x * np.where(x > 0, 1.0, _LEAK), lambda x: np.where(x > 0, 1.0, _LEAK) + x * 0, _zero, _zero
    ),
    "identity": _listed(lambda x: x, lambda x: x * 0 + 1, _zero, _zero),
    "sin": _cyclic(np.sin, np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x)),
    "cos": _cyclic(np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x), np.sin),
    "cosh": _cyclic(np.cosh, np.sinh),
    "sinh": _cyclic(np.sinh, np.cosh),
    "sign": _listed(np.sign, _zero, _zero),
    "step": _listed(_step, _zero, _zero),
    "abs": _listed(np.abs, np.sign, _zero, _zero),
    # any activation: smooth and curved, so that what holds for it holds for all
    "any": _listed(
        lambda x: np.sin(x) + x * x / 5 + x / 3, lambda x: np.cos(x) + 2 * x / 5 + np.longdouble(1) / 3,
        lambda x: -np.sin(x) + 0.4, lambda x: -np.cos(x), np.sin,
    ),
    "softplus": lambda order: (lambda x: np.log(1 + np.exp(x))) if order == 0 else _FUNCTIONS["logistic"](order - 1),
    "sech": _listed(lambda x: 1 / np.cosh(x)),
}  # fmt: skip


def functions_of(name: str, primes: int = 0) -> Callable[[int], Entry]:
    """A function's derivatives: of order 0 is the function with so many primes."""
    if name not in _FUNCTIONS:
        raise NotReadError(f"{name} is not a function that is known here")
    return lambda order: _FUNCTIONS[name](order + primes)
