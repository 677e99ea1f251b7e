"""A reading in words."""

from __future__ import annotations

from typing import Any

from chainrule.derive.people.reading import CONVENTIONS, Reading
from chainrule.derive.people.tagging import ARGUMENT

__all__ = ["convention_in_words", "described"]

_ROLE_WORDS = {
    "a": "the logits", "h": "a layer's outputs", "p": "the probabilities", "y": "the targets", "L": "the loss",
    "W": "weights", "b": "biases", "x": "the inputs",
    "δ": "∂L/∂(pre-activation)", "g": "an activation", "label": "the true class", "kron": "Kronecker's",
    "jac": "a Jacobian", "unit": "a one-hot vector", "eye": "the unit matrix",
}  # fmt: skip


def described(reading: Reading) -> str:
    """A reading in words: z: the logits, p: softmax(z), y: the targets."""
    logits = next((base for base, role in reading.roles.items() if role.kind == "a" and role.layer in (None, 0)), None)
    parts = []
    for base, role in reading.roles.items():
        words = _ROLE_WORDS.get(role.kind)
        if (
            words is None or role.kind in ("kron", "eye") or base == "a\u0302" or base.endswith(ARGUMENT)
        ):  # a name that the file has not
            continue
        deep = reading.layers > 1 or role.layer not in (None, 0)
        if role.kind == "a" and deep and reading.facts.layer_numbers.get(base):
            words = "the pre-activations"
        if role.kind == "p" and logits:
            words = f"{_OUTPUT_WORDS[reading['output']]}({logits})"
        if role.kind == "y" and reading["targets"] == "one-hot":
            words = "one-hot targets" if reading["loss"] != "signs" else "targets of −1 and 1"
        parts.append(f"{base}: {words}")
    said = [
        convention_in_words(name, value)
        for name, value in reading.conventions.items()
        if name in CONVENTIONS and value != CONVENTIONS[name][0]
    ]
    return ", ".join(parts) + "".join(f"; {words}" for words in said if words)


_OUTPUT_WORDS = {"softmax": "softmax", "logistic": "σ", "identity": "", "activation": "g"}


def convention_in_words(name: str, value: Any) -> str:
    if name.startswith("function "):
        return f"{name.removeprefix('function ')} is the {value} function"
    table = {
        "vectors": f"vectors are {value}", "weights": f"weights are {value}", "gradient": f"a gradient is {value}",
        "jacobian": f"Jacobians have {value} layout",
        "output": f"the output is {value}",
        "units": "there is one output" if value == "one output" else "each layer has one unit",
        "activation": f"the activation is {value}",
        "loss": f"the loss is {value}", "label": f"{value} is the true class",
        "mean": "the loss is a sum over samples", "samples": f"samples are {value}",
        "differentials": "dX is the gradient of X",
        "einstein": "repeated indices are summed", "counted": "layer 1 is the inputs",
        "batch": "names without a sample stand for any sample" if value == "always" else "capitals are vectors",
    }  # fmt: skip
    return table.get(name, "")
