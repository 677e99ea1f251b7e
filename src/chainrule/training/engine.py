"""The engine: many steps of training in one native call, over one flat buffer of parameters.

It computes what `Network.forward`, `Network.backward` and `Optimizer.step` say, a batch at a time, without returning
to Python between steps; the tests hold it to them. The matrix products are its own: at the sizes of a training step
they reach the processor's peak, and start no threads that would wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from chainrule._native import _kernels
from chainrule.boundary.arrays import empty
from chainrule.errors import InputError
from chainrule.training.optimizers import Optimizer

__all__ = ["Engine", "Pass", "Share", "Sparse", "StepOptions", "as_rows", "check_sparse"]

Array = npt.NDArray[Any]


class Sparse(NamedTuple):
    """The rows of a compressed sparse matrix: row r has values[row_starts[r]:row_starts[r + 1]] at their columns."""

    values: Array
    columns: Array
    row_starts: Array

    def __len__(self) -> int:
        return len(self.row_starts) - 1


class Pass(NamedTuple):
    """What a run of steps found: sums over its examples, and over its steps for the norms.

    loss : Σ of the weighted losses; weight : Σ of the weights, N where there are none
    correct : how many examples were classified rightly, before their own step
    steps : how many steps were taken; finite : False where the step after them met a loss that is NaN or infinite
    norms : for each layer, Σ over the steps of ‖∇_{W_k} 𝓛‖
    """

    loss: float
    weight: float
    correct: int
    steps: int
    finite: bool
    norms: list[float]


class Share(NamedTuple):
    """The part of some steps that one of several processes has.

    bounds : (steps + 1,) int64; step s has order[bounds[s]:bounds[s + 1]]
    places : (n,) int64, the places of these rows in the batches of all
    sums : (4,), where a step leaves its sums for `call`, which adds up the gradient's parts (_native/training.hpp)
    """

    bounds: Array
    places: Array
    sums: Array
    call: Callable[[int], None] | None


@dataclass(frozen=True)
class StepOptions:
    """What a step does besides the optimizer's rule.

    l2_weights, l2_biases : λ of a penalty, λθ added to the gradient; l2_by_batch : divided as the batch's loss is, and
        added to the loss, as scikit-learn does
    clip_norm : 0 for none; class_weights : (K,), or none
    logistic : K logistic outputs in place of a softmax
    lr_in_velocity, eps_inside : SGD's and Adam's steps, with scikit-learn's order of operations
    """

    l2_weights: float = 0.0
    l2_biases: float = 0.0
    l2_by_batch: bool = False
    dropout: float = 0.0
    label_smoothing: float = 0.0
    clip_norm: float = 0.0
    class_weights: tuple[float, ...] = ()
    logistic: bool = False
    lr_in_velocity: bool = False
    eps_inside: bool = False


class Engine:
    """The buffers of one network's training, and the native code that works in them.

    Parameters
    ----------
    weights, biases : the layers' arrays, copied: (units, inputs) and (units,), float32 or float64
    activation : of the hidden layers
    optimizer : SGD, Adam or AdamW
    batch_size : examples a step
    options : what a step does besides
    seed : of the dropped units; threads : at most so many

    Attributes
    ----------
    parameters, gradient : (P,), all weights and then all biases
    state : the optimizer's buffers, by name
    weights, biases : views of `parameters`, in the shapes that came
    steps : how many steps were taken
    stopped : set its one element to end a run between two steps
    """

    def __init__(
        self,
        weights: list[Array],
        biases: list[Array],
        activation: str,
        optimizer: Optimizer,
        batch_size: int,
        options: StepOptions = StepOptions(),
        *,
        seed: int = 0,
        threads: int = 1,
    ) -> None:
        dtype = weights[0].dtype
        widths = [weights[0].shape[1], *(len(w) for w in weights)]
        count = sum((d + 1) * u for d, u in pairwise(widths))
        names = list(optimizer.state(0, dtype))
        pitch = -(-count // 16) * 16  # in one block, which NumPy puts into large pages if it can
        block = empty((2 + len(names), pitch), dtype)
        block[...] = 0
        self.parameters, self.gradient, *buffers = (row[:count] for row in block)
        self.state = dict(zip(names, buffers, strict=True))
        self.weights, self.biases = [], []
        at = 0
        for d, u in pairwise(widths):
            self.weights.append(self.parameters[at : at + d * u].reshape(d, u).T)
            at += d * u
        for u in widths[1:]:
            self.biases.append(self.parameters[at : at + u])
            at += u
        self.load(weights, biases)
        self.activation, self.batch_size, self.steps = activation, batch_size, 0
        self.stopped = np.zeros(1, np.uint8)
        kind = _kernels.TrainerFloat32 if dtype == np.float32 else _kernels.TrainerFloat64
        first, second = [*self.state.values(), None, None][:2]
        named = {"activation": activation, "batch_size": batch_size, "seed": seed, "threads": threads}
        named |= optimizer.native_options() | asdict(options)
        self._trainer = kind(widths, self.parameters, self.gradient, first, second, named)

    def load(self, weights: list[Array], biases: list[Array]) -> None:
        """Copy weights and biases into the parameters."""
        for view, array in zip([*self.weights, *self.biases], [*weights, *biases], strict=True):
            view[...] = array

    @property
    def buffers(self) -> list[Array]:
        """All that a step changes: the parameters, and the optimizer's state."""
        return [self.parameters, *self.state.values()]

    def run(
        self, x: Array | Sparse, labels: Array, order: Array, lr: float | Array, weights: Array | None = None,
        share: Share | None = None,
    ) -> Pass:  # fmt: skip
        """Take a step for each batch of the examples in `order`; sums of what was met on the way.

        x : (N, D) of the parameters' dtype, rows contiguous; labels : (N,) int64, or targets (N, K) of that dtype for
        logistic outputs; order : (n,) int64, rows of x; lr : the learning rate, or (steps,) of them; weights : (N,)
        float64; share : what other processes have of the steps
        """
        steps = -(-len(order) // self.batch_size) if share is None else len(share.bounds) - 1
        rates = np.full(steps, lr) if np.ndim(lr) == 0 else np.ascontiguousarray(lr, dtype=np.float64)
        hard = labels.ndim == 1
        found = self._trainer.run(
            tuple(x) if isinstance(x, Sparse) else x,
            labels if hard else None,
            None if hard else labels,
            weights,
            order,
            rates,
            self.steps,
            self.stopped,
            None if share is None else tuple(share),
        )
        self.steps += found["steps"]
        raised = found.pop("raised")  # by a signal's handler: KeyboardInterrupt
        if raised is not None:
            raise raised
        return Pass(**found)

    def last_step(self) -> list[float]:
        """‖ΔW_k‖/‖W_k‖ of the step that was taken last, k = 1 … L; a decoupled decay is left out."""
        return self._trainer.last_step()


def check_sparse(name: str, x: Any) -> None:
    """Refuse a matrix of scipy.sparse whose places do not fit its shape: whoever went by them would read elsewhere.

    Raises
    ------
    InputError
        What is wrong with which of its arrays.
    """
    format = getattr(x, "format", "") if getattr(x, "ndim", 0) == 2 else ""
    if format == "coo":
        parts = dict(zip(("row", "col"), (x.row, x.col), strict=True))
        for (what, places), size in zip(parts.items(), x.shape, strict=True):
            _check_places(name, what, places, size)
        sizes = {what: len(places) for what, places in parts.items()} | {"data": len(x.data)}
        if len(set(sizes.values())) > 1:
            raise InputError(f"{name}: the sparse matrix is broken: its arrays have the lengths {sizes}")
    elif format in ("csr", "csc"):
        rows, columns = x.shape if format == "csr" else x.shape[::-1]
        starts = np.asarray(x.indptr)
        if len(starts) != rows + 1 or starts[0] != 0 or (np.diff(starts) < 0).any():
            raise InputError(
                f"{name}: the sparse matrix is broken: indptr has {len(starts)} numbers, expected {rows + 1} that rise "
                "from 0"
            )
        stored = min(len(x.indices), len(x.data))
        if int(starts[-1]) > stored:
            raise InputError(
                f"{name}: the sparse matrix is broken: indptr ends at {int(starts[-1])}, beyond its {stored} elements"
            )
        _check_places(name, "indices", np.asarray(x.indices)[: int(starts[-1])], columns)


def _check_places(name: str, what: str, places: Array, size: int) -> None:
    bad = np.flatnonzero((places < 0) | (places >= size))
    if bad.size:
        raise InputError(
            f"{name}: the sparse matrix is broken: {what}[{bad[0]}] is {places[bad[0]]}, expected 0 to {size - 1}"
        )


def as_rows(x: Any, dtype: Any) -> Array | Sparse:
    """A matrix, dense or of scipy.sparse, as the engine reads it."""
    if hasattr(x, "tocsr"):
        check_sparse("x", x)
        csr = x.tocsr()
        return Sparse(csr.data.astype(dtype), csr.indices.astype(np.int64), csr.indptr.astype(np.int64))
    return np.ascontiguousarray(x, dtype=dtype)
