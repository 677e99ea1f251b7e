"""What is asked of `train` and `tune`, by the names of the command line's options."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

from chainrule.boundary.processes import Processes
from chainrule.command.data import AnyPath, Read, Say, Wanted, read_streamed, read_whole
from chainrule.errors import InputError
from chainrule.tables import Choices, Reading
from chainrule.tables.parquet import is_pattern
from chainrule.training.optimizers import SGD, Adam, AdamW, Optimizer
from chainrule.training.schedules import Constant, Cosine, OnPlateau, StepDecay, WarmUp

__all__ = ["EPOCHS", "Request"]

DECAY = 0.01, 4.0  # of the weights by default: at most, and that times the number of rows: a prior weighs less by more
EPOCHS = 1000  # at most
MEMORY = 1 << 30  # bytes, of each process, where nothing is said
UNVALIDATED = 30  # epochs, where nothing tells when to stop


@dataclass(frozen=True)
class Request:
    """What is asked of `train`. `table` may also be a data frame."""

    table: Any
    target: str
    output: AnyPath
    report: AnyPath | None = None
    checkpoint: AnyPath | None = None
    keep_checkpoints: bool = False
    # how a text file is written
    separator: str | None = None
    header: bool | None = None
    encoding: str | None = None
    skip_broken: bool = False
    # what the table does not say itself
    decimal: str | None = None
    dates: str | None = None
    missing: tuple[str, ...] | list[str] = ()
    types: tuple[tuple[str, str], ...] | list[tuple[str, str]] = ()
    columns: tuple[str, ...] | list[str] = ()
    keep: tuple[str, ...] | list[str] = ()
    ignore: tuple[str, ...] | list[str] = ()
    id: tuple[str, ...] | list[str] = ()
    categories: int = 1000
    as_classes: bool = False
    # how it is split, and what its rows weigh
    weight: str | None = None
    time: str | None = None
    group: str | None = None
    validation: float | None = None
    test: float = 0.0
    test_table: Any = None
    cv: int | None = None
    memory: int | None = None
    # the network, and how it is trained
    hidden: tuple[int, ...] | list[int] = (128, 64)
    activation: str = "relu"
    optimizer: str = "adam"
    lr: float | None = None
    schedule: str = "constant"
    warm_up: float | None = None
    epochs: int | None = None
    batch_size: int = 32
    patience: int | None = 30
    weight_decay: float | None = None
    dropout: float = 0.0
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    balanced: bool = False
    calibrate: bool = False
    threads: int | None = None
    seed: int = 0
    start: int | None = None  # the seed of the weights and the order of the rows, where that is not the splits'

    @property
    def start_seed(self) -> int:
        """The seed of the weights and the order of the rows."""
        return self.seed if self.start is None else self.start

    @property
    def limit(self) -> int:
        """The most epochs."""
        return self.epochs or (EPOCHS if self.validation is None or self.validation else UNVALIDATED)

    @property
    def wanted(self) -> Wanted:
        """What is asked of the table."""
        types: dict[str, str] = {}
        for name, kind in self.types:
            if types.setdefault(name, kind) != kind:
                raise InputError(f"--type: got {types[name]} and {kind} for {name!r}, expected one")
        return Wanted(
            self.table, self.target,
            Choices(
                self.decimal, self.dates, self.keep, self.ignore, self.as_classes, self.columns, (), types,
                self.missing, self.categories,
            ),
            Reading(self.separator, self.header, self.encoding, self.skip_broken),
            self.id, self.weight, self.time, self.group, self.test, self.test_table, self.validation, self.seed,
        )  # fmt: skip

    def read(self, say: Say, processes: Processes | None = None) -> Read:
        """The table as examples; of several processes each has some of them."""
        if self.memory is None:
            return read_whole(self.wanted, say)
        return read_streamed(self.wanted, say, self.memory, processes)

    def streamed(self, processes: Processes | None) -> Request:
        """The same, streamed where several processes share the table, or it stands in several files."""
        if self.memory is not None or (processes is None and not is_pattern(self.table)):
            return self
        if self.cv is not None or not isinstance(self.table, str | os.PathLike):
            came = "--cv" if self.cv is not None else "a data frame"
            raise InputError(f"{came}: got it with several processes or files, expected neither")
        return replace(self, memory=MEMORY)

    def options(self, rows: int) -> dict[str, Any]:
        """What `fit` takes besides, by its names, to train on so many rows."""
        schedule: Any = {
            "constant": Constant(),
            "cosine": Cosine(),
            "step": StepDecay(every=max(1, (self.epochs or EPOCHS) // 3)),
            "plateau": OnPlateau(),
        }[self.schedule]
        return {
            "schedule": schedule if self.warm_up is None else WarmUp(self.warm_up, schedule),
            "weight_decay": min(DECAY[0], DECAY[1] / rows) if self.weight_decay is None else self.weight_decay,
            "dropout": self.dropout,
            "label_smoothing": self.label_smoothing,
            "clip_norm": self.clip_norm,
            "class_weight": "balanced" if self.balanced else None,
            "threads": self.threads,
        }

    def rule(self) -> Optimizer:
        """The optimizer."""
        if self.optimizer == "sgd":
            return SGD(self.lr or 0.01, momentum=0.9)
        return Adam(self.lr or 1e-3) if self.optimizer == "adam" else AdamW(self.lr or 1e-3)
