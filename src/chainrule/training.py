"""`fit`: batches, early stopping, checkpoints, history.

Every random choice comes from (seed, epoch), so that a run resumed at an epoch has no random state to restore,
and the same seed gives the same weights, bit for bit, on the same machine and library versions.
"""

from __future__ import annotations

import hashlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.checks import check_fraction, check_integer, check_labels, check_not_built
from chainrule.errors import CheckpointError, InputError, NonFiniteError
from chainrule.files import open_tensors, require_writable, save_tensors
from chainrule.network import Forward, Network
from chainrule.optimizers import Adam, Optimizer
from chainrule.output import softmax_cross_entropy
from chainrule.version import __version__

__all__ = ["EpochRecord", "History", "fit"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class EpochRecord:
    """What a progress callback is given at the end of each epoch (counted from 1)."""

    epoch: int
    epochs: int
    loss: float
    accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    examples_per_second: float


@dataclass
class History:
    """What training looked like, one number an epoch.

    loss, accuracy : over the epoch's batches, as they were met
    validation_loss, validation_accuracy : after the epoch; empty without validation
    gradient_norms : for each epoch, the norm of ∇_{W_k} 𝓛 for k = 1 … L, averaged over its steps
    best_epoch : the epoch whose weights were kept, from 1; 0 before any
    stopped : "epochs", "patience" or "interrupted"
    """

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    gradient_norms: list[list[float]] = field(default_factory=list)
    examples_per_second: list[float] = field(default_factory=list)
    best_epoch: int = 0
    stopped: str = "epochs"

    def to_dict(self) -> dict[str, Any]:
        """The same as plain Python data."""
        return asdict(self)


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
    schedule: Any = None,
    weight_decay: float = 0.0,
    dropout: float = 0.0,
    sample_weight: Any = None,
    class_weight: Any = None,
    clip_norm: float | None = None,
    seed: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Callable[[EpochRecord], object] | None = None,
) -> History:
    """Train a network in place.

    Parameters
    ----------
    net : a network of NumPy float32 or float64 arrays; its weights are overwritten when training ends
    x : array (N, D), finite numbers
    labels : array (N,), int in [0, K)
    optimizer : SGD, Adam or AdamW; Adam(1e-3) by default
    epochs, batch_size : int >= 1
    validation : the fraction of the examples that is held out, chosen by `seed`; or (x, labels); 0 for none.
        With validation, the weights of the epoch with the lowest validation loss are kept, else the last ones.
    patience : stop after this many epochs without a lower validation loss
    seed : int >= 0
    checkpoint : a file that is written, whole, after each epoch. If it exists and is of the same run (data,
        network, options), training goes on from it and ends with the same bits as if never interrupted; `epochs`
        may be larger than before. Needs chainrule[cli].
    progress : called with an EpochRecord after each epoch
    schedule, weight_decay, dropout, sample_weight, class_weight, clip_norm
        Not built yet: anything but the default raises NotImplementedError.

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
        The loss became NaN or infinite: the message names the step and the layer whose values left the range
        first. The network keeps the weights it came with.

    Ctrl-C ends training at the next step: the best weights so far are kept, and `history.stopped` is
    "interrupted". A second Ctrl-C raises KeyboardInterrupt.

    Examples
    --------
    >>> x = np.array([[0.0, 1.0], [1.0, 0.0]] * 50)
    >>> net = Network.create([2, 8, 2], seed=0)
    >>> history = fit(net, x, [0, 1] * 50, epochs=30, batch_size=10, optimizer=Adam(0.01))
    >>> net.predict([[0.0, 1.0], [1.0, 0.0]]).tolist()
    [0, 1]
    """
    check_not_built(
        "fit",
        schedule=(schedule, None),
        weight_decay=(weight_decay, 0.0),
        dropout=(dropout, 0.0),
        sample_weight=(sample_weight, None),
        class_weight=(class_weight, None),
        clip_norm=(clip_norm, None),
    )
    optimizer = Adam() if optimizer is None else optimizer
    if not hasattr(optimizer, "step") or not hasattr(optimizer, "state"):
        raise InputError(f"optimizer: got {optimizer!r}, expected SGD, Adam or AdamW")
    epochs, batch_size = check_integer("epochs", epochs), check_integer("batch_size", batch_size)
    seed = check_integer("seed", seed, minimum=0)
    patience = None if patience is None else check_integer("patience", patience)
    train, held_out = _split(net, x, labels, validation, seed)
    if patience is not None and held_out is None:
        raise InputError(f"patience: got {patience} with validation={validation!r}, expected validation examples")
    run = _Run(net, optimizer, train, held_out, batch_size, seed)
    if checkpoint is not None:
        require_writable(checkpoint)
        run.fingerprint = run.identify()
        if os.path.exists(checkpoint):
            run.restore(checkpoint)
    # numbers that leave their range are found by their values, and named
    with _interrupt_flag() as interrupted, np.errstate(over="ignore", invalid="ignore"):
        run.train(epochs, patience, checkpoint, progress, interrupted)
    run.copy_into(net)
    return run.history


class _Run:
    """One training run: a flat parameter buffer, a flat gradient buffer, and all that a step depends on."""

    def __init__(
        self,
        net: Network,
        optimizer: Optimizer,
        train: tuple[Array, Array],
        held_out: tuple[Array, Array] | None,
        batch_size: int,
        seed: int,
    ) -> None:
        self.optimizer, self.batch_size, self.seed = optimizer, batch_size, seed
        (self.x, self.labels), self.held_out = train, held_out
        arrays = [*net.weights, *net.biases]
        self.parameters = np.concatenate([a.ravel() for a in arrays])
        self.gradient, self.scratch = np.empty_like(self.parameters), np.empty_like(self.parameters)
        self.best = self.parameters.copy()
        self.state = optimizer.state(self.parameters.size, self.parameters.dtype)
        views = _views(self.parameters, arrays)
        self.net = Network(views[: net.depth], views[net.depth :], net.activation)
        self.gradients = _views(self.gradient, arrays)
        self.step = self.epoch = 0
        self.history = History()
        self.fingerprint: dict[str, str] = {}

    def train(
        self,
        epochs: int,
        patience: int | None,
        checkpoint: str | os.PathLike[str] | None,
        progress: Callable[[EpochRecord], object] | None,
        interrupted: threading.Event,
    ) -> None:
        history = self.history
        while self.epoch < epochs and not self._out_of_patience(patience):
            started = time.perf_counter()
            if not self._train_epoch(interrupted):
                history.stopped = "interrupted"
                break
            self.epoch += 1
            history.examples_per_second.append(len(self.x) / max(time.perf_counter() - started, 1e-9))
            self._validate()
            if checkpoint is not None:
                self.store(checkpoint)
            if progress is not None:
                progress(self._record(epochs))
        else:
            history.stopped = "patience" if self._out_of_patience(patience) else "epochs"
        if self.held_out is None and history.stopped == "interrupted":
            self.best[:] = self.parameters  # without validation the latest weights are the best known
            history.best_epoch = self.epoch

    def _train_epoch(self, interrupted: threading.Event) -> bool:
        """One pass over the examples in an order of (seed, epoch); False when Ctrl-C cut it short."""
        n, depth = len(self.x), self.net.depth
        order = np.random.default_rng([self.seed, 1, self.epoch]).permutation(n)
        losses, correct, norms, steps = 0.0, 0, [0.0] * depth, 0
        for begin in range(0, n, self.batch_size):
            if interrupted.is_set():
                return False
            batch = order[begin : begin + self.batch_size]
            labels = self.labels[batch]
            forward = self.net.forward(self.x[batch])
            backward = self.net.backward(forward, labels)
            if not math.isfinite(backward.loss):
                raise self._left_the_range(forward)
            for view, grad in zip(self.gradients, [*backward.grad_weights, *backward.grad_biases], strict=True):
                view[...] = grad
            norms = [s + float(np.linalg.norm(g)) for s, g in zip(norms, self.gradients[:depth], strict=True)]
            self.step += 1
            steps += 1
            self.optimizer.step(self.parameters, self.gradient, self.state, self.step, self.scratch)
            losses += float(backward.loss) * len(batch)
            correct += int((forward.logits.argmax(axis=1) == labels).sum())
        if not np.isfinite(self.parameters).all():
            raise self._left_the_range(None)
        self.history.loss.append(losses / n)
        self.history.accuracy.append(correct / n)
        self.history.gradient_norms.append([s / steps for s in norms])
        return True

    def _left_the_range(self, forward: Forward | None) -> NonFiniteError:
        layers: list[tuple[str, Any]] = [
            (f"the weights of layer {k}", w) for k, w in enumerate(self.net.weights, start=1)
        ] + [(f"the biases of layer {k}", b) for k, b in enumerate(self.net.biases, start=1)]
        if forward is not None:
            layers += [(f"the pre-activations of layer {k}", a) for k, a in enumerate(forward.preactivations, start=1)]
        where = next((name for name, values in layers if not np.isfinite(values).all()), "the loss itself")
        return NonFiniteError(
            f"training: the loss became NaN or infinite at step {self.step + 1} (epoch {self.epoch + 1}): "
            f"first out of range: {where}; a smaller learning rate or standardised inputs may help"
        )

    def _validate(self) -> None:
        """Record the validation loss, and keep the weights if they are the best so far."""
        history = self.history
        if self.held_out is not None:
            x, labels = self.held_out
            logits = self.net.forward(x).logits
            history.validation_accuracy.append(float((logits.argmax(axis=1) == labels).mean()))
            history.validation_loss.append(float(softmax_cross_entropy(logits, labels, out=logits).loss))
            best = min(history.validation_loss)
            if not math.isfinite(history.validation_loss[-1]) or history.validation_loss[-1] > best:
                return
            if history.best_epoch and history.validation_loss[history.best_epoch - 1] == best:
                return  # a tie: the earlier epoch stays
        self.best[:] = self.parameters
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

    def copy_into(self, net: Network) -> None:
        for array, view in zip(
            [*net.weights, *net.biases], _views(self.best, [*net.weights, *net.biases]), strict=True
        ):
            array[...] = view

    # --- checkpoints: all that a step depends on ---

    def identify(self) -> dict[str, str]:
        """What makes a run this run. `epochs` is not in it: a finished run can be made longer."""
        held_out = self.held_out or ()
        return {
            "the examples": _digest(self.x, *held_out[:1]),
            "the labels": _digest(self.labels, *held_out[1:]),
            "the network's initial weights": _digest(self.parameters),
            "the network": f"{self.net.widths} {self.net.activation} {self.parameters.dtype}",
            "the optimizer": repr(self.optimizer),
            "batch_size": str(self.batch_size),
            "seed": str(self.seed),
            "the versions": f"chainrule {__version__}, numpy {np.__version__}",
        }

    def store(self, path: str | os.PathLike[str]) -> None:
        tensors = {"parameters": self.parameters, "best": self.best}
        tensors |= {f"state.{name}": value for name, value in self.state.items()}
        description = {
            "step": self.step,
            "epoch": self.epoch,
            "run": self.fingerprint,
            "history": self.history.to_dict(),
        }
        save_tensors(path, tensors, {"checkpoint": description})

    def restore(self, path: str | os.PathLike[str]) -> None:
        file, outer = open_tensors(path, CheckpointError)
        description = outer.get("checkpoint")
        if not isinstance(description, dict) or not isinstance(description.get("run"), dict):
            raise CheckpointError(f"{path}: is not a checkpoint")
        other = [name for name, value in self.fingerprint.items() if description["run"].get(name) != value]
        if other:
            raise CheckpointError(
                f"{path}: is of another run, which differs in {', '.join(other)}; delete it or name another file"
            )
        targets = {"parameters": self.parameters, "best": self.best}
        targets |= {f"state.{name}": value for name, value in self.state.items()}
        if set(file.keys()) != set(targets):
            raise CheckpointError(f"{path}: has tensors {sorted(file.keys())}, expected {sorted(targets)}")
        loaded = {name: file.get_tensor(name) for name in targets}
        for name, target in targets.items():
            if loaded[name].shape != target.shape or loaded[name].dtype != target.dtype:
                raise CheckpointError(f"{path}: tensor {name} has shape {loaded[name].shape}, expected {target.shape}")
        try:
            self.step, self.epoch = int(description["step"]), int(description["epoch"])
            self.history = History(**description["history"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: its description is damaged: {error}") from error
        for name, target in targets.items():
            target[...] = loaded[name]


def _views(flat: Array, like: list[Any]) -> list[Any]:
    """Views of a flat buffer in the shapes of `like`, one after the other."""
    ends = np.cumsum([a.size for a in like])
    return [flat[end - a.size : end].reshape(a.shape) for a, end in zip(like, ends, strict=True)]


def _digest(*arrays: Array) -> str:
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.shape}{array.dtype}".encode())
        total.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
    return total.hexdigest()


def _examples(net: Network, name: str, x: Any, labels: Any) -> tuple[Array, Array]:
    array = np.ascontiguousarray(net.forward_input(x))
    bad = np.argwhere(~np.isfinite(array))
    if bad.size:
        row, column = bad[0]
        raise InputError(f"{name}: got {array[row, column]} at row {row}, column {column}, expected finite numbers")
    return array, check_labels(labels, len(array), net.widths[-1])


def _split(
    net: Network, x: Any, labels: Any, validation: float | tuple[Any, Any], seed: int
) -> tuple[tuple[Array, Array], tuple[Array, Array] | None]:
    """Training and validation examples."""
    if not all(isinstance(w, np.ndarray) and w.dtype.name in ("float32", "float64") for w in net.weights):
        raise InputError("net: got arrays of another library or dtype, expected NumPy float32 or float64 to train")
    array, checked = _examples(net, "x", x, labels)
    if len(array) == 0:
        raise InputError("x: got no examples, expected at least one")
    if isinstance(validation, tuple):
        if len(validation) != 2:
            raise InputError(f"validation: got a tuple of {len(validation)}, expected (x, labels) or a fraction")
        held_out = _examples(net, "validation", *validation)
        return (array, checked), held_out if len(held_out[0]) else None
    fraction = check_fraction("validation", validation)
    size = min(max(round(len(array) * fraction), 1), len(array) - 1) if fraction else 0
    if size == 0:
        return (array, checked), None
    order = np.random.default_rng([seed, 0]).permutation(len(array))
    rest, chosen = np.sort(order[size:]), np.sort(order[:size])
    return (array[rest], checked[rest]), (array[chosen], checked[chosen])


@contextmanager
def _interrupt_flag() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second raises KeyboardInterrupt. Main thread only."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before = signal.getsignal(signal.SIGINT)

    def on_interrupt(number: int, frame: Any) -> None:
        if flag.is_set():
            raise KeyboardInterrupt
        flag.set()

    if before is None or before == signal.SIG_IGN:  # nothing to restore it to, or the caller ignores Ctrl-C
        yield flag
        return
    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, before)
