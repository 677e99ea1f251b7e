"""One table: each activation g of a hidden layer, its derivative, and all that the rest of Chainrule asks of it.

Whoever needs a fact about an activation reads it here. Three places outside compute one by code of their own, in
other languages or other numbers: the trainer (_native/training_kernels.cpp), the explanation's live page
(web/src/activations.ts) and `derive`; tests hold each of them to this table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

__all__ = ["ACTIVATIONS", "LEAKY_SLOPE", "Activation", "array_namespace"]

LEAKY_SLOPE = 0.01


class Activation(NamedTuple):
    """A row of the table.

    name : scikit-learn's, where it has one
    function, derivative : g and g′ of pre-activations a_k, elementwise, for any Array API array
    torch, torch_options : the class in torch.nn, and what it must be made with to be this g
    onnx : g(a) in ONNX's operators: "a", a number, or an operator's name with what it takes
    gain : the variance of initial weights times the number of inputs: 2 (He) for those that are zero or nearly so on
        one side, 1 (LeCun) for the others
    kink : the slopes below and above 0, of those that have a kink there
    straight : how far from 0 g is a straight line, as far as float64 can tell
    steepest : the largest g′, of those that saturate on both sides
    tail : (a, side) ↦ g(a) less its limit below (side −1) or above (1), to its last digit, of those that near two
    """

    name: str
    function: Callable[[Any], Any]
    derivative: Callable[[Any], Any]
    torch: str
    onnx: Any
    torch_options: Mapping[str, Any] = MappingProxyType({})
    gain: float = 1.0
    kink: tuple[float, float] | None = None
    straight: float = 1000.0
    steepest: float | None = None
    tail: Callable[[Any, Any], Any] | None = None


def array_namespace(array: Any) -> Any:
    """The library that an array belongs to, as an Array API namespace.

    Examples
    --------
    >>> array_namespace(np.zeros(3)).__name__
    'numpy'
    """
    if isinstance(array, (np.ndarray, np.generic)):
        return np
    if hasattr(array, "__array_namespace__"):
        return array.__array_namespace__()
    try:
        import array_api_compat
    except ModuleNotFoundError as error:
        raise ImportError(
            f"arrays of type {type(array).__name__} need array-api-compat: pip install array-api-compat"
        ) from error
    return array_api_compat.array_namespace(array)


def _logistic(a: Any) -> Any:
    xp = array_namespace(a)
    e = xp.exp(-xp.abs(a))  # never of a positive number: no overflow
    return xp.where(a >= 0, 1 / (1 + e), e / (1 + e))


def _logistic_derivative(a: Any) -> Any:
    xp = array_namespace(a)
    e = xp.exp(-xp.abs(a))
    return e / ((1 + e) * (1 + e))


def _normal_cdf(a: Any) -> Any:
    """Φ(a) = erfc(−a/√2) / 2, which keeps its digits where it is small, as 1 + erf does not.

    The standard has no erfc: each library's own, and for NumPy the C library's, element by element.
    """
    xp, z = array_namespace(a), a * -math.sqrt(0.5)
    if isinstance(a, np.ndarray):
        try:
            from scipy.special import erfc
        except ModuleNotFoundError:
            return 0.5 * np.asarray(np.vectorize(math.erfc, otypes=[a.dtype])(z)) if a.size else a
        return 0.5 * erfc(z)
    if hasattr(xp, "erfc"):
        return 0.5 * xp.erfc(z)
    if xp.__name__.startswith("jax"):
        from jax.scipy.special import erfc as jax_erfc

        return 0.5 * jax_erfc(z)
    return 0.5 * xp.asarray(np.vectorize(math.erfc, otypes=[np.float64])(np.asarray(z)), dtype=a.dtype)


def _gelu_derivative(a: Any) -> Any:
    xp = array_namespace(a)
    near = xp.clip(a, -40.0, 40.0)  # the density is 0 beyond, and a² must not overflow
    density = xp.exp(-0.5 * near * near) * (1 / math.sqrt(2 * math.pi))
    return _normal_cdf(a) + near * density


def _softplus(a: Any) -> Any:
    xp = array_namespace(a)
    return xp.where(a > 0, a, xp.zeros_like(a)) + xp.log1p(xp.exp(-xp.abs(a)))


def _relu(a: Any) -> Any:
    xp = array_namespace(a)
    return xp.where(a <= 0, xp.zeros_like(a), a)  # NaN stays NaN


def _ones(a: Any) -> Any:
    return array_namespace(a).ones_like(a)


def _above(a: Any, slope: float) -> Any:
    """1 above 0, the slope elsewhere."""
    return array_namespace(a).where(a > 0, _ones(a), slope * _ones(a))


_GELU = ("Mul", ("Mul", "a", ("Add", ("Erf", ("Mul", "a", 0.5**0.5)), 1.0)), 0.5)  # Gelu is younger than many runtimes
_LEAKY_RELU = ("Max", "a", ("Mul", "a", LEAKY_SLOPE))  # LeakyRelu has its slope in float32 only
_LEAKY_OPTIONS = {"negative_slope": LEAKY_SLOPE}

ACTIVATIONS: dict[str, Activation] = {row.name: row for row in (
    Activation("identity", lambda a: a, _ones, "Identity", "a", straight=0.0),
    Activation("relu", _relu, lambda a: _above(a, 0), "ReLU", ("Relu", "a"), gain=2.0, kink=(0.0, 1.0), straight=0.0),
    Activation("leaky_relu",
               lambda a: array_namespace(a).where(a > 0, a, LEAKY_SLOPE * a), lambda a: _above(a, LEAKY_SLOPE),
               "LeakyReLU", _LEAKY_RELU, _LEAKY_OPTIONS, gain=2.0, kink=(LEAKY_SLOPE, 1.0), straight=0.0),
    # 1 − tanh² without its cancellation
    Activation("tanh", lambda a: array_namespace(a).tanh(a), lambda a: 4 * _logistic_derivative(2 * a),
               "Tanh", ("Tanh", "a"), steepest=1.0, tail=lambda a, side: -2 * side * _logistic(-2 * side * a)),
    Activation("logistic", _logistic, _logistic_derivative, "Sigmoid", ("Sigmoid", "a"), steepest=0.25,
               tail=lambda a, side: -side * _logistic(-side * a)),
    Activation("gelu", lambda a: a * _normal_cdf(a), _gelu_derivative, "GELU", _GELU, {"approximate": "none"}, gain=2.0,
               straight=50.0),
    Activation("silu", lambda a: a * _logistic(a), lambda a: _logistic(a) + a * _logistic_derivative(a),
               "SiLU", ("Mul", "a", ("Sigmoid", "a")), gain=2.0),
    Activation("softplus", _softplus, _logistic, "Softplus", ("Softplus", "a"), {"beta": 1}, gain=2.0),
)}  # fmt: skip
