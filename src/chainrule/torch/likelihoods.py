"""Log-likelihoods and entropies of the last layer, as reinforcement learning needs them, a chunk of rows at a time."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch.autograd import Function, forward_ad

from chainrule.boundary.checks import check_integer
from chainrule.errors import InputError
from chainrule.torch import devices, groups, ops
from chainrule.torch.arguments import check_target, in_program, names, options_of
from chainrule.torch.derivatives import log_softmax
from chainrule.torch.heads import check_head, in_autocast
from chainrule.torch.layer import Inputs
from chainrule.torch.linear import flat_loss

__all__ = ["entropy", "logprobs"]
TEMPORARIES = 4


def logprobs(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    labels: torch.Tensor,
    *,
    bias: torch.Tensor | None = None,
    ignore_index: int | None = None,
    chunk_bytes: int | None = None,
    group: Any = None,
) -> torch.Tensor:
    """Log-likelihood of each label under the last layer, log ŷ_ℓ, with the logits never stored.

    log ŷ_ℓ = log softmax(W h + b)_ℓ,  ∇_W = (e(ℓ) − ŷ) hᵀ.

    Parameters
    ----------
    hidden : tensor (…, D), float32, float64, bfloat16 or float16
    weight : tensor (K, D) of the same dtype
    labels : tensor (…), int in [0, K), or `ignore_index`, whose log-likelihood is 0
    bias : tensor (K,), optional
    ignore_index : int, optional
        −100 for None.
    chunk_bytes, group
        As in `linear_cross_entropy`.

    Returns
    -------
    tensor (…)

    Raises
    ------
    InputError
        A wrong shape, dtype, device or label.

    Examples
    --------
    >>> logprobs(torch.zeros(2, 3), torch.zeros(4, 3), torch.tensor([0, 1])).tolist()
    [-1.3862943649291992, -1.3862943649291992]

    Source: the lecture, section 1: 𝓛 = −log ŷ_ℓ.
    """
    with _own_names():
        if group is not None:
            processes = groups.checked_group(group)
            given = Inputs(hidden, weight, bias, labels, None)
            return -groups.linear_cross_entropy(given, options_of("none", ignore_index, 0.0), processes, chunk_bytes)
        hidden, weight, bias, wide = _checked(hidden, weight, bias, chunk_bytes)
        if check_target(labels, (*hidden.shape[:-1], weight.shape[0]), hidden.dim() - 1, hidden):
            raise InputError(f"labels: got class probabilities, expected integers of shape {tuple(hidden.shape[:-1])}")
        options = options_of("none", ignore_index, 0.0)
        flat = Inputs(hidden.reshape(-1, hidden.shape[-1]), weight, bias, labels.reshape(-1), None)
        return -flat_loss(flat, options, chunk_bytes, wide).reshape(hidden.shape[:-1])


def entropy(
    hidden: torch.Tensor, weight: torch.Tensor, *, bias: torch.Tensor | None = None, chunk_bytes: int | None = None,
    group: Any = None,
) -> torch.Tensor:  # fmt: skip
    """Entropy of the last layer's probabilities, in nats, with the logits never stored.

    H = −Σ_j ŷ_j log ŷ_j with ŷ = softmax(W h + b),  ∂H/∂a_j = −ŷ_j (log ŷ_j + H).

    Parameters
    ----------
    hidden : tensor (…, D), float32, float64, bfloat16 or float16
    weight : tensor (K, D) of the same dtype
    bias : tensor (K,), optional
    chunk_bytes : int, optional
        As in `linear_cross_entropy`; weights of 16 bits are copied to float32 besides.
    group : torch.distributed.ProcessGroup, optional
        As in `linear_cross_entropy`.

    Returns
    -------
    tensor (…)

    Raises
    ------
    InputError
        A wrong shape, dtype or device.

    Examples
    --------
    >>> entropy(torch.zeros(2, 3), torch.zeros(4, 3)).tolist()
    [1.3862943649291992, 1.3862943649291992]

    Source: C. E. Shannon, "A Mathematical Theory of Communication", 1948, section 6; the lecture, section 1, for ŷ.
    """
    with _own_names():
        if group is not None:
            processes = groups.checked_group(group)
            any_label = torch.zeros(hidden.shape[:-1], dtype=torch.int64, device=hidden.device)
            given, options = Inputs(hidden, weight, bias, any_label, None), options_of("none", None, 0.0)
            told = groups.linear_cross_entropy(given, options, processes, chunk_bytes, extras=("entropy",))
            return torch.as_tensor(told.entropy)
        hidden, weight, bias, wide = _checked(hidden, weight, bias, chunk_bytes)
        flat = hidden.reshape(-1, hidden.shape[-1])
        transformed = torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0
        if in_program() or transformed:
            result = _entropy(_log_probabilities(flat, weight, bias))
        else:
            result = _Entropy.apply(flat, weight, bias, chunk_bytes)
        return result.to(torch.float32 if wide else hidden.dtype).reshape(hidden.shape[:-1])


def _own_names() -> Any:
    """Errors name the arguments of these functions; a compiled program has no place for that."""
    if torch.compiler.is_compiling():
        return nullcontext()
    return names(input="hidden", linear_weight="weight", linear_bias="bias", target="labels")


def _checked(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, chunk_bytes: int | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, bool]:
    if chunk_bytes is not None:
        check_integer("chunk_bytes", chunk_bytes)
    hidden, weight, bias, wide = in_autocast(hidden, weight, bias)
    check_head(hidden, weight, bias)
    if weight.dim() != 2:
        raise InputError(f"weight: got shape {tuple(weight.shape)}, expected (K, {hidden.shape[-1]})")
    return hidden, weight, bias, wide


def _log_probabilities(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    a = hidden @ weight.T
    return log_softmax(a if bias is None else a + bias)


def _entropy(log_p: torch.Tensor) -> torch.Tensor:
    """−Σ ŷ log ŷ; a masked class adds nothing."""
    return 0.0 - torch.where(torch.isinf(log_p), 0.0, log_p.exp() * log_p).sum(1)  # never −0


def _slope(log_p: torch.Tensor, entropy: torch.Tensor) -> torch.Tensor:
    """∂H/∂a = −ŷ (log ŷ + H)."""
    return torch.where(torch.isinf(log_p), 0.0, -log_p.exp() * (log_p + entropy[:, None]))


class _Entropy(Function):  # type: ignore[misc]
    """(hidden, weight, bias) → H of each row, with nothing of N × K kept."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, chunk_bytes: int | None
    ) -> torch.Tensor:
        ctx.chunk_bytes = chunk_bytes
        ctx.save_for_backward(hidden, weight, bias)
        result = torch.empty(hidden.shape[0], dtype=_sums(hidden), device=hidden.device)
        for chunk, log_p in _chunks(hidden, weight, bias, chunk_bytes):
            result[chunk] = _entropy(log_p)
        return result

    @staticmethod
    def backward(ctx: Any, factor: torch.Tensor) -> Any:
        hidden, weight, bias = ctx.saved_tensors
        wants = ctx.needs_input_grad
        if torch.is_grad_enabled():
            log_p = _log_probabilities(hidden, weight, bias)
            delta = _slope(log_p, _entropy(log_p)) * factor[:, None].to(log_p.dtype)
            return (
                delta @ weight if wants[0] else None,
                delta.T @ hidden if wants[1] else None,
                delta.sum(0) if wants[2] else None,
                None,
            )
        dtype = _sums(hidden)
        grad_hidden = torch.empty_like(hidden) if wants[0] else None
        grad_weight = torch.zeros(weight.shape, dtype=dtype, device=weight.device) if wants[1] else None
        grad_bias = torch.zeros(weight.shape[:1], dtype=dtype, device=weight.device) if wants[2] else None
        wide = weight.to(dtype)
        for chunk, log_p in _chunks(hidden, weight, bias, ctx.chunk_bytes):
            delta = _slope(log_p, _entropy(log_p)) * factor[chunk, None]
            if grad_hidden is not None:
                grad_hidden[chunk] = delta @ wide
            if grad_weight is not None:
                grad_weight.addmm_(delta.T, hidden[chunk].to(dtype))
            if grad_bias is not None:
                grad_bias += delta.sum(0)
        return (
            grad_hidden,
            None if grad_weight is None else grad_weight.to(weight.dtype),
            None if grad_bias is None else grad_bias.to(weight.dtype),
            None,
        )


def _sums(tensor: torch.Tensor) -> torch.Tensor:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def _chunks(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, chunk_bytes: int | None) -> Any:
    """Some rows at a time, and their log ŷ."""
    dtype, budget = _sums(hidden), devices.CHUNK_BYTES if chunk_bytes is None else chunk_bytes
    step = max(1, budget // (weight.shape[0] * TEMPORARIES * dtype.itemsize))
    wide, biases = weight.to(dtype), None if bias is None else bias.to(dtype)
    for begin in range(0, hidden.shape[0], step):
        chunk = slice(begin, min(begin + step, hidden.shape[0]))
        x = hidden[chunk].to(dtype)
        a = x @ wide.T if biases is None else torch.addmm(biases, x, wide.T)
        yield chunk, ops.by_row("log_softmax", a, None)
