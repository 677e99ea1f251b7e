"""PyTorch's `cross_entropy` and `linear_cross_entropy` by their names and signatures, computed by Chainrule.

    from chainrule.torch import cross_entropy  # was: from torch.nn.functional import cross_entropy

The loss and its gradient are computed in one pass, exactly at every margin, and the gradient is kept for backward.
docs/torch.md lists what differs from PyTorch on purpose.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from chainrule.boundary.extras import require

require("torch", "torch")

import torch  # noqa: E402
from torch.compiler import is_compiling as _is_compiling  # noqa: E402
from torch.overrides import handle_torch_function, has_torch_function  # noqa: E402

from chainrule.torch import formulas as _formulas  # noqa: E402, F401
from chainrule.torch import linear as _linear  # noqa: E402
from chainrule.torch import losses as _losses  # noqa: E402
from chainrule.torch.accelerate import accelerate  # noqa: E402
from chainrule.torch.arguments import loss_is_wide, options_of, reduction_of  # noqa: E402
from chainrule.torch.extras import names_of  # noqa: E402
from chainrule.torch.heads import check_options  # noqa: E402
from chainrule.torch.layer import Inputs  # noqa: E402
from chainrule.torch.likelihoods import entropy, logprobs  # noqa: E402
from chainrule.torch.losses import ordinary as _ordinary  # noqa: E402
from chainrule.torch.losses import ordinary_in_program as _ordinary_in_program  # noqa: E402

if TYPE_CHECKING:
    from chainrule.explain.modules import explain

__all__ = [
    "CrossEntropyLoss", "LinearCrossEntropyLoss", "accelerate", "cross_entropy", "entropy", "explain",
    "linear_cross_entropy", "logprobs",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name != "explain":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from chainrule.explain.modules import explain  # a third of the import's time, for who asks for it

    return explain


def cross_entropy(
    input: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    *,
    inplace: bool = False,
    temperature: float = 1.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    scale: float = 1.0,
    loss_dtype: torch.dtype | None = None,
    extras: Sequence[str] = (),
    group: Any = None,
) -> Any:
    """Cross entropy of softmax(input), with `torch.nn.functional.cross_entropy`'s signature and meaning.

    loss = Σ_j q_j (−log ŷ_j) with ŷ = softmax(input), and ∇ loss = Q ŷ − q, Q = Σ q; for a label q = e(ℓ): ŷ − e(ℓ).

    Parameters
    ----------
    input : tensor (C,), (N, C) or (N, C, d_1, …), float32, float64, bfloat16 or float16
        The logits.
    target : tensor of integers in [0, C), or `ignore_index`, of the input's shape without C; or class probabilities of
        the input's shape, finite and >= 0
    weight : tensor (C,), optional
        A weight of each class.
    size_average, reduce : bool, optional
        Deprecated, as in PyTorch.
    ignore_index : int
        Examples with this label count for nothing: loss 0, gradient 0.
    reduction : "mean", "sum" or "none"
    label_smoothing : float in [0, 1]
    inplace : bool
        Write the gradient over the logits, which must not be needed any more: no other N × C buffer is used. Then
        backward runs once, and there is no second derivative. A hint only where no gradient is wanted, under
        torch.compile and torch.func, and where logits of a K-dimensional loss lie unevenly.
    temperature : float > 0
        Divides the logits.
    z_loss : float >= 0
        λ of the term λ·logsumexp², added for each counted example.
    softcap : float > 0, optional
        c of c·tanh(input/c), which the loss sees for the logits; −∞ stays −∞.
    scale : float > 0
        Multiplies the logits, before the cap.
    loss_dtype : torch.float32, optional
        The dtype of the loss and the extras of 16-bit input.
    extras : sequence of names
        "logsumexp", "log_likelihood" (log ŷ_ℓ, neither weighted nor smoothed), "entropy" (of ŷ, in nats), each with its
        gradient, "prediction" and "correct", each of the input's shape without C.
    group : torch.distributed.ProcessGroup, optional
        The classes are split over its processes, in the order of ranks: input, class probabilities and weight are of
        this process's own classes, as many as it has, or none; labels count all classes, and rows are the same
        everywhere. Each process gets the whole loss, and its own logits' gradient. Eagerly, first derivatives only, and
        `inplace` is a hint that is not taken. A DTensor that is split by classes needs no `group`.

    Returns
    -------
    tensor
        The loss: a scalar, or for "none" of the input's shape without C. With extras a named tuple: `loss`, and what
        was asked for by name, None for the others.

    Raises
    ------
    InputError
        A wrong shape, dtype, device, target or option; with a group on any of its processes.
    ProcessError
        Another process of the group died, or did not answer within its timeout.

    Examples
    --------
    >>> logits = torch.tensor([[0.0, 20.0]], requires_grad=True)
    >>> loss = cross_entropy(logits, torch.tensor([1]))
    >>> loss.backward()
    >>> loss.item(), logits.grad.tolist()  # PyTorch's are 0.0 and [2.06e-09, 0.0]
    (2.06115369216775e-09, [[2.06115369216775e-09, -2.06115369216775e-09]])

    Source: the lecture, section 1: ∇_{a_L} 𝓛 = −(e(ℓ) − ŷ).
    """
    asked = weight, size_average, reduce, inplace, temperature, z_loss, softcap, scale, loss_dtype, extras, group
    ordinary = _ordinary_in_program if _is_compiling() else _ordinary
    loss = ordinary(input, target, ignore_index, reduction, label_smoothing, asked)
    if loss is not None:
        return loss
    if has_torch_function((input, target, weight)):  # subclasses, modes, and what torch.fx traces
        tensors = input, target, weight
        others = size_average, ignore_index, reduce, reduction, label_smoothing
        more: dict[str, Any] = {"temperature": temperature, "z_loss": z_loss, "softcap": softcap, "scale": scale}
        more |= {"loss_dtype": loss_dtype, "extras": extras, "group": group}
        return handle_torch_function(cross_entropy, tensors, *tensors, *others, inplace=inplace, **more)
    shape = temperature, z_loss, softcap, scale
    options = options_of(reduction_of(size_average, reduce, reduction), ignore_index, label_smoothing, *shape)
    in_float32 = loss_is_wide(loss_dtype, input)
    return _losses.cross_entropy(input, target, weight, options, inplace, in_float32, names_of(extras), group)


def linear_cross_entropy(
    input: torch.Tensor,
    linear_weight: torch.Tensor,
    target: torch.Tensor,
    *,
    linear_bias: torch.Tensor | None = None,
    weight: torch.Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
    accumulate: bool = False,
    chunk_bytes: int | None = None,
    temperature: float = 1.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    scale: float = 1.0,
    loss_dtype: torch.dtype | None = None,
    extras: Sequence[str] = (),
    group: Any = None,
) -> Any:
    """Cross entropy of softmax(input · linear_weightᵀ + linear_bias), with the logits never stored.

    a = W h + b,  loss = −log softmax(a)_ℓ,  ∇_W = (ŷ − e(ℓ)) hᵀ,  ∇_h = Wᵀ (ŷ − e(ℓ)).

    Parameters
    ----------
    input : tensor (D,), (N, D) or (…, D), float32, float64, bfloat16 or float16
        The hidden units.
    linear_weight : tensor (C, D), or (C, d_1, …, D) with input (N, D), of the same dtype
    target : tensor of integers in [0, C), or `ignore_index`, of the logits' shape without C; or class probabilities of
        the logits' shape
    linear_bias : tensor (C,) or (C, d_1, …), optional
    weight : tensor (C,), optional
        A weight of each class.
    reduction : "mean", "sum" or "none"
    ignore_index : int, optional
        −100 for None.
    label_smoothing : float in [0, 1]
    options : torch.nn.LinearCrossEntropyOptions, optional
        Accepted and not needed: rows always go in chunks, sums are kept in float32 or float64, and every derivative is
        there.
    accumulate : bool
        backward adds the weights' gradient to `linear_weight.grad` as it comes, instead of making a (C, D) of its own;
        it multiplies for the logits again then. `linear_weight` is a leaf, and no hooks see its gradient.
    chunk_bytes : int, optional
        At most this much memory beside inputs and outputs, in bytes: 64 MiB unless told. Not counted are, for 16 bits,
        the float32 sums of the weights' gradient. Second derivatives and forward mode store the logits.
    temperature, z_loss, softcap, scale, extras
        As in `cross_entropy`. Extras are computed in the loss's own pass; in a compiled program, and under torch.func,
        they store the logits.
    loss_dtype : torch.float32, optional
        The dtype of the loss and the extras of 16-bit input; float16 is multiplied in float32 too.
    group : torch.distributed.ProcessGroup, optional
        As in `cross_entropy`: weights (C_r, D) and biases are of this process's own classes, and the hidden units, the
        same everywhere, get the gradient of all classes.

    Returns
    -------
    tensor
        The loss: a scalar, or for "none" of the logits' shape without C; with extras a named tuple.

    Raises
    ------
    InputError
        A wrong shape, dtype, device, target or option.

    Examples
    --------
    >>> hidden, weight = torch.tensor([[1.0, 2.0]]), torch.eye(2, requires_grad=True)
    >>> linear_cross_entropy(hidden, weight, torch.tensor([1])).backward()
    >>> [[round(x, 4) for x in row] for row in weight.grad.tolist()]
    [[0.2689, 0.5379], [-0.2689, -0.5379]]

    Source: the lecture, sections 1 to 3.
    """
    tensors = input, linear_weight, target, linear_bias, weight
    if has_torch_function(tensors):
        return handle_torch_function(
            linear_cross_entropy,
            tensors,
            *tensors[:3],
            linear_bias=linear_bias,
            weight=weight,
            reduction=reduction,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            options=options,
            accumulate=accumulate,
            chunk_bytes=chunk_bytes,
            temperature=temperature,
            z_loss=z_loss,
            softcap=softcap,
            scale=scale,
            loss_dtype=loss_dtype,
            extras=extras,
            group=group,
        )
    check_options(options)
    inputs = Inputs(input, linear_weight, linear_bias, target, weight)
    loss = options_of(reduction, ignore_index, label_smoothing, temperature, z_loss, softcap, scale)
    return _linear.linear_cross_entropy(
        inputs,
        loss,
        chunk_bytes,
        ignores=ignore_index is not None,
        accumulate=accumulate,
        in_float32=loss_is_wide(loss_dtype, input),
        extras=names_of(extras),
        group=group,
    )


class CrossEntropyLoss(torch.nn.CrossEntropyLoss):  # type: ignore[misc]
    """`torch.nn.CrossEntropyLoss`, computed by `chainrule.torch.cross_entropy`.

    loss = Σ_j q_j (−log ŷ_j) with ŷ = softmax(input).

    Parameters
    ----------
    weight, size_average, ignore_index, reduce, reduction, label_smoothing, inplace, temperature, z_loss, softcap,
    scale, loss_dtype, extras
        As in `cross_entropy`.

    Raises
    ------
    InputError
        When called: a wrong shape, dtype, device, target or option.

    Examples
    --------
    >>> round(CrossEntropyLoss()(torch.zeros(3, 4), torch.tensor([0, 1, 2])).item(), 4)
    1.3863

    Source: the lecture, section 1.
    """

    def __init__(
        self,
        weight: torch.Tensor | None = None,
        size_average: Any = None,
        ignore_index: int = -100,
        reduce: Any = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        *,
        inplace: bool = False,
        temperature: float = 1.0,
        z_loss: float = 0.0,
        softcap: float | None = None,
        scale: float = 1.0,
        loss_dtype: torch.dtype | None = None,
        extras: Sequence[str] = (),
    ) -> None:
        super().__init__(weight, size_average, ignore_index, reduce, reduction, label_smoothing)
        self.inplace = inplace
        self.temperature, self.z_loss, self.softcap, self.scale = temperature, z_loss, softcap, scale
        self.loss_dtype, self.extras = loss_dtype, names_of(extras)

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> Any:
        return cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
            inplace=self.inplace,
            temperature=self.temperature,
            z_loss=self.z_loss,
            softcap=self.softcap,
            scale=self.scale,
            loss_dtype=self.loss_dtype,
            extras=self.extras,
        )


class LinearCrossEntropyLoss(torch.nn.Module):  # type: ignore[misc]
    """`torch.nn.LinearCrossEntropyLoss`: a linear layer with its loss, computed by `linear_cross_entropy`.

    a = W h + b,  loss = −log softmax(a)_ℓ.

    Parameters
    ----------
    in_features, num_classes : int
    out_features : tuple of int
        d_1, … of a K-dimensional loss.
    bias : bool
    device, dtype
        Of the weights, which `self.linear` holds.
    reduction, weight, ignore_index, label_smoothing, options, accumulate, chunk_bytes, temperature, z_loss,
    softcap, scale, loss_dtype, extras
        As in `linear_cross_entropy`.

    Raises
    ------
    InputError
        When called: a wrong shape, dtype, device, target or option.

    Examples
    --------
    >>> layer = LinearCrossEntropyLoss(8, 5)
    >>> layer(torch.zeros(3, 8), torch.tensor([0, 1, 2])).shape
    torch.Size([])

    Source: the lecture, sections 1 to 3.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: Any = None,
        dtype: Any = None,
        reduction: str = "mean",
        weight: torch.Tensor | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: Any = None,
        accumulate: bool = False,
        chunk_bytes: int | None = None,
        temperature: float = 1.0,
        z_loss: float = 0.0,
        softcap: float | None = None,
        scale: float = 1.0,
        loss_dtype: torch.dtype | None = None,
        extras: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.num_classes, self.out_features = num_classes, tuple(out_features)
        self.reduction, self.ignore_index, self.label_smoothing = reduction, ignore_index, label_smoothing
        self.options, self.accumulate, self.chunk_bytes = options, accumulate, chunk_bytes
        self.temperature, self.z_loss, self.softcap, self.scale = temperature, z_loss, softcap, scale
        self.loss_dtype, self.extras = loss_dtype, names_of(extras)
        rows = num_classes * math.prod(self.out_features)
        self.linear = torch.nn.Linear(in_features, rows, bias=bias, device=device, dtype=dtype)

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> Any:
        weight, bias = self.linear.weight, self.linear.bias
        if self.out_features:
            shape = (self.num_classes, *self.out_features)
            weight, bias = weight.reshape(*shape, -1), None if bias is None else bias.reshape(shape)
        return linear_cross_entropy(
            input,
            weight,
            target,
            linear_bias=bias,
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            options=self.options,
            accumulate=self.accumulate,
            chunk_bytes=self.chunk_bytes,
            temperature=self.temperature,
            z_loss=self.z_loss,
            softcap=self.softcap,
            scale=self.scale,
            loss_dtype=self.loss_dtype,
            extras=self.extras,
        )

    def extra_repr(self) -> str:
        return (
            f"num_classes={self.num_classes}, out_features={self.out_features}, reduction={self.reduction!r}, "
            f"ignore_index={self.ignore_index}, label_smoothing={self.label_smoothing}"
        )
