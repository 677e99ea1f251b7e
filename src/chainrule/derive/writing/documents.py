"""Derivations as LaTeX documents: an article, slides, one display for a notebook.

The documents are plain ASCII and need amsmath, amssymb, graphicx and geometry, all of Debian's texlive-latex-base and
texlive-latex-recommended, or beamer, which also needs texlive-pictures. What is too wide is first broken before a sign
or a factor; what cannot be broken (a long bracket) is measured by TeX itself and made smaller, so nothing runs over the
margin.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from chainrule.derive import syntax as s
from chainrule.derive.records import LONG_VALUE, Line
from chainrule.derive.writing.tex import Tex, escape, latex
from chainrule.derive.writing.unicode import Notation

if TYPE_CHECKING:
    from chainrule.derive.derivation import Derivation

__all__ = ["aligned", "article", "beamer"]

# \fit{...} makes a formula smaller where it is wider than the room that \beside{the left sides} has left for it.
# \mathbb has no digits in amssymb's fonts: a 1 with a second stem stands in.
_MACROS = r"""\usepackage{amsmath,amssymb,graphicx}
\newcommand{\bbone}{\mathrm{1}\mkern-5.5mu\mathrm{l}}
\newsavebox{\fitbox}
\newlength{\fitwidth}
\newlength{\whywidth}
\newcommand{\beside}[1]{\sbox{\fitbox}{$\displaystyle #1$}%
  \setlength{\fitwidth}{\dimexpr\linewidth-\wd\fitbox-\whywidth-1.8cm\relax}}
\newcommand{\fit}[1]{\sbox{\fitbox}{$\displaystyle #1$}%
  \ifdim\wd\fitbox>\fitwidth\resizebox{\fitwidth}{!}{\usebox{\fitbox}}\else\usebox{\fitbox}\fi}
\newcommand{\why}[1]{\text{\parbox{\whywidth}{\raggedright\small #1}}}
"""
_ARTICLE = rf"""\documentclass[11pt,a4paper]{{article}}
\usepackage[margin=2cm]{{geometry}}
{_MACROS}\setlength{{\whywidth}}{{4cm}}
\setlength{{\parindent}}{{0pt}}\setlength{{\emergencystretch}}{{3em}}
\allowdisplaybreaks
"""
_BEAMER = rf"""\documentclass[aspectratio=169]{{beamer}}
{_MACROS}\setlength{{\whywidth}}{{3.2cm}}
\setbeamertemplate{{navigation symbols}}{{}}
\setbeamertemplate{{footline}}[frame number]
"""
_WIDE_LEFT = 24  # characters; a wider left side stands on a line of its own
_WIDE = 60  # characters; a wider formula is broken, if it has a place for that


def _broken(node: s.Node) -> list[str]:
    """A formula in rows: one where it fits, else broken between its terms or factors."""
    tex, measure = Tex(), _Width()
    if len(measure.draw(node).text) <= _WIDE or not isinstance(node, s.Sum | s.Product):
        return [latex(node)]
    parts = tex.factors(node) if isinstance(node, s.Product) else tex.terms(node)
    widths = measure.factors(node) if isinstance(node, s.Product) else measure.terms(node)
    rows: list[list[tuple[str, str]]] = [[]]
    used = 0
    for (sign, piece), (_, width) in zip(parts, widths, strict=True):
        if rows[-1] and used + len(width.text) > _WIDE:
            rows.append([])
            sign, used = sign or "·", 0
        rows[-1].append((sign, piece.text))
        used += len(width.text) + 3
    return ["{}" * (n > 0) + tex.chain(row) for n, row in enumerate(rows)]  # a sign between, not one before


_Row = tuple[int, s.Node | None, Line]  # its number, what stands at its left, and the line


def _rows(lines: Sequence[Line]) -> list[_Row]:
    return [(n, line.left, line) for n, line in enumerate(lines, start=1)]


def _table(rows: Sequence[_Row], *, reveal: bool = False) -> str:
    """Lines aligned at their equals signs, numbered, the rules at the right; with `reveal`, one more on each slide."""
    widths = {left: len(_Width().draw(left).text) for _, left, _ in rows if left is not None}
    widest = max(widths, key=widths.__getitem__, default=None)
    apart = widest is not None and widths[widest] > _WIDE_LEFT
    written = []
    for slide, (n, left_node, line) in enumerate(rows, start=1):

        def cell(inner: str, slide: int = slide) -> str:
            return rf"\uncover<{slide}->{{{inner}}}" if reveal else inner

        left = latex(left_node) if left_node is not None else ""
        if left and apart:
            written.append("& " + cell(rf"\fit{{{left}}}"))
        first, *more = _broken(line.right)
        long = line.value is not None and len(line.value) > LONG_VALUE
        value = rf" \hfill {escape(line.value)}" if line.value is not None and not long else ""
        why = cell(rf"\why{{{n}.\ {escape(line.rule)}{value}}}")
        begin = "" if apart or not left else cell(left) + " "
        written.append(f"{begin}& " + cell(rf"{{}}= \fit{{{first}}}") + f" && {why}")
        below = [*more, *([rf"\text{{\small {escape(line.value)}}}"] if line.value is not None and long else [])]
        written += ["& " + cell(rf"\quad \fit{{{row}}}") for row in below]
    room = latex(widest) if widest is not None and not apart else ""
    return "\n".join([rf"\beside{{{room}}}", r"\begin{align*}", " \\\\\n".join(written), r"\end{align*}"])


def _remarks(lines: Sequence[Line]) -> Iterator[str]:
    """The notes, and what was checked, each once with the numbers of its lines."""
    yield from (rf"\item[{n}.] {escape(line.note)}" for n, line in enumerate(lines, start=1) if line.note)
    proofs: dict[str, list[int]] = {}
    for n, line in enumerate(lines, start=1):
        if line.proof:
            proofs.setdefault(line.proof, []).append(n)
    for proof, numbers in proofs.items():
        those = "all lines" if len(numbers) == len(lines) else ", ".join(map(str, numbers))
        yield rf"\item[Checked] ({those}): {escape(proof)}"


def _document(preamble: str, body: Iterable[str]) -> str:
    source = "\n".join([preamble + r"\begin{document}", *body, r"\end{document}", ""])
    return source.replace(r"\mathbb{1}", r"\bbone")


def article(derivations: Iterable[Derivation]) -> str:
    """Derivations as an article to compile: each a section, its rules at the right, what was checked below.

    Examples
    --------
    >>> article([]).splitlines()[0]
    '\\\\documentclass[11pt,a4paper]{article}'
    """

    def section(derivation: Derivation) -> Iterator[str]:
        yield rf"\section*{{{escape(derivation.title)}}}"
        yield escape(derivation.intro)
        if derivation.lines:
            yield _table(_rows(derivation.lines))
        remarks = list(_remarks(derivation.lines))
        if remarks:
            yield "\n".join([r"\begin{description}\small\setlength{\itemsep}{0pt}", *remarks, r"\end{description}"])

    return _document(_ARTICLE, (part for derivation in derivations for part in section(derivation)))


def _frames(rows: Sequence[_Row]) -> list[list[_Row]]:
    """Lines shared out to slides by their height, each slide opening with the last line of the one before."""
    frames: list[list[_Row]] = [[]]
    room, left = _ROOM, None
    for row in rows:
        height = _height(row[2])
        if frames[-1] and height > room:
            n, _, last = frames[-1][-1]
            # A new left side needs no line before it: what follows is said of something else.
            frames.append([(n, left, last)] if row[1] is None else [])
            room = _ROOM - (_height(last) if row[1] is None else 0)
        left = row[1] or left
        frames[-1].append(row)
        room -= height
    return frames


def _height(line: Line) -> float:
    formula = sum(
        2.1 if r"\vdots" in row else 1.6 if r"\begin{cases}" in row else 1.2 if r"\frac" in row else 0.7
        for row in _broken(line.right)
    )
    return formula + 0.6 * (len(line.value or "") > LONG_VALUE)


_ROOM = 5.6  # centimetres of a slide that is 9 high: its title, the gaps and the number below take the rest


def beamer(derivations: Iterable[Derivation]) -> str:
    """Derivations as slides that reveal a line at a time.

    Examples
    --------
    >>> beamer([]).splitlines()[0]
    '\\\\documentclass[aspectratio=169]{beamer}'
    """

    def slides(derivation: Derivation) -> Iterator[str]:
        title = escape(derivation.title)
        if derivation.intro:
            yield "\n".join([rf"\begin{{frame}}{{{title}}}", escape(derivation.intro), r"\end{frame}"])
        frames = _frames(_rows(derivation.lines)) if derivation.lines else []
        for n, rows in enumerate(frames, start=1):
            heading = f"{title} ({n}/{len(frames)})" if len(frames) > 1 else title
            table = _table(rows, reveal=True)
            yield "\n".join([rf"\begin{{frame}}{{{heading}}}", r"\small", table, r"\end{frame}"])

    return _document(_BEAMER, (part for derivation in derivations for part in slides(derivation)))


def aligned(derivation: Derivation) -> str:
    r"""A derivation as one display for MathJax, which notebooks use.

    Examples
    --------
    >>> from types import SimpleNamespace as Some
    >>> line = Some(left=s.Name("a"), right=s.Name("b"), rule="given", note="", proof="", value=None)
    >>> print(aligned(Some(name="x", title="X", intro="", lines=[line])))
    \begin{aligned} a &= b && \text{given} \end{aligned}
    """
    rows = []
    for line in derivation.lines:
        left = latex(line.left) + " " if line.left is not None else ""
        value = rf" \quad {escape(line.value)}" if line.value is not None else ""
        rows.append(rf"{left}&= {latex(line.right)} && \text{{{escape(line.rule)}}}{value}")
    return r"\begin{aligned} " + " \\\\ ".join(rows) + r" \end{aligned}"


class _Width(Notation):
    """The expression on one line, but a fraction or a column is as wide as its widest part: its length is a measure."""

    bars = True

    def name(self, base: str, parts: tuple[str, ...], *, bold: bool = False) -> str:
        return base + self.element("", parts)

    def element(self, vector: str, indices: tuple[str, ...]) -> str:
        return vector + "".join(indices)[::2]  # subscripts are small

    def indicator(self, left: str, right: str) -> str:
        return "𝟙" + f"({left}={right})"[::2]

    def fraction(self, above: str, below: str) -> str:
        return max(above, below, key=len)

    def derivative(self, operand: str, variable: str) -> str:
        return max("∂" + operand, "∂" + variable, key=len)

    def operator(self, variable: str, operand: str) -> str:
        return f"∂{variable} {operand}"

    def vector(self, elements: Sequence[str | None]) -> str:
        return f"[{max((e or '⋮' for e in elements), key=len, default='')}]"

    def cases(self, branches: Sequence[tuple[str, str | None]]) -> str:
        return "{ " + max((f"{value}  if {when}" for value, when in branches), key=len)
