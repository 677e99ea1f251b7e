"""Every layer's gradients, example by example, without forming one."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import InputError
from chainrule.network.network import Network
from chainrule.network.passes import Backward
from chainrule.scores.sources import Floats, model_of

__all__ = ["gradient_norms"]


def gradient_norms(model: Any, x: Any, labels: Any) -> Floats:
    """‖∇_{W_k} 𝓛, ∇_{b_k} 𝓛‖ = ‖∇_{a_k} 𝓛‖ √(‖h_{k−1}‖² + 1) of each example at each layer, (N, L).

    It takes a pass forward and one back, and no gradient of a weight. Sums of the
    examples' gradients, weighted or clipped, are `Backward.weighted_sum` and `Backward.clipped_sum`.

    Parameters
    ----------
    model, x : a Network, a fitted MLPClassifier or a PyTorch module, and what it takes, (N, D)
    labels : array (N,), int in [0, K); of a classifier, of its `classes_`

    Raises
    ------
    InputError
        A wrong shape, dtype or label, or no model.

    Examples
    --------
    >>> net = Network([np.eye(2), np.eye(2)], [np.zeros(2), np.zeros(2)])
    >>> gradient_norms(net, [[1.0, 1.0]], [0]).round(4).tolist()
    [[1.2247, 1.2247]]

    Source: I. Goodfellow, "Efficient Per-Example Gradient Computations", 2015 (arXiv:1510.01799).
    """
    found = model_of(model)
    if found is None:
        raise InputError(f"model: got {type(model).__name__}, expected a Network, a classifier or a PyTorch module")
    net, taken = found.net, found.taken(x)
    checked = found.labels(labels, taken.shape[0])
    result = np.empty((len(checked), net.depth))
    for at, rows in found.rows(taken):
        result[at] = np.stack(_pass(net, rows, checked[at]).norms(found.biases), axis=-1)
    return result


def _pass(net: Network, rows: Any, labels: Any) -> Backward:
    return net.backward(net.forward(rows), labels, per_example=True, to_input=False)
