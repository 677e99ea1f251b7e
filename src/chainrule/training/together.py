"""Training by several processes, each of which has some of the examples: the same batches as one process would have.

The examples of all stand in one order, rank by rank, and an epoch visits them in an order of its own, which depends on
the seed alone. Each process computes the rows of a batch that are its own; sums of losses, weights and gradients are
added up, and then divided by the weight of all. So neither the number of processes nor who has which rows changes what
is learned, but for rounding.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.boundary.processes import Processes
from chainrule.errors import InputError
from chainrule.training.engine import Engine, Share, Sparse
from chainrule.training.examples import Examples
from chainrule.training.splitting import hold_out

__all__ = ["Together", "divided"]

Array = npt.NDArray[Any]
BUCKET = 1 << 20  # bytes of the gradient that are handed over together, at least: to begin costs some 0.1 ms
SPREAD = 8.0  # standard deviations: how many rows of a batch may be here


class Together:
    """The share of one process.

    n, first : how many examples all have, and which of them is the first here
    count : how many are here
    """

    def __init__(self, processes: Processes, count: int) -> None:
        self.processes, self.count = processes, count
        counts = np.array(processes.gather_objects(count))
        self.n, self.first = int(counts.sum()), int(counts[: processes.rank].sum())
        self.sums = np.zeros(4)
        self._waits: list[Callable[[], None]] = []
        if self.n == 0:
            raise InputError("x: got no examples on any rank, expected at least one")

    def room(self, batch_size: int) -> int:
        """How many rows of a batch may be here: of one drawn without replacement, nearly surely not more."""
        mean = batch_size * self.count / self.n
        return max(1, min(batch_size, self.count, math.ceil(mean + SPREAD * math.sqrt(mean) + SPREAD**2)))

    def visits(
        self, examples: Examples, batch_size: int, memory: int | None, random: np.random.Generator
    ) -> Iterator[tuple[Examples, Array, Share]]:
        """This process's examples, in the order of the epoch, and its share in each batch; of a memory map some steps
        at a time, which take at most `memory` bytes."""
        order = random.permutation(self.n)
        at = np.flatnonzero((order >= self.first) & (order < self.first + self.count))
        rows, places = order[at] - self.first, at % batch_size
        steps = -(-self.n // batch_size)
        bounds = np.searchsorted(at, np.arange(steps + 1) * batch_size)
        del order, at
        every = steps
        if memory is not None and isinstance(examples.x, np.memmap):
            most = max(1, int(np.diff(bounds).max()))
            every = max(1, memory // (examples.x.shape[1] * examples.x.itemsize) // most)
        for step in range(0, steps, every):
            some = bounds[step : step + every + 1]
            chosen, place = rows[some[0] : some[-1]], places[some[0] : some[-1]]
            share = Share(some - some[0], np.ascontiguousarray(place), self.sums, None)
            if every == steps:
                yield examples, chosen, share
            else:
                ascending = np.argsort(chosen)  # a map is read in its own order
                block = examples.take(chosen[ascending])
                back = np.empty_like(ascending)
                back[ascending] = np.arange(len(back))
                yield block, back, share

    def exchange(self, engine: Engine) -> Callable[[int], None]:
        """What a step calls as the parts of its gradient are there: layers are handed over, the last first, while the
        next is computed; several small ones together."""
        import torch

        gradient, sums = torch.from_numpy(engine.gradient), torch.from_numpy(self.sums)
        starts = [0]
        for w in engine.weights:
            starts.append(starts[-1] + w.size)
        state = {"end": len(gradient), "layers": len(engine.weights)}
        biases = starts[-1]
        least = BUCKET // engine.gradient.itemsize

        def call(layer: int) -> None:
            if layer == state["layers"]:
                self._waits.append(self.processes.begin_to_add(sums))
                state["end"] = biases
            elif layer > 0:
                if state["end"] - starts[layer] >= least:
                    self._begin(gradient[starts[layer] : state["end"]])
                    state["end"] = starts[layer]
            elif layer == 0:
                if state["end"] == biases:  # nothing has gone: all of it, biases too
                    self._begin(gradient)
                else:
                    self._begin(gradient[: state["end"]])
                    self._begin(gradient[biases:])
            else:
                started = time.perf_counter()
                waits, self._waits = self._waits, []
                for wait in waits:
                    wait()
                self.processes.waited += time.perf_counter() - started

        return call

    def _begin(self, part: Any) -> None:
        self._waits.append(self.processes.begin_to_add(part))

    def total(self, *numbers: float) -> list[float]:
        """The sums of numbers over all."""
        import torch

        return list(map(float, self.processes.add(torch.tensor(numbers, dtype=torch.float64))))

    def added(self, array: Array) -> Array:
        """The sum of arrays over all, in float64."""
        import torch

        return np.asarray(self.processes.add(torch.from_numpy(np.array(array, dtype=np.float64))).numpy())

    def any(self, said: bool) -> bool:
        """Whether any of them says so."""
        return self.total(float(said))[0] > 0

    def from_first(self, arrays: list[Array]) -> None:
        """Fill arrays with the first process's, which alone need not be zero."""
        import torch

        for array in arrays:
            if self.processes.rank:
                array[...] = 0
            self.processes.add(torch.from_numpy(array))

    def fingerprint(self, examples: Examples) -> str:
        """What tells the examples of all from others, whoever has which of them: a sum over all rows."""
        rows = np.arange(self.first, self.first + self.count, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        totals = [np.uint64(0)] * 3
        for begin in range(0, self.count, 4096):
            some = slice(begin, begin + 4096)
            part = examples.take(np.arange(begin, min(begin + 4096, self.count)))
            totals[0] += (_mixed(part.x) * rows[some]).sum(dtype=np.uint64)
            totals[1] += (part.labels.astype(np.uint64) * rows[some]).sum(dtype=np.uint64)
            if part.weights is not None:
                totals[2] += (part.weights.view(np.uint64) * rows[some]).sum(dtype=np.uint64)
        found = self.processes.gather_objects([int(total) for total in totals])
        return " ".join(f"{sum(part) % 2**64:016x}" for part in zip(*found, strict=True)) + f" {self.n}"


def divided(
    examples: Examples, validation: Examples | float, seed: int, processes: Processes
) -> tuple[Examples, Examples | None]:
    """Training and validation examples of this process: those given, or its part of those that one process would hold
    out of all."""
    if not isinstance(validation, Examples):
        labels, first = _all_labels(examples.labels, processes)
        here = slice(first, first + len(examples.labels))
        held = np.zeros(len(labels), dtype=bool)
        held[hold_out(labels, validation, seed)[0]] = True
        if not held.any():
            return examples, None
        examples, validation = (examples.take(np.flatnonzero(at)) for at in (~held[here], held[here]))
    weights = validation.weights
    found = processes.gather_objects((len(validation.labels), 1.0 if weights is None else float(weights.sum())))
    if not sum(count for count, _ in found):
        return examples, None
    if not sum(weight for _, weight in found):
        raise InputError("validation: the weights of its examples are all 0 on all ranks")
    return examples, validation


def _all_labels(labels: Array, processes: Processes) -> tuple[Array, int]:
    """The labels of all processes, and the place of this one's first."""
    import torch

    counts = processes.gather_objects(len(labels))
    padded = torch.zeros(max(counts), dtype=torch.int64)
    padded[: len(labels)] = torch.from_numpy(np.asarray(labels))
    rows = processes.gather(padded).numpy()
    parts = [row[:count] for row, count in zip(rows, counts, strict=True)]
    return np.concatenate(parts), sum(counts[: processes.rank])


def _mixed(x: Any) -> Array:
    """A number for each row, of its elements' bits and columns."""
    values = x.values if isinstance(x, Sparse) else np.ascontiguousarray(x)
    bits = values.view(np.uint32 if values.itemsize == 4 else np.uint64).astype(np.uint64)
    columns = x.columns if isinstance(x, Sparse) else np.arange(values.shape[1])
    by = (columns.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0xD1B54A32D192ED03)) | np.uint64(1)
    mixed = bits * by
    if not isinstance(x, Sparse):
        return np.asarray(mixed.sum(1, dtype=np.uint64))
    total = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed, dtype=np.uint64)])
    return np.asarray(total[x.row_starts[1:]] - total[x.row_starts[:-1]])
