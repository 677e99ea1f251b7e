"""Derivations as one self-contained HTML page, and what notebooks show of them. No script, and no template engine:
derivations do without one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

from chainrule.boundary.html import part
from chainrule.derive.records import LONG_VALUE, Line
from chainrule.derive.writing import mathml
from chainrule.derive.writing.tex import SYMBOL
from chainrule.derive.writing.unicode import equation
from chainrule.version import __version__

if TYPE_CHECKING:
    from chainrule.derive.derivation import Derivation

__all__ = ["STYLE", "html", "notebook_html"]

# Every rule begins at .derivation, so that a notebook may carry it beside its own; the colours are style.css's where
# that is there. A formula that is too wide scrolls in its own box, never the page, and a shadow tells where more of it
# is: covers that scroll with the formula hide it at both ends. Its letters' lines, which nobody sees, are taller than
# what is drawn by as much as the font likes: contained, they give the box nothing to scroll to upwards or downwards.
STYLE = """
.derivation .steps { list-style: none; margin: 0; padding: 0; }
.derivation .step { position: relative; display: grid; grid-template-columns: minmax(0, 1fr); gap: .15rem 1rem; \
padding: .6rem 0; border-top: 1px solid var(--line, #8884); }
.derivation .step:first-child { border-top: 0; }
.derivation .formula { overflow-x: auto; overflow-y: hidden; padding: .3rem .1rem; background: \
linear-gradient(to right, var(--card, transparent) 1rem, transparent 2rem) local, \
linear-gradient(to left, var(--card, transparent) 1rem, transparent 2rem) local, \
linear-gradient(to right, #8886, transparent .7rem) scroll, linear-gradient(to left, #8886, transparent .7rem) scroll; }
.derivation .formula math { width: max-content; margin: 0; font-size: 1.15rem; text-align: left; \
contain: layout; }
.derivation mtable:last-child mtd { text-align: left; }
.derivation p { margin: 0; }
.derivation sub { line-height: 0; }
.derivation .rule { font-weight: 600; color: var(--accent, inherit); }
.derivation .count { color: var(--soft, inherit); font-weight: 400; }
.derivation .value { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.derivation .note, .derivation details { color: var(--soft, inherit); font-size: .9rem; overflow-wrap: anywhere; }
.derivation summary { cursor: pointer; width: fit-content; }
.derivation .unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); \
white-space: nowrap; }
@media print, (min-width: 60rem) {
.derivation .step { grid-template-columns: minmax(0, 1fr) 11rem; align-items: center; }
.derivation .numbered .step { grid-template-columns: minmax(0, 1fr) 7rem 11rem; }
.derivation .numbered .value { text-align: right; }
.derivation .below .value, .derivation .note, .derivation details { grid-column: 1 / -1; }
.derivation .below .rule { grid-area: 1 / 2; }
}
@media print {
.derivation.card { break-inside: auto; overflow: visible; }
.derivation .step { break-inside: avoid; }
.derivation .formula { overflow: visible; }
.derivation .formula math { font-size: .85rem; }
.derivation details::details-content { content-visibility: visible; block-size: auto; }
}
"""
_PAGE_STYLE = """
h1, h2 { overflow-wrap: anywhere; } nav ul { padding-left: 1.2rem; } a { color: var(--accent); }
.derivation > h2 { margin-top: 0; } .derivation > .intro { margin-bottom: .75rem; }
@media (max-width: 30rem) { body { padding: 1rem .6rem 3rem; } .card { padding: .75rem; } }
"""


def html(derivations: Iterable[Derivation], *, title: str | None = None) -> str:
    """A page of derivations: the rule beside each line, its proof folded below it, its value where it has one.

    Parameters
    ----------
    derivations : what to show, in this order
    title : the page's; by default that of the only derivation

    Examples
    --------
    >>> html([], title="a < b").splitlines()[4]
    '<title>a &lt; b</title>'
    """
    shown = list(derivations)
    title = title if title is not None else shown[0].title if len(shown) == 1 else "Derivations, line by line"
    anchors = _anchors(derivation.name for derivation in shown)
    sections = [
        f'<section class="card derivation" id="{anchor}" aria-labelledby="{anchor}-title">\n'
        f'<h2 id="{anchor}-title">{_prose(one.title)}</h2>{_body(one)}</section>'
        for anchor, one in zip(anchors, shown, strict=True)
    ]
    if len(shown) == 1:  # its heading is the page's
        sections = [f'<div class="card derivation" id="{anchors[0]}">{_body(shown[0])}</div>']
    contents = "".join(
        f'<li><a href="#{anchor}">{_prose(one.title)}</a></li>' for anchor, one in zip(anchors, shown, strict=True)
    )
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head>',
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            f"<style>{part('style.css')}{part('math.css')}{_PAGE_STYLE}{STYLE}</style>",
            "</head><body>",
            "<main>",
            '<p class="soft">Chainrule · the derivation</p>',
            f"<h1>{_prose(title)}</h1>",
            *([f'<nav aria-label="Derivations"><ul>{contents}</ul></nav>'] if len(shown) > 1 else []),
            *sections,
            "</main>",
            "<footer>What was checked of a line is strong evidence that it holds for every K; it is not a proof. "
            f"Made by Chainrule {escape(__version__)}.</footer>",
            "</body></html>",
            "",
        ]
    )


def notebook_html(derivation: Derivation) -> str:
    """A derivation as a piece of HTML that brings its own style, for `_repr_html_`.

    Examples
    --------
    >>> from types import SimpleNamespace as Some
    >>> "<p><strong>X &amp; Y</strong></p>" in notebook_html(Some(name="x", title="X & Y", intro="", lines=[]))
    True
    """
    heading = f"<p><strong>{_prose(derivation.title)}</strong></p>"
    return f'<style>{part("math.css")}{STYLE}</style><div class="derivation">\n{heading}{_body(derivation)}</div>'


def _prose(words: str) -> str:
    """Words with their subscripts set as such, those of ŷ_ℓ and a_{Li}."""
    return re.sub(SYMBOL, lambda found: f"{found[1]}<sub>{found[2].strip('{}')}</sub>", escape(words, quote=False))


def _anchors(names: Iterable[str]) -> list[str]:
    """An id for each name, none twice."""
    anchors: list[str] = []
    for name in names:
        anchor = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "derivation"
        anchors.append(anchor if anchor not in anchors else f"{anchor}-{len(anchors) + 1}")
    return anchors


def _body(derivation: Derivation) -> str:
    shown = [line.value for line in derivation.lines if line.value is not None]
    steps = "\n".join(_step(n, line, numbered=bool(shown)) for n, line in enumerate(derivation.lines, start=1))
    intro = f'<p class="intro">{_prose(derivation.intro)}</p>' if derivation.intro else ""
    values = " below" if max(map(len, shown), default=0) > LONG_VALUE else " numbered" if shown else ""
    if not steps:
        return f"\n{intro}\n"
    # role="list": a list drawn without marks is not announced as one by every screen reader.
    return f'\n{intro}\n<ol class="steps{values}" role="list">\n{steps}\n</ol>\n'


def _step(n: int, line: Line, *, numbered: bool) -> str:
    # The box scrolls, so the keyboard must reach it, and whoever reaches it must hear what it is: alttext, which is
    # MathML's own, is given to screen readers by few browsers.
    spoken = escape(f"Line {n}: {equation(line.left, line.right)}")
    parts = [
        f'<div class="formula" tabindex="0" role="group" aria-label="{spoken}">'
        f"{mathml.equation(line.left, line.right)}</div>"
    ]
    if numbered:
        value = f'<span class="unseen">value </span>{_prose(line.value)}' if line.value is not None else ""
        parts.append(f'<p class="value">{value}</p>')
    parts.append(f'<p class="rule"><span class="count">{n}.</span> {_prose(line.rule)}</p>')
    if line.note:
        parts.append(f'<p class="note">{_prose(line.note)}</p>')
    if line.proof:
        summary = f'Checked<span class="unseen">: line {n}</span>'
        parts.append(f"<details><summary>{summary}</summary><p>{_prose(line.proof)}</p></details>")
    return '<li class="step">' + "\n".join(parts) + "</li>"
