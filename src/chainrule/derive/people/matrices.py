"""Matrices made of parts, and two values laid out alike so that they can be compared."""

from __future__ import annotations

import numpy as np

from chainrule.derive.people.values import (
    MisfitError,
    Plain,
    Value,
    add,
    elementwise,
    linear,
    matmul,
    primal,
    rename,
    shape,
    to_letters,
    total,
)

__all__ = ["comparable", "diagonal", "stack", "trace"]


def diagonal(x: Value) -> Value:
    """A matrix with a vector's elements on its diagonal, or of a square matrix the diagonal, as a column."""

    def placed(p: Plain) -> Plain:
        if not p.matrix or 1 not in p.data.shape[-2:]:
            raise MisfitError("diag of what is not a vector")
        vector = p.data[..., :, 0] if p.data.shape[-1] == 1 else p.data[..., 0, :]
        return Plain(vector[..., :, None] * np.eye(vector.shape[-1], dtype=vector.dtype), p.letters, True)

    return linear(x, placed)


def trace(x: Value) -> Value:
    """The sum of a square matrix's diagonal."""
    size = shape(x)
    if size is None or size[0] != size[1]:
        raise MisfitError("the trace of what is not a square matrix")
    return total(elementwise(x, Plain(np.eye(size[0], dtype=primal(x).data.dtype), (), True)))


def stack(rows: list[list[Value]]) -> Value:
    """A matrix of scalars, or of vectors and matrices side by side."""
    sizes = [[shape(entry) or (1, 1) for entry in row] for row in rows]
    heights, widths = [row[0][0] for row in sizes], [size[1] for size in sizes[0]]
    if any(size != (h, w) for h, row in zip(heights, sizes, strict=True) for w, size in zip(widths, row, strict=True)):
        raise MisfitError("vectors of different lengths side by side")
    whole: Value | None = None
    for r, row in enumerate(rows):
        for c, entry in enumerate(row):
            dtype = primal(entry).data.dtype
            above, left = np.eye(sum(heights), dtype=dtype), np.eye(sum(widths), dtype=dtype)
            down = Plain(above[:, sum(heights[:r]) : sum(heights[: r + 1])], (), True)
            along = Plain(left[sum(widths[:c]) : sum(widths[: c + 1])], (), True)
            if shape(entry) is None:
                part = elementwise(entry, Plain(down.data @ along.data, (), True))
            else:
                part = matmul(matmul(down, entry), along)
            whole = part if whole is None else add(whole, part)
    assert whole is not None
    return whole


def comparable(a: Plain, b: Plain) -> tuple[Plain, Plain]:
    """Two values with the same rows and columns; a vector beside one element of it is read element by element."""
    for n in a.letters:
        if n in b.letters and a.data.shape[a.letters.index(n)] != b.data.shape[b.letters.index(n)]:
            raise MisfitError(f"the index {n} runs over different things on both sides")
    if a.matrix == b.matrix:
        if a.matrix and a.data.shape[-2:] != b.data.shape[-2:]:
            for whole, vector in ((a, b), (b, a)):  # ∂h/∂z = σ'(z), for the diagonal of a matrix that has no more
                if (diagonal := _diagonal_like(whole, vector)) is not None:
                    return (diagonal, vector) if whole is a else (vector, diagonal)
            raise MisfitError(
                f"{a.data.shape[-2]}×{a.data.shape[-1]} before, {b.data.shape[-2]}×{b.data.shape[-1]} here"
            )
        return a, b
    vector, number = (a, b) if a.matrix else (b, a)
    if b.matrix and set(a.letters) - {"★"} and not (set(a.letters) - {"★"}) & set(b.letters):
        raise MisfitError("an element before, a vector here")
    rows, columns = vector.data.shape[-2:]
    extra = [n for n in number.letters if n not in vector.letters and n != "★"]
    sizes = [number.data.shape[number.letters.index(n)] for n in extra]
    if 1 in (rows, columns) and len(extra) == 1 and sizes == [max(rows, columns)]:
        lettered = primal(rename(to_letters(vector, "∂x", "∂x"), {"∂x": extra[0]}))
        return (lettered, number) if a.matrix else (number, lettered)
    if len(extra) == 2 and sizes == [rows, columns]:
        lettered = primal(to_letters(vector, extra[0], extra[1]))
        return (lettered, number) if a.matrix else (number, lettered)
    if np.ptp(number.data) == 0 and number.data.size and float(number.data.flat[0]) == 0:
        return (
            (a, Plain(number.data.reshape(-1)[0] * vector.data, vector.letters, True))
            if a.matrix
            else (Plain(number.data.reshape(-1)[0] * vector.data, vector.letters, True), b)
        )
    raise MisfitError(
        f"a {rows}×{columns} matrix on one side, a number on the other"
        if min(rows, columns) > 1
        else "a vector on one side, a number on the other"
    )


def _diagonal_like(whole: Plain, vector: Plain) -> Plain | None:
    """The diagonal of a diagonal matrix, laid out as a vector of its length is."""
    size = whole.data.shape[-1]
    if whole.data.shape[-2] != size or size == 1 or sorted(vector.data.shape[-2:]) != [1, size]:
        return None
    if np.any(whole.data * (1 - np.eye(size))):
        return None
    found = np.diagonal(whole.data, axis1=-2, axis2=-1)
    return Plain(found[..., :, None] if vector.data.shape[-1] == 1 else found[..., None, :], whole.letters, True)
