"""`chainrule audit`: the rows of a table whose class is probably wrong, by networks that were trained on other rows."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.boundary.extras import require
from chainrule.boundary.files import require_apart, require_writable, write_atomically
from chainrule.command.data import AnyPath, Part, Say, Wanted, open_table
from chainrule.command.jobs import harmless
from chainrule.command.request import DECAY, EPOCHS
from chainrule.errors import DivergenceWarning, InputError, TableError
from chainrule.network.network import Network
from chainrule.pages.audit import Suspect, write_audit
from chainrule.scores import LabelErrors, label_errors
from chainrule.tables import Choices, Reading, Schema, learn_schema
from chainrule.tables.model import silent
from chainrule.training.fit import fit
from chainrule.training.history import History
from chainrule.training.splitting import folds

__all__ = ["AuditRequest", "AuditResult", "audit"]

PATIENCE = 30  # epochs
LISTED = 20  # rows, on the terminal
# columns of the ranking, beside those that name a row
OWN = ("row", "called", "suggested", "probability of called", "probability of suggested", "loss", "probable error")


@dataclass(frozen=True)
class AuditRequest:
    """What is asked of `audit`, by the names of the command line's options."""

    table: AnyPath
    target: str
    output: AnyPath | None
    report: AnyPath | None
    show: int
    weight: str | None
    # how a text file is written
    separator: str | None
    header: bool | None
    encoding: str | None
    skip_broken: bool
    # what the table does not say itself
    missing: list[str]
    types: list[tuple[str, str]]
    columns: list[str]
    id: list[str]
    categories: int
    decimal: str | None
    dates: str | None
    keep: list[str]
    ignore: list[str]
    as_classes: bool
    # the networks, and how they are trained
    hidden: list[int]
    activation: str
    folds: int
    threads: int | None
    seed: int

    @property
    def wanted(self) -> Wanted:
        """What is asked of the table."""
        choices = Choices(
            self.decimal, self.dates, self.keep, self.ignore, self.as_classes, self.columns, (), dict(self.types),
            self.missing, self.categories,
        )  # fmt: skip
        reading = Reading(self.separator, self.header, self.encoding, self.skip_broken)
        return Wanted(self.table, self.target, choices, reading, self.id, self.weight, seed=self.seed)


@dataclass(frozen=True)
class AuditResult:
    """What `audit` found of the rows that have a class: `rows` are their numbers in the file, `logits` those of the
    networks that were not trained on them, `weights` what they count, `ids` the columns that name them."""

    found: LabelErrors
    logits: Any
    labels: Any
    rows: Any
    classes: list[str]
    folds: int
    epochs: int
    output: Path | None
    report: Path | None
    weights: Any = None
    ids: Any = None

    @property
    def accuracy(self) -> float:
        """The share of the rows, by their weights, that the networks call what they are called."""
        right = self.found.suggested_probabilities < self.found.probabilities
        return float(np.average(right, weights=self.weights))

    def lines(self) -> list[str]:
        """What to tell the user."""
        found, names = self.found, self.classes
        trained = f"{self.folds} folds of {self.epochs} {'epoch' if self.epochs == 1 else 'epochs'}"
        lines = [
            f"audited {len(self.labels)} rows, each by a network that was trained on others ({trained})",
            f"accuracy: {self.accuracy:.4f}",
            f"probable label errors: {int(found.probable.sum())}; the rows that surprise the networks most:",
        ]
        for n in found.order[:LISTED]:
            ours = f"{names[found.suggested[n]]!r:.40} (ŷ = {found.suggested_probabilities[n]:.3g})"
            called = f"called {names[self.labels[n]]!r:.40} (ŷ = {found.probabilities[n]:.3g})"
            lines.append(f"  row {self.rows[n]}: {called}, the network says {ours}")
        lines += [f"ranking: {self.output}"] if self.output is not None else []
        return lines + ([f"report: {self.report}"] if self.report is not None else [])

    def csv(self) -> str:
        """All rows, the most probable error first, each with its number and what names it."""
        pl = require("polars", "cli")
        found, order, names = self.found, self.found.order, self.classes
        own = (
            self.rows[order], [names[label] for label in self.labels[order]],
            [names[label] for label in found.suggested[order]], found.probabilities[order],
            found.suggested_probabilities[order], found.losses[order], found.probable[order],
        )  # fmt: skip
        columns = dict(zip(OWN, own, strict=True))
        if self.ids is not None:
            ids = self.ids[order.tolist()].to_dict(as_series=True)
            named = {f"{name} (id)" if name in OWN else name: values for name, values in ids.items()}
            columns = {"row": columns.pop("row"), **named, **columns}
        text = io.StringIO()
        harmless(pl.DataFrame(columns)).write_csv(text)
        return text.getvalue()


def audit(request: AuditRequest, say: Say = silent) -> AuditResult:
    """Rank a table's rows as probable label errors, and write the ranking and the page that are asked for.

    Raises
    ------
    ChainruleError
        Whatever is wrong with the table, the options or the places to write to; nothing is written then.
    KeyboardInterrupt
        Ctrl-C; nothing is written then either.
    """
    require_apart(table=request.table, output=request.output, report=request.report)
    for path in (request.output, request.report):
        if path is not None:
            require_writable(path)
    table = open_table(request.wanted, say)
    rows, labels, frame = table.rows, table.labels, table.frame[table.rows.tolist()]
    schema = learn_schema(frame, table.target, table.wanted.choices, rows=rows, say=say)
    examples = Part(schema.features(frame, rows=rows), labels, rows, table.weights)
    _check_folds(request.folds, labels, schema, say)
    held_out = _cross_validated(request, examples, len(schema.classes), say)
    found = label_errors(held_out.logits, labels)
    result = AuditResult(
        found, held_out.logits, labels, rows, [str(c) for c in schema.classes], len(held_out.networks), held_out.epochs,
        None if request.output is None else Path(request.output),
        None if request.report is None else Path(request.report),
        table.weights, frame.select(table.wanted.ids) if table.wanted.ids else None,
    )  # fmt: skip
    if request.report is not None:
        suspects = [
            Suspect(int(n), int(rows[n]), held_out.networks[held_out.by[n]], examples.x[n], int(labels[n]))
            for n in found.order[: request.show]
        ]
        cells = {n: frame.row(n, named=True) for n in (s.place for s in suspects)}
        write_audit(
            request.report, suspects, found, cells, schema,
            table=str(request.table), rows=len(rows), accuracy=result.accuracy,
            settings={"folds": result.folds, "epochs": result.epochs, "hidden": request.hidden, "seed": request.seed},
        )  # fmt: skip
    if request.output is not None:
        write_atomically(request.output, result.csv())
    return result


@dataclass(frozen=True)
class _HeldOut:
    """The logits of each row by the network of its fold, the networks, which one each row's is, and for how many epochs
    they were trained."""

    logits: Any
    networks: list[Network]
    by: Any
    epochs: int


def _check_folds(count: int, labels: Any, schema: Schema, say: Say) -> None:
    if not 2 <= count <= len(labels):
        raise InputError(f"--folds: got {count}, expected 2 to {len(labels)}, the rows that have a class")
    alone = np.flatnonzero(np.bincount(labels, minlength=len(schema.classes)) == 1)
    if len(alone):
        names = ", ".join(repr(schema.classes[k]) for k in alone[:5])
        have = "class has one row" if len(alone) == 1 else "classes have one row each"
        say(f"column {schema.target!r}: {len(alone)} {have}, which no other row tells of: {names}")


def _cross_validated(request: AuditRequest, examples: Part, k: int, say: Say) -> _HeldOut:
    """Each row's logits by a network that was not trained on it.

    All networks are trained for as many epochs as make the loss of the held-out rows least, summed over the folds: that
    one number is all that they know of the rows that they judge.
    """
    splits = list(folds(examples.labels, request.folds, request.seed))
    widths = [examples.x.shape[1], *request.hidden, k]

    def trained(at: Any, **options: Any) -> tuple[Network, History]:
        net = Network.create(widths, activation=request.activation, seed=request.seed)
        part = examples.take(at)
        decay = min(DECAY[0], DECAY[1] / len(at))
        history = fit(
            net, part.x, part.labels, sample_weight=part.weights, batch_size=32, weight_decay=decay,
            seed=request.seed, threads=request.threads, **options,
        )  # fmt: skip
        if history.stopped == "interrupted":
            raise KeyboardInterrupt
        return net, history

    losses: list[Any] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)  # `say` says it, of the networks that judge
        for chosen, others in splits:
            held_out = examples.take(chosen)
            counted = len(chosen) if held_out.weights is None else float(held_out.weights.sum())
            if not counted:
                continue  # it tells nothing
            history = trained(others, validation=held_out.own(), epochs=EPOCHS, patience=PATIENCE)[1]
            losses.append(np.nan_to_num(history.validation_loss, nan=np.inf, posinf=np.inf) * counted)
        longest = max(map(len, losses))
        # a fold that was out of patience would not have become better
        total = sum(np.pad(loss, (0, longest - len(loss)), mode="edge") for loss in losses)
        epochs = int(np.argmin(total)) + 1
        logits, by = np.empty((len(examples.labels), k), np.float32), np.empty(len(examples.labels), np.int64)
        networks, diverged = [], 0
        for fold, (chosen, others) in enumerate(splits):
            net, history = trained(others, validation=0.0, epochs=epochs)
            networks.append(net)
            diverged += history.diverged is not None
            logits[chosen], by[chosen] = net.logits(examples.x[chosen]), fold
    bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(bad):
        raise TableError(
            f"{request.table}: row {examples.rows[bad[0]]} is so far from the other rows' numbers that its prediction "
            "is not finite"
        )
    if diverged:
        say(f"training diverged in {diverged} of the {len(splits)} folds")
    return _HeldOut(logits, networks, by, epochs)
