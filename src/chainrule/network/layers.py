"""What a network is made of: the plain record that its file and its likes in other libraries are read into."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from chainrule.activations import ACTIVATIONS
from chainrule.boundary.checks import check_choice
from chainrule.errors import InputError

__all__ = ["Layers"]


class Layers:
    """W_1 … W_L, b_1 … b_L and the activation between them, checked to chain; a `Network` computes with them."""

    def __init__(self, weights: Sequence[Any], biases: Sequence[Any], activation: str = "relu") -> None:
        check_choice("activation", activation, tuple(ACTIVATIONS))
        self.weights, self.biases = list(weights), list(biases)
        self.activation = activation
        self.check()

    def check(self) -> None:
        """Do the layers chain, in one dtype? They are asked again before use: arrays in the lists can be replaced.

        Raises
        ------
        InputError
            Shapes that do not chain, dtypes that differ.
        """
        _check_layers(self.weights, self.biases)

    @property
    def widths(self) -> list[int]:
        """The number of inputs, then of units in each layer; the last is the number of classes."""
        return [int(self.weights[0].shape[1]), *(int(w.shape[0]) for w in self.weights)]

    @property
    def depth(self) -> int:
        """L, the number of layers that have weights."""
        return len(self.weights)

    @property
    def n_parameters(self) -> int:
        """How many weights and biases there are."""
        return sum(u * (d + 1) for d, u in pairwise(self.widths))


def _check_layers(weights: list[Any], biases: list[Any]) -> None:
    if not weights or len(weights) != len(biases):
        raise InputError(f"weights: got {len(weights)} layers and {len(biases)} biases, expected as many, at least one")
    for k, (w, b) in enumerate(zip(weights, biases, strict=True), start=1):
        if not hasattr(w, "dtype") or not hasattr(b, "dtype"):
            raise InputError(f"weights: layer {k} is a {type(w).__name__}, expected arrays")
        if w.dtype != weights[0].dtype or b.dtype != weights[0].dtype or "float" not in str(w.dtype):
            raise InputError(
                f"weights: layer {k} has dtypes {w.dtype} and {b.dtype}, expected one floating dtype throughout"
            )
        if len(w.shape) != 2 or 0 in w.shape:
            raise InputError(f"weights: layer {k} has shape {tuple(w.shape)}, expected (units, inputs), none of them 0")
        if tuple(b.shape) != (w.shape[0],):
            raise InputError(f"biases: layer {k} has shape {tuple(b.shape)}, expected ({w.shape[0]},)")
        if k > 1 and w.shape[1] != weights[k - 2].shape[0]:
            raise InputError(
                f"weights: layer {k} takes {w.shape[1]} inputs, expected {weights[k - 2].shape[0]}, "
                f"the units of layer {k - 1}"
            )
