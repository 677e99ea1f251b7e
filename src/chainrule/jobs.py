"""The jobs of the command line as functions: tables and models by path in, results out."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from chainrule.errors import InputError, ModelFileError
from chainrule.examples import validation_rows
from chainrule.explain import Explanation, explain
from chainrule.files import require_apart, require_writable
from chainrule.gallery import Gallery
from chainrule.gradcheck import GradientReport, check_gradients
from chainrule.history import EpochRecord, History
from chainrule.model_file import Model, load_model, save_model
from chainrule.network import Network
from chainrule.optimizers import SGD, Adam, AdamW, Optimizer
from chainrule.output import softmax_cross_entropy
from chainrule.report import write_report
from chainrule.scores import confusion_matrix, example_scores
from chainrule.streams import ParquetTable, features_on_disk
from chainrule.tables import Schema, learn_schema, read_table
from chainrule.training import fit

__all__ = ["TrainingResult", "check", "evaluate", "explanation", "gallery", "predict", "train"]

Path = str | os.PathLike[str]

LARGEST = 2_000_000  # parameters: the page of a larger network takes seconds to write, and more than 10 MB


@dataclass(frozen=True)
class TrainingResult:
    """What `train` made and found."""

    history: History
    test_accuracy: float | None
    seconds: float
    model: Path
    report: Path | None
    explanation: Path | None = None

    def lines(self) -> list[str]:
        """What to tell the user."""
        history = self.history
        how = {
            "epochs": "",
            "patience": ", stopped early",
            "callback": ", stopped by a callback",
            "interrupted": ", stopped by Ctrl-C",
        }[history.stopped]
        kept = f"kept the weights of epoch {history.best_epoch}"
        lines = [f"trained {len(history.loss)} epochs in {self.seconds:.2f} s{how}; {kept}"]
        if history.best_epoch:
            lines.append(f"training accuracy:   {history.accuracy[history.best_epoch - 1]:.4f}")
        if history.validation_accuracy and history.best_epoch:
            lines.append(f"validation accuracy: {history.validation_accuracy[history.best_epoch - 1]:.4f}")
        if self.test_accuracy is not None:
            lines.append(f"test accuracy:       {self.test_accuracy:.4f} (held out of everything)")
        lines.append(f"model:  {self.model}")
        if self.report is not None:
            lines.append(f"report: {self.report}")
        if self.explanation is not None:
            lines.append(f"its most surprising example, explained: {self.explanation}")
        return lines


def train(
    table: Path,
    target: str,
    *,
    hidden: list[int],
    activation: str,
    optimizer: str,
    lr: float | None,
    epochs: int,
    batch_size: int,
    validation: float,
    test: float,
    patience: int | None,
    seed: int,
    checkpoint: Path | None,
    output: Path,
    report: Path | None,
    progress: Callable[[EpochRecord], object] | None = None,
    memory: int | None = None,
    **options: Any,
) -> TrainingResult:
    """Read a table, train a network on it, write the model and the report.

    Beside report.html stands report-explanation.html: the example that surprises the network most, explained; of those
    held out for validation, else of the test, else of all. A network of more than `LARGEST` parameters has no such page
    (it would hold all of them); the report then names the example.

    `options` are what else `fit` takes. With `memory`, in bytes, a Parquet table is streamed, and the report shows its
    first training rows, as many as fit.

    Raises
    ------
    ChainruleError
        Whatever is wrong with the table, the options or the places to write to; nothing is written then.
    """
    beside = _beside(report)
    device = beside is None
    require_apart(table=table, output=output, report=report, explanation=beside, checkpoint=checkpoint)
    for path in (output, report, beside, checkpoint):
        if path is not None:
            require_writable(path)
    schema, training, held_out, judged = (
        _read_whole(table, target, test, validation, seed)
        if memory is None
        else _read_streamed(table, target, test, validation, seed, memory)
    )
    x, labels, rows = training
    net = Network.create([x.shape[1], *hidden, len(schema.classes)], activation=activation, seed=seed)
    chosen = _optimizer(optimizer, lr)
    started = time.perf_counter()
    history = fit(
        net, x, labels, optimizer=chosen, epochs=epochs, batch_size=batch_size,
        validation=(held_out.x, held_out.labels) if held_out else validation if memory is None else 0.0,
        patience=patience, seed=seed, checkpoint=checkpoint, progress=progress, memory=memory, **options,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    if history.best_epoch == 0 and history.stopped == "interrupted":
        raise KeyboardInterrupt  # an untrained network is not worth an older model
    accuracy = (
        None if judged is None else float(np.mean(example_scores(net, judged.x, judged.labels)[1] == judged.labels))
    )
    settings = {
        "target": target, "rows": len(rows), "test rows": 0 if judged is None else len(judged.rows),
        "features": x.shape[1], "widths": net.widths, "activation": activation, "optimizer": repr(chosen),
        "epochs": epochs, "batch size": batch_size, "validation": validation, "seed": seed,
    } | {name.replace("_", " "): str(value) for name, value in options.items()}  # fmt: skip
    save_model(output, net, classes=schema.classes, schema=schema.to_dict(), training=settings)
    if report is not None:
        if held_out is None and memory is None and len(at := validation_rows(labels, validation, seed)):
            held_out = training.take(at)
        parts = {"validation": held_out, "test": judged, "training": training}
        name, part = next((name, part) for name, part in parts.items() if part is not None)
        if sum(p.size for p in (*net.weights, *net.biases)) > LARGEST:
            beside = None
        example = None if device else {"part": name} | _most_surprising(net, schema, part, beside)
        shown = len(rows) if memory is None else max(1, min(len(rows), memory // (8 * sum(net.widths))))
        write_report(
            report, net, history, training.first(shown), classes=schema.classes,
            judged=None if judged is None else judged.first(shown), judged_name="test" if judged else "training",
            settings=settings | {"seconds": f"{seconds:.2f}"}, example=example,
        )  # fmt: skip
    return TrainingResult(history, accuracy, seconds, output, report, beside)


def _beside(report: Path | None) -> FilePath | None:
    """Where the explanation stands that the report points at; None without a report, or where that is a device."""
    if report is None or (os.path.exists(report) and not os.path.isfile(report)):
        return None
    return FilePath(report).with_name(f"{FilePath(report).stem}-explanation.html")


def _most_surprising(net: Network, schema: Schema, part: Part, path: FilePath | None) -> dict[str, Any]:
    """What the report says of the example with the largest loss, which is explained in a page of its own at `path`."""
    losses, _, _ = example_scores(net, part.x, part.labels)
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


def _read_whole(
    table: Path, target: str, test: float, validation: float, seed: int
) -> tuple[Schema, Part, Part | None, Part | None]:
    """The schema, the training examples, those for validation or None where `fit` chooses them, the test's or None."""
    frame = read_table(table)
    test_rows, rows = _held_out(frame.height, test, seed, 2)
    training_frame = frame[rows.tolist()]
    schema = learn_schema(training_frame, target)
    judged = None
    if len(test_rows):
        test_frame = frame[test_rows.tolist()]
        judged = Part(schema.features(test_frame), schema.labels(test_frame), test_rows)
    return schema, Part(schema.features(training_frame), schema.labels(training_frame), rows), None, judged


def _read_streamed(
    table: Path, target: str, test: float, validation: float, seed: int, memory: int
) -> tuple[Schema, Part, Part | None, Part | None]:
    """The same, with the features in memory maps; the schema is that of the whole table."""
    frame = ParquetTable(table)
    schema = learn_schema(frame, target)
    labels = schema.labels(frame)
    features = features_on_disk(frame, schema.features, len(schema.feature_names), "float32", memory)
    test_rows, rows = _held_out(frame.height, test, seed, 2)
    at, rest = _held_out(len(rows), validation, seed, 0)

    def part(chosen: Any) -> Part:
        mask = np.zeros(frame.height, dtype=bool)
        mask[chosen] = True
        return Part(features(mask), labels[chosen], chosen)

    return schema, part(rows[rest]), part(rows[at]) if len(at) else None, part(test_rows) if len(test_rows) else None


def _held_out(n: int, fraction: float, seed: int, purpose: int) -> tuple[Any, Any]:
    """A fraction of n rows, at least one, and the others."""
    order = np.random.default_rng([seed, purpose]).permutation(n)
    count = min(max(round(n * fraction), 1), n - 1) if fraction else 0
    return np.sort(order[:count]), np.sort(order[count:])


def predict(model: Path, table: Path) -> str:
    """CSV text: for each row the predicted class, then the probability of each class."""
    import polars as pl

    net, schema = _model(model)
    x = schema.features(read_table(table))
    probabilities = net.predict_proba(x)
    classes = [schema.classes[i] for i in net.predict(x)]
    columns = {"prediction": classes}
    columns |= {f"probability of {c}": probabilities[:, i] for i, c in enumerate(schema.classes)}
    text = io.StringIO()
    pl.DataFrame(columns).write_csv(text)
    return text.getvalue()


def evaluate(model: Path, table: Path) -> str:
    """Loss, accuracy and confusion matrix, as text."""
    net, schema = _model(model)
    frame = read_table(table)
    labels = schema.labels(frame)
    logits = net.forward(schema.features(frame)).logits
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


def explanation(model: Path, table: Path, row: int, image: tuple[int, int] | None = None) -> Explanation:
    """The explanation of one row of a table, counted from 0; image: (rows, columns), where its features are pixels."""
    net, schema = _model(model)
    frame = read_table(table)
    if row >= frame.height:
        raise InputError(f"--row: got {row}, expected 0 to {frame.height - 1}, the rows of {table}")
    one = frame[[row]]
    label = int(schema.labels(one)[0])
    return explain(
        net, schema.features(one)[0], label, feature_names=schema.feature_names, classes=schema.classes, image=image
    )


def gallery(model: Path, table: Path, image: tuple[int, int] | None = None) -> Gallery:
    """All rows of a table, sorted by loss, each to be explained."""
    net, schema = _model(model)
    frame = read_table(table)
    labels = schema.labels(frame)
    if not len(labels):
        raise InputError(f"{table}: has no rows to show")
    return Gallery(net, schema.features(frame), labels, schema.feature_names, schema.classes, image)


def check(model: Path, table: Path, rows: int) -> GradientReport:
    """Every gradient of the chain on a table's first rows, against finite differences."""
    net, schema = _model(model)
    frame = read_table(table).head(rows)
    return check_gradients(net, schema.features(frame), schema.labels(frame))


def _model(path: Path) -> tuple[Network, Schema]:
    model: Model = load_model(path)
    if model.schema is None:
        raise ModelFileError(f"{path}: holds a network without a table's schema; `chainrule train` writes both")
    schema = Schema.from_dict(model.schema)
    if len(schema.feature_names) != model.network.widths[0] or len(schema.classes) != model.network.widths[-1]:
        raise ModelFileError(f"{path}: its schema does not fit its network of widths {model.network.widths}")
    return model.network, schema


def _optimizer(name: str, lr: float | None) -> Optimizer:
    if name == "sgd":
        return SGD(lr or 0.01, momentum=0.9)
    return Adam(lr or 1e-3) if name == "adam" else AdamW(lr or 1e-3)
