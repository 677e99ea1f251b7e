"""The loss of a causal language model of Hugging Face Transformers, computed from its last hidden units: no logits.

A model and its head are given classes of their own, derived from what they were, so that copies, replicas and pickles
compute with their own weights. Called with labels, the head computes the loss, where FSDP has its weights together, and
hands on a tensor of the logits' shape without memory. The model's own forward goes its way with that, adds what it adds
(losses of experts), and its `loss_function` returns the head's loss for just that tensor: logits that were changed are
not it.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import threading
from typing import Any, TypeVar

import torch

from chainrule.errors import InputError
from chainrule.torch.arguments import options_of
from chainrule.torch.layer import Inputs
from chainrule.torch.linear import linear_cross_entropy

__all__ = ["accelerate"]

Model = TypeVar("Model")
NO_PLACE = "which has no place in an accelerated model"
OPTIONS = ("num_items_in_batch", "ignore_index", "shift_labels")


class _Request:
    """The labels of a forward pass that asks for a loss, and what the last layer makes of them."""

    def __init__(self, head: Any, labels: Any, options: dict[str, Any]):
        self.head, self.labels, self.options = head, labels, options
        self.logits: Any = None  # what stands for them
        self.loss: Any = None
        self.taken = False


class _State(threading.local):
    """The request of the model that runs in this thread. No context variable, which torch.compile cannot trace."""

    request: _Request | None = None


_state = _State()


def accelerate(model: Model) -> Model:
    """Let a causal language model compute its loss without its logits, where it is called with labels.

    loss = mean of −log softmax(W h_t + b)_{label t+1}, by `linear_cross_entropy` of the last hidden units.

    Parameters
    ----------
    model : a causal language model of Hugging Face Transformers
        Its output embedding is a `torch.nn.Linear` and its loss the library's own for causal models. It is changed:
        called with labels it returns the loss and no logits; without labels nothing is different.

    Returns
    -------
    the same model

    Raises
    ------
    InputError
        The model has another head or another loss, or hooks in the place of a forward; or, when it is called with
        labels, it changes the logits after its last layer, or computes its loss by other means.

    Examples
    --------
    >>> accelerate(torch.nn.Linear(2, 2))
    Traceback (most recent call last):
    chainrule.errors.InputError: model: got Linear, expected a causal language model of Hugging Face Transformers

    Source: the lecture, sections 1 to 3.
    """
    get_head, loss = getattr(model, "get_output_embeddings", None), getattr(model, "loss_function", None)
    name = type(model).__name__
    if get_head is None or loss is None or not isinstance(model, torch.nn.Module):
        raise InputError(f"model: got {name}, expected a causal language model of Hugging Face Transformers")
    if isinstance(model, _Accelerated):
        return model
    head = get_head()
    if type(head) is not torch.nn.Linear and not isinstance(head, _Head):
        raise InputError(f"model: got a {name} whose head is {type(head).__name__}, expected torch.nn.Linear")
    if getattr(loss, "__name__", "") != "ForCausalLMLoss":
        raise InputError(f"model: got a {name} with the loss {loss!r}, expected the library's ForCausalLMLoss")
    if "forward" in vars(model) or "forward" in vars(head):
        raise InputError(f"model: got a {name} with a forward put in the place of its class's, expected it without")
    kind: Any = type(model)
    head.__class__, model.__class__ = _Head, _accelerated(kind)
    return model


class _Head(torch.nn.Linear):  # type: ignore[misc]
    """The last layer; asked for a loss, it computes that and returns what stands for the logits."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        request = _state.request
        if request is None or request.head is not self:
            return super().forward(input)
        request.loss = _loss(input, self.weight, self.bias, request.labels, **request.options)
        nothing = input.new_full((), torch.nan).expand(*input.shape[:-1], self.weight.shape[0])
        request.logits = nothing.as_subclass(_Logits) if type(nothing) is torch.Tensor else nothing  # else fake
        return request.logits

    def _get_name(self) -> str:
        return "Linear"


class _Logits(torch.Tensor):  # type: ignore[misc]
    """What stands for logits: a shape without memory, that can be handed on and not read or changed."""

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.__name__
        if name in ("contiguous", "float"):  # some models ask for these, which change no number
            return args[0]
        if name not in ("__get__", "__repr__", "dim", "numel", "size"):
            raise InputError(f"model: reads or changes its logits after its last layer ({name}), {NO_PLACE}")
        with torch._C.DisableTorchFunctionSubclass():
            return function(*args, **(kwargs or {}))


class _Accelerated:
    """What an accelerated model's class has before the model's own."""

    _names: tuple[str, ...] = ()  # the parameters of the model's forward

    def _compute(self, original: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The model's own forward, with labels or without."""
        given = dict(zip(self._names, args, strict=False)) | kwargs
        before, request = _state.request, None  # within another model's forward there is one already
        if given.get("labels") is not None:
            options = {name: given[name] for name in OPTIONS if given.get(name) is not None}
            request = _Request(_head_of(self), given["labels"], options)
        _state.request = request
        try:
            output = original(*args, **kwargs)
        finally:
            _state.request = before
        if request is None:
            return output
        if not request.taken:
            raise InputError(
                f"model: got a {type(self).__name__} that computes its loss from other logits than its last layer's, "
                f"or by other means than its loss_function, {NO_PLACE}"
            )
        if isinstance(output, tuple):
            return tuple(part for part in output if part is not request.logits)
        values = {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
        return type(output)(**values | {"logits": None})  # whose keys are what is not None

    @property
    def loss_function(self) -> Any:
        return self._loss

    @loss_function.setter
    def loss_function(self, value: Any) -> None:
        raise InputError(f"loss_function: got {value!r} for an accelerated model, expected one set before accelerate")

    def _loss(self, logits: Any, labels: Any, *args: Any, **kwargs: Any) -> Any:
        """The loss that the head has computed, if it is that of these logits and labels."""
        request = _state.request
        if request is None or logits is not request.logits:
            return super().loss_function(logits, labels, *args, **kwargs)  # type: ignore[misc]
        if labels is not request.labels or any(kwargs.get(name) is not request.options.get(name) for name in OPTIONS):
            raise InputError(f"model: computes its loss from other labels than it was called with, {NO_PLACE}")
        request.taken = True
        return request.loss

    def __reduce_ex__(self, protocol: Any) -> Any:
        kinds: Any = type(self).__mro__
        parts: Any = super().__reduce_ex__(max(2, protocol))
        return (_new, (kinds[kinds.index(_Accelerated) + 1],), *parts[2:])


@functools.cache
def _accelerated(kind: Any) -> Any:
    """The class of an accelerated model, by its model's name."""

    @functools.wraps(kind.forward)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self._compute(functools.partial(kind.forward, self), args, kwargs)

    names = tuple(inspect.signature(kind.forward).parameters)[1:]
    own = {"forward": forward, "_names": names, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(kind.__name__, (_Accelerated, kind), own | {"__doc__": kind.__doc__})


def _new(kind: Any) -> Any:
    """An accelerated model without its state: pickle and copy give it that."""
    found = _accelerated(kind)
    return found.__new__(found)


def _head_of(model: Any) -> Any:
    """The head, which may have come since (resized embeddings bring a new one)."""
    head = model.get_output_embeddings()
    if type(head) is torch.nn.Linear:
        head.__class__ = _Head
    if not isinstance(head, _Head):
        name, kind = type(model).__name__, type(head).__name__
        raise InputError(f"model: got a {name} whose head has become a {kind}, expected torch.nn.Linear")
    return head


def _loss(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    labels: torch.Tensor,
    num_items_in_batch: Any = None,
    ignore_index: int = -100,
    shift_labels: torch.Tensor | None = None,
) -> torch.Tensor:
    """What the library's loss gives for the logits of these hidden units."""
    if shift_labels is None:  # tokens before n predict n
        shift_labels = torch.nn.functional.pad(labels, (0, 1), value=ignore_index)[..., 1:]
    reduction = "mean" if num_items_in_batch is None else "sum"
    target = shift_labels.reshape(-1).to(hidden.device)
    inputs = Inputs(hidden.reshape(-1, hidden.shape[-1]), weight, bias, target, None)
    loss = linear_cross_entropy(inputs, options_of(reduction, ignore_index, 0.0), None, in_float32=True)
    if num_items_in_batch is None:
        return loss
    count = num_items_in_batch.to(loss.device) if isinstance(num_items_in_batch, torch.Tensor) else num_items_in_batch
    return loss / count
