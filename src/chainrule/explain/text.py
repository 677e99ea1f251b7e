"""A chain as plain text for the terminal."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.explain.chain import Chain, Explanation, Factor

__all__ = ["chain_text", "number", "value_text"]


def number(value: float) -> str:
    """A number in at most six digits, with a real minus sign."""
    return f"{value:.6g}".replace("-", "−")


def value_text(factor: Factor) -> str:
    """A factor's value: in full where it is small, else its range."""
    if factor.shape == ():
        return number(factor.value)
    values = np.asarray(factor.value)
    if values.size <= 10:
        return _nested(values.tolist())
    return f"{values.size} numbers from {number(values.min())} to {number(values.max())}"


def _nested(values: Any) -> str:
    return "[" + ", ".join(_nested(v) for v in values) + "]" if isinstance(values, list) else number(values)


def chain_text(explanation: Explanation, chain: Chain) -> str:
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
    lines += ["", f"∂𝓛/∂{chain.symbol} = {product}", ""]
    for group in chain.groups:
        lines.append(group.heading)
        for f in group.factors:
            shape = "scalar" if f.shape == () else "×".join(map(str, f.shape))
            lines.append(f"  {f.symbol:<12} {shape:>9}  {f.meaning:<32} {value_text(f)}")
        largest = max(group.gradient, key=abs)
        check = f"difference {number(group.finite_difference)}, {group.verdict}"
        lines.append(f"  → ∂𝓛/∂{group.reached}: largest {number(largest)} ({check})")
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
    lines.append("Of this example alone (no 1/N); layers, units and inputs are counted from 1.")
    return "\n".join(lines)
