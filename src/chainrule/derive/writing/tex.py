"""An expression in LaTeX, in the lecture's notation, and words made fit to stand beside it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from chainrule.derive import syntax as s
from chainrule.derive.writing.unicode import Notation, comma

__all__ = ["SYMBOL", "Tex", "escape", "latex"]

# a letter or a bracket and its subscript among words: ŷ_ℓ, a_{Li'}, W_111, softmax(a)_i
SYMBOL = r"((?<!\w)[^\W\d_]|\))_(\{[\w'′+−,]+\}|[^\W_]['′]?(?!\w)|\d+(?!\w))"

_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "varepsilon", "ζ": "zeta", "η": "eta", "θ": "theta",
    "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau",
    "φ": "varphi", "χ": "chi", "ψ": "psi", "ω": "omega", "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda",
    "Π": "Pi", "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega",
}  # fmt: skip
_LETTERS = {letter: f"\\{name}" for letter, name in _GREEK.items()} | {"ℓ": r"\ell", "𝓛": r"\mathcal{L}"}
_ACCENTS = {"\N{COMBINING CIRCUMFLEX ACCENT}": "hat", "\N{COMBINING TILDE}": "tilde", "\N{COMBINING MACRON}": "bar"}
_SIGNS = {"": "", "−": "-", "+": "+", "·": r"\cdot", "⊙": r"\odot", "=": "=", "≠": r"\neq", "<": "<", ">": ">"}
_FUNCTIONS = {name: f"\\{name}" for name in ("exp", "log", "tanh", "max", "min", "sin", "cos")} | {
    "softmax": r"\text{softmax}"
}


class Tex(Notation):
    """LaTeX's mathematics."""

    bars = True

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

    def cases(self, branches: Sequence[tuple[str, str | None]]) -> str:
        words = [
            rf"{value} & " + (rf"\text{{if }} {when}" if when else r"\text{otherwise}") for value, when in branches
        ]
        rows = r" \\ ".join(words)
        return rf"\begin{{cases}} {rows} \end{{cases}}"


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
    """What may stand inside \\mathrm: letters, digits and underscores."""
    return re.sub(r"[^A-Za-z0-9_]", "", word).replace("_", r"\_") or "?"


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
    written, end = [], 0
    for found in re.finditer(SYMBOL, words):
        written += [_character(c) for c in words[end : found.start()]]
        base = ")" if found[1] == ")" else _letter(found[1])
        written.append(f"${base}{_script('_', (found[2].strip('{}'),))}$")
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
