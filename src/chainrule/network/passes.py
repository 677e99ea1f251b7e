"""What a pass forward and a pass back through a network leave: its records, and what they tell of each example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from chainrule import equations
from chainrule.activations import array_namespace
from chainrule.boundary.checks import check_positive, check_sample_weight
from chainrule.errors import InputError

__all__ = ["Backward", "Forward", "Gradients"]


class Gradients(NamedTuple):
    """A gradient w.r.t. all parameters: [∇_{W_1} … ∇_{W_L}], each (U, D), and [∇_{b_1} … ∇_{b_L}], each (U,)."""

    weights: list[Any]
    biases: list[Any]


@dataclass(frozen=True)
class Forward:
    """What a forward pass computed, layer by layer.

    preactivations : [a_1 … a_L], each (N, width); the last are the logits
    activations : [h_0 … h_{L−1}], each (N, width); the first is x
    probabilities : ŷ, (N, K)
    """

    preactivations: list[Any]
    activations: list[Any]
    probabilities: Any

    @property
    def logits(self) -> Any:
        """a_L, (N, K)."""
        return self.preactivations[-1]


@dataclass(frozen=True)
class Backward:
    """The loss and its gradient w.r.t. everything a forward pass computed, and w.r.t. weights and biases.

    The loss is the mean over examples, and the factor 1/N is in every gradient. With `per_example=True` each
    example has its own loss, (N,), no 1/N is anywhere, and weights and biases get a leading axis of N.

    grad_probabilities : ∇_ŷ 𝓛, (N, K)
    grad_preactivations : [∇_{a_1} 𝓛 … ∇_{a_L} 𝓛]
    grad_activations : [∇_{h_0} 𝓛 … ∇_{h_{L−1}} 𝓛]; the first is w.r.t. x
    grad_weights, grad_biases : [∇_{W_1} 𝓛 …], [∇_{b_1} 𝓛 …]
    """

    loss: Any
    grad_probabilities: Any
    grad_preactivations: list[Any]
    grad_activations: list[Any]
    _activations: list[Any]
    _per_example: bool

    @property
    def grad_weights(self) -> list[Any]:
        """∇_{W_k} 𝓛 for k = 1 … L: (U, D), or (N, U, D) per example. Formed when asked for."""
        form = equations.grad_weights_per_example if self._per_example else equations.grad_weights
        return [form(g, h) for g, h in zip(self.grad_preactivations, self._activations, strict=True)]

    @property
    def grad_biases(self) -> list[Any]:
        """∇_{b_k} 𝓛 for k = 1 … L: (U,), or (N, U) per example."""
        if self._per_example:
            return list(self.grad_preactivations)
        return [equations.grad_biases(g) for g in self.grad_preactivations]

    def squared_norms(self) -> list[Any]:
        """‖∇_{W_k} 𝓛‖² of each example, for k = 1 … L, each (N,), without forming a gradient.

        A weight gradient of one example is an outer product, so its squared norm is ‖∇_{a_k} 𝓛‖² · ‖h_{k−1}‖².

        Raises
        ------
        InputError
            The backward pass was not made with `per_example=True`.

        Source: I. Goodfellow, "Efficient Per-Example Gradient Computations", 2015.
        """
        return [_norms(g) ** 2 * _norms(h) ** 2 for g, h in self._pairs("squared_norms")]

    def norms(self, biases: Sequence[bool] | None = None) -> list[Any]:
        """‖∇_{W_k} 𝓛, ∇_{b_k} 𝓛‖ of each example, for k = 1 … L, each (N,), without forming a gradient.

        No square leaves the range of numbers. The norm over all layers is the root of the sum of the squares.

        Parameters
        ----------
        biases : whether each layer's biases count; by default all do

        Raises
        ------
        InputError
            The backward pass was not made with `per_example=True`, or there are more layers than `biases`, or fewer.

        Source: I. Goodfellow, "Efficient Per-Example Gradient Computations", 2015.
        """
        pairs = self._pairs("norms")
        counted = [True] * len(pairs) if biases is None else list(biases)
        if len(counted) != len(pairs):
            raise InputError(f"biases: got {len(counted)} layers, expected {len(pairs)}")
        lengths = [(_norms(g), _norms(h)) for g, h in pairs]
        return [g * (_hypot1(h) if count else h) for (g, h), count in zip(lengths, counted, strict=True)]

    def weighted_sum(self, weights: Any) -> Gradients:
        """Σ_n w_n ∇𝓛_n, for every layer's weights and biases, without forming an example's gradient.

        Parameters
        ----------
        weights : array (N,) of finite numbers, of any sign

        Raises
        ------
        InputError
            Weights of a wrong shape or value, or a backward pass that was not made with `per_example=True`.

        Source: the lecture, section 3: Σ_n w_n ∇_{a_k} 𝓛_n h_{k−1}ᵀ = (w ⊙ ∇_{a_k} 𝓛)ᵀ h_{k−1}.
        """
        pairs, like = self._pairs("weighted_sum"), self.grad_preactivations[-1]
        numbers, xp = check_sample_weight(weights, like.shape[0], name="weights", signed=True), array_namespace(like)
        with np.errstate(over="ignore"):
            factors = xp.asarray(numbers, dtype=like.dtype, device=getattr(like, "device", None))
        if not bool(xp.all(xp.isfinite(factors))):
            raise InputError(f"weights: got {np.abs(numbers).max()}, expected finite numbers of dtype {like.dtype}")
        return _weighted(pairs, factors)

    def clipped_sum(self, bound: float) -> Gradients:
        """Σ_n min(1, C/‖∇𝓛_n‖) ∇𝓛_n: each example's gradient, over all layers, is scaled down to the norm C first.

        Two passes, and no example's gradient is formed: the norms, then the weighted sum. Divided by N and with noise
        added, it is the gradient of differentially private training.

        Parameters
        ----------
        bound : float > 0, C

        Raises
        ------
        InputError
            A bound that is not a number above 0, or a backward pass that was not made with `per_example=True`.

        Source: M. Abadi et al., "Deep Learning with Differential Privacy", 2016 (arXiv:1607.00133); for the two passes,
        J. Lee and D. Kifer, "Scaling up Differentially Private Deep Learning with Fast Per-Example Gradient Clipping",
        2021 (arXiv:2009.03106).
        """
        limit, pairs = check_positive("bound", bound), self._pairs("clipped_sum")
        xp = array_namespace(self.grad_preactivations[-1])
        norms = equations.norms(xp.stack(self.norms(), axis=-1))
        long = norms > limit
        return _weighted(pairs, xp.where(long, limit / xp.where(long, norms, limit), xp.ones_like(norms)))

    def _pairs(self, method: str) -> list[tuple[Any, Any]]:
        """For each layer, ∇_{a_k} 𝓛 and h_{k−1} of each example."""
        if not self._per_example:
            raise InputError(f"{method}: got the gradient of a mean loss, expected backward(per_example=True)")
        return list(zip(self.grad_preactivations, self._activations, strict=True))


def _norms(rows: Any) -> Any:
    """`equations.norms`; by plain squares where they stay in range, which takes a twentieth of the time."""
    if not isinstance(rows, np.ndarray):
        return equations.norms(rows)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        squares = np.vecdot(rows, rows)
        result = np.sqrt(squares)
        info = np.finfo(rows.dtype)
        far = np.flatnonzero(~((squares > info.tiny / info.eps) & (squares < np.inf)))
        if far.size:
            result[far] = equations.norms(rows[far])
    return result


def _hypot1(lengths: Any) -> Any:
    xp = array_namespace(lengths)
    return xp.hypot(lengths, xp.ones_like(lengths))


def _weighted(pairs: list[tuple[Any, Any]], factors: Any) -> Gradients:
    sums = [equations.weighted_grads(g, h, factors) for g, h in pairs]
    return Gradients([w for w, _ in sums], [b for _, b in sums])
