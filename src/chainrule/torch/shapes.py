"""What stands between the logits and the loss: a multiplier, a cap and a temperature, in differentiable operations.

    z = c tanh(s a/c)/T,    z′ = (s/T) 4E/(1 + E)²,    z″ = −(2 s/c) t z′,    t = tanh(s a/c),    E = exp(−2 |s a/c|)

where 1 − t² would cancel. Without a cap z = s a/T. A logit of −∞ stays −∞.
"""

from __future__ import annotations

import torch

from chainrule.output.options import LossOptions

__all__ = ["shaped", "slopes"]


def shaped(logits: torch.Tensor, options: LossOptions) -> torch.Tensor:
    """z of logits of any shape."""
    z = logits if options.scale == 1.0 else logits * options.scale
    if options.softcap != 0.0:
        z = torch.where(logits == -torch.inf, logits, options.softcap * _tanh(z / options.softcap))
    return z if options.temperature == 1.0 else z / options.temperature


def _tanh(u: torch.Tensor) -> torch.Tensor:
    """tanh with the derivatives of ±(1 − E)/(1 + E), which do not cancel as PyTorch's own do."""
    if not torch.is_grad_enabled() or torch.onnx.is_in_onnx_export():
        return torch.tanh(u)
    sign, e = _sign_and_exponential(u)
    derived = sign * (1.0 - e) / (1.0 + e)
    return torch.tanh(u).detach() + (derived - derived.detach())


def _sign_and_exponential(u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    sign = torch.where(u < 0, -1.0, 1.0).to(u.dtype)  # |u| by it has the derivatives of u at 0
    return sign, torch.exp(-2.0 * (sign * u))


def slopes(logits: torch.Tensor, options: LossOptions) -> tuple[torch.Tensor | float, torch.Tensor | None]:
    """z′, and z″ where it is not 0."""
    scale, cap, temperature = options.scale, options.softcap, options.temperature
    if cap == 0.0:
        return scale / temperature, None
    u = logits * (scale / cap)
    _, e = _sign_and_exponential(u)
    first = e / (1.0 + e) ** 2 * (4.0 * scale / temperature)
    return first, first * torch.tanh(u) * (-2.0 * scale / cap)
