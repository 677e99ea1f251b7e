"""A network trained on the examples of a table: until validation stops improving, of rows held out or of folds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from chainrule.boundary.processes import Processes
from chainrule.command.data import Part, Read, Say
from chainrule.command.request import Request
from chainrule.network.network import Network
from chainrule.output.layer import softmax
from chainrule.tables.sparse import logits_of
from chainrule.training.fit import fit
from chainrule.training.history import EpochRecord, History

__all__ = ["FOLDS", "Fitted", "Found", "fitted", "judged_on", "logits_of_all", "temperature"]

FOLDS = 5
HOTTEST = 20.0  # temperature, and 1/HOTTEST the coldest
Watch = Callable[[EpochRecord], object]


class Found(NamedTuple):
    """When to stop, and how well the folds did then; how many there were, how many diverged; or the one that Ctrl-C
    stopped. logits : of all rows, each by the network of the fold that held it out"""

    epochs: int
    accuracy: float
    loss: float
    number: int
    diverged: int
    logits: Any = None
    stopped: tuple[Network, History] | None = None


@dataclass(frozen=True)
class Fitted:
    """net, history : what `fit` made; limited : whether it was the limit of epochs that ended training"""

    net: Network
    history: History
    limited: bool
    found: Found | None = None


def fitted(request: Request, read: Read, say: Say, *, watches: Sequence[Watch] = (), **options: Any) -> Fitted:
    """Train a network; `options` are what `fit` takes besides; `watches` are called after each epoch."""
    training, held_out, seed, limit = read.training, read.validation, request.start_seed, request.limit
    options |= {"epochs": limit, "batch_size": request.batch_size, "seed": seed}
    widths = [training.x.shape[1], *request.hidden, len(read.schema.classes)]

    def network() -> Network:
        return Network.create(widths, activation=request.activation, seed=seed)

    net = network()
    if request.validation is None and held_out is None and request.memory is None:
        found = _by_folds(network, read, request.patience, options)
        if found.diverged:
            say(f"training diverged in {found.diverged} of the {found.number} folds that chose the number of epochs")
        if found.stopped is not None:
            return Fitted(*found.stopped, False, found)
        until = [*watches, lambda record: record.epoch >= found.epochs]
        options |= {"callbacks": until, "checkpoint": request.checkpoint}
        history = fit(net, training.x, training.labels, validation=0.0, sample_weight=training.weights, **options)
        return Fitted(net, history, found.epochs == limit, found)
    options |= {"checkpoint": request.checkpoint, "patience": request.patience if held_out else None}
    apart: Any = held_out.own() if held_out else 0.0
    x, labels, weights = training.own()
    history = fit(
        net, x, labels, validation=apart, memory=request.memory, callbacks=watches, sample_weight=weights, **options
    )
    return Fitted(net, history, held_out is not None and history.stopped == "epochs")


def _by_folds(network: Callable[[], Network], read: Read, patience: int | None, settings: dict[str, Any]) -> Found:
    """The number of epochs with the least validation loss, of all rows: each is held out in one of the folds.

    A tenth of a hundred rows would say little: which ten they are would decide when training stops.
    """
    training = read.training
    splits = list(read.folds(FOLDS))
    losses, right, counted, diverged = [], [], 0.0, 0
    logits = np.zeros((len(training.labels), len(read.schema.classes)), dtype=np.float32)
    for chosen, others in splits:
        held_out, rest = training.take(chosen), training.take(others)
        net = network()
        count = len(chosen) if held_out.weights is None else float(held_out.weights.sum())
        if not count:
            continue  # it tells nothing
        apart = (held_out.x, held_out.labels, held_out.weights)
        history = fit(
            net, rest.x, rest.labels, validation=apart, patience=patience, sample_weight=rest.weights, **settings
        )
        diverged += history.diverged is not None
        if history.stopped == "interrupted":
            return Found(0, 0.0, 0.0, len(splits), diverged, stopped=(net, history))
        losses.append(np.nan_to_num(history.validation_loss, nan=np.inf, posinf=np.inf) * count)
        right.append(np.array(history.validation_accuracy) * count)
        counted += count
        logits[chosen] = logits_of(net, held_out.x)
    # a fold that was out of patience would not have become better
    longest = max(map(len, losses))
    total = sum(np.pad(loss, (0, longest - len(loss)), mode="edge") for loss in losses)
    best = int(np.argmin(total))
    accuracy = float(sum(r[min(best, len(r) - 1)] for r in right)) / counted
    return Found(best + 1, accuracy, float(np.min(total)) / counted, len(splits), diverged, logits)


def temperature(logits: Any, labels: Any, weights: Any = None) -> float:
    """The temperature T by which the mean loss of softmax(a/T), by weights (N,), is least, from 1/20 to 20.

    The derivative w.r.t. 1/T, the mean of Σ ŷ_j a_j − a_ℓ, rises with 1/T; its zero is found by halving.

    Examples
    --------
    >>> round(temperature(np.array([[2.0, 0.0]] * 3 + [[0.0, 2.0]]), np.array([0, 0, 0, 0])), 4)
    1.8205

    Source: C. Guo et al., "On Calibration of Modern Neural Networks", 2017, section 4.2.
    """
    a = np.asarray(logits, dtype=np.float64)
    own = a[np.arange(len(a)), labels]
    low, high = -np.log(HOTTEST), np.log(HOTTEST)  # of log 1/T
    for _ in range(60):
        middle = (low + high) / 2
        slope = float(np.average((softmax(a * np.exp(middle)) * a).sum(axis=1) - own, weights=weights))
        low, high = (low, middle) if slope > 0 else (middle, high)
    return float(np.exp(-(low + high) / 2))


def judged_on(fit: Fitted, read: Read, processes: Processes | None = None) -> tuple[Any, Part] | None:
    """Rows that the network, or its like of a fold, did not see, and their logits before them; None without any."""
    if fit.found is not None:
        return fit.found.logits, read.training
    held_out = read.validation
    return None if held_out is None else (logits_of_all(fit.net, held_out, processes), held_out)


def logits_of_all(net: Network, part: Part, processes: Processes | None) -> Any:
    """The logits of a part's examples, of which each process has some."""
    logits = logits_of(net, part.x)
    return logits if processes is None else np.concatenate(processes.gather_objects(np.asarray(logits)))
