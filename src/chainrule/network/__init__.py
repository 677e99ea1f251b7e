"""Networks: forward and backward, their files, their checks, and their likes in other libraries."""

from chainrule.network.gradcheck import (
    Difference,
    GradientReport,
    GradientRow,
    Verdict,
    central_difference,
    check_gradients,
    judge,
)
from chainrule.network.layers import Layers
from chainrule.network.model import Model, load_model
from chainrule.network.model_file import FORMAT, save_model
from chainrule.network.network import Backward, Forward, Network

__all__ = [
    "FORMAT", "Backward", "Difference", "Forward", "GradientReport", "GradientRow", "Layers", "Model", "Network",
    "Verdict", "central_difference", "check_gradients", "judge", "load_model", "save_model",
]  # fmt: skip
