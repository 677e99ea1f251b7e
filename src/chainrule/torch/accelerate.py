"""The loss of a causal language model of Hugging Face Transformers, computed from its last hidden units: no logits.

A model and its head are given classes of their own, derived from what they were, so that copies, replicas and pickles
compute with their own weights. Called with labels, the head computes the loss, where FSDP has its weights together, and
hands on a tensor of the logits' shape without memory. The model's own forward goes its way with that, adds what it adds
(losses of experts), and its `loss_function` returns the head's loss for just that tensor: logits that were changed are
not it, but for a multiplier and a cap (Gemma 2, Cohere, Granite), which the head has read in the configuration and
which the tensor writes down as the model applies them.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import threading
from typing import Any, TypeVar

import torch

from chainrule.errors import InputError
from chainrule.output.options import LossOptions
from chainrule.torch.arguments import options_of
from chainrule.torch.layer import Inputs
from chainrule.torch.linear import linear_cross_entropy

__all__ = ["accelerate"]

Model = TypeVar("Model")
NO_PLACE = "which has no place in an accelerated model"
OPTIONS = ("num_items_in_batch", "ignore_index", "shift_labels")


class _Request:
    """The labels of a forward pass that asks for a loss, and what the last layer makes of them."""

    def __init__(self, head: Any, labels: Any, options: dict[str, Any], form: tuple[float, float]):
        self.head, self.labels, self.options = head, labels, options
        self.form = form  # the multiplier and the cap that the loss was computed with, 0 for none
        self.logits: Any = None  # what stands for them
        self.nothing: Any = None  # the same as a tensor like any other
        self.loss: Any = None
        self.inputs: Any = None  # of the loss
        self.taken = False
        self.shifted = False  # by the model itself
        self.before = 1.0  # what the model multiplies logits with before tanh,
        self.after: float | None = None  # and after it, if it is there

    def write_down(self, name: str, args: Any) -> bool:
        """Is this an operation that a form can have? Then what stands for the logits is what comes of it."""
        multiplies = name in ("mul", "__mul__", "__rmul__", "multiply")
        divides = name in ("div", "__truediv__", "true_divide", "divide")
        if args[0] is not self.logits:
            args = args[::-1] if multiplies else ()
        if not args or args[0] is not self.logits:
            return False
        if name == "tanh" and self.after is None:
            self.after = 1.0
        elif (multiplies or divides) and len(args) == 2 and type(args[1]) in (int, float) and args[1] > 0:
            by = float(args[1]) if multiplies else 1.0 / float(args[1])
            if self.after is None:
                self.before *= by
            else:
                self.after *= by
        else:
            return False
        return True

    def moved(self, name: str, args: Any) -> Any:
        """What stands for the logits without the last token's, or with rows put together; else None."""
        if not args or args[0] is not self.logits:
            return None
        last = (Ellipsis, slice(None, -1, None), slice(None, None, None))
        if name == "__getitem__" and args[1] == last and not self.shifted:
            self.shifted = True
            return self.nothing[last]
        if name in ("view", "reshape"):
            flat = self.nothing.reshape(*args[1:])
            return flat if flat.shape[-1] == self.nothing.shape[-1] else None
        return None

    def cross_entropy(
        self, logits: Any, target: Any, weight: Any = None, size_average: Any = None, ignore_index: int = -100,
        reduce: Any = None, reduction: str = "mean", label_smoothing: float = 0.0,
    ) -> Any:  # fmt: skip
        """The loss of a model that calls PyTorch's own, for logits that it has shifted by itself."""
        others = weight, size_average, reduce, label_smoothing or None
        if logits is not self.logits or not self.shifted or any(x is not None for x in others) or reduction != "mean":
            raise InputError(f"model: computes its loss with options of its own, {NO_PLACE}")
        self.taken = True
        hidden, weights, bias = self.inputs
        rows = hidden[..., :-1, :].reshape(-1, hidden.shape[-1])
        return _loss(rows, weights, bias, None, self.written(), ignore_index=ignore_index, shift_labels=target)

    def written(self) -> tuple[float, float]:
        """The form: c tanh(s a/c) is `after` times the tanh of `before` times a."""
        if self.after is None:
            return self.before, 0.0
        return self.before * self.after, self.after


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
        Its output embedding is a `torch.nn.Linear`, with LoRA or without, and its loss the library's own for causal
        models. It may stand within a model of PEFT's. It is changed: called with labels it returns the loss and no
        logits. Nothing is different without labels, nor in evaluation (`model.eval()` under `torch.no_grad()`), where
        metrics may need the logits.

    Returns
    -------
    the same model

    Raises
    ------
    InputError
        The model has another head or another loss, or hooks in the place of a forward; or, when it is called with
        labels, it changes the logits after its last layer otherwise than by a multiplier and a cap, or computes its
        loss by other means.

    Examples
    --------
    >>> accelerate(torch.nn.Linear(2, 2))
    Traceback (most recent call last):
    chainrule.errors.InputError: model: got Linear, expected a causal language model of Hugging Face Transformers

    Source: the lecture, sections 1 to 3.
    """
    inner = getattr(model, "get_base_model", None)  # PEFT's, around the model itself
    if isinstance(model, torch.nn.Module) and callable(inner) and inner() is not model:
        accelerate(inner())
        return model
    get_head, loss = getattr(model, "get_output_embeddings", None), getattr(model, "loss_function", None)
    name = type(model).__name__
    if get_head is None or loss is None or not isinstance(model, torch.nn.Module):
        raise InputError(f"model: got {name}, expected a causal language model of Hugging Face Transformers")
    if isinstance(model, _Accelerated):
        return model
    head = _active(get_head())
    if not _takes(head):
        raise InputError(f"model: got a {name} whose head is {type(head).__name__}, expected torch.nn.Linear")
    if getattr(loss, "__name__", "") != "ForCausalLMLoss":
        raise InputError(f"model: got a {name} with the loss {loss!r}, expected the library's ForCausalLMLoss")
    if "forward" in vars(model) or "forward" in vars(head):
        raise InputError(f"model: got a {name} with a forward put in the place of its class's, expected it without")
    kind: Any = type(model)
    _head_of(model)
    model.__class__ = _accelerated(kind)
    return model


class _Asked:
    """What the last layer's class has before its own: asked for a loss, it computes that and returns what stands for
    the logits."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        request = _state.request
        if request is None or request.head is not self:
            output: torch.Tensor = super().forward(input)  # type: ignore[misc]
            return output
        request.inputs = _with_adapters(self, input)
        hidden, weight, bias = request.inputs
        request.loss = _loss(hidden, weight, bias, request.labels, request.form, **request.options)
        nothing = input.new_full((), torch.nan).expand(*input.shape[:-1], request.inputs[1].shape[0])
        request.nothing = nothing
        request.logits = nothing.as_subclass(_Logits) if type(nothing) is torch.Tensor else nothing  # else fake
        return request.logits


class _Head(_Asked, torch.nn.Linear):  # type: ignore[misc]
    """The last layer of most models."""

    def _get_name(self) -> str:
        return "Linear"


@functools.cache
def _asked(kind: Any) -> Any:
    """The class of a last layer that is no plain `torch.nn.Linear`: of one with parametrized weights, or with LoRA."""

    def __reduce_ex__(self: Any, protocol: Any) -> Any:
        parts: Any = kind.__reduce_ex__(self, max(2, protocol))
        return (_new_head, (kind,), *parts[2:])

    own = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__reduce_ex__": __reduce_ex__}
    return _Head if kind is torch.nn.Linear else type(kind.__name__, (_Asked, kind), own)


def _new_head(kind: Any) -> Any:
    found = _asked(kind)
    return found.__new__(found)


def _has_lora(head: Any) -> bool:
    """Is this a linear layer with adapters of low rank, as PEFT makes one?"""
    parts = ("base_layer", "lora_A", "lora_B", "lora_dropout", "scaling", "active_adapters")
    return all(hasattr(head, part) for part in parts) and isinstance(head.base_layer, torch.nn.Linear)


def _active(head: Any) -> Any:
    """The layer that is called: PEFT puts a trained copy of a whole layer (`modules_to_save`) beside the original."""
    if not (hasattr(head, "original_module") and hasattr(head, "modules_to_save")):
        return head
    names = head.active_adapters
    used = not head.disable_adapters and names and all(name in head.modules_to_save for name in names)
    return head.modules_to_save[names[0]] if used else head.original_module


def _takes(head: Any) -> bool:
    """Is this a linear layer, called as one?"""
    if isinstance(head, _Asked):
        return True
    linear = isinstance(head, torch.nn.Linear) and type(head).forward is torch.nn.Linear.forward
    return linear or _has_lora(head)


def _with_adapters(head: Any, input: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """Hidden units, weights and biases whose product is the head's output: W h + s B A h = [W, B] [h; s A h]."""
    if not _has_lora(head):
        return input, head.weight, head.bias
    base = head.base_layer
    hidden, weights = [input], [base.weight]
    if not getattr(head, "disable_adapters", False) and not getattr(head, "merged", False):
        for name in head.active_adapters:
            if name not in head.lora_A:
                continue
            if getattr(head, "use_dora", {}).get(name, False):
                raise InputError(f"model: got a last layer with DoRA in its adapter {name!r}, expected LoRA")
            a, b = head.lora_A[name], head.lora_B[name]
            hidden.append(a(head.lora_dropout[name](input.to(a.weight.dtype))) * head.scaling[name])
            weights.append(b.weight)
    if len(hidden) == 1:
        return input, base.weight, base.bias
    dtype = functools.reduce(torch.promote_types, (part.dtype for part in (*hidden, *weights)))
    joined = (torch.cat([part.to(dtype) for part in parts], -1) for parts in (hidden, weights))
    return *joined, None if base.bias is None else base.bias.to(dtype)


class _Logits(torch.Tensor):  # type: ignore[misc]
    """What stands for logits: a shape without memory, that can be handed on and not read or changed."""

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.__name__
        if name in ("contiguous", "float"):  # some models ask for these, which change no number
            return args[0]
        request = _state.request
        if request is not None and name == "cross_entropy" and function is torch.nn.functional.cross_entropy:
            return request.cross_entropy(*args, **(kwargs or {}))
        if request is not None and not kwargs:
            moved = request.nothing if request.write_down(name, args) else request.moved(name, args)
            if moved is not None:
                request.nothing = moved
                request.logits = moved.as_subclass(_Logits)  # the one before may be read no more
                return request.logits
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
        if given.get("labels") is not None and (self.training or torch.is_grad_enabled()):  # type: ignore[attr-defined]
            options = {name: given[name] for name in OPTIONS if given.get(name) is not None}
            request = _Request(_head_of(self), given["labels"], options, _form_of(self))
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
            return tuple(part for part in output if not (part is request.logits or isinstance(part, _Logits)))
        if not dataclasses.is_dataclass(output):
            return output
        values = {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
        made: Any = type(output)
        return made(**values | {"logits": None})  # whose keys are what is not None

    @property
    def loss_function(self) -> Any:
        return self._loss

    @loss_function.setter
    def loss_function(self, value: Any) -> None:
        raise InputError(f"loss_function: got {value!r} for an accelerated model, expected one set before accelerate")

    def _loss(self, logits: Any, labels: Any, *args: Any, **kwargs: Any) -> Any:
        """The loss that the head has computed, if it is that of these logits and labels."""
        request = _state.request
        if request is None or logits is not request.logits or request.shifted:
            return super().loss_function(logits, labels, *args, **kwargs)  # type: ignore[misc]
        if labels is not request.labels or any(kwargs.get(name) is not request.options.get(name) for name in OPTIONS):
            raise InputError(f"model: computes its loss from other labels than it was called with, {NO_PLACE}")
        request.taken = True
        form = request.written()
        if any(abs(a - b) > 1e-6 * abs(b) for a, b in zip(form, request.form, strict=True)):  # not what was foreseen
            hidden, weight, bias = request.inputs
            return _loss(hidden, weight, bias, request.labels, form, **request.options)
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
    head = _active(model.get_output_embeddings())
    if not _takes(head):
        name, kind = type(model).__name__, type(head).__name__
        raise InputError(f"model: got a {name} whose head has become a {kind}, expected torch.nn.Linear")
    if not isinstance(head, _Asked):
        own: Any = type(head)
        head.__class__ = _asked(own)
    return head


def _form_of(model: Any) -> tuple[float, float]:
    """The multiplier and the cap of a model's logits, by the names that these have in the library."""
    config = getattr(model, "config", None)
    config = getattr(config, "text_config", None) or config
    cap: Any = getattr(config, "final_logit_softcapping", None)
    divisor: Any = getattr(config, "logits_scaling", None)
    scale: Any = getattr(model, "logit_scale", None)
    if type(scale) not in (int, float):
        scale = 1.0 / divisor if type(divisor) in (int, float) and divisor else 1.0
    return float(scale), float(cap) if type(cap) in (int, float) else 0.0


def _loss(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    labels: Any,
    form: tuple[float, float] = (1.0, 0.0),
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
    scale = 1.0 if abs(form[0] - 1.0) < 1e-12 else form[0]  # (1/c) c
    options: LossOptions = options_of(reduction, ignore_index, 0.0, 1.0, 0.0, form[1] or None, scale)
    loss = linear_cross_entropy(inputs, options, None, in_float32=True)
    if num_items_in_batch is None:
        return loss
    count = num_items_in_batch.to(loss.device) if isinstance(num_items_in_batch, torch.Tensor) else num_items_in_batch
    return loss / count
