"""Checkpoints: all that the next step of a run depends on, in one file that is written whole after each epoch."""

from __future__ import annotations

import hashlib
import os
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from chainrule.boundary.files import open_tensors, require_writable, save_tensors
from chainrule.errors import CheckpointError
from chainrule.training.history import History

__all__ = ["Checkpoint", "Place", "digest"]

Array = npt.NDArray[Any]


class Place(NamedTuple):
    """Where a run stands: after so many steps and epochs, with what they were like."""

    step: int
    epoch: int
    history: History


class Checkpoint:
    """The checkpoint of one run.

    path : the file
    identity : what makes a run this run, by the name that a message calls it by
    tensors : the run's buffers, which are written, and filled from the file
    """

    def __init__(self, path: str | os.PathLike[str], identity: dict[str, str], tensors: dict[str, Array]) -> None:
        require_writable(path)
        self.path, self.identity, self.tensors = path, identity, tensors

    def store(self, place: Place) -> None:
        """Write the buffers, and where the run stands."""
        description = place._asdict() | {"history": place.history.to_dict(), "run": self.identity}
        save_tensors(self.path, self.tensors, {"checkpoint": description})

    def restore(self) -> Place | None:
        """Fill the buffers from the file, and say where its run stands; None where there is no file yet.

        Raises
        ------
        CheckpointError
            The file is damaged or of another run.
        """
        path = self.path
        if not os.path.exists(path):
            return None
        file, outer = open_tensors(path, CheckpointError)
        description = outer.get("checkpoint")
        if not isinstance(description, dict) or not isinstance(description.get("run"), dict):
            raise CheckpointError(f"{path}: is not a checkpoint")
        other = [name for name, value in self.identity.items() if description["run"].get(name) != value]
        if other:
            raise CheckpointError(
                f"{path}: is of another run, which differs in {', '.join(other)}; delete it or name another file"
            )
        if set(file) != set(self.tensors):
            raise CheckpointError(f"{path}: has tensors {sorted(file)}, expected {sorted(self.tensors)}")
        loaded = {name: file[name].array() for name in self.tensors}
        for name, target in self.tensors.items():
            if loaded[name].shape != target.shape or loaded[name].dtype != target.dtype:
                raise CheckpointError(f"{path}: tensor {name} has shape {loaded[name].shape}, expected {target.shape}")
        try:
            place = Place(int(description["step"]), int(description["epoch"]), History(**description["history"]))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: its description is damaged: {error}") from error
        for name, target in self.tensors.items():
            target[...] = loaded[name]
        return place


def digest(*arrays: Array) -> str:
    """What tells arrays from others: of their shapes, dtypes and bytes."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.shape}{array.dtype}".encode())
        total.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
    return total.hexdigest()
