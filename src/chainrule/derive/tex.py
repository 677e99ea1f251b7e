"""An expression in LaTeX, in the lecture's notation, and derivations as an article or as slides.

The documents are plain ASCII and need amsmath, amssymb, graphicx and geometry (or beamer), all of Debian's
texlive-latex-base and texlive-latex-recommended. What is too wide is first broken before a sign or a factor; what
cannot be broken (a long bracket) is measured by TeX itself and made smaller, so nothing runs over the margin.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from chainrule.derive import syntax as s
from chainrule.derive.unicode import Derivation, Line, Notation, Text, comma

__all__ = ["Tex", "aligned", "article", "beamer", "escape", "latex"]

_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "varepsilon", "ζ": "zeta", "η": "eta", "θ": "theta",
    "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau",
    "φ": "varphi", "χ": "chi", "ψ": "psi", "ω": "omega", "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda",
    "Π": "Pi", "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega",
}  # fmt: skip
_LETTERS = {letter: f"\\{name}" for letter, name in _GREEK.items()} | {"ℓ": r"\ell", "𝓛": r"\mathcal{L}"}
_ACCENTS = {"\N{COMBINING CIRCUMFLEX ACCENT}": "hat", "\N{COMBINING TILDE}": "tilde", "\N{COMBINING MACRON}": "bar"}
_SIGNS = {"": "", "−": "-", "+": "+", "·": r"\cdot", "⊙": r"\odot"}
_FUNCTIONS = {name: f"\\{name}" for name in ("exp", "log", "tanh", "max", "min", "sin", "cos")} | {
    "softmax": r"\text{softmax}"
}


class Tex(Notation):
    """LaTeX's mathematics."""

    def digits(self, value: int) -> str:
        return str(value)

    def name(self, base: str, parts: tuple[str, ...], *, bold: bool = False) -> str:
        if not parts:
            return r"\mathcal{L}(\theta)" if base == "𝓛" else _letter(base)
        return (rf"\mathbf{{{base}}}" if bold else _letter(base)) + _script("_", parts)

    def element(self, vector: str, indices: tuple[str, ...]) -> str:
        return vector + _script("_", indices)

    def apply(self, function: str, argument: str, *, bare: bool) -> str:
        stem = function.rstrip("'′")
        command = _FUNCTIONS.get(stem) or (_letter(stem) if len(stem) == 1 else rf"\operatorname{{{_plain(stem)}}}")
        command += "'" * (len(function) - len(stem))
        return f"{command} {argument}" if bare else command + _brackets(argument, tall_only=True)

    def bracket(self, inner: str, *, square: bool = False) -> str:
        return _brackets(inner, "[]" if square else "()")

    def chain(self, parts: Sequence[tuple[str, str]]) -> str:
        (sign, before), *others = parts
        written = _joined([_SIGNS[sign], before])
        for sign, part in others:
            # Two bars would touch, and so would words.
            touch = not sign and part.startswith((r"\frac", r"\text")) and before.startswith((r"\frac", r"\text"))
            written += f" {_SIGNS[sign]} {part}" if sign else rf" \, {part}" if touch else f" {part}"
            before = part
        return written

    def fraction(self, above: str, below: str) -> str:
        return rf"\frac{{{above}}}{{{below}}}"

    def power(self, base: str, exponent: str) -> str:
        return f"{base}^{exponent}" if len(exponent) == 1 else f"{base}^{{{exponent}}}"

    def transpose(self, operand: str) -> str:
        return rf"{operand}^\top"

    def summation(self, node: s.SumOver, body: str) -> str:
        index, bounded = _index(node.index), node.limit != "K"
        below = [f"{index}=1"] if bounded else []
        below += [rf"{index} \neq {_index(str(node.without))}"] if node.without is not None else []
        script = f"_{{{', '.join(below)}}}" if below else _script("_", (node.index,))
        return rf"\sum{script}{_script('^', (str(node.limit),)) if bounded else ''} {body}"

    def indicator(self, left: str, right: str) -> str:
        return rf"\mathbb{{1}}_{{({_index(left)}={_index(right)})}}"

    def one_hot(self, index: str) -> str:
        return rf"\mathbf{{e}}({_index(index)})"

    def derivative(self, operand: str, variable: str) -> str:
        return rf"\frac{{\partial {operand}}}{{\partial {variable}}}"

    def operator(self, variable: str, operand: str) -> str:
        return rf"\frac{{\partial}}{{\partial {variable}}} {operand}"

    def gradient(self, variable: str, operand: str) -> str:
        return rf"\nabla_{{{variable}}} {operand}"

    def vector(self, elements: Sequence[str | None]) -> str:
        rows = r" \\ ".join(r"\vdots" if element is None else element for element in elements)
        return rf"\begin{{bmatrix}} {rows} \end{{bmatrix}}"


class _Width(Text):
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


def _brackets(inner: str, kind: str = "()", *, tall_only: bool = False) -> str:
    tall = any(mark in inner for mark in (r"\frac", r"\sum", r"\begin"))
    if tall_only and not tall:
        return f"{kind[0]}{inner}{kind[1]}"
    return rf"\left{kind[0]} {inner} \right{kind[1]}"


def _letter(base: str) -> str:
    stem = base.rstrip("'′")
    primes = "'" * (len(base) - len(stem))
    parts = unicodedata.normalize("NFD", stem)
    if stem in _LETTERS:
        return _LETTERS[stem] + primes
    if len(parts) == 2 and parts[1] in _ACCENTS:
        return rf"\{_ACCENTS[parts[1]]}{{{_letter(parts[0])}}}{primes}"
    if len(stem) == 1 and stem.isascii() and stem.isalnum():
        return stem + primes
    return rf"\mathrm{{{_plain(stem)}}}{primes}"


def _plain(word: str) -> str:
    """What may stand inside \\mathrm: letters and digits."""
    return re.sub(r"[^A-Za-z0-9]", "", word) or "?"


def _tokens(part: str) -> list[str]:
    tokens = re.findall(r"\d+|[^\W\d_]['′]*|\S", part)
    return [_letter(t) if t[0].isalpha() else {"−": "-", "≠": r"\neq"}.get(t, t) for t in tokens]


def _joined(tokens: Iterable[str]) -> str:
    """Tokens side by side; a command is kept apart from a letter after it, which would else become part of it."""
    return re.sub(r"(\\[A-Za-z]+)\0(?=[A-Za-z])", r"\1 ", "\0".join(tokens)).replace("\0", "")


def _index(part: str) -> str:
    return _joined(_tokens(part))


def _script(mark: str, parts: Sequence[str]) -> str:
    tokens = [token for n, part in enumerate(parts) for token in ([comma(parts)] if n else []) + _tokens(part)]
    inner = _joined(token for token in tokens if token)
    return f"{mark}{inner}" if re.fullmatch(r"\w|\\[a-zA-Z]+", inner) else f"{mark}{{{inner}}}"


def latex(node: s.Node) -> str:
    r"""An expression in LaTeX's mathematics.

    Examples
    --------
    >>> print(latex(s.Negative(s.Sum((s.Indicator("ℓ", "i"), s.Negative(s.Indexed("ŷ", ("i",))))))))
    -\left( \mathbb{1}_{(\ell=i)} - \hat{y}_i \right)
    """
    return Tex().draw(node).text


_TEXT = {
    "\\": r"\textbackslash{}", "~": r"\~{}", "^": r"\^{}", "<": "$<$", ">": "$>$",
    "|": "$|$", "“": "``", "”": "''", "‘": "`", "’": "'", "–": "--", "—": "---", "…": r"\ldots{}", "\u00a0": "~",
} | {special: "\\" + special for special in "{}$&#%_"}  # fmt: skip
_MATHS = {
    "−": "-", "·": r"\cdot", "⊙": r"\odot", "∂": r"\partial", "∇": r"\nabla", "𝟙": r"\mathbb{1}",
    "≠": r"\neq", "≤": r"\leq", "≥": r"\geq", "≈": r"\approx", "×": r"\times", "→": r"\to", "∞": r"\infty",
    "∈": r"\in", "±": r"\pm", "‖": r"\|", "√": r"\surd", "′": "{}'", "ᵀ": r"{}^\top", "⁻": "{}^{-}", "₋": "{}_{-}",
} | {
    digit: f"{{}}{mark}{n}"
    for mark, digits in (("^", "⁰¹²³⁴⁵⁶⁷⁸⁹"), ("_", "₀₁₂₃₄₅₆₇₈₉"))
    for n, digit in enumerate(digits)
}  # fmt: skip
_TEXT_ACCENTS = dict(zip("\u0301\u0300\u0302\u0308\u0303\u0327\u030c", "'`^\"~cv", strict=True))


def escape(words: str) -> str:
    r"""Words for LaTeX: its special characters made harmless, symbols such as ŷ_ℓ as mathematics, all of it ASCII.

    Examples
    --------
    >>> print(escape("100 % of ŷ_ℓ, a_{Li'} & grad_logits"))
    100 \% of $\hat{y}_\ell$, $a_{Li'}$ \& grad\_logits
    """
    symbol = r"(?<!\w)([^\W\d_])_(\{[\w'′+−,]+\}|[^\W_]['′]?(?!\w)|\d+(?!\w))"
    written, end = [], 0
    for found in re.finditer(symbol, words):
        written += [_character(c) for c in words[end : found.start()]]
        written.append(f"${_letter(found[1])}{_script('_', (found[2].strip('{}'),))}$")
        end = found.end()
    return "".join(written + [_character(c) for c in words[end:]])


def _character(c: str) -> str:
    if c in _TEXT:
        return _TEXT[c]
    if c in _MATHS:
        return f"${_MATHS[c]}$"
    if c.isascii():
        return c if c.isprintable() else " "
    letter = _letter(c)
    if not letter.startswith(r"\mathrm"):
        parts = unicodedata.normalize("NFD", c)
        prose = len(parts) == 2 and parts[0] != "y" and parts[1] in _TEXT_ACCENTS  # ŷ is a symbol, ê is not
        return rf"\{_TEXT_ACCENTS[parts[1]]}{{{parts[0]}}}" if prose else f"${letter}$"
    parts = unicodedata.normalize("NFD", c)
    if len(parts) == 2 and parts[0].isascii() and parts[1] in _TEXT_ACCENTS:
        return rf"\{_TEXT_ACCENTS[parts[1]]}{{{parts[0]}}}"
    return f"[U+{ord(c):04X}]"  # no glyph of it in TeX's own fonts


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
        value = rf" \hfill {escape(line.value)}" if line.value is not None else ""
        why = cell(rf"\why{{{n}.\ {escape(line.rule)}{value}}}")
        begin = "" if apart or not left else cell(left) + " "
        written.append(f"{begin}& " + cell(rf"{{}}= \fit{{{first}}}") + f" && {why}")
        written += ["& " + cell(rf"\quad \fit{{{row}}}") for row in more]
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
    rows = _broken(line.right)
    return sum(2.1 if r"\vdots" in row else 1.2 if r"\frac" in row else 0.7 for row in rows)


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
