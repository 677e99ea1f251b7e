"""`equations.exact` for devices that have no kernels: where the terms of a gradient may cancel."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import torch

from chainrule.equations import exact
from chainrule.equations.pairs import number, pair
from chainrule.output.options import LossOptions

__all__ = ["TEMPORARIES", "applies", "of_matrix"]


TEMPORARIES = 32  # arrays of a chunk's shape, in float64, that live together at most


def applies(logits: torch.Tensor, *, probabilities: bool, options: LossOptions) -> bool:
    """Would float64 lose digits, and is it there? Labels alone leave nothing that cancels, whatever their weights."""
    cancels = probabilities or options.label_smoothing != 0.0 or options.z_loss != 0.0
    return (cancels or (options.shapes and logits.dtype == torch.float64)) and logits.device.type != "mps"


def of_matrix(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    options: LossOptions,
    wants_grad: bool,
    names: set[str],
) -> tuple[dict[str, torch.Tensor], torch.Tensor | None]:
    """Losses and extras of logits (rows, K), each (rows, 1), and gradients, in float64. Labels are (rows, 1).

    Nothing waits for a value: all rows take as long as one whose terms cancel.
    """
    row = exact.row_of(logits.double(), options.temperature, options.softcap or None, options.scale)
    given = target.double() if target.is_floating_point() else torch.zeros_like(row.below).scatter_(1, target, 1.0)
    q, epsilon = pair(given), Fraction(options.label_smoothing)
    if epsilon:
        q = q * number(1 - epsilon) + number(epsilon / logits.shape[1])
    if weight is not None:
        q = q * pair(weight.double())
    losses, grad = exact.loss_and_gradient(row, q, options.z_loss, wants_grad=wants_grad)
    found: dict[str, Any] = {"losses": losses}
    if "logsumexp" in names:
        found["logsumexp"] = torch.where(row.largest.high.isinf(), row.largest.high, exact.log_sum(row).high)
    if "entropy" in names:
        found["entropy"] = exact.entropy(row)
    if "log_likelihood" in names:
        found["log_likelihood"] = 0.0 - exact.loss_and_gradient(row, pair(given), wants_grad=False)[0]
    return {name: value[:, None] for name, value in found.items()}, grad
