"""A trained model, as its file holds it: a network, and what training knew of its table."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from chainrule.network.model_file import read_model
from chainrule.network.network import Network, as_network
from chainrule.version import __version__

__all__ = ["Model", "load_model"]


@dataclass(frozen=True)
class Model:
    """A network, and what training knew of its table: classes, feature schema, settings (all JSON)."""

    network: Network
    classes: list[Any] | None = None
    schema: dict[str, Any] | None = None
    training: dict[str, Any] = field(default_factory=dict)
    version: str = __version__


def load_model(path: str | os.PathLike[str]) -> Model:
    """Read what `save_model` wrote.

    Raises
    ------
    ModelFileError
        The file is missing, truncated, altered, not a model, of another version, its tensors do not fit its widths or
        are not finite, or its classes are no list of different names or numbers.

    Examples
    --------
    >>> load_model("nothing.safetensors")
    Traceback (most recent call last):
    chainrule.errors.ModelFileError: nothing.safetensors: cannot be read: No such file or directory
    """
    layers, known = read_model(path)
    return Model(as_network(layers), **known)
