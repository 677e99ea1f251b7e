"""Cross-validation: each row is judged by a model that was trained, schema and all, on the other folds."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np

from chainrule.command.data import open_table
from chainrule.command.fitting import fitted
from chainrule.command.request import Request
from chainrule.errors import DivergenceWarning, InputError
from chainrule.scores import example_scores
from chainrule.tables.model import silent
from chainrule.training.splitting import TEST

__all__ = ["Crossed", "cross_validate"]


@dataclass(frozen=True)
class Crossed:
    """accuracy, loss : of each fold, on the rows that it held out; rows : how many those were"""

    accuracy: list[float]
    loss: list[float]
    rows: list[int]

    def text(self) -> str:
        """The means over the folds, with the deviation from fold to fold."""
        folds = ", ".join(f"{a:.4f}" for a in self.accuracy)
        spread = float(np.std(self.accuracy, ddof=1)) if len(self.accuracy) > 1 else 0.0
        loss, count = float(np.mean(self.loss)), len(self.accuracy)
        return f"{np.mean(self.accuracy):.4f} ± {spread:.4f} ({count} folds: {folds}; loss {loss:.4f})"


def cross_validate(request: Request) -> Crossed:
    """Train and judge once a fold (`request.cv` of them), on what is not held out for the test.

    Raises
    ------
    ChainruleError
        Whatever is wrong with the table or the options; folds need a table in memory, and no split by time.
    """
    count = request.cv or 0
    if request.memory is not None:
        raise InputError("--cv and --memory: got both; folds need the table in memory")
    if request.time is not None:
        raise InputError("--cv and --time: got both; folds would hold out earlier rows than they train on")
    if count < 2:
        raise InputError(f"--cv: got {count}, expected at least 2 folds")
    table = open_table(request.wanted, silent)
    rest = np.arange(len(table.labels))
    if request.test:
        _, rest = table.split.hold_out(rest, request.test, TEST, "--test")
    found = Crossed([], [], [])
    inner = replace(request, checkpoint=None, report=None, cv=None)
    for held, others in table.split.folds(rest, count):
        read = table.read(rest[others], rest[held], silent)
        judged = read.test
        options = inner.options(len(read.training.labels))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DivergenceWarning)
            fit = fitted(inner, read, silent, optimizer=inner.rule(), **options)
        if fit.history.stopped == "interrupted" or judged is None:
            raise KeyboardInterrupt
        losses, predicted, _ = example_scores(fit.net, judged.x, judged.labels)
        found.accuracy.append(judged.mean(predicted == judged.labels, "of a fold"))
        found.loss.append(judged.mean(losses, "of a fold"))
        found.rows.append(len(judged.labels))
    return found
