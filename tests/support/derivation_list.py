"""Every derivation, for the tests of how they are shown."""

import functools

from chainrule.derive.derivation import derivations, derive
from chainrule.derive.numbers import with_numbers

DERIVATIONS = derivations()


@functools.cache
def shown(name, numbers=False):
    """One of them, or with None all, in a list."""
    if name is None:
        return [one for each in DERIVATIONS for one in shown(each, numbers)]
    return [with_numbers(derive(name)) if numbers else derive(name)]
