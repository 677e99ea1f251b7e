"""The table of activations: what it says of each g, against g and g′, which test_equations.py holds to formulas."""

import numpy as np
import pytest
from truths import FORMULAS, MODULES

from chainrule.activations import ACTIVATIONS


def test_every_activation_is_tested():
    assert set(FORMULAS) == set(MODULES) == set(ACTIVATIONS)


@pytest.mark.parametrize("row", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_the_facts_are_those_of_the_function(row):
    g, slope = row.function, row.derivative
    below, above = slope(np.array([-1e-12, 1e-12]))
    assert row.kink == ((below, above) if above - below > 1e-9 else None)
    out = max(row.straight, 1e-300) * 2.0 ** np.arange(9)
    assert len(set(slope(out))) == len(set(slope(-out))) == 1
    a, far, h = np.linspace(-30, 30, 6001), np.array([-1e18, 1e18]), 1e-3
    saturates = slope(far).max() < 1e-12
    assert row.steepest == (pytest.approx(slope(a).max()) if saturates else None)
    assert (row.tail is not None) == saturates
    if row.tail:
        for side, limit in zip((-1.0, 1.0), g(far), strict=True):
            out = side * a[a > 2]
            np.testing.assert_allclose(limit + row.tail(out, side), g(out), atol=1e-15)
            difference = (row.tail(out + h, side) - row.tail(out - h, side)) / (2 * h)
            np.testing.assert_allclose(difference, slope(out), rtol=1e-5)
    one_sided = not saturates and abs(g(a[0])) <= 0.011 * g(a[-1])
    assert row.gain == (2 if one_sided else 1)
