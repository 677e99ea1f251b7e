"""The check panel: each factor, the gradient after each group, and the product, three ways."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chainrule import equations
from chainrule.explain.building import build_chain
from chainrule.explain.example import Example
from chainrule.explain.records import JSON_VERSION, CheckRow, Factor, jsonable
from chainrule.explain.views.text import check_text

__all__ = ["CheckReport", "check_report"]


@dataclass(frozen=True)
class CheckReport:
    """What `Explanation.check` found; true where no row is wrong."""

    rows: list[CheckRow]

    @property
    def ok(self) -> bool:
        """No row is wrong."""
        return all(row.verdict != "wrong" for row in self.rows)

    def __bool__(self) -> bool:
        return self.ok

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON data, with the version of its form."""
        return {"version": JSON_VERSION, "ok": self.ok, **jsonable(self)}

    def to_text(self) -> str:
        """A table for the terminal."""
        return check_text(self)


def check_report(e: Example) -> CheckReport:
    """The rows of the chain to each layer's strongest weight; a group that several chains share has one row."""
    rows: list[CheckRow] = []
    for k in range(e.net.depth, 0, -1):
        chain = build_chain(e, *e.strongest_weight(k))
        new = [g for g in chain.groups if k == e.net.depth or g.kind == "weight" or g.layer == k]
        for group in new:
            rows += [_factor_row(group.heading, f, f.symbol) for f in group.factors]
            if group.fused is not None:
                rows.append(_factor_row(group.heading, group.fused, "ŷ − e(ℓ)"))
            if group.kind in ("output", "hidden"):
                by_factors = float(_through_factors(e, group.layer)[group.element - 1])
                row = CheckRow(
                    group.heading, f"∂{e.of}/∂{group.reached}", (group.element,), by_factors,
                    group.gradient[group.element - 1], group.finite_difference, group.relative_error, group.verdict,
                )  # fmt: skip
                rows.append(_agreeing(row))
        last = CheckRow(
            "the product", f"∂{e.of}/∂{chain.symbol}", (), chain.product, chain.from_backward, chain.finite_difference,
            chain.relative_error, chain.verdict,
        )  # fmt: skip
        rows.append(_agreeing(last))
    return CheckReport(rows)


def _factor_row(heading: str, f: Factor, quantity: str) -> CheckRow:
    return CheckRow(heading, quantity, f.element, f.checked, None, f.finite_difference, f.relative_error, f.verdict)


def _agreeing(row: CheckRow) -> CheckRow:
    """The row, wrong where the chain and `Network.backward` differ by more than rounding."""
    other = row.chain if row.from_backward is None else row.from_backward
    if np.isclose(row.chain, other, rtol=1e-9, atol=1e-300):
        return row
    return replace(row, verdict="wrong")


def _through_factors(e: Example, layer: int) -> Any:
    """∂𝓛/∂a of a layer by the factors themselves, matrix by matrix, from ŷ − e(ℓ)."""
    grad = equations.grad_logits(e.forward.logits[0], e.label)
    for k in range(e.net.depth - 1, layer - 1, -1):
        grad = equations.grad_preactivations(equations.grad_hidden(e.net.weights[k], grad), e.derivatives[k - 1])
    return grad * e.scale
