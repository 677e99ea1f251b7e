"""A chain as plain text for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.explain.example import Example
from chainrule.explain.records import Factor
from chainrule.explain.symbols import number

if TYPE_CHECKING:
    from chainrule.explain.chain import Chain
    from chainrule.explain.checking import CheckReport

__all__ = ["chain_text", "check_text", "number", "shape_text", "value_text"]


def shape_text(factor: Factor) -> str:
    """A factor's shape: scalar, 10, or 10×128."""
    return "×".join(map(str, factor.shape)) or "scalar"


def value_text(factor: Factor) -> str:
    """A factor's value: in full where it is small, else its range."""
    if factor.shape == ():
        return number(factor.value)
    values = np.asarray(factor.value)
    part = f"{factor.part}: " if factor.part else ""
    if values.size <= 10:
        return part + _nested(values.tolist())
    return f"{part}{values.size} numbers from {number(values.min())} to {number(values.max())}"


def _nested(values: Any) -> str:
    return "[" + ", ".join(_nested(v) for v in values) + "]" if isinstance(values, list) else number(values)


def chain_text(explanation: Example, chain: Chain) -> str:
    """The chain read from the loss backwards: groups, factors, the product, and its checks."""
    units = explanation.output_units()
    lines = [f"True class: {units[chain.label].name}. Loss 𝓛 = −log ŷ_ℓ = {number(chain.loss)}", ""]
    lines.append(f"{'class':<14}{'logit a':>12}{'ŷ':>14}{'∂𝓛/∂ŷ':>14}{'∂𝓛/∂a = −(𝟙[ℓ=i] − ŷ)':>26}")
    for u in units[:20]:
        mark = " ← ℓ" if u.unit - 1 == chain.label else ""
        cells = f"{number(u.logit):>12}{number(u.probability):>14}{number(u.grad_probability):>14}"
        lines.append(f"{u.name[:13]:<14}{cells}{number(u.grad_logit):>26}{mark}")
    if len(units) > 20:
        lines.append(f"… and {len(units) - 20} more classes")
    product = " · ".join(f"({' · '.join(f.symbol for f in g.factors)})" for g in chain.groups)
    lines += ["", f"∂{chain.of}/∂{chain.symbol} = {product}", chain.why, ""]
    for group in chain.groups:
        lines.append(group.heading)
        for f in group.factors:
            check = f"{f.verdict}, {f.relative_error:.1e}"
            lines.append(f"  {f.symbol:<12} {shape_text(f):>9}  {f.meaning:<32} {value_text(f)} ({check})")
        largest = max(group.gradient, key=abs)
        check = f"difference {number(group.finite_difference)}, {group.verdict}"
        lines.append(f"  → ∂{chain.of}/∂{group.reached}: largest {number(largest)} ({check})")
    lines += [
        "",
        f"product{'' if chain.n_paths == 1 else f' (sum over {chain.n_paths} paths)'}: {number(chain.product)}",
        f"Network.backward:  {number(chain.from_backward)}",
        f"finite difference: {number(chain.finite_difference)}   relative error {chain.relative_error:.1e}, "
        f"{chain.verdict}",
    ]
    if chain.n_paths > 1 and chain.paths:
        lines.append("strongest paths (units, layer by layer, to the loss):")
        lines += [f"  {' → '.join(map(str, p.units)):<24} {number(p.product):>14}" for p in chain.paths]
        together = f"together {number(100 * chain.share, 3)} % of the sum"
        lines.append("  they cancel" if chain.cancels else f"  {together}")
    lines += [f"Finding: {f.text}" for f in chain.findings]
    lines += chain.conventions
    return "\n".join(lines)


def check_text(report: CheckReport) -> str:
    """A table: for each quantity, the chain's number, `Network.backward`'s, the difference and the verdict."""
    head = f"{'group':<18}{'quantity':<14}{'element':<10}{'chain':>14}{'backward':>14}"
    lines = [head + f"{'difference':>14}{'error':>10}"]
    for row in report.rows:
        place = ",".join(map(str, row.element))
        backward = "" if row.from_backward is None else number(row.from_backward)
        numbers = f"{number(row.chain):>14}{backward:>14}{number(row.finite_difference):>14}{row.relative_error:>10.1e}"
        lines.append(f"{row.group:<18}{row.quantity:<14}{place:<10}{numbers}  {row.verdict}")
    wrong = sum(row.verdict == "wrong" for row in report.rows)
    lines.append(f"{wrong} of {len(report.rows)} wrong" if wrong else f"all {len(report.rows)} agree")
    return "\n".join(lines)
