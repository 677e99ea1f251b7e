"""Networks from PyTorch's and scikit-learn's classifiers, and back, and to ONNX: the same numbers."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.activations import ACTIVATIONS
from chainrule.boundary.extras import require
from chainrule.boundary.files import write_atomically
from chainrule.errors import InputError
from chainrule.network.layers import Layers
from chainrule.version import __version__

__all__ = [
    "as_layers", "begins_with_flatten", "from_sklearn", "from_torch", "is_module", "to_numpy", "to_onnx", "to_torch",
]  # fmt: skip

_TORCH = {row.torch: row for row in ACTIVATIONS.values()}
_DROPOUT = ("Dropout", "AlphaDropout", "FeatureAlphaDropout")
_EXPECTED = "expected a Sequential of Linear layers and activations"
_OPSET, _IR = 17, 8  # old enough for every runtime of the last years


def as_layers(model: Any) -> Layers:
    """See `chainrule.network.network.as_network`."""
    if isinstance(model, Layers):
        if isinstance(model.weights[0], np.ndarray):
            return model
        weights, biases = ([to_numpy(a) for a in side] for side in (model.weights, model.biases))
        return Layers(weights, biases, model.activation)
    if is_module(model):
        return from_torch(model)
    if hasattr(model, "coefs_") or hasattr(model, "hidden_layer_sizes"):
        return from_sklearn(model)
    raise InputError(
        f"net: got {type(model).__name__}, expected a Network, a PyTorch Sequential or scikit-learn's MLPClassifier"
    )


def is_module(model: Any) -> bool:
    """Whether it is a PyTorch module."""
    nn = sys.modules.get("torch.nn")  # a module cannot be there without it
    return isinstance(model, getattr(nn, "Module", ()))


def to_numpy(array: Any) -> Any:
    """A copy as a NumPy array; PyTorch's half precisions become float32."""
    if hasattr(array, "detach"):
        array = array.detach().cpu()
        return (array.float() if array.dtype.itemsize < 4 else array).numpy().copy()
    return np.array(array)


def _flat(module: Any) -> Iterator[Any]:
    """The layers of nested Sequentials, in order."""
    if type(module).__name__ == "Sequential":
        for child in module:
            yield from _flat(child)
    else:
        yield module


def begins_with_flatten(model: Any) -> bool:
    """Whether a PyTorch module takes an example of any shape and flattens it first."""
    return is_module(model) and type(next(_flat(model), None)).__name__ == "Flatten"


def from_torch(module: Any) -> Layers:
    """See `Network.from_torch`."""
    torch = require("torch", "torch")
    if not isinstance(module, torch.nn.Module):
        raise InputError(f"module: got {type(module).__name__}, {_EXPECTED}")
    if type(module).__name__ not in ("Sequential", "Linear"):
        raise InputError(
            f"module: got {type(module).__name__}, {_EXPECTED}; chainrule.torch.explain takes any classifier"
        )
    weights: list[Any] = []
    biases: list[Any] = []
    between: list[str] = []  # the activation before each Linear but the first
    last: str | None = None  # the activation since the last Linear
    ended = ""  # the Softmax or LogSoftmax that stands last
    for place, layer in enumerate(_flat(module)):
        kind = type(layer).__name__
        where = f"module: layer {place} is {layer!r:.80}"
        if ended:
            raise InputError(f"{where} after {ended}, expected nothing after it")
        if kind == "Flatten":
            if weights or layer.start_dim != 1 or layer.end_dim != -1:
                raise InputError(f"{where}, expected Flatten() before the first Linear only")
        elif kind in _DROPOUT:
            continue  # not there in evaluation, which is what is explained
        elif kind == "Linear":
            if weights:
                between.append(last or "identity")
            weights.append(to_numpy(layer.weight))
            biases.append(np.zeros_like(weights[-1][:, 0]) if layer.bias is None else to_numpy(layer.bias))
            last = None
        elif kind in ("Softmax", "LogSoftmax"):
            if layer.dim not in (None, 1, -1) or not weights or last is not None:
                raise InputError(f"{where}, expected it over dim=1, right after the last Linear")
            ended = kind
        elif kind in _TORCH and weights and last is None:
            for option, value in _TORCH[kind].torch_options.items():
                if getattr(layer, option) != value:
                    raise InputError(f"{where}, expected {option}={value!r}")
            last = _TORCH[kind].name
        elif kind in _TORCH:
            raise InputError(f"{where}, expected one activation after a Linear")
        else:
            raise InputError(f"{where}, {_EXPECTED}; chainrule.torch.explain takes any classifier")
    if not weights:
        raise InputError(f"module: has no Linear layer, {_EXPECTED}")
    if last not in (None, "identity"):
        raise InputError(f"module: ends with the activation {last!r}, expected its logits: a Linear last")
    if len(set(between)) > 1:
        raise InputError(f"module: has the activations {', '.join(map(repr, between))}, expected the same throughout")
    return Layers(weights, biases, between[0] if between else "identity")


def to_torch(net: Layers) -> Any:
    """See `Network.to_torch`."""
    torch = require("torch", "torch")
    net = as_layers(net)
    row = ACTIVATIONS[net.activation]
    layers: list[Any] = []
    for w, b in zip(net.weights, net.biases, strict=True):
        if layers and net.activation != "identity":
            layers.append(getattr(torch.nn, row.torch)(**row.torch_options))
        values = torch.from_numpy(np.array(w)), torch.from_numpy(np.array(b))
        linear = torch.nn.Linear(w.shape[1], w.shape[0], device="meta")  # without weights of its own to fill
        linear.weight, linear.bias = (torch.nn.Parameter(v) for v in values)
        layers.append(linear)
    return torch.nn.Sequential(*layers)


def to_onnx(net: Layers, path: str | os.PathLike[str]) -> Path:
    """See `Network.to_onnx`."""
    helper, numpy_helper = require("onnx.helper", "onnx"), require("onnx.numpy_helper", "onnx")
    net = as_layers(net)
    dtype = helper.np_dtype_to_tensor_dtype(net.weights[0].dtype)
    nodes: list[Any] = []
    constants: list[Any] = []

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(name: str, value: Any) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value, net.weights[0].dtype), name))
        return name

    def activated(formula: Any, a: str, output: str) -> str:
        """`Activation.onnx` as nodes; the name of what it gives."""
        if formula == "a":
            return a
        if isinstance(formula, float):
            return constant(output, formula)
        kind, *parts = formula
        return node(kind, [activated(part, a, f"{output}.{i}") for i, part in enumerate(parts)], output)

    last = "x"
    for k, (w, b) in enumerate(zip(net.weights, net.biases, strict=True), start=1):
        name = "logits" if k == net.depth else f"a{k}"
        last = node("Gemm", [last, constant(f"W{k}", w), constant(f"b{k}", b)], name, transB=1)
        if k < net.depth:
            last = activated(ACTIVATIONS[net.activation].onnx, name, f"h{k}")
    node("Softmax", [last], "probabilities", axis=1)
    ends = {"x": net.widths[0], "logits": net.widths[-1], "probabilities": net.widths[-1]}
    x, *outputs = (helper.make_tensor_value_info(name, dtype, ["N", width]) for name, width in ends.items())
    graph = helper.make_graph(nodes, "network", [x], outputs, constants)
    model = helper.make_model(
        graph, producer_name="chainrule", producer_version=__version__, ir_version=_IR,
        opset_imports=[helper.make_opsetid("", _OPSET)],
    )  # fmt: skip
    return write_atomically(path, model.SerializeToString())


def from_sklearn(classifier: Any) -> Layers:
    """See `Network.from_sklearn`."""
    kind = type(classifier).__name__
    if not hasattr(classifier, "hidden_layer_sizes") or not hasattr(classifier, "predict_proba"):
        raise InputError(f"classifier: got {kind}, expected scikit-learn's MLPClassifier")
    if not hasattr(classifier, "coefs_"):
        raise InputError(f"classifier: got an {kind} that is not fitted, expected a fitted one")
    weights = [np.ascontiguousarray(w.T) for w in classifier.coefs_]
    biases = [np.array(b) for b in classifier.intercepts_]
    if classifier.out_activation_ == "logistic":
        if classifier.n_outputs_ != 1:
            labels = f"{classifier.n_outputs_} labels that are each true or false"
            raise InputError(f"classifier: got {labels}, expected one class of several")
        # σ(a) = softmax(0, a) at the second of two
        weights[-1] = np.vstack([np.zeros_like(weights[-1]), weights[-1]])
        biases[-1] = np.concatenate([np.zeros_like(biases[-1]), biases[-1]])
    return Layers(weights, biases, classifier.activation)
