"""Probable label errors as one page: each row in its own units, what it was called, what the network would call it, and
how its gradient walks from the loss back to the inputs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from chainrule.boundary import html
from chainrule.boundary.files import write_atomically
from chainrule.explain import Explanation, explain
from chainrule.explain.views.notebook import chain_mathml
from chainrule.network.network import Network
from chainrule.notation import subscript
from chainrule.scores import LabelErrors
from chainrule.tables import Schema

__all__ = ["Suspect", "write_audit"]

CELLS, LONGEST = 12, 200  # columns shown of a row, and characters of a cell


class Suspect(NamedTuple):
    """A row to show: its place among the rows that have a class, its number in the table, the network that judges it,
    its features (D,), and its label."""

    place: int
    row: int
    net: Network
    x: Any
    label: int


def write_audit(
    path: str | os.PathLike[str],
    suspects: list[Suspect],
    found: LabelErrors,
    cells: dict[int, dict[str, Any]],
    schema: Schema,
    *,
    table: str,
    rows: int,
    accuracy: float,
    settings: dict[str, Any],
) -> Path:
    """Write the page, whole or not at all.

    Parameters
    ----------
    suspects : the rows to show, in their order
    found : of all rows
    cells : for the place of each suspect, what stands in its row of the table
    table, rows, accuracy, settings : what the page says of the audit

    Raises
    ------
    OutputFileError
        The file cannot be written.
    """
    shown = [_shown(suspect, found, cells[suspect.place], schema) for suspect in suspects]
    page = html.render(
        "audit.html.j2", suspects=shown, probable=int(found.probable.sum()), table=table, rows=rows,
        accuracy=accuracy, target=schema.target, settings=settings,
    )  # fmt: skip
    return write_atomically(path, page)


def _shown(suspect: Suspect, found: LabelErrors, cells: dict[str, Any], schema: Schema) -> dict[str, Any]:
    n, classes = suspect.place, [str(c) for c in schema.classes]
    e = explain(suspect.net, suspect.x, suspect.label, feature_names=schema.feature_names, classes=classes)
    chain = e.weight(*e.strongest_weight(1))  # it reaches back to the inputs
    pulls = _pulls(e, schema)
    own = [name for name in cells if name != schema.target]
    own.sort(key=lambda name: -pulls.get(name, 0.0))
    return {
        "row": suspect.row,
        "called": classes[suspect.label],
        "suggested": classes[found.suggested[n]],
        "probability": float(found.probabilities[n]),
        "suggested_probability": float(found.suggested_probabilities[n]),
        "loss": float(found.losses[n]),
        "probable": bool(found.probable[n]),
        "cells": [(name, "" if cells[name] is None else str(cells[name])[:LONGEST]) for name in own[:CELLS]],
        "more": len(own[CELLS:]),
        "image": html.image(np.asarray(suspect.x, dtype=float).tolist()),
        "walk": _walk(e),
        "why": chain.why,
        "formula": chain_mathml(chain),
    }


def _walk(e: Explanation) -> list[tuple[str, float]]:
    """From the loss back to the inputs: what the gradient is w.r.t., and its norm."""
    steps, depth = [], e.net.depth
    for k in range(depth, 0, -1):
        steps.append((f"a{subscript(k)}", e.backward.grad_preactivations[k - 1][0]))
        steps.append(("x" if k == 1 else f"h{subscript(k - 1)}", e.backward.grad_activations[k - 1][0]))
    return [(symbol, float(np.linalg.norm(grad))) for symbol, grad in steps]


def _pulls(e: Explanation, schema: Schema) -> dict[str, float]:
    """How much each column has to do with the loss, to first order: Σ |x_i ∂𝓛/∂x_i| over its features."""
    sizes, at, pulls = np.abs(e.x * e.backward.grad_activations[0][0]), 0, {}
    for column in schema.columns:
        wide = len(column.feature_names)
        pulls[column.name] = float(sizes[at : at + wide].sum())
        at += wide
    return pulls
