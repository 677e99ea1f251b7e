"""Training: `fit`, its optimizers and schedules, and what it records."""

from chainrule.training.fit import fit
from chainrule.training.history import EpochRecord, History, check_callbacks, divergence
from chainrule.training.optimizers import SGD, Adam, AdamW, Optimizer, check_optimizer
from chainrule.training.schedules import (
    Constant,
    Cosine,
    OnPlateau,
    Schedule,
    StepDecay,
    WarmUp,
    check_schedule,
    checked_factors,
)

__all__ = [
    "SGD", "Adam", "AdamW", "Constant", "Cosine", "EpochRecord", "History", "OnPlateau", "Optimizer", "Schedule",
    "StepDecay", "WarmUp", "check_callbacks", "check_optimizer", "check_schedule", "checked_factors", "divergence",
    "fit",
]  # fmt: skip
