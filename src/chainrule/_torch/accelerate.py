"""The loss of a causal language model of Hugging Face Transformers, computed from its last hidden units: no logits."""

from __future__ import annotations

import contextvars
import dataclasses
import functools
import inspect
from typing import Any, TypeVar

import torch

from chainrule._torch.linear import linear_cross_entropy
from chainrule.errors import InputError

__all__ = ["accelerate"]

Model = TypeVar("Model")


class _Request:
    """The labels of a forward pass that asks for a loss, and what the last layer makes of them."""

    def __init__(self, labels: Any, options: dict[str, Any]):
        self.labels, self.options = labels, options
        self.hidden: Any = None
        self.loss: Any = None


_request: contextvars.ContextVar[_Request | None] = contextvars.ContextVar("request", default=None)


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
        The model has another head or another loss; or, when it is called, it changes the logits after its last layer.

    Examples
    --------
    >>> accelerate(torch.nn.Linear(2, 2))
    Traceback (most recent call last):
    chainrule.errors.InputError: model: got Linear, expected a causal language model of Hugging Face Transformers

    Source: the lecture, sections 1 to 3.
    """
    get_head, loss = getattr(model, "get_output_embeddings", None), getattr(model, "loss_function", None)
    name = type(model).__name__
    if get_head is None or loss is None:
        raise InputError(f"model: got {name}, expected a causal language model of Hugging Face Transformers")
    head = get_head()
    if type(head) is not torch.nn.Linear:
        raise InputError(f"model: got a {name} whose head is {type(head).__name__}, expected torch.nn.Linear")
    if getattr(loss, "__name__", "") != "ForCausalLMLoss":
        raise InputError(f"model: got a {name} with the loss {loss!r}, expected the library's ForCausalLMLoss")
    if hasattr(model.forward, "chainrule"):  # type: ignore[attr-defined]
        return model
    head.forward = _head_forward(head, head.forward)
    model.forward = _model_forward(name, model.forward)  # type: ignore[attr-defined]
    return model


def _head_forward(head: Any, original: Any) -> Any:
    @functools.wraps(original)
    def forward(hidden: torch.Tensor) -> torch.Tensor:
        request = _request.get()
        if request is None:
            return original(hidden)
        request.hidden = hidden
        request.loss = _loss(hidden, head.weight, head.bias, request.labels, **request.options)
        return hidden  # stands for the logits

    return forward


def _model_forward(name: str, original: Any) -> Any:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind_partial(*args, **kwargs)
        labels = given.arguments.pop("labels", None)
        if labels is None:
            return original(*args, **kwargs)
        extra = next((p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD), "")
        more = given.arguments.get(extra, {})
        names = ("num_items_in_batch", "ignore_index", "shift_labels")
        where = given.arguments if "return_dict" in signature.parameters else more
        as_tuple = where.get("return_dict") is False
        if as_tuple:
            where["return_dict"] = True
        request = _Request(labels, {key: more[key] for key in names if key in more})
        token = _request.set(request)
        try:
            output = original(*given.args, **given.kwargs)
        finally:
            _request.reset(token)
        if request.loss is None or output.logits is not request.hidden:
            raise InputError(
                f"model: got a {name} that changes its logits after its last layer, which has no place here"
            )
        values = {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
        output = type(output)(**values | {"logits": None, "loss": request.loss})  # whose keys are what is not None
        return output.to_tuple() if as_tuple else output

    forward.chainrule = True  # type: ignore[attr-defined]
    return forward


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
    flat = hidden.reshape(-1, hidden.shape[-1]), weight, shift_labels.reshape(-1).to(hidden.device)
    loss = linear_cross_entropy(*flat, bias, None, reduction, ignore_index, 0.0, False, None, in_float32=True)
    if num_items_in_batch is None:
        return loss
    count = num_items_in_batch.to(loss.device) if isinstance(num_items_in_batch, torch.Tensor) else num_items_in_batch
    return loss / count
