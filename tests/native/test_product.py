"""The matrix product: every width of its last tile, every layout, and the same bits on any number of threads."""

import numpy as np
import pytest

from chainrule._native import _kernels


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", ["rows", "a by columns", "b by columns"])
@pytest.mark.parametrize("adds", [False, True])
def test_every_width(dtype, layout, adds):
    multiply = getattr(_kernels, f"multiply_{dtype}")
    random = np.random.default_rng(0)
    for n in range(1, 71):
        m, k = (1, 5, 6, 12, 13, 200)[n % 6], (1, 3, 65, 330, 700)[n % 5]
        a, b = random.standard_normal((m, k)).astype(dtype), random.standard_normal((k, n)).astype(dtype)
        a = np.asfortranarray(a) if layout == "a by columns" else a
        b = np.asfortranarray(b) if layout == "b by columns" else b
        # a margin around C, which no kernel may touch
        whole = random.standard_normal((m + 2, n + 2)).astype(dtype)
        before, c = whole.copy(), whole[1:-1, 1:-1]
        multiply(a, b, c, adds, 1)
        near = a.astype(np.float64) @ b.astype(np.float64) + (before[1:-1, 1:-1] if adds else 0)
        bound = (np.abs(a) @ np.abs(b) + np.abs(before[1:-1, 1:-1])) * 2 * (k + 1) * np.finfo(dtype).eps
        assert (np.abs(c - near) <= bound).all(), (m, n, k)
        before[1:-1, 1:-1] = c
        np.testing.assert_array_equal(whole, before)
        one, three = np.empty((m, n), dtype), np.empty((m, n), dtype)
        multiply(a, b, one, False, 1)
        multiply(a, b, three, False, 3)
        np.testing.assert_array_equal(one, three)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_sum_of_nothing(dtype):
    """A process may have no rows of a batch."""
    c = np.ones((5, 40), dtype)
    getattr(_kernels, f"multiply_{dtype}")(np.empty((5, 0), dtype), np.empty((0, 40), dtype), c, False, 1)
    np.testing.assert_array_equal(c, 0)
