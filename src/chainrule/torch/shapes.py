"""What stands between the logits and the loss: a multiplier, a cap and a temperature, in differentiable operations.

    z = c tanh(s a/c)/T,    z′ = (s/T) (1 − t²),    z″ = −(2 s²/(c T)) t (1 − t²),    t = tanh(s a/c)

Without a cap z = s a/T. A logit of −∞ stays −∞.
"""

from __future__ import annotations

import torch

from chainrule.output.options import LossOptions

__all__ = ["shaped", "slopes"]


def shaped(logits: torch.Tensor, options: LossOptions) -> torch.Tensor:
    """z of logits of any shape."""
    z = logits if options.scale == 1.0 else logits * options.scale
    if options.softcap != 0.0:
        z = torch.where(logits == -torch.inf, logits, options.softcap * torch.tanh(z / options.softcap))
    return z if options.temperature == 1.0 else z / options.temperature


def slopes(logits: torch.Tensor, options: LossOptions) -> tuple[torch.Tensor | float, torch.Tensor | None]:
    """z′, and z″ where it is not 0."""
    scale, cap, temperature = options.scale, options.softcap, options.temperature
    if cap == 0.0:
        return scale / temperature, None
    t = torch.tanh(logits * (scale / cap))
    first = (1.0 - t * t) * (scale / temperature)
    return first, first * t * (-2.0 * scale / cap)
