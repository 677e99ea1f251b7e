"""Features that are nearly all 0, as those of columns with hundreds of categories: only the others are stored."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["SparseFeatures", "dense", "logits_of"]

Array = npt.NDArray[Any]
AT_ONCE = 4096  # rows that are made dense


class SparseFeatures:
    """Rows (N, D) of which only the elements that are not 0 are stored, as scipy.sparse's CSR does: `fit` takes them.

    Examples
    --------
    >>> x = SparseFeatures(np.array([2.0, 3.0]), np.array([1, 0]), np.array([0, 1, 1, 2]), 2)
    >>> x.shape, x[1:].dense().tolist(), x[np.array([2, 0])].dense().tolist()
    ((3, 2), [[0.0, 0.0], [3.0, 0.0]], [[3.0, 0.0], [0.0, 2.0]])
    """

    format, ndim = "csr", 2

    def __init__(self, data: Array, indices: Array, indptr: Array, columns: int) -> None:
        self.data, self.indices, self.indptr, self.shape = data, indices, indptr, (len(indptr) - 1, columns)

    @classmethod
    def of_slots(cls, places: list[Array], values: list[Array], columns: int) -> SparseFeatures:
        """From slots, each an element a row: its column, −1 for none, and its value, (N,)."""
        place, value = np.stack(places, axis=1), np.stack(values, axis=1)
        stored = (place >= 0) & (value != 0)
        starts = np.concatenate([[0], np.cumsum(stored.sum(axis=1))])
        return cls(value[stored], place[stored], starts, columns)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Array) -> SparseFeatures:
        chosen = np.arange(len(self))[rows]
        counts = np.diff(self.indptr)[chosen]
        starts = np.concatenate([[0], np.cumsum(counts)])
        source = np.repeat(self.indptr[chosen] - starts[:-1], counts) + np.arange(starts[-1])
        return SparseFeatures(self.data[source], self.indices[source], starts, self.shape[1])

    def tocsr(self) -> SparseFeatures:
        """Itself."""
        return self

    def dense(self) -> Array:
        """The same as a matrix (N, D)."""
        full = np.zeros(self.shape, self.data.dtype)
        full[np.repeat(np.arange(len(self)), np.diff(self.indptr)), self.indices] = self.data
        return full


def dense(x: Any) -> Array:
    """Features as a matrix (N, D), whatever they are."""
    return x.dense() if isinstance(x, SparseFeatures) else np.asarray(x)


def logits_of(net: Any, x: Any) -> Array:
    """A network's logits (N, K) of features, some thousand rows at a time where they are sparse or mapped."""
    if not isinstance(x, SparseFeatures | np.memmap):
        return np.asarray(net.logits(x))
    parts = [np.asarray(net.logits(dense(x[at : at + AT_ONCE]))) for at in range(0, max(len(x), 1), AT_ONCE)]
    return np.concatenate(parts)
