"""`fit`: epochs, schedules, early stopping, checkpoints, history.

Every random choice comes from (seed, epoch), so that a run resumed at an epoch has no random state to restore,
and the same seed gives the same weights, bit for bit, on the same machine and library versions, whatever the number
of threads.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from chainrule.boundary.checks import check_arrays, check_fraction, check_integer, check_positive, check_threads
from chainrule.boundary.processes import Processes
from chainrule.errors import DivergenceWarning, InputError, NonFiniteError, shown
from chainrule.network.network import Network
from chainrule.training.checkpoint import digest
from chainrule.training.engine import StepOptions
from chainrule.training.examples import (
    Examples,
    check_class_weight,
    check_examples,
    check_memory,
    check_validation,
    split,
)
from chainrule.training.history import EpochRecord, History, check_callbacks
from chainrule.training.interrupts import stopping
from chainrule.training.optimizers import Adam, Optimizer, check_optimizer
from chainrule.training.run import Observer, Plan, Run
from chainrule.training.schedules import Constant, Schedule, check_schedule
from chainrule.training.together import Together, divided

__all__ = ["fit"]


def fit(
    net: Network,
    x: Any,
    labels: Any,
    *,
    optimizer: Optimizer | None = None,
    epochs: int = 20,
    batch_size: int = 128,
    validation: float | tuple[Any, ...] = 0.1,
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
    group: Any = None,
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
    validation : the fraction of each class's examples that is held out, chosen by `seed`; or (x, labels), or
        (x, labels, sample_weight); 0 for none. With validation, the weights of the epoch with the lowest validation
        loss are kept, else the last ones.
    patience : stop after this many epochs without a lower validation loss
    schedule : what multiplies the learning rate: Constant, Cosine, StepDecay, WarmUp or OnPlateau of
        `chainrule.training.schedules`
    weight_decay : λ of an L2 penalty: λθ is added to the gradient, of weights and biases, as PyTorch's optimizers do.
        AdamW has its own, decoupled.
    dropout : the fraction of hidden units that is dropped at each step, in [0, 1); the others are scaled up
    label_smoothing : as in `softmax_cross_entropy`
    sample_weight : array (N,), >= 0. A batch's mean divides by the sum of its weights, as do the loss and the accuracy
        of the examples that are held out.
    class_weight : array (K,), a dict from class to weight, or "balanced": N/(K · the class's examples), where
        an example counts as often as its sample weight says. Multiplies.
    clip_norm : gradients whose norm, over all parameters, is larger are scaled down to it
    seed : int >= 0
    checkpoint : a file that is written, whole, after each epoch. If it exists and is of the same run (data,
        network, options), training goes on from it and ends with the same bits as if never interrupted; `epochs`
        may be larger than before, where the schedule does not depend on it. A run that a callback ended stays
        ended. Needs chainrule[cli].
    progress : called with an EpochRecord after each epoch
    callbacks : the same; training stops after an epoch for which one returns True. When they are called, `net` has its
        weights after the epoch
    memory : bytes that the examples of a memory map or a Parquet file may take at a time; they are read in blocks of
        consecutive rows, the blocks and the rows in them in a random order. `validation` is then given, or 0. What is
        in memory already stays there, and a Parquet file is read by whole row groups of its own.
    threads : at most this many, and only where a step is long enough to gain by it; the result has the same bits
        whatever their number.
    group : torch.distributed.ProcessGroup, optional
        Its processes train together: x, labels, sample_weight and validation are each process's own rows, as many as it
        has; all else is the same everywhere, and so is the result. The rows of all, in the order of ranks, make the
        batches that one process with all of them would make, of `batch_size` rows together, and the result is that of
        this process up to rounding. Each keeps an order of all rows, 8 bytes a row, and with `memory` reads a map's
        rows where that order wants them. The first process writes the checkpoint, which any number of them can go on
        from. Needs chainrule[torch].

    Returns
    -------
    History

    Raises
    ------
    InputError
        Bad input, before anything is changed.
    CheckpointError
        The checkpoint is damaged or of another run; it is left as it is.
    ProcessError
        Another process of the group died, or did not answer within its timeout.
    NonFiniteError
        The loss or a weight became NaN or infinite: the message names the step whose update did it, and the layer
        whose values left the range first. The network keeps the weights it came with. `history` of the error is that
        of the epochs before.

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
    processes = None if group is None else group if isinstance(group, Processes) else Processes(group)
    optimizer = check_optimizer(Adam() if optimizer is None else optimizer)
    schedule = Constant() if schedule is None else schedule
    check_schedule("schedule", schedule)
    observers = _check_observers(progress, callbacks)
    epochs, batch_size = check_integer("epochs", epochs), check_integer("batch_size", batch_size)
    seed = check_integer("seed", seed, minimum=0)
    patience = None if patience is None else check_integer("patience", patience)
    check_arrays("net", net.weights, "train")
    if not all(array.flags.writeable for array in [*net.weights, *net.biases]):
        raise InputError("net: got read-only arrays, expected ones that training may overwrite")
    weight_decay = check_positive("weight_decay", weight_decay, zero=True)
    options = StepOptions(
        l2_weights=weight_decay,
        l2_biases=weight_decay,
        dropout=check_fraction("dropout", dropout),
        label_smoothing=check_fraction("label_smoothing", label_smoothing, one=True),
        clip_norm=0.0 if clip_norm is None else check_positive("clip_norm", clip_norm),
    )
    block = check_memory(memory, net.widths[0] * net.weights[0].itemsize, batch_size)

    def read() -> tuple[Examples, Examples | float]:
        """The examples, and those for validation or their fraction."""
        given, target = x, labels
        if isinstance(given, str | os.PathLike):
            if memory is None or not isinstance(target, str):
                raise InputError(
                    f"x: got the path {os.fspath(given)!r}, expected memory in bytes, and labels, a column's name"
                )
            from chainrule.tables.parquet import numeric_examples  # needs polars

            given, target = numeric_examples(given, target, net.weights[0].dtype.name, memory)
        found = check_examples(net, "x", given, target, sample_weight, memory)
        if block is not None and not isinstance(validation, tuple) and validation:
            raise InputError(f"validation: got {shown(validation)} with memory={memory}, expected (x, labels) or 0")
        return found, check_validation(net, validation, memory)

    together = None
    if processes is None:
        examples, held = read()
        train, held_out = split(examples, held, seed)
    else:
        examples, held = processes.together(read)
        same = optimizer, schedule, options, epochs, batch_size, patience, seed, memory, checkpoint, class_weight
        processes.agree("group: the options", repr((*same, sample_weight is None)))
        processes.agree("net: a digest of the weights", digest(*net.weights, *net.biases))
        train, held_out = divided(examples, held, seed, processes)
        together = Together(processes, len(train.labels))
    if patience is not None and held_out is None:
        raise InputError(f"patience: got {patience} with validation={validation!r}, expected validation examples")
    added = np.asarray if together is None else together.added
    weights = check_class_weight(class_weight, train.labels, net.widths[-1], train.weights, added)
    if weights is not None:
        options = replace(options, class_weights=tuple(weights.tolist()))
    plan = Plan(
        optimizer=optimizer, schedule=schedule, options=options, epochs=epochs,
        batch_size=min(batch_size, len(train.labels) if together is None else together.n), patience=patience,
        block=block, seed=seed, threads=check_threads(threads),
    )  # fmt: skip
    run = Run(net, plan, train, held_out, observers, checkpoint, shown=bool(callbacks), together=together)
    try:
        with stopping(run.engine.stopped), np.errstate(over="ignore", invalid="ignore"):  # found by value, and named
            run.train()
    except NonFiniteError as error:
        run.take_back()
        error.history = run.history
        raise
    except BaseException:  # a callback's, or a second Ctrl-C: what was learned before it is not lost
        run.give()
        raise
    run.history.diverged = run.divergence()
    run.give()
    if run.history.diverged:
        warnings.warn(run.history.diverged, DivergenceWarning, stacklevel=2)
    return run.history


def _check_observers(progress: Any, callbacks: Any) -> list[Observer]:
    if not (progress is None or callable(progress)):
        raise InputError(f"progress: got {progress!r}, expected a function of an EpochRecord")
    check_callbacks(callbacks)
    return [*([] if progress is None else [progress]), *callbacks]
