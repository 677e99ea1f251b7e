"""The table of activations: what it says of each g, against g and g′, which test_equations.py holds to formulas."""

import numpy as np
import pytest

from chainrule.activations import ACTIVATIONS


@pytest.mark.parametrize("row", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_the_facts_are_those_of_the_function(row):
    g, slope = row.function, row.derivative
    below, above = slope(np.array([-1e-12, 1e-12]))
    assert row.kink == ((below, above) if above - below > 1e-9 else None)
    out = max(row.straight, 1e-300) * 2.0 ** np.arange(9)
    assert len(set(slope(out))) == len(set(slope(-out))) == 1
    a = np.linspace(-30, 30, 6001)
    saturates = slope(a[[0, -1]]).max() < 1e-12
    assert row.steepest == (pytest.approx(slope(a).max()) if saturates else None)
    if row.sigmoid is not None:
        rest = g(a) - row.sigmoid / (1 + np.exp(-row.sigmoid * a))
        np.testing.assert_allclose(rest, rest[0], atol=1e-15)
    one_sided = not saturates and abs(g(a[0])) <= 0.011 * g(a[-1])
    assert row.gain == (2 if one_sided else 1)
