"""`chainrule train`: a table in, a model and a report out."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.boundary.files import require_apart, require_writable
from chainrule.boundary.processes import Processes
from chainrule.command.crossing import Crossed, cross_validate
from chainrule.command.data import AnyPath, Part, Say
from chainrule.command.fitting import Fitted, Found, fitted, judged_on, logits_of_all, temperature
from chainrule.command.keeping import Keeper, folder_of
from chainrule.command.reporting import (
    beside,
    card_of,
    most_surprising,
    report_of_failure,
    seen_of,
    watch_of,
)
from chainrule.command.request import EPOCHS, Request
from chainrule.errors import DivergenceWarning, InputError, NonFiniteError
from chainrule.network import save_model
from chainrule.network.network import Network
from chainrule.pages.report import write_report
from chainrule.scores import example_scores
from chainrule.tables.model import silent
from chainrule.tables.showing import lines as schema_lines
from chainrule.tables.sparse import SparseFeatures
from chainrule.training.history import EpochRecord, History
from chainrule.version import __version__

__all__ = ["EPOCHS", "Request", "TrainingResult", "look", "train"]

PAGE = 2**26  # bytes of sparse features and activations that the report looks at, of the first rows
SMALL = "a step is too short for what it exchanges; larger batches, a larger network or fewer processes are quicker"
LARGEST = 2_000_000  # parameters: the page of a larger network takes seconds to write, and more than 10 MB


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
    folds: Found | None = None  # how those did that the number of epochs was chosen by
    crossed: Crossed | None = None
    checkpoints: Path | None = None  # the folder of every epoch's weights, where they are kept
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
        if self.crossed is not None:
            lines.append(f"cross-validation accuracy: {self.crossed.text()}")
        if self.test_accuracy is not None:
            lines.append(f"test accuracy:       {self.test_accuracy:.4f} (held out of everything)")
        if self.interrupted and self.kept is not None:
            lines.append(f"unfinished model: {self.model}; {self.kept} is as it was")
        else:
            lines.append(f"{'unfinished model' if self.interrupted else 'model'}:  {self.model}")
        if self.checkpoints is not None:
            lines.append(f"every epoch's weights: {self.checkpoints}")
        if self.report is not None:
            lines.append(f"report: {self.report}")
        if self.explanation is not None:
            lines.append(f"its most surprising example, explained: {self.explanation}")
        return lines


def look(request: Request, say: Say = silent) -> list[str]:
    """What training would take the table for: lines of a table, a column each."""
    return schema_lines(request.read(say).schema)


def train(
    request: Request,
    say: Say = silent,
    progress: Callable[[EpochRecord], object] | None = None,
    show: Callable[[list[str]], object] | None = None,
    processes: Processes | None = None,
) -> TrainingResult:
    """Read a table, train a network on it, write the model and the report.

    Beside report.html stands report-explanation.html: the example that surprises the network most, explained; of those
    held out for validation, else of the test, else of all. A network of more than `LARGEST` parameters has no such page
    (it would hold all of them); the report then names the example.

    With `memory`, in bytes, the table is streamed, and the report shows its first training rows, as many as fit.
    `say` is called with a line for each thing about the table that is not plain, and `show`, before training, with the
    lines of a table of what each column is taken for.

    Of several `processes` each reads, trains on and judges some of the rows, and the first writes what is written. They
    always stream the table.

    When Ctrl-C ends training, what was learned is written beside `output`, which stays as it is, and no report is. When
    training leaves the range of numbers, the report is written all the same, and no model.

    Raises
    ------
    ChainruleError
        Whatever is wrong with the table, the options or the places to write to; no model is written then.
    """
    output, report, checkpoint = request.output, request.report, request.checkpoint
    explained, unfinished = beside(report), _unfinished(output)
    places = {"output": output, "unfinished": unfinished, "report": report}
    places |= {"explanation": explained, "checkpoint": checkpoint}
    tables = {"table": request.table, "test-table": request.test_table}
    require_apart(**{name: t for name, t in tables.items() if isinstance(t, str | os.PathLike)}, **places)
    first = processes is None or processes.rank == 0

    def check() -> Request:
        for path in places.values():
            if path is not None and first:
                require_writable(path)
        return request.streamed(processes)

    request = check() if processes is None else processes.together(check)
    read = request.read(say, processes)
    schema, training, held_out, judged = read.schema, read.training, read.validation, read.test
    if show is not None:
        show(schema_lines(schema))
    crossed = None if request.cv is None else cross_validate(request)
    options, rule = request.options(len(training.labels)), request.rule()
    settings: dict[str, Any] = {
        "target": schema.target, "rows": len(training.rows),
        "validation rows": 0 if held_out is None else len(held_out.rows),
        "test rows": 0 if judged is None else len(judged.rows), "features": training.x.shape[1],
        "widths": [training.x.shape[1], *request.hidden, len(schema.classes)], "activation": request.activation,
        "optimizer": repr(rule), "batch size": request.batch_size, "seed": request.start_seed,
    } | {name.replace("_", " "): str(value) for name, value in options.items()}  # fmt: skip
    watch, started = watch_of(report if first else None, training), time.perf_counter()
    watches: list[Callable[[EpochRecord], object]] = [] if watch is None else [watch]

    def keep() -> Keeper | None:
        if not request.keep_checkpoints or not first:
            return None
        begun = Network.create(settings["widths"], activation=request.activation, seed=request.start_seed)
        return Keeper(folder_of(output), begun, schema)

    keeper = keep() if processes is None else processes.together(keep)
    if keeper is not None:
        watches.append(keeper)
    options |= {"optimizer": rule, "progress": progress, "group": processes}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DivergenceWarning)  # `say` says it, of the model that is written
            fit = fitted(request, read, say, watches=watches, **options)
    except NonFiniteError as error:
        if report is None or not first:
            raise
        net = Network.create(settings["widths"], activation=request.activation, seed=request.start_seed)
        report_of_failure(report, error, net, read, settings, rule.lr, watch)
        raise _with_report(error, report) from error
    net, history, found = fit.net, fit.history, fit.found
    if keeper is not None:
        keeper.close(len(history.loss))
    seconds = time.perf_counter() - started
    if history.diverged:
        say(history.diverged)
    if history.best_epoch == 0 and history.stopped == "interrupted":
        raise KeyboardInterrupt  # an untrained network is of no use
    if processes is not None and processes.size > 1 and (share := processes.waited / seconds) > 0.2:
        say(f"{share:.0%} of the time went into waiting for the other processes: {SMALL}")
    unseen = None if history.stopped == "interrupted" else judged_on(fit, read, processes)
    if request.calibrate:
        unseen = _calibrated(fit, unseen, say)
    accuracy = None
    if judged is not None:
        if processes is None:
            predicted = example_scores(net, judged.x, judged.labels)[1]
        else:
            predicted = logits_of_all(net, judged, processes).argmax(1)
        accuracy = judged.mean(predicted == judged.labels, "of the test")
    result = TrainingResult(history, accuracy, seconds, output, report, explained, fit.limited, found, crossed=crossed)
    result = replace(result, checkpoints=None if keeper is None else keeper.folder)
    settings |= {
        "epochs": len(history.loss),
        "validation": request.validation if found is None else f"{found.number} folds",
    }
    if result.interrupted:
        kept = output if os.path.exists(output) and unfinished != output else None
        found = None if found and found.stopped else found
        result = replace(result, model=unfinished, report=None, explanation=None, folds=found, kept=kept)
    if not first:
        return result
    results = {"results": [line for line in result.lines() if "accuracy" in line]}
    save_model(result.model, net, classes=schema.classes, schema=schema.to_dict(), training=settings | results)
    if report is None or result.interrupted:
        return result
    parts = {"validation": held_out, "test": judged, "training": training}
    name, part = next((name, part) for name, part in parts.items() if part is not None)
    if sum(p.size for p in (*net.weights, *net.biases)) > LARGEST:
        result = replace(result, explanation=None)
    fits = len(training.rows)
    if request.memory is not None or isinstance(training.x, SparseFeatures):
        fits = max(1, min(fits, (request.memory or PAGE) // (8 * sum(net.widths))))
    example = {"part": name} | most_surprising(net, schema, part.first(fits), result.explanation) if explained else None
    card = card_of(schema, read, net, result.lines(), unseen, __version__)
    judged_by = None if unseen is None else (unseen[0], unseen[1].labels)
    seen = seen_of(schema, net, unseen=judged_by, watch=watch, rate=rule.lr, card=card, part=part.first(fits))
    if found is not None and history.stopped == "callback":
        seen = replace(seen, ended="the number of epochs that the folds chose")
    write_report(
        report, net, history, training.first(fits).shown(), classes=schema.classes,
        validation=None if held_out is None else held_out.first(fits).shown(),
        judged=None if judged is None else judged.first(fits).shown(),
        settings=settings | {"seconds": f"{seconds:.2f}"}, example=example, schema=schema, seen=seen,
    )  # fmt: skip
    return result


def _with_report(error: NonFiniteError, report: AnyPath) -> NonFiniteError:
    other = NonFiniteError(f"{error}; report: {report}")
    other.history = error.history
    return other


def _calibrated(fit: Fitted, unseen: tuple[Any, Part] | None, say: Say) -> tuple[Any, Part]:
    """Divide the last layer by the temperature that suits rows which training did not see."""
    if unseen is None or not len(unseen[1].labels):
        raise InputError("--calibrate: there are no validation rows to calibrate on, expected --validation above 0")
    logits, part = unseen
    t = temperature(logits, part.labels, part.weights)
    fit.net.weights[-1] /= t
    fit.net.biases[-1] /= t
    say(f"calibrated on {len(part.labels)} rows that training did not see: logits are divided by {t:.4g}")
    return np.asarray(logits) / t, part


def _unfinished(output: AnyPath) -> AnyPath:
    """Where the model of an interrupted training stands, beside the one that it was to replace."""
    path = Path(output)
    if path.exists() and not path.is_file():
        return output  # a device keeps nothing
    return path.with_name(f"{path.stem}.unfinished{path.suffix}")
