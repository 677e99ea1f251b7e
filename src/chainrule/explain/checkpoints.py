"""The networks of a training, one after another, for a page that walks through them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.errors import InputError
from chainrule.network import load_model
from chainrule.network.network import Network, as_network

__all__ = ["BYTES", "MOST", "some_checkpoints"]

MOST = 24
BYTES = 4_000_000  # of a page's checkpoints in float32, about; two stay, however large


def some_checkpoints(given: Any, net: Network) -> list[tuple[str, Network]]:
    """Checkpoints with their names, in float64: at most 24, and of a large network as many as 4 MB hold.

    Where there are more, the first, the last, and some between at equal distances stay.

    Parameters
    ----------
    given : networks (anything that `explain` takes), paths of model files, or the path of a folder of such files, in
        the order of their names
    net : the network that is explained

    Raises
    ------
    InputError
        Fewer than two, or one of other widths or another activation than `net`.
    ModelFileError
        A file that cannot be read.

    Examples
    --------
    >>> nets = [Network.create([3, 2], seed=seed) for seed in range(40)]
    >>> found = some_checkpoints(nets, nets[0])
    >>> len(found), found[0][0], found[-1][0]
    (24, 'checkpoint 1', 'checkpoint 40')
    """
    if isinstance(given, str | os.PathLike):
        folder = Path(given)
        if not folder.is_dir():
            raise InputError(f"checkpoints: got {os.fspath(given)!r}, expected a folder of model files")
        given = sorted(folder.glob("*.safetensors"))
    if not isinstance(given, Sequence) or len(given) < 2:
        count = len(given) if isinstance(given, Sequence) else type(given).__name__
        raise InputError(f"checkpoints: got {count}, expected two networks at least")
    most = int(np.clip(BYTES // (4 * net.n_parameters), 2, MOST))
    at = np.unique(np.linspace(0, len(given) - 1, min(most, len(given))).round().astype(int))
    found = []
    for i in at.tolist():
        name, one = f"checkpoint {i + 1}", given[i]
        if isinstance(one, str | os.PathLike):
            epoch = re.fullmatch(r"epoch-0*(\d+)", Path(one).stem)
            name, one = f"epoch {epoch[1]}" if epoch else Path(one).stem, load_model(one).network
        other = as_network(one)
        if (other.widths, other.activation) != (net.widths, net.activation):
            raise InputError(
                f"checkpoints: got {other.widths} with {other.activation} at index {i}, expected {net.widths} with "
                f"{net.activation}, as the network that is explained"
            )
        found.append((name, other.astype("float64")))
    return found
