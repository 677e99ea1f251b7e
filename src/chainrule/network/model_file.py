"""One safe file for a trained model: `.safetensors`, weights and a JSON description of them.

Loading never runs code from the file. Sizes are compared with the file's, and its bytes with the digest of them that
it states, before anything in it is used.
"""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.activations import ACTIVATIONS
from chainrule.boundary.checks import check_arrays
from chainrule.boundary.files import open_tensors, save_tensors
from chainrule.errors import InputError, ModelFileError
from chainrule.network.layers import Layers
from chainrule.version import __version__

__all__ = ["FORMAT", "read_model", "save_model"]

FORMAT = 2
_DTYPES = ("float32", "float64")


def save_model(
    path: str | os.PathLike[str],
    network: Layers,
    *,
    classes: list[Any] | None = None,
    schema: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
) -> Path:
    """Write a model, whole or not at all.

    Raises
    ------
    InputError
        The network's arrays are not NumPy float32 or float64, or hold a NaN or an infinity.
    OutputFileError
        The file cannot be written; what stood there is untouched.
    """
    tensors: dict[str, Any] = {}
    for k, (w, b) in enumerate(zip(network.weights, network.biases, strict=True), start=1):
        tensors[f"weights.{k}"], tensors[f"biases.{k}"] = w, b
    check_arrays("network", [*tensors.values()], "save")
    for name, tensor in tensors.items():
        _require_finite(name, tensor, "network", InputError)
    description = {
        "format": FORMAT,
        "version": __version__,
        "widths": network.widths,
        "activation": network.activation,
        "dtype": network.weights[0].dtype.name,
        "classes": classes,
        "schema": schema,
        "training": training or {},
    }
    return save_tensors(path, tensors, description)


def read_model(path: str | os.PathLike[str]) -> tuple[Layers, dict[str, Any]]:
    """The layers, and what else of the file makes a `Model`; raises as `load_model` does."""
    file, description = open_tensors(path, ModelFileError)
    if description.get("format") != FORMAT:
        raise ModelFileError(f"{path}: has format {description.get('format')!r}, this version reads format {FORMAT}")
    widths, activation = description.get("widths"), description.get("activation")
    dtype, classes = description.get("dtype"), description.get("classes")
    if not isinstance(widths, list) or len(widths) < 2 or not all(type(w) is int and w > 0 for w in widths):
        raise ModelFileError(f"{path}: its description is damaged: widths {widths!r:.80}")
    if not isinstance(activation, str) or activation not in ACTIVATIONS or dtype not in _DTYPES:
        raise ModelFileError(f"{path}: its description is damaged: activation {activation!r:.40}, dtype {dtype!r:.40}")
    if classes is not None:
        _check_classes(path, classes, widths[-1])
    schema, training = description.get("schema"), description.get("training")
    if not isinstance(schema, dict | None) or not isinstance(training, dict):
        raise ModelFileError(f"{path}: its description is damaged: schema and training must be objects")
    if schema is not None and "classes" in schema and schema["classes"] != classes:
        raise ModelFileError(
            f"{path}: its two lists of classes disagree: {classes!r:.80} and {schema['classes']!r:.80}"
        )
    expected: dict[str, list[int]] = {}
    for k, (inputs, units) in enumerate(pairwise(widths), start=1):
        expected[f"weights.{k}"], expected[f"biases.{k}"] = [units, inputs], [units]
    if set(file) != set(expected):
        raise ModelFileError(f"{path}: has tensors {sorted(file)!r:.120}, expected {sorted(expected)!r:.120}")
    arrays: dict[str, Any] = {}
    for name, shape in expected.items():
        came = file[name]
        if came.shape != shape or came.dtype != dtype:
            found = f"shape {came.shape} and dtype {came.dtype}"
            raise ModelFileError(f"{path}: tensor {name} has {found}, expected {shape} and {dtype}")
        arrays[name] = came.array()
        _require_finite(name, arrays[name], path, ModelFileError)
    weights = [np.asfortranarray(arrays[f"weights.{k}"]) for k in range(1, len(widths))]  # as the kernels read them
    biases = [arrays[f"biases.{k}"] for k in range(1, len(widths))]
    known = {"classes": classes, "schema": schema, "training": training, "version": str(description.get("version"))}
    return Layers(weights, biases, activation), known


def _check_classes(path: str | os.PathLike[str], classes: Any, k: int) -> None:
    if not isinstance(classes, list) or len(classes) != k:
        raise ModelFileError(f"{path}: its classes do not fit its {k} output units")
    for c in classes:
        if not isinstance(c, str | int | float) or c != c:
            raise ModelFileError(f"{path}: its class {c!r:.40} is not a text, a number or a truth value")
    if len(set(classes)) < k:
        raise ModelFileError(f"{path}: two of its classes are the same: {classes!r:.80}")


def _require_finite(name: str, tensor: Any, owner: Any, error: type[Exception]) -> None:
    bad = np.argwhere(~np.isfinite(tensor))
    if len(bad):
        at = bad[0].tolist()
        raise error(f"{owner}: tensor {name} holds {tensor[tuple(at)]} at {at}, expected finite numbers")
