"""The jobs of the command line as functions: tables and models by path in, results out."""

from __future__ import annotations

import io
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from chainrule.boundary.extras import require
from chainrule.boundary.files import require_apart, require_writable
from chainrule.errors import DivergenceWarning, InputError, ModelFileError, TableError
from chainrule.explain import Explanation, explain
from chainrule.network import Model, load_model, save_model
from chainrule.network.gradcheck import GradientReport, check_gradients
from chainrule.network.network import Network
from chainrule.output.layer import softmax, softmax_cross_entropy
from chainrule.pages.gallery import Gallery
from chainrule.pages.report import write_report
from chainrule.scores import confusion_matrix, example_scores
from chainrule.tables import Choices, Counts, Schema, learn_schema, learn_target, read_table
from chainrule.tables.parquet import ParquetTable, features_on_disk
from chainrule.training.examples import validation_rows
from chainrule.training.fit import fit
from chainrule.training.history import EpochRecord, History
from chainrule.training.optimizers import SGD, Adam, AdamW, Optimizer

__all__ = ["TrainingResult", "check", "evaluate", "explanation", "gallery", "predict", "train"]

AnyPath = str | os.PathLike[str]
Say = Callable[[str], object]


def _silent(line: str) -> None:
    """Say nothing."""


FOLDED = 1000  # rows: with fewer, those held out would be too few to say when to stop
FOLDS = 5
AT_ONCE = 256  # rows
DECAY = 0.01, 4.0  # of the weights by default: at most, and that times the number of rows: a prior weighs less by more
UNVALIDATED = 30  # epochs, where nothing tells when to stop
LARGEST = 2_000_000  # parameters: the page of a larger network takes seconds to write, and more than 10 MB


@dataclass(frozen=True)
class TrainingResult:
    """What `train` made and found."""

    history: History
    test_accuracy: float | None
    seconds: float
    model: AnyPath
    report: AnyPath | None
    explanation: AnyPath | None = None
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
    table: AnyPath,
    target: str,
    *,
    hidden: list[int],
    activation: str,
    optimizer: str,
    lr: float | None,
    epochs: int | None,
    batch_size: int,
    validation: float | None,
    test: float,
    patience: int | None,
    seed: int,
    checkpoint: AnyPath | None,
    output: AnyPath,
    report: AnyPath | None,
    progress: Callable[[EpochRecord], object] | None = None,
    memory: int | None = None,
    choices: Choices | None = None,
    say: Say = _silent,
    **options: Any,
) -> TrainingResult:
    """Read a table, train a network on it, write the model and the report.

    Beside report.html stands report-explanation.html: the example that surprises the network most, explained; of those
    held out for validation, else of the test, else of all. A network of more than `LARGEST` parameters has no such page
    (it would hold all of them); the report then names the example.

    `options` are what else `fit` takes. With `memory`, in bytes, a Parquet table is streamed, and the report shows its
    first training rows, as many as fit. `choices` say what the table does not say itself; `say` is called with a line
    for each thing about it that is not plain.

    When Ctrl-C ends training, what was learned is written beside `output`, which stays as it is, and no report is.

    Raises
    ------
    ChainruleError
        Whatever is wrong with the table, the options or the places to write to; nothing is written then.
    """
    beside, unfinished = _beside(report), _unfinished(output)
    device = beside is None
    require_apart(
        table=table, output=output, unfinished=unfinished, report=report, explanation=beside, checkpoint=checkpoint
    )
    for path in (output, unfinished, report, beside, checkpoint):
        if path is not None:
            require_writable(path)
    choices = choices or Choices()
    schema, training, held_out, judged = (
        _read_whole(table, target, test, validation, seed, choices, say)
        if memory is None
        else _read_streamed(table, target, test, validation, seed, choices, say, memory)
    )
    folded = memory is None and validation is None and held_out is None
    x, labels, rows = training
    chosen = _optimizer(optimizer, lr)
    limit = epochs or (1000 if validation is None or validation else UNVALIDATED)
    settings = dict(
        optimizer=chosen, epochs=limit, batch_size=batch_size, seed=seed, progress=progress, **options,
    )  # fmt: skip

    if options.get("weight_decay") is None:
        settings["weight_decay"] = options["weight_decay"] = min(DECAY[0], DECAY[1] / len(labels))

    def network() -> Network:
        return Network.create([x.shape[1], *hidden, len(schema.classes)], activation=activation, seed=seed)

    started = time.perf_counter()
    net, limited = network(), False
    found: _Found | None = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)  # `say` says it, of the model that is written
        if folded:
            found = _by_folds(network, training, patience, settings)
            limited, best = found.epochs == limit, found.epochs
            if found.diverged:
                say(
                    f"training diverged in {found.diverged} of the {found.number} folds that chose the number of epochs"
                )
            if found.stopped is None:
                stop = [lambda record: record.epoch >= best]
                history = fit(net, x, labels, validation=0.0, checkpoint=checkpoint, callbacks=stop, **settings)
            else:
                net, history = found.stopped
        else:
            history = fit(
                net, x, labels, validation=(held_out.x, held_out.labels) if held_out else 0.0,
                patience=patience if held_out else None, checkpoint=checkpoint, memory=memory, **settings,
            )  # fmt: skip
            limited = held_out is not None and history.stopped == "epochs"
    seconds = time.perf_counter() - started
    if history.diverged:
        say(history.diverged)
    if history.best_epoch == 0 and history.stopped == "interrupted":
        raise KeyboardInterrupt  # an untrained network is of no use
    accuracy = None if judged is None else float(np.mean(example_scores(net, *judged)[1] == judged.labels))
    shown_settings = {
        "target": target, "rows": len(rows), "validation rows": 0 if held_out is None else len(held_out.rows),
        "test rows": 0 if judged is None else len(judged.rows),
        "features": x.shape[1], "widths": net.widths, "activation": activation, "optimizer": repr(chosen),
        "epochs": len(history.loss), "batch size": batch_size, "seed": seed,
        "validation": validation if found is None else f"{found.number} folds",
    } | {name.replace("_", " "): str(value) for name, value in options.items()}  # fmt: skip
    if history.stopped == "interrupted":
        kept = output if os.path.exists(output) and unfinished != output else None
        save_model(unfinished, net, classes=schema.classes, schema=schema.to_dict(), training=shown_settings)
        return TrainingResult(
            history,
            accuracy,
            seconds,
            unfinished,
            None,
            None,
            limited,
            None if found and found.stopped else found,
            kept,
        )
    save_model(output, net, classes=schema.classes, schema=schema.to_dict(), training=shown_settings)
    if report is not None:
        parts = {"validation": held_out, "test": judged, "training": training}
        name, part = next((name, part) for name, part in parts.items() if part is not None)
        if sum(p.size for p in (*net.weights, *net.biases)) > LARGEST:
            beside = None
        example = None if device else {"part": name} | _most_surprising(net, schema, part, beside)
        shown = len(rows) if memory is None else max(1, min(len(rows), memory // (8 * sum(net.widths))))
        write_report(
            report, net, history, training.first(shown), classes=schema.classes,
            judged=None if judged is None else judged.first(shown), judged_name="test" if judged else "training",
            settings=shown_settings | {"seconds": f"{seconds:.2f}"}, example=example,
        )  # fmt: skip
    return TrainingResult(history, accuracy, seconds, output, report, beside, limited, found)


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
    order = np.random.default_rng([settings["seed"], 3]).permutation(len(training.labels))
    order = order[np.argsort(training.labels[order], kind="stable")]
    folds = min(FOLDS, len(order))
    losses, right, diverged = [], [], 0
    for k in range(folds):
        held_out, rest = (
            training.take(np.sort(order[k::folds])),
            training.take(np.sort(np.delete(order, np.s_[k::folds]))),
        )
        net = network()
        apart = (held_out.x, held_out.labels)
        history = fit(net, rest.x, rest.labels, validation=apart, patience=patience, **settings)
        diverged += history.diverged is not None
        if history.stopped == "interrupted":
            return _Found(0, 0.0, folds, diverged, (net, history))
        losses.append(np.nan_to_num(history.validation_loss, nan=np.inf, posinf=np.inf) * len(held_out.labels))
        right.append(np.array(history.validation_accuracy) * len(held_out.labels))
    # a fold that was out of patience would not have become better
    longest = max(map(len, losses))
    total = sum(np.pad(loss, (0, longest - len(loss)), mode="edge") for loss in losses)
    best = int(np.argmin(total))
    accuracy = float(sum(r[min(best, len(r) - 1)] for r in right)) / len(order)
    return _Found(best + 1, accuracy, folds, diverged)


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
    label, names = int(part.labels[worst]), schema.feature_names
    e = explain(net, part.x[worst], label, feature_names=names, classes=schema.classes)
    chain = e.weight(*e.strongest_weight())
    if path is not None:
        chain.to_html(path)
    href = None if path is None else quote(path.name)
    return {"row": int(part.rows[worst]), "loss": e.loss, "why": chain.why, "href": href}


class Part(NamedTuple):
    """Examples, and the row of the table that each came from."""

    x: Any
    labels: Any
    rows: Any

    def take(self, at: Any) -> Part:
        return Part(self.x[at], self.labels[at], self.rows[at])

    def first(self, count: int) -> Part:
        return self.take(slice(count))


Read = tuple[Schema, Part, Part | None, Part | None]


def _read_whole(
    table: AnyPath, target: str, test: float, validation: float | None, seed: int, choices: Choices, say: Say
) -> Read:
    """The schema, the training examples, those for validation or None, the test's or None. By default a tenth is for
    validation, or none where there are so few that `_by_folds` is to say when to stop.

    The classes are the whole table's; all else is learned from what is not held out for the test.
    """
    frame = read_table(table)
    found = learn_target(frame, target, choices)
    rows, labels = _labelled(found.labels(frame), target, say)
    test_at, rest = _held_out(labels, test, seed, 4, "--test")
    training_frame = frame[rows[rest].tolist()]
    schema = learn_schema(training_frame, found, choices, rows=rows[rest], say=say)
    training = Part(schema.features(training_frame, rows=rows[rest]), labels[rest], rows[rest])
    judged = None
    if len(test_at):
        at = rows[test_at]
        judged = Part(schema.features(frame[at.tolist()], rows=at), labels[test_at], at)
    default = 0.1 if len(training.labels) >= FOLDED else 0.0
    at, rest = _held_out(training.labels, validation, seed, 0, "--validation", default)
    return schema, training.take(rest), training.take(at) if len(at) else None, judged


def _read_streamed(
    table: AnyPath,
    target: str,
    test: float,
    validation: float | None,
    seed: int,
    choices: Choices,
    say: Say,
    memory: int,
) -> Read:
    """The same, with the features in memory maps; the schema is that of all rows that have a class."""
    frame = ParquetTable(table)
    found = learn_target(frame, target, choices)
    rows, labels = _labelled(found.labels(frame), target, say)
    frame = frame.only(rows)
    schema = learn_schema(frame, found, choices, rows=rows, say=say)

    def read(frame: Any, rows: Any) -> Any:
        return schema.features(frame, rows=rows)

    features = features_on_disk(frame, read, len(schema.feature_names), "float32", memory)
    test_at, rest = _held_out(labels, test, seed, 4, "--test")
    at, rest_of_rest = _held_out(labels[rest], validation, seed, 0, "--validation", 0.1)

    def part(chosen: Any) -> Part:
        mask = np.zeros(frame.height, dtype=bool)
        mask[chosen] = True
        return Part(features(mask), labels[chosen], rows[chosen])

    return (
        schema,
        part(rest[rest_of_rest]),
        part(rest[at]) if len(at) else None,
        part(test_at) if len(test_at) else None,
    )


def _labelled(labels: Any, target: str, say: Say) -> tuple[Any, Any]:
    """The rows that have a class, and their labels; the others are counted."""
    rows = np.flatnonzero(labels >= 0)
    if len(rows) < len(labels):
        first = int(np.flatnonzero(labels < 0)[0])
        say(f"column {target!r}: {len(labels) - len(rows)} rows without a class are left out, first row {first}")
    return rows, labels[rows]


def _held_out(
    labels: Any, fraction: float | None, seed: int, purpose: int, option: str, default: float = 0.0
) -> tuple[Any, Any]:
    """Places of a fraction of each class, and of the others; among these is one of each class at least, where the
    fraction is no default."""
    n, k = len(labels), len(np.unique(labels))
    if fraction is None:
        fraction = default
    elif fraction and (left := n - max(1, round(n * fraction))) < k:
        raise InputError(
            f"{option}: got {fraction}, which leaves {left} of {n} rows to train on, expected at most "
            f"{1000 * (n - k) // n / 1000:g}: a row of each of the {k} classes trains"
        )
    chosen = validation_rows(labels, fraction, seed, purpose)
    rest = np.ones(len(labels), dtype=bool)
    rest[chosen] = False
    return chosen, np.flatnonzero(rest)


@dataclass(frozen=True)
class _Judge:
    """A model with a table as the model reads it: only rows that have a class where `labelled`."""

    net: Network
    schema: Schema
    x: Any
    labels: Any
    rows: Any

    def logits(self) -> Any:
        """The logits of every row, all finite; to the last bit those of the row alone.

        A product's rounding depends on how many rows it has, so that every product here has as many.
        """
        n, blocks = len(self.x), []
        x = np.concatenate([self.x, np.zeros((-n % AT_ONCE, self.x.shape[1]), self.x.dtype)])
        with np.errstate(over="ignore", invalid="ignore"):  # what leaves its range is named
            for begin in range(0, n, AT_ONCE):
                blocks.append(self.net.forward(x[begin : begin + AT_ONCE]).logits)
        logits = np.concatenate(blocks)[:n]
        bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
        if len(bad):
            at = int(bad[0])
            column = self.schema.feature_names[int(np.abs(self.x[at]).argmax())]
            raise TableError(
                f"column {column!r}, row {self.rows[at]}: is so far from training's numbers that the prediction is "
                "not finite"
            )
        return logits


def _judge(
    model: AnyPath, table: AnyPath, say: Say, strict: bool, *, labelled: bool = False, rows: slice = slice(None)
) -> _Judge:
    net, schema = _model(model)
    frame = read_table(table)
    numbers = np.arange(frame.height)[rows]
    frame = frame[rows]
    labels = None
    if labelled:
        at, labels = _labelled(schema.labels(frame, numbers), schema.target, say)
        if len(at) < frame.height:
            numbers, frame = numbers[at], frame[at.tolist()]
    counts = Counts()
    x = schema.features(frame, rows=numbers, counts=counts)
    if strict and counts.lines():
        raise TableError(f"{table}: {'; '.join(counts.lines())}; --strict refuses them")
    for line in counts.lines():
        say(line)
    return _Judge(net, schema, x, labels, numbers)


def predict(model: AnyPath, table: AnyPath, say: Say = _silent, strict: bool = False) -> str:
    """CSV text: for each row the predicted class, then the probability of each class.

    `say` is called with a line for each column and kind of cell that training did not know; with `strict` there is an
    error instead.
    """
    pl = require("polars", "cli")
    judge = _judge(model, table, say, strict)
    logits, names = judge.logits(), judge.schema.classes
    probabilities = softmax(logits)
    columns = {"prediction": [names[i] for i in logits.argmax(axis=1)]}
    columns |= {f"probability of {c}": probabilities[:, i] for i, c in enumerate(names)}
    text = io.StringIO()
    pl.DataFrame(columns).write_csv(text)
    return text.getvalue()


def evaluate(model: AnyPath, table: AnyPath, say: Say = _silent, strict: bool = False) -> str:
    """Loss, accuracy and confusion matrix, as text; rows without a class are left out, and counted."""
    judge = _judge(model, table, say, strict, labelled=True)
    if not len(judge.labels):
        raise TableError(f"{table}: no row has a class to be judged by")
    logits, labels, schema = judge.logits(), judge.labels, judge.schema
    matrix = confusion_matrix(logits.argmax(axis=1), labels, len(schema.classes))
    names = [str(c) for c in schema.classes]
    wide = max(len(n) for n in [*names, str(matrix.max())]) + 2
    lines = [
        f"rows:     {len(labels)}",
        f"loss:     {float(softmax_cross_entropy(logits, labels).loss):.6f}",
        f"accuracy: {float(np.trace(matrix)) / len(labels):.4f}",
        "confusion matrix (a row for the true class, a column for the predicted):",
        " " * wide + "".join(f"{n:>{wide}}" for n in names),
    ]
    lines += [f"{n:>{wide}}" + "".join(f"{c:>{wide}}" for c in row) for n, row in zip(names, matrix, strict=True)]
    return "\n".join(lines)


def explanation(
    model: AnyPath, table: AnyPath, row: int, image: tuple[int, int] | None = None, say: Say = _silent
) -> Explanation:
    """The explanation of one row of a table, counted from 0; image: (rows, columns), where its features are pixels."""
    height = read_table(table).height
    if row >= height:
        raise InputError(f"--row: got {row}, expected 0 to {height - 1}, the rows of {table}")
    judge = _judge(model, table, say, False, labelled=True, rows=slice(row, row + 1))
    if not len(judge.labels):
        raise InputError(f"--row: got {row}, which has no class in column {judge.schema.target!r}")
    judge.logits()
    names, classes = judge.schema.feature_names, judge.schema.classes
    return explain(judge.net, judge.x[0], int(judge.labels[0]), feature_names=names, classes=classes, image=image)


def gallery(model: AnyPath, table: AnyPath, image: tuple[int, int] | None = None, say: Say = _silent) -> Gallery:
    """All rows of a table that have a class, sorted by loss, each to be explained."""
    judge = _judge(model, table, say, False, labelled=True)
    if not len(judge.labels):
        raise TableError(f"{table}: no row has a class, expected some to show")
    judge.logits()
    names, classes = judge.schema.feature_names, judge.schema.classes
    return Gallery(judge.net, judge.x, judge.labels, names, classes, image, judge.rows)


def check(model: AnyPath, table: AnyPath, rows: int, say: Say = _silent) -> GradientReport:
    """Every gradient of the chain on a table's first rows, against finite differences."""
    judge = _judge(model, table, say, False, labelled=True, rows=slice(rows))
    return check_gradients(judge.net, judge.x, judge.labels)


def _model(path: AnyPath) -> tuple[Network, Schema]:
    model: Model = load_model(path)
    if model.schema is None:
        raise ModelFileError(f"{path}: holds a network without a table's schema; `chainrule train` writes both")
    try:
        schema = Schema.from_dict(model.schema)
    except TableError as error:
        raise ModelFileError(f"{path}: {error}") from error
    if len(schema.feature_names) != model.network.widths[0] or len(schema.classes) != model.network.widths[-1]:
        raise ModelFileError(f"{path}: its schema does not fit its network of widths {model.network.widths}")
    return model.network, schema


def _optimizer(name: str, lr: float | None) -> Optimizer:
    if name == "sgd":
        return SGD(lr or 0.01, momentum=0.9)
    return Adam(lr or 1e-3) if name == "adam" else AdamW(lr or 1e-3)
