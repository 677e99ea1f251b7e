"""The derivations that the explanation page shows, kept as a file, so that showing them reads no LaTeX.

`python -m chainrule.derive.writing.kept` writes it anew after a derivation, or how one is drawn, was changed.
"""

from __future__ import annotations

import json

from chainrule.activations import ACTIVATIONS
from chainrule.boundary.files import write_atomically
from chainrule.boundary.html import TEMPLATES
from chainrule.derive.derivation import derive
from chainrule.derive.writing.pages import STYLE, notebook_html

__all__ = ["FILE", "kept"]

FILE = TEMPLATES / "derivations.json"
# of every factor but g′, whose derivation is its activation's
FACTORS = (
    "loss", "gradient_wrt_probabilities", "softmax_jacobian", "gradient_wrt_logits", "gradient_wrt_hidden",
    "gradient_wrt_preactivations", "gradient_wrt_weights", "gradient_wrt_biases", "one_weight",
)  # fmt: skip


def kept() -> str:
    """The file's text: the style that all share, and of every derivation its name, title and HTML."""
    data = {
        "style": STYLE,
        "factors": [_piece(name) for name in FACTORS],
        "activations": {name: _piece(f"derivative_of_{name}") for name in ACTIVATIONS},
    }
    return json.dumps(data, ensure_ascii=False, indent=1) + "\n"


def _piece(name: str) -> dict[str, str]:
    derivation = derive(name)
    return {"name": name, "title": derivation.title, "html": notebook_html(derivation).partition("</style>")[2]}


if __name__ == "__main__":
    write_atomically(FILE, kept())
