"""What users of others' losses reported, which must not happen here: every case that one process can show."""

import pytest

torch = pytest.importorskip("torch", reason="the PyTorch face needs torch")

from reports import CASES  # noqa: E402
from reports_in_torch import Peer  # noqa: E402

import chainrule.torch as ours  # noqa: E402

# PyTorch's compiler scripts what it has deprecated itself
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning")


@pytest.mark.parametrize("name", CASES)
def test_report(name):
    _, _, function = CASES[name]
    function(Peer(ours.cross_entropy, ours.linear_cross_entropy))
