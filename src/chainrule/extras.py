"""Optional dependencies: imported when first needed, with an error that says how to install them."""

from __future__ import annotations

import importlib
from typing import Any

from chainrule.errors import MissingExtraError

__all__ = ["require"]


def require(module: str, extra: str) -> Any:
    """Import `module`, which comes with `chainrule[extra]`.

    Raises
    ------
    MissingExtraError
        The module is not installed; the message holds the command that installs it.

    Examples
    --------
    >>> require("json", "cli").dumps([1])
    '[1]'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and module.split(".")[0] != error.name.split(".")[0]:
            raise  # the package is there, but broken: its own message is the better one
        raise MissingExtraError(
            f"{module} is not installed, and this needs it: pip install 'chainrule[{extra}]'"
        ) from error
