"""Two chains side by side: two examples, or one example at two checkpoints."""

from __future__ import annotations

import os
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from chainrule.boundary.files import write_atomically
from chainrule.boundary.html import part
from chainrule.errors import InputError, shown
from chainrule.explain.building import build_chain
from chainrule.explain.chain import Chain
from chainrule.explain.example import Example
from chainrule.explain.records import Record
from chainrule.explain.symbols import number, unit_symbol
from chainrule.explain.views.notebook import comparison_body, comparison_html
from chainrule.notation import subscript

__all__ = ["ComparedRow", "Comparison", "compare"]


@dataclass(frozen=True)
class ComparedRow:
    """One number of each; section : "example", "classes", "layers" or "chain"."""

    section: str
    quantity: str
    left: float
    right: float


@dataclass(frozen=True)
class Comparison(Record):
    """The chain to the same place in two explanations, and what differs on the way, a row for each number."""

    names: tuple[str, str]
    left: Chain
    right: Chain
    rows: list[ComparedRow]

    def to_text(self) -> str:
        """A table for the terminal."""
        left, right = self.names
        lines = [f"{f'∂{self.left.of}/∂{self.left.symbol}':<36}{left[:15]:>16}{right[:15]:>16}"]
        section = ""
        for row in self.rows:
            if row.section != section:
                section = row.section
                lines.append(f"{section}")
            lines.append(f"  {row.quantity[:33]:<34}{number(row.left):>16}{number(row.right):>16}")
        return "\n".join([*lines, f"{left}: {self.left.why}", f"{right}: {self.right.why}"])

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write a small page with both, whole or not at all."""
        title = f"∂{self.left.of}/∂{self.left.symbol}: {' and '.join(self.names)}"
        return write_atomically(
            path,
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(title)}</title><style>{part('math.css')}body{{font-family:sans-serif;"
            f"color-scheme:light dark}}td{{text-align:right}}</style></head><body>"
            f"<main class='explanation'><h1>{escape(title)}</h1>{comparison_body(self)}</main></body></html>\n",
        )

    def _repr_html_(self) -> str:
        return comparison_html(self)


def compare(left: Example, right: Example, place: tuple[int, ...] | None, names: tuple[str, str]) -> Comparison:
    """See `Explanation.compare`."""
    if not isinstance(right, Example):
        raise InputError(f"other: got {type(right).__name__}, expected an Explanation")
    if right.net.widths != left.net.widths:
        raise InputError(f"other: got a network of widths {right.net.widths}, expected {left.net.widths}, as here")
    if right.batch_size != left.batch_size:
        raise InputError(f"other: got batch_size={right.batch_size}, expected {left.batch_size}, as here")
    where = left.strongest_weight() if place is None else place
    if not isinstance(where, tuple) or len(where) not in (2, 3):
        raise InputError(f"place: got {shown(place)}, expected (layer, unit, input) or (layer, unit)")
    chains = [build_chain(e, *where) for e in (left, right)]
    sides = list(zip(_rows(left, chains[0]), _rows(right, chains[1]), strict=True))
    rows = [ComparedRow(section, quantity, a, b) for (section, quantity, a), (_, _, b) in sides]
    return Comparison((str(names[0]), str(names[1])), chains[0], chains[1], rows)


def _rows(e: Example, chain: Chain) -> list[tuple[str, str, float]]:
    rows = [
        ("example", "loss 𝓛", e.loss),
        ("example", "label, counted from 1", float(e.label + 1)),
        ("example", "ŷ of the label", float(e.forward.probabilities[0, e.label])),
    ]
    for u in e.output_units():
        rows += [("classes", f"ŷ of “{u.name}”", u.probability), ("classes", f"∂𝓛/∂a of “{u.name}”", u.grad_logit)]
    for k in range(e.net.depth, 0, -1):
        norm = float(np.linalg.norm(e.backward.grad_preactivations[k - 1][0]))
        rows.append(("layers", f"‖∂𝓛/∂a{subscript(k)}‖", norm))
    layer, unit = chain.layer, chain.unit
    delta = float(e.backward.grad_preactivations[layer - 1][0, unit - 1])
    rows.append(("chain", f"∂𝓛/∂{unit_symbol(layer, unit)}", delta))
    if chain.input is not None:
        value = float(e.forward.activations[layer - 1][0, chain.input - 1])
        rows.append(("chain", f"its input, {e.input_name(layer, chain.input)}", value))
    rows.append(("chain", "its strongest path", chain.paths[0].product if chain.paths else 0.0))
    return [*rows, ("chain", f"∂{chain.of}/∂{chain.symbol}", chain.product)]
