"""What a notebook shows of a chain and of an explanation: MathML and small tables, with nothing from outside."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from chainrule.boundary import html
from chainrule.explain.example import Example
from chainrule.explain.records import Factor, Finding, OutputUnit
from chainrule.explain.symbols import fraction, letter, number

if TYPE_CHECKING:
    from chainrule.explain.chain import Chain
    from chainrule.explain.comparing import Comparison

__all__ = ["chain_html", "chain_mathml", "comparison_body", "comparison_html", "explanation_html", "symbol_mathml"]

MOST = 20  # classes listed


def chain_mathml(chain: Chain) -> str:
    """The chain as a `<math>` element: each symbol over its number, each group over its heading."""
    groups = []
    for g in chain.groups:
        factors = "<mo>·</mo>".join(
            f"<munder>{symbol_mathml(f.symbol)}<mtext>{escape(_value(f))}</mtext></munder>" for f in g.factors
        )
        inner = f"<mrow><mo>(</mo>{factors}<mo>)</mo></mrow>"
        groups.append(f"<munder>{inner}<mtext>{escape(g.heading)}</mtext></munder>")
    left = symbol_mathml(f"∂{chain.of}/∂{chain.symbol}")
    return (
        f'<math display="block"><mrow>{left}<mo>=</mo>{"<mo>·</mo>".join(groups)}<mo>=</mo>'
        f"<mn>{number(chain.product)}</mn></mrow></math>"
    )


def chain_html(chain: Chain) -> str:
    """A chain: the formula, why it is as large as it is, and how it was checked."""
    rows = [
        ("the product of the factors", number(chain.product, 12)),
        ("Network.backward", number(chain.from_backward, 12)),
        ("finite difference", number(chain.finite_difference, 12)),
        ("relative error", f"{number(chain.relative_error, 2)}: {chain.verdict}"),
    ]
    if chain.n_paths > 1:
        share = "open, and cancel" if chain.cancels else f"{number(100 * chain.share, 3)} % of the sum"
        shown = f"{len(chain.paths)} of {chain.n_paths:,} paths are {share}"
        rows.append(("strongest paths", shown))
    table = "".join(f"<tr><th style='text-align:left'>{n}</th><td>{v}</td></tr>" for n, v in rows)
    findings = "".join(f"<p>{escape(f.text)}</p>" for f in chain.findings)
    return _fragment(f"{chain_mathml(chain)}<p>{escape(chain.why)}</p><table>{table}</table>{findings}")


def explanation_html(example: Example, chain: Chain, findings: list[Finding]) -> str:
    """An explanation: the output units, the findings, and the chain to the weight with the largest gradient."""
    units, label = example.output_units(), example.label
    head = "".join(f"<th>{h}</th>" for h in ("class", "a", "ŷ", "∂𝓛/∂ŷ", "∂𝓛/∂a"))
    rows = "".join(_unit_row(u, u.unit - 1 == label) for u in units[:MOST])
    more = f"<p>… and {len(units) - MOST} more classes</p>" if len(units) > MOST else ""
    listed = "".join(f"<li>{escape(f.text)}</li>" for f in findings)
    return _fragment(
        f"<p>True class <b>{escape(example.classes[label])}</b>, loss 𝓛 = −log ŷ = "
        f"{number(example.loss)}</p><table><tr>{head}</tr>{rows}</table>{more}<ul>{listed}</ul>"
        f"{chain_mathml(chain)}"
    )


def comparison_html(comparison: Comparison) -> str:
    """Both chains, and a table of what differs on the way."""
    return _fragment(comparison_body(comparison))


def comparison_body(comparison: Comparison) -> str:
    """The same for a page that has a style of its own."""
    head = "".join(f"<th>{escape(name)}</th>" for name in ("", *comparison.names))
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(row.quantity)}</th><td>{number(row.left)}</td>"
        f"<td>{number(row.right)}</td></tr>"
        for row in comparison.rows
    )
    sides = "".join(
        f"<section><h3>{escape(name)}</h3>{chain_mathml(chain)}<p>{escape(chain.why)}</p></section>"
        for name, chain in zip(comparison.names, (comparison.left, comparison.right), strict=True)
    )
    return f"{sides}<table><tr>{head}</tr>{rows}</table>"


def _fragment(inner: str) -> str:
    return f"<div class='explanation'><style>{html.part('math.css')}</style>{inner}</div>"


def _unit_row(u: OutputUnit, is_label: bool) -> str:
    cells = (u.logit, u.probability, u.grad_probability, u.grad_logit)
    name = f"<b>{escape(u.name)} (ℓ)</b>" if is_label else escape(u.name)
    return f"<tr><td>{name}</td>{''.join(f'<td>{number(v)}</td>' for v in cells)}</tr>"


def symbol_mathml(symbol: str) -> str:
    """A factor's symbol, as ∂ŷ/∂a₃, as a fraction in MathML."""
    above, below = (f"<mrow><mo>∂</mo>{_letter(part)}</mrow>" for part in fraction(symbol))
    return f"<mfrac>{above}{below}</mfrac>"


def _letter(symbol: str) -> str:
    base, below = letter(symbol)
    hat = '<mover accent="true"><mi>y</mi><mo stretchy="false">^</mo></mover>'
    written = hat if base == "ŷ" else f"<mi>{escape(base)}</mi>"
    return f"<msub>{written}<mn>{below}</mn></msub>" if below else written


def _value(f: Factor) -> str:
    """A scalar; of anything else the shape and, where it has one number, that."""
    if f.shape == ():
        return number(f.value, 4)
    values = np.asarray(f.value)
    return number(float(values.ravel()[0]), 4) if values.size == 1 else "×".join(map(str, f.shape))
