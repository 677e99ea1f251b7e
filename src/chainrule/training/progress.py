"""A progress bar for `fit`: epoch, loss, validation accuracy, examples per second."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from chainrule.boundary.extras import require
from chainrule.training.history import EpochRecord

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(epochs: int) -> Iterator[Any]:
    """A callback for `fit(progress=...)` that draws a bar on standard error while the block runs.

    Raises
    ------
    MissingExtraError
        rich is not installed.
    """
    console = require("rich.console", "cli").Console(stderr=True)
    bars = require("rich.progress", "cli")
    columns = (
        bars.TextColumn("epoch {task.completed}/{task.total}"),
        bars.BarColumn(),
        bars.TextColumn("{task.fields[status]}"),
        bars.TimeRemainingColumn(),
    )
    bar = bars.Progress(*columns, console=console)
    task = bar.add_task("training", total=epochs, status="")

    def update(record: EpochRecord) -> None:
        bar.start()  # not before: what is wrong with the input is told without a bar
        accuracy = record.accuracy if record.validation_accuracy is None else record.validation_accuracy
        kind = "accuracy" if record.validation_accuracy is None else "validation accuracy"
        status = f"loss {record.loss:.4f}  {kind} {accuracy:.4f}  {record.examples_per_second:,.0f} examples/s"
        bar.update(task, completed=record.epoch, status=status)

    try:
        yield update
    finally:
        bar.stop()
