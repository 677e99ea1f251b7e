"""A chain in the terminal: with Rich's tables and colours where it is installed, else as plain text."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from chainrule.boundary.files import write_out
from chainrule.explain.records import Verdict
from chainrule.explain.symbols import number
from chainrule.explain.views.text import shape_text, value_text

if TYPE_CHECKING:
    from chainrule.explain.chain import Chain

__all__ = ["print_chain", "rich_chain"]

CLASSES = 20  # listed
_STYLES: dict[Verdict, str] = {
    "good": "green",
    "usual": "cyan",
    "kink": "yellow",
    "underflow": "yellow",
    "wrong": "red",
}


def print_chain(chain: Chain) -> None:
    """Print a chain: coloured tables on a terminal where Rich is installed, plain text elsewhere."""
    if sys.stdout.isatty():
        try:
            from rich.console import Console
        except ModuleNotFoundError:
            pass
        else:
            Console().print(rich_chain(chain))
            return
    write_out(chain.to_text() + "\n")


def rich_chain(chain: Chain) -> Any:
    """The chain as something that Rich prints."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    units = chain.whole().output_units()
    label = units[chain.label]
    parts: list[Any] = [Text(f"True class: {label.name}. Loss 𝓛 = −log ŷ_ℓ = {number(chain.loss)}", style="bold")]
    classes = Table(title="the output units", title_justify="left")
    classes.add_column("class")
    for head in ("logit a", "ŷ", "∂𝓛/∂ŷ", "∂𝓛/∂a = −(𝟙[ℓ=i] − ŷ)"):
        classes.add_column(head, justify="right")
    for u in units[:CLASSES]:
        name = Text(f"{u.name} ← ℓ" if u is label else u.name, style="bold" if u is label else "")
        classes.add_row(name, *map(number, (u.logit, u.probability, u.grad_probability, u.grad_logit)))
    parts.append(classes)
    if len(units) > CLASSES:
        parts.append(Text(f"… and {len(units) - CLASSES} more classes"))
    product = " · ".join(f"({' · '.join(f.symbol for f in g.factors)})" for g in chain.groups)
    parts += [Text(f"∂{chain.of}/∂{chain.symbol} = {product}", style="bold"), Text(chain.why)]
    for group in chain.groups:
        table = Table(title=group.heading, title_justify="left")
        for head in ("factor", "shape", "what it is", "value", "checked"):
            table.add_column(head)
        for f in group.factors:
            verdict = Text(f"{f.verdict} ({f.relative_error:.1e})", style=_STYLES[f.verdict])
            table.add_row(*map(Text, (f.symbol, shape_text(f), f.meaning, value_text(f))), verdict)
        largest = number(max(group.gradient, key=abs))
        reached = Text(group.verdict, style=_STYLES[group.verdict])
        table.add_row(Text(f"→ ∂{chain.of}/∂{group.reached}"), "", "largest element", largest, reached, style="bold")
        parts.append(table)
    three = Table(title=f"∂{chain.of}/∂{chain.symbol}, three ways", title_justify="left")
    for head in ("the product of the factors", "Network.backward", "finite difference", "relative error"):
        three.add_column(head, justify="right")
    error = Text(f"{chain.relative_error:.1e}: {chain.verdict}", style=_STYLES[chain.verdict])
    three.add_row(*map(number, (chain.product, chain.from_backward, chain.finite_difference)), error)
    parts.append(three)
    if chain.n_paths > 1 and chain.paths:
        paths = Table(title=f"the strongest of {chain.n_paths:,} paths", title_justify="left")
        for head in ("units, layer by layer, to the loss", "product", "share of the sum"):
            paths.add_column(head, justify="right")
        for p in chain.paths:
            share = "they cancel" if chain.cancels else f"{number(100 * p.share, 3)} %"
            paths.add_row(" → ".join(map(str, p.units)), number(p.product), share)
        parts.append(paths)
    parts += [Text(f"Finding: {f.text}", style="yellow") for f in chain.findings]
    return Group(*parts, Text("\n".join(chain.conventions), style="dim"))
