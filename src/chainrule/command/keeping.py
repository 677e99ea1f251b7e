"""`chainrule train --keep-checkpoints`: a model file for every epoch, for an explanation over time."""

from __future__ import annotations

import os
import re
import weakref
from pathlib import Path
from typing import Any

from chainrule.boundary.files import lock_folder, require_writable
from chainrule.command.data import AnyPath
from chainrule.errors import OutputFileError
from chainrule.network import save_model
from chainrule.network.network import Network
from chainrule.training.history import EpochRecord

__all__ = ["Keeper", "folder_of"]


def folder_of(output: AnyPath) -> Path:
    """Where the checkpoints of a model stand: m.checkpoints beside m.safetensors."""
    return Path(output).with_suffix(".checkpoints")


class Keeper:
    """Writes the weights after each epoch into a folder, whole files; those of an earlier run are replaced.

    folder : made where it is not there
    net : the network as it begins; it is epoch 0

    Raises
    ------
    OutputFileError
        The folder cannot be made or written to, or another run is writing into it.
    """

    def __init__(self, folder: Path, net: Network, schema: Any) -> None:
        self.folder, self.classes, self.schema = folder, schema.classes, schema.to_dict()
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputFileError(f"{folder}: cannot be made a folder: {error.strerror}") from error
        require_writable(self._path(0))
        if (lock := lock_folder(folder)) is not None:
            weakref.finalize(self, os.close, lock)
        self._save(0, net, {})

    def __call__(self, record: EpochRecord) -> None:
        """Keep an epoch's weights."""
        found: dict[str, float | None] = {"loss": record.loss, "accuracy": record.accuracy}
        found |= {"validation loss": record.validation_loss, "validation accuracy": record.validation_accuracy}
        self._save(record.epoch, record.net, {name: v for name, v in found.items() if v is not None})

    def close(self, epochs: int) -> None:
        """Delete what an earlier run of more epochs left."""
        for path in self.folder.glob("epoch-*.safetensors"):
            number = re.fullmatch(r"epoch-(\d+)", path.stem)
            if number and int(number[1]) > epochs:
                path.unlink()

    def _save(self, epoch: int, net: Any, told: dict[str, Any]) -> None:
        training = {"epoch": epoch} | told
        save_model(self._path(epoch), net, classes=self.classes, schema=self.schema, training=training)

    def _path(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:04d}.safetensors"
