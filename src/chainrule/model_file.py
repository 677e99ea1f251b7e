"""One safe file for a trained model: `.safetensors`, weights and a JSON description of them.

Loading never runs code from the file. Sizes are compared with the file's before anything is allocated.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.equations import ACTIVATIONS
from chainrule.errors import InputError, ModelFileError
from chainrule.files import open_tensors, save_tensors
from chainrule.network import Network
from chainrule.version import __version__

__all__ = ["FORMAT", "Model", "load_model", "save_model"]

FORMAT = 1
_DTYPES = {"F32": "float32", "F64": "float64"}


@dataclass(frozen=True)
class Model:
    """A network, and what training knew of its table: classes, feature schema, settings (all JSON)."""

    network: Network
    classes: list[Any] | None = None
    schema: dict[str, Any] | None = None
    training: dict[str, Any] = field(default_factory=dict)
    version: str = __version__


def save_model(
    path: str | os.PathLike[str],
    network: Network,
    *,
    classes: list[Any] | None = None,
    schema: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
) -> Path:
    """Write a model, whole or not at all.

    Raises
    ------
    InputError
        The network's arrays are not NumPy float32 or float64.
    OutputFileError
        The file cannot be written; what stood there is untouched.
    """
    tensors: dict[str, Any] = {}
    for k, (w, b) in enumerate(zip(network.weights, network.biases, strict=True), start=1):
        tensors[f"weights.{k}"], tensors[f"biases.{k}"] = w, b
    if any(not isinstance(t, np.ndarray) or t.dtype.name not in _DTYPES.values() for t in tensors.values()):
        raise InputError("network: got arrays of another library or dtype, expected NumPy float32 or float64 to save")
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


def load_model(path: str | os.PathLike[str]) -> Model:
    """Read what `save_model` wrote.

    Raises
    ------
    ModelFileError
        The file is missing, truncated, not a model, of another version, or its tensors do not fit its widths.

    Examples
    --------
    >>> load_model("nothing.safetensors")
    Traceback (most recent call last):
    chainrule.errors.ModelFileError: nothing.safetensors: cannot be read: No such file or directory
    """
    file, description = open_tensors(path, ModelFileError)
    if description.get("format") != FORMAT:
        raise ModelFileError(f"{path}: has format {description.get('format')!r}, this version reads format {FORMAT}")
    widths, activation = description.get("widths"), description.get("activation")
    dtype, classes = description.get("dtype"), description.get("classes")
    if not isinstance(widths, list) or len(widths) < 2 or not all(type(w) is int and w > 0 for w in widths):
        raise ModelFileError(f"{path}: its description is damaged: widths {widths!r:.80}")
    if not isinstance(activation, str) or activation not in ACTIVATIONS or dtype not in ("float32", "float64"):
        raise ModelFileError(f"{path}: its description is damaged: activation {activation!r:.40}, dtype {dtype!r:.40}")
    if classes is not None and (not isinstance(classes, list) or len(classes) != widths[-1]):
        raise ModelFileError(f"{path}: its classes do not fit its {widths[-1]} output units")
    schema, training = description.get("schema"), description.get("training")
    if not isinstance(schema, dict | None) or not isinstance(training, dict):
        raise ModelFileError(f"{path}: its description is damaged: schema and training must be objects")
    expected: dict[str, list[int]] = {}
    for k, (inputs, units) in enumerate(pairwise(widths), start=1):
        expected[f"weights.{k}"], expected[f"biases.{k}"] = [units, inputs], [units]
    if set(file.keys()) != set(expected):
        raise ModelFileError(f"{path}: has tensors {sorted(file.keys())!r:.120}, expected {sorted(expected)!r:.120}")
    for name, shape in expected.items():
        part = file.get_slice(name)
        if part.get_shape() != shape or _DTYPES.get(part.get_dtype()) != dtype:
            raise ModelFileError(
                f"{path}: tensor {name} has shape {part.get_shape()} and dtype {part.get_dtype()}, "
                f"expected {shape} and {dtype}"
            )
    layers = range(1, len(widths))
    network = Network(
        [file.get_tensor(f"weights.{k}") for k in layers],
        [file.get_tensor(f"biases.{k}") for k in layers],
        activation,
    )
    return Model(network, classes, schema, training, str(description.get("version")))
