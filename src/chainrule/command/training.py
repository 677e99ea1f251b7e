"""`chainrule train`: a table in, a model and a report out."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from chainrule.boundary.files import require_apart, require_writable
from chainrule.command.data import AnyPath, Part, Read, Say, read_streamed, read_whole, silent
from chainrule.errors import DivergenceWarning
from chainrule.explain import explain
from chainrule.network import save_model
from chainrule.network.network import Network
from chainrule.pages.report import write_report
from chainrule.scores import example_scores
from chainrule.tables import Choices, Schema
from chainrule.training.fit import fit
from chainrule.training.history import EpochRecord, History
from chainrule.training.optimizers import SGD, Adam, AdamW, Optimizer
from chainrule.training.schedules import Constant, Cosine, OnPlateau, StepDecay, WarmUp
from chainrule.training.splitting import folds

__all__ = ["Request", "TrainingResult", "train"]

FOLDS = 5
DECAY = 0.01, 4.0  # of the weights by default: at most, and that times the number of rows: a prior weighs less by more
EPOCHS = 1000  # at most
UNVALIDATED = 30  # epochs, where nothing tells when to stop
LARGEST = 2_000_000  # parameters: the page of a larger network takes seconds to write, and more than 10 MB


@dataclass(frozen=True)
class Request:
    """What is asked of `train`, by the names of the command line's options."""

    table: AnyPath
    target: str
    output: AnyPath
    report: AnyPath | None
    checkpoint: AnyPath | None
    # what the table does not say itself, and how it is split
    decimal: str | None
    dates: str | None
    keep: list[str]
    ignore: list[str]
    as_classes: bool
    validation: float | None
    test: float
    memory: int | None
    # the network, and how it is trained
    hidden: list[int]
    activation: str
    optimizer: str
    lr: float | None
    schedule: str
    warm_up: float | None
    epochs: int | None
    batch_size: int
    patience: int | None
    weight_decay: float | None
    dropout: float
    label_smoothing: float
    clip_norm: float | None
    balanced: bool
    threads: int | None
    seed: int

    @property
    def limit(self) -> int:
        """The most epochs."""
        return self.epochs or (EPOCHS if self.validation is None or self.validation else UNVALIDATED)

    def read(self, say: Say) -> Read:
        """The table as examples."""
        choices = Choices(self.decimal, self.dates, self.keep, self.ignore, self.as_classes)
        arguments = self.table, self.target, self.test, self.validation, self.seed, choices, say
        return read_whole(*arguments) if self.memory is None else read_streamed(*arguments, self.memory)

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


@dataclass(frozen=True)
class TrainingResult:
    """What `train` made and found."""

    history: History
    test_accuracy: float | None
    seconds: float
    model: AnyPath
    report: AnyPath | None
    explanation: Path | None = None
    limited: bool = False  # whether it was the limit of epochs that ended training
    folds: _Found | None = None  # how those did that the number of epochs was chosen by
    kept: AnyPath | None = None  # the model that was to be replaced, where training was interrupted

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended training: the model is unfinished, and stands beside the place that it was meant for."""
        return self.history.stopped == "interrupted"

    def lines(self) -> list[str]:
        """What to tell the user."""
        history = self.history
        limit = ", the limit (--epochs), while validation improved"
        how = {
            "epochs": limit if self.limited else "",
            "patience": ", stopped early",
            "callback": limit if self.limited else ", as many as the folds chose",
            "interrupted": ", stopped by Ctrl-C",
        }[history.stopped]
        kept = "" if self.folds is not None else f"; kept the weights of epoch {history.best_epoch}"
        lines = [f"trained {len(history.loss)} epochs in {self.seconds:.2f} s{how}{kept}"]
        if history.best_epoch:
            lines.append(f"training accuracy:   {history.accuracy[history.best_epoch - 1]:.4f}")
        if self.folds is not None:
            told = f"of {self.folds.number} folds; the model itself saw all rows"
            lines.append(f"validation accuracy: {self.folds.accuracy:.4f} ({told})")
        elif history.validation_accuracy and history.best_epoch:
            lines.append(f"validation accuracy: {history.validation_accuracy[history.best_epoch - 1]:.4f}")
        if self.test_accuracy is not None:
            lines.append(f"test accuracy:       {self.test_accuracy:.4f} (held out of everything)")
        if self.interrupted and self.kept is not None:
            lines.append(f"unfinished model: {self.model}; {self.kept} is as it was")
        else:
            lines.append(f"{'unfinished model' if self.interrupted else 'model'}:  {self.model}")
        if self.report is not None:
            lines.append(f"report: {self.report}")
        if self.explanation is not None:
            lines.append(f"its most surprising example, explained: {self.explanation}")
        return lines


def train(
    request: Request, say: Say = silent, progress: Callable[[EpochRecord], object] | None = None
) -> TrainingResult:
    """Read a table, train a network on it, write the model and the report.

    Beside report.html stands report-explanation.html: the example that surprises the network most, explained; of those
    held out for validation, else of the test, else of all. A network of more than `LARGEST` parameters has no such page
    (it would hold all of them); the report then names the example.

    With `memory`, in bytes, a Parquet table is streamed, and the report shows its first training rows, as many as fit.
    `say` is called with a line for each thing about the table that is not plain.

    When Ctrl-C ends training, what was learned is written beside `output`, which stays as it is, and no report is.

    Raises
    ------
    ChainruleError
        Whatever is wrong with the table, the options or the places to write to; nothing is written then.
    """
    output, report, checkpoint = request.output, request.report, request.checkpoint
    beside, unfinished = _beside(report), _unfinished(output)
    places = {"output": output, "unfinished": unfinished, "report": report}
    places |= {"explanation": beside, "checkpoint": checkpoint}
    require_apart(table=request.table, **places)
    for path in places.values():
        if path is not None:
            require_writable(path)
    read = request.read(say)
    schema, training, held_out, judged = read
    options, rule = request.options(len(training.labels)), request.rule()
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)  # `say` says it, of the model that is written
        net, history, limited, found = _fitted(request, read, say, optimizer=rule, progress=progress, **options)
    seconds = time.perf_counter() - started
    if history.diverged:
        say(history.diverged)
    if history.best_epoch == 0 and history.stopped == "interrupted":
        raise KeyboardInterrupt  # an untrained network is of no use
    result = TrainingResult(
        history, None if judged is None else float(np.mean(example_scores(net, *judged)[1] == judged.labels)),
        seconds, output, report, beside, limited, found,
    )  # fmt: skip
    settings = {
        "target": request.target, "rows": len(training.rows),
        "validation rows": 0 if held_out is None else len(held_out.rows),
        "test rows": 0 if judged is None else len(judged.rows),
        "features": training.x.shape[1], "widths": net.widths, "activation": net.activation, "optimizer": repr(rule),
        "epochs": len(history.loss), "batch size": request.batch_size, "seed": request.seed,
        "validation": request.validation if found is None else f"{found.number} folds",
    } | {name.replace("_", " "): str(value) for name, value in options.items()}  # fmt: skip
    if result.interrupted:
        kept = output if os.path.exists(output) and unfinished != output else None
        found = None if found and found.stopped else found
        result = replace(result, model=unfinished, report=None, explanation=None, folds=found, kept=kept)
    save_model(result.model, net, classes=schema.classes, schema=schema.to_dict(), training=settings)
    if report is None or result.interrupted:
        return result
    parts = {"validation": held_out, "test": judged, "training": training}
    name, part = next((name, part) for name, part in parts.items() if part is not None)
    if sum(p.size for p in (*net.weights, *net.biases)) > LARGEST:
        result = replace(result, explanation=None)
    example = {"part": name} | _most_surprising(net, schema, part, result.explanation) if beside else None
    fits = len(training.rows) if request.memory is None else max(1, request.memory // (8 * sum(net.widths)))
    write_report(
        report, net, history, training.first(fits), classes=schema.classes,
        validation=None if held_out is None else held_out.first(fits),
        judged=None if judged is None else judged.first(fits),
        settings=settings | {"seconds": f"{seconds:.2f}"}, example=example, schema=schema,
    )  # fmt: skip
    return result


def _fitted(request: Request, read: Read, say: Say, **options: Any) -> tuple[Network, History, bool, _Found | None]:
    """A network, its history, whether it was the limit of epochs that ended training, and what the folds found."""
    training, held_out, seed, limit = read.training, read.validation, request.seed, request.limit
    options |= {"epochs": limit, "batch_size": request.batch_size, "seed": seed}
    widths = [training.x.shape[1], *request.hidden, len(read.schema.classes)]

    def network() -> Network:
        return Network.create(widths, activation=request.activation, seed=seed)

    net = network()
    if request.validation is None and held_out is None and request.memory is None:
        found = _by_folds(network, training, request.patience, options)
        if found.diverged:
            say(f"training diverged in {found.diverged} of the {found.number} folds that chose the number of epochs")
        if found.stopped is not None:
            return (*found.stopped, False, found)
        options |= {"callbacks": [lambda record: record.epoch >= found.epochs], "checkpoint": request.checkpoint}
        return net, fit(net, training.x, training.labels, validation=0.0, **options), found.epochs == limit, found
    options |= {"checkpoint": request.checkpoint, "patience": request.patience if held_out else None}
    apart: Any = (held_out.x, held_out.labels) if held_out else 0.0
    history = fit(net, training.x, training.labels, validation=apart, memory=request.memory, **options)
    return net, history, held_out is not None and history.stopped == "epochs", None


class _Found(NamedTuple):
    """When to stop, and how well the folds did then; how many there were, how many diverged; or the one that Ctrl-C
    stopped."""

    epochs: int
    accuracy: float
    number: int
    diverged: int
    stopped: tuple[Network, History] | None = None


def _by_folds(network: Callable[[], Network], training: Part, patience: int | None, settings: dict[str, Any]) -> _Found:
    """The number of epochs with the least validation loss, of all rows: each is held out in one of the folds.

    A tenth of a hundred rows would say little: which ten they are would decide when training stops.
    """
    splits = list(folds(training.labels, FOLDS, settings["seed"]))
    losses, right, diverged = [], [], 0
    for chosen, others in splits:
        held_out, rest = training.take(chosen), training.take(others)
        net = network()
        apart = (held_out.x, held_out.labels)
        history = fit(net, rest.x, rest.labels, validation=apart, patience=patience, **settings)
        diverged += history.diverged is not None
        if history.stopped == "interrupted":
            return _Found(0, 0.0, len(splits), diverged, (net, history))
        losses.append(np.nan_to_num(history.validation_loss, nan=np.inf, posinf=np.inf) * len(held_out.labels))
        right.append(np.array(history.validation_accuracy) * len(held_out.labels))
    # a fold that was out of patience would not have become better
    longest = max(map(len, losses))
    total = sum(np.pad(loss, (0, longest - len(loss)), mode="edge") for loss in losses)
    best = int(np.argmin(total))
    accuracy = float(sum(r[min(best, len(r) - 1)] for r in right)) / len(training.labels)
    return _Found(best + 1, accuracy, len(splits), diverged)


def _unfinished(output: AnyPath) -> AnyPath:
    """Where the model of an interrupted training stands, beside the one that it was to replace."""
    path = Path(output)
    if path.exists() and not path.is_file():
        return output  # a device keeps nothing
    return path.with_name(f"{path.stem}.unfinished{path.suffix}")


def _beside(report: AnyPath | None) -> Path | None:
    """Where the explanation stands that the report points at; None without a report, or where that is a device."""
    if report is None or (os.path.exists(report) and not os.path.isfile(report)):
        return None
    return Path(report).with_name(f"{Path(report).stem}-explanation.html")


def _most_surprising(net: Network, schema: Schema, part: Part, path: Path | None) -> dict[str, Any]:
    """What the report says of the example with the largest loss, which is explained in a page of its own at `path`."""
    losses, _, _ = example_scores(net, *part)
    worst = int(losses.argmax())
    row, label = int(part.rows[worst]), int(part.labels[worst])
    e = explain(net, part.x[worst], label, schema=schema, row=row)
    chain = e.weight(*e.opening_weight())
    if path is not None:
        chain.to_html(path)
    href = None if path is None else quote(path.name)
    return {"row": row, "loss": e.loss, "why": chain.why, "href": href}
