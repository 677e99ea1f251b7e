"""What a training run looked like, epoch by epoch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from chainrule.errors import InputError

__all__ = ["EpochRecord", "History", "alike", "check_callbacks", "dead", "divergence"]


FEW = 64  # examples, by which a network is seen to be dead


@dataclass(frozen=True)
class EpochRecord:
    """What `progress` and the callbacks are given at the end of each epoch (counted from 1).

    net : the network with its weights after the epoch; the next one changes them, so copy what is to stay
    """

    epoch: int
    epochs: int
    loss: float
    accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    examples_per_second: float
    net: Any = field(default=None, repr=False, compare=False)


@dataclass
class History:
    """What training looked like, one number an epoch.

    loss, accuracy : over the epoch's batches, as they were met
    validation_loss, validation_accuracy : after the epoch; empty without validation
    gradient_norms : for each epoch, the norm of ∇_{W_k} 𝓛 for k = 1 … L, averaged over its steps
    learning_rate : that of the epoch's last step
    updates : for each epoch, by how much its last step changed W_k, k = 1 … L, as a share of ‖W_k‖
    best_epoch : the epoch whose weights were kept, from 1; 0 before any
    stopped : "epochs", "patience", "callback" or "interrupted"
    diverged : what `fit` warned of, where it ended far worse than it began, or dead; else None
    """

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    gradient_norms: list[list[float]] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    updates: list[list[float]] = field(default_factory=list)
    examples_per_second: list[float] = field(default_factory=list)
    best_epoch: int = 0
    stopped: str = "epochs"
    diverged: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The same as plain Python data."""
        return asdict(self)

    def columns(self) -> dict[str, list[Any]]:
        """One list for each quantity, a number an epoch, as `pandas.DataFrame` and `polars.DataFrame` take them.

        Examples
        --------
        >>> History(loss=[0.5, 0.25], accuracy=[0.75, 1.0], gradient_norms=[[1.0], [0.5]]).columns()["loss"]
        [0.5, 0.25]
        """
        named: dict[str, list[Any]] = {
            "epoch": list(range(1, len(self.loss) + 1)),
            "loss": self.loss,
            "accuracy": self.accuracy,
            "validation_loss": self.validation_loss,
            "validation_accuracy": self.validation_accuracy,
            "learning_rate": self.learning_rate,
            "examples_per_second": self.examples_per_second,
        }
        for name, by_epoch in (("gradient_norm", self.gradient_norms), ("update", self.updates)):
            layers = zip(*by_epoch, strict=True)
            named |= {f"{name}_{k}": list(values) for k, values in enumerate(layers, start=1)}
        return {name: list(values) for name, values in named.items() if values}


def alike(logits: Any) -> bool:
    """Whether all examples have the same logits, (N, K)."""
    return bool((logits == logits[:1]).all())


def dead(before: Any, after: Any) -> str | None:
    """What is wrong where training ends with the same logits `after` for all examples, which differed `before`: the
    logits (N, K) of some examples, by the weights that it began with and by those that are kept."""
    if not alike(after) or alike(before):
        return None
    return (
        "training diverged: the network is dead: it gives every example the same probabilities, whatever its inputs; a "
        "smaller learning rate or standardised inputs may help"
    )


def divergence(guess: float, began: float, ended: float) -> str | None:
    """What is wrong where training ends at a loss of more than twice both that of a `guess` that knows nothing and that
    of the weights which it `began` with; None where all is well."""
    if ended <= 2 * max(guess, began):
        return None
    return (
        f"training diverged: the weights that are kept have a loss of {ended:.6g}, those before the first step had one "
        f"of {began:.6g}, and equal probabilities have one of {guess:.6g}; a smaller learning rate or standardised "
        "inputs may help"
    )


def check_callbacks(callbacks: Any) -> None:
    """Refuse what is no sequence of functions."""
    if not isinstance(callbacks, list | tuple) or not all(callable(callback) for callback in callbacks):
        raise InputError(f"callbacks: got {callbacks!r}, expected a sequence of functions of an EpochRecord")
