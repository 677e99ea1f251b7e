"""`fit`: epochs, schedules, early stopping, checkpoints, history.

Every random choice comes from (seed, epoch), so that a run resumed at an epoch has no random state to restore,
and the same seed gives the same weights, bit for bit, on the same machine, library versions and number of threads.
"""

from __future__ import annotations

import hashlib
import math
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.boundary.checks import check_fraction, check_integer, check_positive, check_threads
from chainrule.boundary.files import open_tensors, require_writable, save_tensors
from chainrule.errors import CheckpointError, DivergenceWarning, InputError, NonFiniteError, shown
from chainrule.network.network import Network
from chainrule.output.layer import softmax_cross_entropy
from chainrule.training.engine import Began, Engine, Sparse, left_the_range
from chainrule.training.examples import (
    ROWS_AT_ONCE,
    Examples,
    blocks_of,
    check_class_weight,
    check_examples,
    check_memory,
    split,
)
from chainrule.training.history import EpochRecord, History, check_callbacks, dead, divergence
from chainrule.training.optimizers import Adam, Optimizer, check_optimizer
from chainrule.training.schedules import Constant, Schedule, check_schedule, checked_factors
from chainrule.version import __version__

__all__ = ["fit"]

Array = npt.NDArray[Any]
FEW = 64  # examples, by which a network is seen to be dead


def fit(
    net: Network,
    x: Any,
    labels: Any,
    *,
    optimizer: Optimizer | None = None,
    epochs: int = 20,
    batch_size: int = 128,
    validation: float | tuple[Any, Any] = 0.1,
    patience: int | None = None,
    schedule: Schedule | None = None,
    weight_decay: float = 0.0,
    dropout: float = 0.0,
    label_smoothing: float = 0.0,
    sample_weight: Any = None,
    class_weight: Any = None,
    clip_norm: float | None = None,
    seed: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Callable[[EpochRecord], object] | None = None,
    callbacks: Sequence[Callable[[EpochRecord], object]] = (),
    memory: int | None = None,
    threads: int | None = None,
) -> History:
    """Train a network in place.

    Parameters
    ----------
    net : a network of NumPy float32 or float64 arrays; its weights are overwritten when training ends, and training
        starts from those it has
    x : array (N, D) of finite numbers, or a scipy.sparse matrix; where `memory` is given, a numpy.memmap or the path of
        a Parquet file, whose columns of numbers are taken as they are (chainrule[cli])
    labels : array (N,), int in [0, K); for a Parquet file the name of its column
    optimizer : SGD, Adam or AdamW; Adam(1e-3) by default. A rule of another class is refused.
    epochs, batch_size : int >= 1
    validation : the fraction of each class's examples that is held out, chosen by `seed`; or (x, labels); 0 for none.
        With validation, the weights of the epoch with the lowest validation loss are kept, else the last ones.
    patience : stop after this many epochs without a lower validation loss
    schedule : what multiplies the learning rate: Constant, Cosine, StepDecay, WarmUp or OnPlateau of
        `chainrule.training.schedules`
    weight_decay : λ of an L2 penalty: λθ is added to the gradient, of weights and biases, as PyTorch's optimizers do.
        AdamW has its own, decoupled.
    dropout : the fraction of hidden units that is dropped at each step, in [0, 1); the others are scaled up
    label_smoothing : as in `softmax_cross_entropy`
    sample_weight : array (N,), >= 0. A batch's mean divides by the sum of its weights.
    class_weight : array (K,), a dict from class to weight, or "balanced": N/(K · the class's examples), where
        an example counts as often as its sample weight says. Multiplies.
    clip_norm : gradients whose norm, over all parameters, is larger are scaled down to it
    seed : int >= 0
    checkpoint : a file that is written, whole, after each epoch. If it exists and is of the same run (data,
        network, options), training goes on from it and ends with the same bits as if never interrupted; `epochs`
        may be larger than before, where the schedule does not depend on it. A run that a callback ended stays
        ended. Needs chainrule[cli].
    progress : called with an EpochRecord after each epoch
    callbacks : the same; training stops after an epoch for which one returns True
    memory : bytes that the examples of a memory map or a Parquet file may take at a time; they are read in blocks of
        consecutive rows, the blocks and the rows in them in a random order. `validation` is then given, or 0. What is
        in memory already stays there, and a Parquet file is read by whole row groups of its own.
    threads : at most this many, and only where a step is long enough to gain by it. A batch's sums are taken by
        thread, so that their number decides the order of additions.

    Returns
    -------
    History

    Raises
    ------
    InputError
        Bad input, before anything is changed.
    CheckpointError
        The checkpoint is damaged or of another run; it is left as it is.
    NonFiniteError
        The loss or a weight became NaN or infinite: the message names the step whose update did it, and the layer
        whose values left the range first. The network keeps the weights it came with.

    Warns
    -----
    DivergenceWarning
        The weights that are kept are finite, but their loss is more than twice both log K and what it was before the
        first step, or the network is dead, the same for all inputs: a learning rate that is far too large.
        `history.diverged` says the same.

    Ctrl-C ends training at the next step: the best weights so far are kept, and `history.stopped` is
    "interrupted". A second Ctrl-C raises KeyboardInterrupt; then, and when a callback raises, the network has the best
    weights so far as well.

    Examples
    --------
    >>> x = np.array([[0.0, 1.0], [1.0, 0.0]] * 50)
    >>> net = Network.create([2, 8, 2], seed=0)
    >>> history = fit(net, x, [0, 1] * 50, epochs=30, batch_size=10, optimizer=Adam(0.01))
    >>> net.predict([[0.0, 1.0], [1.0, 0.0]]).tolist()
    [0, 1]
    """
    optimizer = check_optimizer(Adam() if optimizer is None else optimizer)
    schedule = Constant() if schedule is None else schedule
    check_schedule("schedule", schedule)
    observers = _check_observers(progress, callbacks)
    epochs, batch_size = check_integer("epochs", epochs), check_integer("batch_size", batch_size)
    seed = check_integer("seed", seed, minimum=0)
    patience = None if patience is None else check_integer("patience", patience)
    if not all(isinstance(w, np.ndarray) and w.dtype.name in ("float32", "float64") for w in net.weights):
        raise InputError("net: got arrays of another library or dtype, expected NumPy float32 or float64 to train")
    if not all(array.flags.writeable for array in [*net.weights, *net.biases]):
        raise InputError("net: got read-only arrays, expected ones that training may overwrite")
    options = {
        "l2_weights": check_positive("weight_decay", weight_decay, zero=True),
        "l2_biases": float(weight_decay),
        "dropout": check_fraction("dropout", dropout),
        "label_smoothing": check_fraction("label_smoothing", label_smoothing, one=True),
        "clip_norm": 0.0 if clip_norm is None else check_positive("clip_norm", clip_norm),
    }
    block = check_memory(memory, net.widths[0] * net.weights[0].itemsize, batch_size)
    if isinstance(x, str | os.PathLike):
        if memory is None or not isinstance(labels, str):
            raise InputError(f"x: got the path {os.fspath(x)!r}, expected memory in bytes, and labels, a column's name")
        from chainrule.tables.parquet import numeric_examples  # needs polars

        x, labels = numeric_examples(x, labels, net.weights[0].dtype.name, memory)
    examples = check_examples(net, "x", x, labels, sample_weight, memory)
    if block is not None and not isinstance(validation, tuple) and validation:
        raise InputError(f"validation: got {shown(validation)} with memory={memory}, expected (x, labels) or 0")
    train, held_out = split(net, examples, validation, seed, memory)
    if patience is not None and held_out is None:
        raise InputError(f"patience: got {patience} with validation={validation!r}, expected validation examples")
    weights = check_class_weight(class_weight, train.labels, net.widths[-1], train.weights)
    if weights is not None:
        options["class_weights"] = weights.tolist()
    run = _Run(net, optimizer, schedule, train, held_out, min(batch_size, len(train.labels)), seed, options, threads)
    run.block, run.observers = block, observers
    if checkpoint is not None:
        require_writable(checkpoint)
        run.fingerprint = run.identify()
        if os.path.exists(checkpoint):
            run.restore(checkpoint, epochs)
    try:
        # numbers that leave their range are found by their values, and named
        with _interrupt_flag(run.engine.stopped) as interrupted, np.errstate(over="ignore", invalid="ignore"):
            run.train(epochs, patience, checkpoint, interrupted)
    except NonFiniteError:
        raise
    except BaseException:  # a callback's, or a second Ctrl-C: what was learned before it is not lost
        run.give_to(net)
        raise
    run.history.diverged = run.divergence(net)
    run.give_to(net)
    if run.history.diverged:
        warnings.warn(run.history.diverged, DivergenceWarning, stacklevel=2)
    return run.history


def _check_observers(progress: Any, callbacks: Any) -> list[Callable[[EpochRecord], object]]:
    if not (progress is None or callable(progress)):
        raise InputError(f"progress: got {progress!r}, expected a function of an EpochRecord")
    check_callbacks(callbacks)
    return [*([] if progress is None else [progress]), *callbacks]


class _Run:
    """One training run: the engine with its buffers, and all that a step depends on."""

    def __init__(
        self,
        net: Network,
        optimizer: Optimizer,
        schedule: Schedule,
        train: Examples,
        held_out: Examples | None,
        batch_size: int,
        seed: int,
        options: dict[str, Any],
        threads: int | None,
    ) -> None:
        self.optimizer, self.schedule, self.batch_size, self.seed = optimizer, schedule, batch_size, seed
        self.examples, self.held_out, self.options = train, held_out, options
        self.threads = check_threads(threads)
        self.engine = Engine(
            net.weights, net.biases, net.activation, optimizer, batch_size,
            **options, seed=seed % 2**64, threads=self.threads,
        )  # fmt: skip
        self.net = Network(self.engine.weights, self.engine.biases, net.activation)
        self.best = self.engine.parameters.copy()
        self.began = [buffer.copy() for buffer in self.engine.buffers]
        self.epoch = 0
        self.block: int | None = None
        self.observers: list[Callable[[EpochRecord], object]] = []
        self.history = History()
        self.fingerprint: dict[str, str] = {}

    def train(
        self,
        epochs: int,
        patience: int | None,
        checkpoint: str | os.PathLike[str] | None,
        interrupted: threading.Event,
    ) -> None:
        history = self.history
        if history.stopped == "callback" and self.epoch:
            return  # restored: a run that a callback ended stays ended
        while self.epoch < epochs and not self._out_of_patience(patience):
            started = time.perf_counter()
            if interrupted.is_set() or not self._train_epoch(epochs):
                history.stopped = "interrupted"
                break
            self.epoch += 1
            history.examples_per_second.append(len(self.examples.labels) / max(time.perf_counter() - started, 1e-9))
            self._validate()
            if checkpoint is not None:
                self.store(checkpoint)
            record = self._record(epochs)
            if any([observer(record) is True for observer in self.observers]):  # each of them is called
                history.stopped = "callback"
                if checkpoint is not None:
                    self.store(checkpoint)
                break
        else:
            history.stopped = "patience" if self._out_of_patience(patience) else "epochs"
        if self.held_out is None and history.stopped == "interrupted":
            self.best[:] = self.engine.parameters  # without validation the latest weights are the best known
            history.best_epoch = self.epoch

    def _train_epoch(self, epochs: int) -> bool:
        """One pass over the examples in an order of (seed, epoch); False when Ctrl-C cut it short."""
        n, engine, history = len(self.examples.labels), self.engine, self.history
        steps, began = self._steps(), engine.steps
        rates = self._rates(self.epoch, epochs)
        for kept, buffer in zip(self.began, engine.buffers, strict=True):
            kept[...] = buffer
        loss = weight = 0.0
        correct, norms = 0, np.zeros(self.net.depth)
        for block, order in self._blocks():
            due = -(-len(order) // self.batch_size)
            taken = engine.steps - began
            found = engine.run(block.x, block.labels, order, rates[taken : taken + due], block.weights)
            if not found.finite:
                raise self._left_the_range(began, rates)
            if found.steps < due:
                return False
            loss, weight, correct = loss + found.loss, weight + found.weight, correct + found.correct
            norms += found.norms
        if not np.isfinite(engine.parameters).all():
            raise self._left_the_range(began, rates)
        history.loss.append(loss / weight if weight else 0.0)
        history.accuracy.append(correct / n)
        history.gradient_norms.append((norms / steps).tolist())
        history.learning_rate.append(float(rates[-1]))
        return True

    def _steps(self) -> int:
        return -(-len(self.examples.labels) // self.batch_size)

    def _blocks(self) -> Iterator[tuple[Examples, Array]]:
        """The examples in the order of this epoch."""
        return blocks_of(self.examples, self.batch_size, self.block, np.random.default_rng([self.seed, 1, self.epoch]))

    def _rates(self, epoch: int, epochs: int) -> Array:
        """The learning rate at each step of an epoch, by the losses of those before it."""
        steps = self._steps()
        losses = (self.history.validation_loss or self.history.loss)[:epoch]
        return self.optimizer.lr * checked_factors(self.schedule, epoch + np.arange(steps) / steps, epochs, losses)

    def divergence(self, net: Network) -> str | None:
        """What is wrong with the weights that are kept, where they do far worse than those of `net`, not yet
        overwritten; both are tried on the validation examples, or on the first of the others."""
        guess, epoch = math.log(net.widths[-1]), self.history.best_epoch
        if self.epoch and not epoch:
            return "training diverged: no epoch had a finite validation loss, and the network keeps its weights"
        if not epoch:
            return None
        self.engine.parameters[:] = self.best
        some = self.examples.take(np.arange(min(FEW, len(self.examples.labels)))).dense(net.widths[0])
        gone = dead(net.forward(some).logits, self.net.forward(some).logits)
        if self.history.loss[epoch - 1] <= 2 * guess:
            return gone  # nearly always, and nearly at no cost
        tried = self.held_out or self.examples.take(np.arange(min(ROWS_AT_ONCE, len(self.examples.labels))))
        losses = [_loss_and_accuracy(each, tried)[0] for each in (net, self.net)]
        return divergence(guess, *losses) or gone

    def give_to(self, net: Network) -> None:
        """Copy the best weights into a network."""
        self.engine.parameters[:] = self.best
        for array, view in zip([*net.weights, *net.biases], [*self.engine.weights, *self.engine.biases], strict=True):
            array[...] = view

    def _left_the_range(self, before: int, rates: Array) -> NonFiniteError:
        began = Began(self.began, before, self.epoch)
        return NonFiniteError(left_the_range(self.engine, self.net, began, self._blocks(), rates))

    def _validate(self) -> None:
        """Record the validation loss, and keep the weights if they are the best so far."""
        history = self.history
        if self.held_out is not None:
            loss, accuracy = _loss_and_accuracy(self.net, self.held_out)
            history.validation_accuracy.append(accuracy)
            history.validation_loss.append(loss)
            best = min(history.validation_loss)
            if not math.isfinite(history.validation_loss[-1]) or history.validation_loss[-1] > best:
                return
            if history.best_epoch and history.validation_loss[history.best_epoch - 1] == best:
                return  # a tie: the earlier epoch stays
        self.best[:] = self.engine.parameters
        history.best_epoch = self.epoch

    def _out_of_patience(self, patience: int | None) -> bool:
        return patience is not None and self.epoch - self.history.best_epoch >= patience

    def _record(self, epochs: int) -> EpochRecord:
        h = self.history
        validated = self.held_out is not None
        return EpochRecord(
            self.epoch,
            epochs,
            h.loss[-1],
            h.accuracy[-1],
            h.validation_loss[-1] if validated else None,
            h.validation_accuracy[-1] if validated else None,
            h.examples_per_second[-1],
        )

    # --- checkpoints: all that a step depends on ---

    def identify(self) -> dict[str, str]:
        """What makes a run this run. `epochs` is not in it: a finished run can be made longer."""
        sets = [self.examples] if self.held_out is None else [self.examples, self.held_out]
        return {
            "the examples": _digest(*(part for s in sets for part in (s.x if isinstance(s.x, Sparse) else [s.x]))),
            "the labels": _digest(*(s.labels for s in sets)),
            "the sample weights": _digest(*(s.weights for s in sets if s.weights is not None)),
            "the network's initial weights": _digest(self.engine.parameters),
            "the network": f"{self.net.widths} {self.net.activation} {self.engine.parameters.dtype}",
            "the optimizer": repr(self.optimizer),
            "the schedule": repr(self.schedule),
            "the options": repr(self.options),
            "the memory": repr(self.block),
            "batch_size": str(self.batch_size),
            "the threads": str(self.threads),
            "seed": str(self.seed),
            "the versions": f"chainrule {__version__}, numpy {np.__version__}",
        }

    def _tensors(self) -> dict[str, Array]:
        state = {f"state.{name}": value for name, value in self.engine.state.items()}
        return {"parameters": self.engine.parameters, "best": self.best} | state

    def store(self, path: str | os.PathLike[str]) -> None:
        description = {
            "step": self.engine.steps,
            "epoch": self.epoch,
            "run": self.fingerprint,
            "history": self.history.to_dict(),
        }
        save_tensors(path, self._tensors(), {"checkpoint": description})

    def restore(self, path: str | os.PathLike[str], epochs: int) -> None:
        file, outer = open_tensors(path, CheckpointError)
        description = outer.get("checkpoint")
        if not isinstance(description, dict) or not isinstance(description.get("run"), dict):
            raise CheckpointError(f"{path}: is not a checkpoint")
        other = [name for name, value in self.fingerprint.items() if description["run"].get(name) != value]
        if other:
            raise CheckpointError(
                f"{path}: is of another run, which differs in {', '.join(other)}; delete it or name another file"
            )
        targets = self._tensors()
        if set(file.keys()) != set(targets):
            raise CheckpointError(f"{path}: has tensors {sorted(file.keys())}, expected {sorted(targets)}")
        loaded = {name: file.get_tensor(name) for name in targets}
        for name, target in targets.items():
            if loaded[name].shape != target.shape or loaded[name].dtype != target.dtype:
                raise CheckpointError(f"{path}: tensor {name} has shape {loaded[name].shape}, expected {target.shape}")
        try:
            self.engine.steps, self.epoch = int(description["step"]), int(description["epoch"])
            self.history = History(**description["history"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: its description is damaged: {error}") from error
        rates = [float(self._rates(epoch, epochs)[-1]) for epoch in range(self.epoch)]
        if rates != self.history.learning_rate:
            raise CheckpointError(
                f"{path}: its learning rates went towards another number of epochs, for which its schedule "
                f"({self.schedule!r}) differs from that for epochs={epochs}; delete it or name another file"
            )
        for name, target in targets.items():
            target[...] = loaded[name]


def _loss_and_accuracy(net: Network, examples: Examples) -> tuple[float, float]:
    """The mean loss of some examples, and the share of them that is classified rightly."""
    loss, correct, n = 0.0, 0, len(examples.labels)
    for logits, labels in examples.logits(net):
        found = softmax_cross_entropy(logits, labels, out=logits, reduction="sum", extras=("correct",))
        correct += int(found.correct.sum())
        loss += float(found.loss)
    return loss / n, correct / n


def _digest(*arrays: Array) -> str:
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.shape}{array.dtype}".encode())
        total.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
    return total.hexdigest()


@contextmanager
def _interrupt_flag(stopped: Array) -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, with the engine's flag; the second raises KeyboardInterrupt. Main thread
    only."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before = signal.getsignal(signal.SIGINT)

    def on_interrupt(number: int, frame: Any) -> None:
        if flag.is_set():
            raise KeyboardInterrupt
        flag.set()
        stopped[0] = 1

    if before is None or before == signal.SIG_IGN:  # nothing to restore it to, or the caller ignores Ctrl-C
        yield flag
        return
    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, before)
