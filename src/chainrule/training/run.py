"""The loop over epochs, one for `fit` and for scikit-learn's face, and the run of `fit` by it."""

from __future__ import annotations

import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from chainrule.errors import CheckpointError, NonFiniteError
from chainrule.network.network import Network
from chainrule.output.layer import softmax_cross_entropy
from chainrule.training.checkpoint import Checkpoint, Place, digest
from chainrule.training.engine import Engine, Share, Sparse, StepOptions
from chainrule.training.examples import ROWS_AT_ONCE, Examples, blocks_of
from chainrule.training.history import FEW, EpochRecord, History, dead, divergence
from chainrule.training.optimizers import Optimizer
from chainrule.training.schedules import Schedule, checked_factors
from chainrule.training.together import Together
from chainrule.version import __version__

__all__ = ["Epoch", "Epochs", "Observer", "Plan", "Run"]

Array = npt.NDArray[Any]
Observer = Callable[[EpochRecord], object]


class Epoch(NamedTuple):
    """What one pass over the examples found: means over them, and over its steps for the norms."""

    loss: float
    accuracy: float
    norms: list[float]
    examples_per_second: float


class Epochs(ABC):
    """Training, epoch after epoch. The loop is the same for all; a subclass says what it visits, by what rates, what
    an epoch was worth, and when it is enough.

    engine : the buffers, and the native code that works in them
    examples : those that are trained on
    epochs : train so many; `epoch` of them are done, and `before` others were before the run
    observers : called with the record of each epoch; training ends after one for which any of them returns True
    rates : the learning rate at each step of the epoch
    began : copies of the buffers that the epoch began with, and the number of steps before it
    net : the network of the engine's weights
    n : how many examples there are, on all processes; together : the share of this one, where there are several
    """

    def __init__(
        self, engine: Engine, examples: Examples, epochs: int, observers: Sequence[Observer], batch_size: int = 0,
        together: Together | None = None,
    ) -> None:  # fmt: skip
        self.engine, self.examples, self.epochs, self.observers = engine, examples, epochs, observers
        self.together, self.n = together, len(examples.labels) if together is None else together.n
        self.net = Network(engine.weights, engine.biases, engine.activation)
        self.epoch = self.before = 0
        self.steps = -(-self.n // (batch_size or engine.batch_size))  # in an epoch
        self.rates = np.zeros(self.steps)
        kept = np.empty((len(engine.buffers), engine.parameters.size), engine.parameters.dtype)
        self.began = list(kept), 0

    @abstractmethod
    def visits(self, epoch: int) -> Iterator[tuple[Examples, Array]]:
        """The examples in the order of an epoch, block by block: a block, and the order of its rows. An epoch that is
        walked again has the same order."""

    def shares(self, epoch: int) -> Iterator[tuple[Examples, Array, Share | None]]:
        """The same, and this process's share in the steps, where there are several."""
        yield from ((block, order, None) for block, order in self.visits(epoch))

    @abstractmethod
    def rates_of(self, epoch: int) -> Array:
        """The learning rate at each step of an epoch, (steps,)."""

    @abstractmethod
    def ended(self, found: Epoch) -> EpochRecord:
        """Record an epoch, which `epoch` counts already, and keep its weights if they are the best so far."""

    @abstractmethod
    def enough(self) -> bool:
        """Whether to train no further, since it no longer improves. Asked once after each epoch."""

    def train(self) -> str:
        """Train; what ended it: "epochs", "patience", "callback" or "interrupted"."""
        while not (self.epoch and self.enough()):
            if self.epoch >= self.epochs:
                return "epochs"
            found = self.walk()
            if found is None:
                return "interrupted"
            self.epoch += 1
            record = self.ended(found)
            enough = any([observer(record) is True for observer in self.observers])  # each of them is called
            if enough if self.together is None else self.together.any(enough):
                return "callback"
        return "patience"

    def walk(self) -> Epoch | None:
        """One pass over the examples; None when the engine's flag cut it short."""
        engine, started = self.engine, time.perf_counter()
        if engine.stopped[0] and self.together is None:  # the engine looks at it now and then
            return None
        self.rates = self.rates_of(self.epoch)
        kept, began = self.began[0], engine.steps
        for copy, buffer in zip(kept, engine.buffers, strict=True):
            copy[...] = buffer
        self.began = kept, began
        loss = weight = 0.0
        correct, n, norms = 0, self.n, np.zeros(len(engine.weights))
        for block, order, share in self.shares(self.epoch):
            due = -(-len(order) // engine.batch_size) if share is None else len(share.bounds) - 1
            taken = engine.steps - began
            found = engine.run(block.x, block.labels, order, self.rates[taken : taken + due], block.weights, share)
            if not found.finite:
                raise NonFiniteError(self._left_the_range())
            if found.steps < due:
                return None
            loss, weight, correct = loss + found.loss, weight + found.weight, correct + found.correct
            norms += found.norms
        if not np.isfinite(engine.parameters).all():  # behind a ReLU, an infinite weight can hide from the loss
            raise NonFiniteError(self._left_the_range())
        seconds = max(time.perf_counter() - started, 1e-9)
        return Epoch(loss / weight if weight else 0.0, correct / n, (norms / self.steps).tolist(), n / seconds)

    def _left_the_range(self) -> str:
        """What to say of an epoch that met what is no number: it is walked again to see where."""
        engine, net = self.engine, self.net
        kept, engine.steps = self.began
        for buffer, copy in zip(engine.buffers, kept, strict=True):
            buffer[...] = copy
        batch = self._bad_batch()
        parts: dict[str, list[Array]] = {"weights": net.weights, "biases": net.biases}
        if batch is not None:
            with np.errstate(over="ignore", invalid="ignore"):
                parts["pre-activations"] = net.forward(batch.dense(net.widths[0])).preactivations
        named = [(f"the {what} of layer {k}", a) for what in parts for k, a in enumerate(parts[what], start=1)]
        where = next((name for name, values in named if not np.isfinite(values).all()), "the loss itself")
        what, step = "the loss" if batch is not None else "a weight", engine.steps
        when = f"by the update of step {step} (epoch {self.before + self.epoch + (step > self.began[1])})"
        return (
            f"training: {what} became NaN or infinite {when if step else 'before the first step'}: first out of range: "
            f"{where}; a smaller learning rate or standardised inputs may help"
        )

    def _bad_batch(self) -> Examples | None:
        """Walk until a weight is not finite, or a batch's loss, which is then returned."""
        engine, before = self.engine, self.engine.steps
        for block, order, share in self.shares(self.epoch):
            for rows, part in _step_by_step(order, share, engine.batch_size):
                taken = engine.steps - before
                engine.stopped[0] = 0  # a first Ctrl-C waits for the error
                rate = self.rates[taken : taken + 1]
                if engine.run(block.x, block.labels, rows, rate, block.weights, part).steps == 0:
                    return block.take(rows)
                if not np.isfinite(engine.parameters).all():
                    return None
        return None


def _step_by_step(order: Array, share: Share | None, batch_size: int) -> Iterator[tuple[Array, Share | None]]:
    """The rows of each step, and the share in it."""
    if share is None:
        yield from ((order[at : at + batch_size], None) for at in range(0, len(order), batch_size))
        return
    for begin, end in pairwise(share.bounds):
        yield (
            order[begin:end],
            Share(np.array([0, end - begin]), share.places[begin:end].copy(), share.sums, share.call),
        )


@dataclass(frozen=True)
class Plan:
    """What `fit` was asked for, checked. block : the bytes of a memory map that are read at once."""

    optimizer: Optimizer
    schedule: Schedule
    options: StepOptions
    epochs: int
    batch_size: int
    patience: int | None
    block: int | None
    seed: int
    threads: int


class Run(Epochs):
    """A run of `fit`: the engine with its buffers, and all that a step depends on.

    net : the network that is trained; its arrays are as they came until `give`, but where observers are shown the
        weights after each epoch (`shown`); `came` has them as they came
    checkpoint : a file; where it exists, the run stands where that one's was
    """

    def __init__(
        self,
        net: Network,
        plan: Plan,
        train: Examples,
        held_out: Examples | None,
        observers: Sequence[Observer],
        checkpoint: str | os.PathLike[str] | None,
        shown: bool = False,
        together: Together | None = None,
    ) -> None:
        room = plan.batch_size if together is None else together.room(plan.batch_size)
        engine = Engine(
            net.weights, net.biases, net.activation, plan.optimizer, room, plan.options, seed=plan.seed % 2**64,
            threads=plan.threads,
        )  # fmt: skip
        super().__init__(engine, train, plan.epochs, observers, plan.batch_size, together)
        self.given, self.plan, self.held_out, self.shown = net, plan, held_out, shown
        self.came = (
            Network([w.copy() for w in net.weights], [b.copy() for b in net.biases], net.activation) if shown else net
        )
        self.best = engine.parameters.copy()
        self.history, self.checkpoint = History(), None
        if checkpoint is not None:
            tensors = {"parameters": engine.parameters, "best": self.best}
            tensors |= {f"state.{name}": buffer for name, buffer in engine.state.items()}
            self.checkpoint = Checkpoint(checkpoint, self._identity(), tensors)
            restored = self.checkpoint.restore if together is None else lambda: self._restored(together)
            if place := restored():
                self._resume(place, checkpoint)

    def train(self) -> str:
        history = self.history
        if self.epoch and history.stopped == "callback":
            return history.stopped  # restored: a run that a callback ended stays ended
        history.stopped = super().train()
        if history.stopped == "callback":
            self._store()
        if self.held_out is None and history.stopped == "interrupted":
            self.best[:] = self.engine.parameters  # without validation the latest weights are the best known
            history.best_epoch = self.epoch
        return history.stopped

    def visits(self, epoch: int) -> Iterator[tuple[Examples, Array]]:
        plan = self.plan
        return blocks_of(self.examples, plan.batch_size, plan.block, np.random.default_rng([plan.seed, 1, epoch]))

    def shares(self, epoch: int) -> Iterator[tuple[Examples, Array, Share | None]]:
        if self.together is None:
            yield from super().shares(epoch)
            return
        plan, call = self.plan, self.together.exchange(self.engine)
        random = np.random.default_rng([plan.seed, 1, epoch])
        for block, order, share in self.together.visits(self.examples, plan.batch_size, plan.block, random):
            yield block, order, share._replace(call=call)

    def rates_of(self, epoch: int) -> Array:
        losses = (self.history.validation_loss or self.history.loss)[:epoch]
        return self.plan.optimizer.lr * checked_factors(self.plan.schedule, epoch, self.steps, self.epochs, losses)

    def ended(self, found: Epoch) -> EpochRecord:
        history = self.history
        history.loss.append(found.loss)
        history.accuracy.append(found.accuracy)
        history.gradient_norms.append(found.norms)
        history.learning_rate.append(float(self.rates[-1]))
        history.updates.append(self.engine.last_step())
        history.examples_per_second.append(found.examples_per_second)
        loss = accuracy = None
        best = True
        if self.held_out is not None:
            loss, accuracy = _loss_and_accuracy(self.net, self.held_out, self.together)
            # at a tie the earlier epoch stays
            best = loss < (history.validation_loss[history.best_epoch - 1] if history.best_epoch else math.inf)
            history.validation_loss.append(loss)
            history.validation_accuracy.append(accuracy)
        if best:
            self.best[:] = self.engine.parameters
            history.best_epoch = self.epoch
        self._store()
        if self.shown:
            self._copy(self.net)
        return EpochRecord(
            self.epoch, self.epochs, found.loss, found.accuracy, loss, accuracy, found.examples_per_second, self.net
        )

    def enough(self) -> bool:
        patience = self.plan.patience
        return patience is not None and self.epoch - self.history.best_epoch >= patience

    def divergence(self) -> str | None:
        """What is wrong with the weights that are kept, where they do far worse than those that came; both are tried
        on the validation examples, or on the first of the others. Before `give`."""
        guess, epoch = math.log(self.net.widths[-1]), self.history.best_epoch
        if self.epoch and not epoch:
            return "training diverged: no epoch had a finite validation loss, and the network keeps its weights"
        if not epoch:
            return None
        self.engine.parameters[:] = self.best
        some = self.examples.take(np.arange(min(FEW, len(self.examples.labels)))).dense(self.net.widths[0])
        gone = dead(self.came.logits(some), self.net.logits(some)) if len(some) else None
        if self.together is not None:
            gone = next(filter(None, self.together.processes.gather_objects(gone)), None)
        if self.history.loss[epoch - 1] <= 2 * guess:
            return gone  # nearly always, and nearly at no cost
        tried = self.held_out or self._first()
        losses = [_loss_and_accuracy(net, tried, self.together)[0] for net in (self.came, self.net)]
        return divergence(guess, *losses) or gone

    def _first(self) -> Examples:
        """The first of the examples that count."""
        weights = self.examples.weights
        rows = np.arange(len(self.examples.labels)) if weights is None else np.flatnonzero(weights)
        return self.examples.take(rows[:ROWS_AT_ONCE])

    def give(self) -> None:
        """Copy the best weights into the network that came."""
        self.engine.parameters[:] = self.best
        self._copy(self.net)

    def take_back(self) -> None:
        """Give the network that came the weights that it came with."""
        if self.shown:
            self._copy(self.came)

    def _copy(self, source: Network) -> None:
        net = self.given
        for array, view in zip([*net.weights, *net.biases], [*source.weights, *source.biases], strict=True):
            array[...] = view

    # --- what a checkpoint holds ---

    def _identity(self) -> dict[str, str]:
        """What makes a run this run. `epochs` is not in it: a finished run can be made longer."""
        sets = [self.examples] if self.held_out is None else [self.examples, self.held_out]
        parameters, plan = self.engine.parameters, self.plan
        if self.together is None:
            of_data = {
                "the examples": digest(*(part for s in sets for part in (s.x if isinstance(s.x, Sparse) else [s.x]))),
                "the labels": digest(*(s.labels for s in sets)),
                "the sample weights": digest(*(s.weights for s in sets if s.weights is not None)),
            }
        else:  # neither the number of processes nor who has which rows makes another run
            of_data = {"the examples": self.together.fingerprint(self.examples)}
        return of_data | {
            "the network's initial weights": digest(parameters),
            "the network": f"{self.net.widths} {self.net.activation} {parameters.dtype}",
            "the optimizer": repr(plan.optimizer),
            "the schedule": repr(plan.schedule),
            "the options": repr(plan.options),
            "the memory": repr(plan.block) if self.together is None else "of a group",
            "batch_size": str(plan.batch_size),
            "seed": str(plan.seed),
            "the versions": f"chainrule {__version__}, numpy {np.__version__}",
        }

    def _store(self) -> None:
        first = self.together is None or self.together.processes.rank == 0
        if self.checkpoint is not None and first:
            self.checkpoint.store(Place(self.engine.steps, self.epoch, self.history))

    def _restored(self, together: Together) -> Place | None:
        """Where the run stands by the file that the first process reads, and all its buffers."""
        checkpoint = self.checkpoint
        if checkpoint is None:
            return None
        first = together.processes.rank == 0
        read = together.processes.together(lambda: checkpoint.restore() if first else None)
        place: Place | None = together.processes.gather_objects(read)[0]
        if place is not None:
            together.from_first(list(checkpoint.tensors.values()))
        return place

    def _resume(self, place: Place, path: str | os.PathLike[str]) -> None:
        self.engine.steps, self.epoch, self.history = place
        if [float(self.rates_of(epoch)[-1]) for epoch in range(self.epoch)] != self.history.learning_rate:
            raise CheckpointError(
                f"{path}: its learning rates went towards another number of epochs, for which its "
                f"schedule ({self.plan.schedule!r}) differs from that for epochs={self.epochs}; delete it or name "
                "another file"
            )


def _loss_and_accuracy(net: Network, examples: Examples, together: Together | None) -> tuple[float, float]:
    """The mean loss of some examples, of all processes, and the share of them that is classified rightly, each by its
    weight."""
    loss = correct = 0.0
    total = float(len(examples.labels)) if examples.weights is None else float(examples.weights.sum())
    for logits, labels, weights in examples.logits(net):
        if weights is None:
            found = softmax_cross_entropy(logits, labels, out=logits, reduction="sum", extras=("correct",))
            correct += int(found.correct.sum())
            loss += float(found.loss)
        else:
            found = softmax_cross_entropy(logits, labels, out=logits, reduction="none", extras=("correct",))
            correct += float(weights @ found.correct)
            loss += float(weights @ found.loss)
    if together is not None:
        loss, correct, total = together.total(loss, correct, total)
    return loss / total, correct / total
