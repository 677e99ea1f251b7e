"""What comes in of a last layer: hidden units, weights and biases that fit together, as they are multiplied."""

from __future__ import annotations

from typing import Any

import torch

from chainrule.errors import InputError
from chainrule.torch.arguments import autocasts, check_same, check_tensor, describe

__all__ = ["check_head", "check_leaf", "check_options", "in_autocast", "scalable"]


def check_options(options: Any) -> None:
    kind = getattr(torch.nn, "LinearCrossEntropyOptions", None)  # PyTorch has them since 2.13
    if options is not None and not (kind is not None and isinstance(options, kind)):
        came = describe(options)
        raise InputError(f"options: got {came}, expected a torch.nn.LinearCrossEntropyOptions or None")


def check_head(
    input: torch.Tensor, linear_weight: torch.Tensor, linear_bias: torch.Tensor | None, *, empty: bool = False
) -> None:
    """Hidden units (…, D), weights (K, …, D) and biases (K, …) of one dtype on one device; `empty`: K may be 0."""
    if hasattr(linear_weight, "ds_shape") and linear_weight.numel() == 0:
        raise InputError(
            f"linear_weight: got no element of {tuple(linear_weight.ds_shape)}, which DeepSpeed's ZeRO-3 has split, "
            "expected it within deepspeed.zero.GatheredParameters"
        )
    check_tensor("input", input, "(D,) or (…, D)", 1)
    check_tensor("linear_weight", linear_weight, "(K, D) or (K, d_1, …, D)", 2)
    d, shape = input.shape[-1], tuple(linear_weight.shape)
    if shape[-1] != d or (shape[0] == 0 and not empty) or d == 0:
        raise InputError(
            f"linear_weight: got shape {shape}, expected (K, …, {d}) for input of shape {tuple(input.shape)}"
        )
    check_same("linear_weight", linear_weight, shape, input, dtype=True)
    if linear_bias is not None:
        check_same("linear_bias", linear_bias, shape[:-1], input, dtype=True)


def in_autocast(
    input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, bool]:
    """What autocast multiplies, and whether the loss is then float32."""
    tensors = (input, weight, bias)
    if not isinstance(input, torch.Tensor) or not autocasts(input):
        return input, weight, bias, False
    dtype = torch.get_autocast_dtype(input.device.type)
    narrow = (torch.float32, torch.float16, torch.bfloat16)
    input, weight, bias = (
        tensor.to(dtype) if isinstance(tensor, torch.Tensor) and tensor.dtype in narrow else tensor
        for tensor in tensors
    )
    wide = input.dtype in narrow[1:]
    return *scalable(input, weight, bias), wide


def scalable(*tensors: Any) -> tuple[Any, ...]:
    """float16 as float32: it would lose gradients before what scales the loss has scaled them."""
    if not isinstance(tensors[0], torch.Tensor) or tensors[0].dtype != torch.float16:
        return tensors
    return tuple(tensor.float() if isinstance(tensor, torch.Tensor) else tensor for tensor in tensors)


def check_leaf(leaf: torch.Tensor, weight: torch.Tensor, many: bool) -> None:
    if torch.compiler.is_compiling() or many or weight is not leaf or not (leaf.is_leaf and leaf.requires_grad):
        raise InputError(
            f"accumulate: got linear_weight as {describe(leaf)}, expected a leaf (K, D) that requires its gradient, "
            "outside torch.compile and autocast"
        )
