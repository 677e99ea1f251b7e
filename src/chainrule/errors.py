"""The exceptions that Chainrule raises. All of them are `ChainruleError`, which is a `ValueError`.

Every message names the argument (or file, or column), says what came, and says what was expected.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "ChainruleError", "CheckpointError", "DivergenceWarning", "InputError", "MissingExtraError", "ModelFileError",
    "NonFiniteError", "OutputFileError", "ProcessError", "TableError", "shown",
]  # fmt: skip

MOST = 80  # characters


class ChainruleError(ValueError):
    """Anything that Chainrule refuses to do, and why."""


class InputError(ChainruleError):
    """An argument has the wrong type, shape, dtype or value."""


class TableError(ChainruleError):
    """A table cannot be read, or does not hold what training or prediction needs."""


class ModelFileError(ChainruleError):
    """A model file is damaged, foreign, or of another version."""


class CheckpointError(ChainruleError):
    """A checkpoint is damaged, or belongs to another training run."""


class NonFiniteError(ChainruleError):
    """Training met a NaN or an infinity; the message names the step and the layer.

    history : what training looked like before, where `fit` raised it
    """

    history: Any = None


class ProcessError(ChainruleError):
    """Another process of a group died, or did not answer in time; the message names it by its rank."""


class DivergenceWarning(UserWarning):
    """Training ended far worse than it began, or with a dead network, and with weights that are all finite."""


class OutputFileError(ChainruleError):
    """A file could not be written; whatever stood at its path before is untouched."""


class MissingExtraError(ChainruleError, ImportError):
    """An optional dependency is not installed; the message names the command that installs it."""


def shown(value: object) -> str:
    """What came, as a message shows it: cut where it is long, as an integer of hundreds of digits is.

    Examples
    --------
    >>> shown("mean"), shown(10**400)
    ("'mean'", '10000000000000000000… (401 characters)')
    """
    try:
        text = repr(value)
    except ValueError:  # Python writes no integer of more than some thousand digits
        return f"{type(value).__name__} too long to write"
    return text if len(text) <= MOST else f"{text[: MOST // 4]}… ({len(text)} characters)"
