"""Signs and commands that say the same: what a formula drops, and what stands for what."""

from __future__ import annotations

import re
import unicodedata

__all__ = [
    "DROPPED", "DROPPED_WITH_ARGUMENT", "FIRST_ARGUMENT_DROPPED", "GREEK", "KEPT_ARGUMENT", "SAME", "SYMBOLS", "TEXTS",
    "loss_word", "shorthand",
]  # fmt: skip

DROPPED = {
    "left", "right", "middle", "big", "Big", "bigg", "Bigg", "bigl", "bigr", "Bigl", "Bigr", "biggl", "biggr", "Biggl",
    "Biggr", "bigm", "Bigm", "displaystyle", "textstyle", "scriptstyle", "scriptscriptstyle", "limits", "nolimits",
    "nonumber", "notag", "large", "Large", "LARGE", "huge", "Huge", "small", "normalsize", "tiny", "footnotesize",
    "scriptsize", "hline", "noindent", "centering", "allowbreak", "break", "strut", "mathstrut",
    "bf", "rm", "it", "sf", "tt", "cal", "mit", "smash", "ensuremath", "mathop", "mathord", "mathrel", "mathbin",
    "mathopen", "mathclose", "mathinner", "relax", "qedhere", "qed", "protect", "space", "par",
    "medskip", "smallskip", "bigskip",
}  # fmt: skip
DROPPED_WITH_ARGUMENT = {
    "label", "tag", "hspace", "vspace", "color", "phantom", "hphantom", "vphantom", "eqref", "ref", "cite", "mskip",
    "hskip", "kern", "intertext", "shortintertext", "footnote", "href", "raisebox", "setlength", "pagecolor",
    "class", "cssId",
}  # fmt: skip
FIRST_ARGUMENT_DROPPED = {"textcolor", "colorbox", "cancelto", "htmlClass", "style", "enclose"}
KEPT_ARGUMENT = {
    "cancel", "bcancel", "xcancel", "mathstrut", "fbox", "mbox_", "substack", "bbox", "highlight",
    "mathchoice", "hl", "sout", "uwave",
}  # fmt: skip
TEXTS = {
    "text", "textrm", "textit", "textbf", "textsf", "texttt", "mbox", "hbox", "textnormal", "textsc", "emph",
    "textup",
}  # fmt: skip
SAME = {
    "lbrack": "[", "cr": "\\\\", "newline": "\\\\", "rbrack": "]", "lbrace": "\\{", "rbrace": "\\}", "lparen": "(",
    "rparen": ")", "vert": "|", "lvert": "|",
    "rvert": "|", "mid": "|", "ast": "*", "star": "*", "cdotp": "\\cdot", "bullet": "\\cdot", "ne": "\\neq",
    "lt": "<", "gt": ">",
    "leq": "\\le", "geq": "\\ge", "ldots": "\\dots", "cdots": "\\dots", "dotsb": "\\dots", "dotsc": "\\dots",
    "dotsm": "\\dots",
    "dotsi": "\\dots", "hdots": "\\dots", "hdotsfor": "\\dots",
    "intercal": "\\top", "lVert": "\\|", "rVert": "\\|", "Vert": "\\|", "dfrac": "\\frac", "tfrac": "\\frac",
    "cfrac": "\\frac",
    "nicefrac": "\\frac", "sfrac": "\\frac", "varepsilon": "\\epsilon", "varphi": "\\phi", "vartheta": "\\theta",
    "varsigma": "\\sigma", "varrho": "\\rho", "widehat": "\\hat", "widetilde": "\\tilde", "overline": "\\bar",
    "ln": "\\log", "mathscr": "\\mathcal", "mathfrak": "\\mathcal", "boldsymbol": "\\mathbf", "bm": "\\mathbf",
    "vec": "\\mathbf",
    "mathbfit": "\\mathbf", "pmb": "\\mathbf", "symbf": "\\mathbf", "bold": "\\mathbf", "mathbbm": "\\mathbb",
    "mathds": "\\mathbb",
    "coloneqq": "=", "equiv": "=", "triangleq": "=", "doteq": "=", "eqdef": "=", "coloneq": "=", "colonequals": "=",
    "Coloneqq": "=",
    "Longrightarrow": "\\implies", "Rightarrow": "\\implies", "Leftrightarrow": "\\implies",
    "Longleftrightarrow": "\\implies",
    "iff": "\\implies", "leadsto": "\\implies", "therefore": "\\implies", "because": "\\implies",
    "impliedby": "\\implies",
    "longrightarrow": "\\to", "rightarrow": "\\to", "hadamard": "\\odot", "colon": ":", "textquotesingle": "'",
    "thinspace": "", "slash": "/",
    "enspace": "", "enskip": "", "backslash": "\\setminus", "bigodot": "\\odot", "owedge": "\\odot",
    "differentialD": "d", "dd": "d",
    "dv": "\\dv", "odv": "\\dv", "derivative": "\\dv", "pderiv": "\\pdv", "partialderivative": "\\pdv",
    "diffp": "\\pdv", "diff": "\\dv",
    "operatornamewithlimits": "\\operatorname", "mathit": "\\mathrm", "mathsf": "\\mathrm", "mathtt": "\\mathrm",
    "mathnormal": "\\mathrm",
    "grad": "\\nabla", "del": "\\nabla", "gradient": "\\nabla", "bigtriangledown": "\\nabla", "triangledown": "\\nabla",
    "qty": "", "quantity": "", "pqty": "", "bqty": "", "argmin": "\\min",
    "argmax": "\\max",
    "lang": "\\langle", "rang": "\\rangle", "div": "/", "part": "\\partial", "_": "_", "[": "[", "]": "]", "*": "*",
    "overrightarrow": "\\mathbf", "overleftarrow": "\\mathbf", "mathbold": "\\mathbf", "lfloor": "(", "rfloor": ")",
    "gets": "\\gets", "leftarrow": "\\gets", "simeq": "\\approx", "cong": "\\approx",
}  # fmt: skip
SYMBOLS = {
    "−": "-", "–": "-", "×": "\\times", "·": "\\cdot", "⋅": "\\cdot", "∙": "\\cdot", "⊙": "\\odot", "∘": "\\circ",
    "∗": "*", "∂": "\\partial", "∴": "\\implies", "∵": "\\implies",
    "∇": "\\nabla", "∑": "\\sum", "Σ": "\\sum", "∏": "\\prod", "Π": "\\prod", "≠": "\\neq", "≤": "\\le",
    "≥": "\\ge", "∈": "\\in", "≡": "=", "≔": "=",
    "≜": "=", "⇒": "\\implies", "⟹": "\\implies", "⟺": "\\implies", "⇔": "\\implies", "→": "\\to", "∀": "\\forall",
    "…": "\\dots", "⋯": "\\dots",
    "√": "\\sqrt", "‖": "\\|", "∥": "\\|", "ᵀ": "^\\top", "⊤": "\\top", "′": "'", "″": "''", "’": "'",
    "½": "\\frac{1}{2}", "ℒ": "\\mathcal{L}",
    "𝓛": "\\mathcal{L}",
    "𝟙": "\\mathbb{1}", "𝟏": "\\mathbb{1}",
    "ŷ": "\\hat{y}", "ẑ": "\\hat{z}", "≈": "\\approx",
    "∞": "\\infty", "⟨": "\\langle",
    "⟩": "\\rangle", "←": "\\gets", "∞ ": "\\infty", "\u00a0": " ", "\u2009": " ", "\u2003": "\\quad ",
    "\ue000": "\\begin{cases}", "\ue001": "\\\\", "\u2028": "\\end{cases}",
    "∝": "\\propto", "@": "\\cdot ", "⊗": "\\otimes", "÷": "/", "∣": "|",
}  # fmt: skip
GREEK = {
    c: "\\" + unicodedata.name(c).split()[-1].lower() for c in "αβγδεζηθικλμνξπρστυφχψω"
} | {"ϕ": "\\phi", "ϵ": "\\epsilon", "Δ": "\\Delta", "Θ": "\\Theta", "Λ": "\\Lambda", "Φ": "\\Phi", "Ψ": "\\Psi",
    "Ω": "\\Omega",
    "Γ": "\\Gamma", "λ": "\\lambda"}  # fmt: skip

_GREEK_NAMES = "|".join(sorted({name[1:] for name in GREEK.values()}, key=len, reverse=True))
_BOLD = r"e?[mrv]|rv|m?b[fms]?|bold|mat|mtx|vect?"
_SHORTHAND = re.compile(
    r"m?bb(?P<mathbb>[A-Z])|(?:m?c|m?cal|scr)(?P<mathcal>[A-Z])"
    rf"|(?:{_BOLD}|)(?P<mathbf>[A-Za-z]|{_GREEK_NAMES})|(?P<font>{_BOLD}|vb|bv|gvec|vector|matr)"
)
_OTHER = {"mp": None, "d": "d", "E": "\\mathbb{E}", "R": "\\mathbb{R}", **dict.fromkeys(_GREEK_NAMES.split("|"))}


def shorthand(command: str, braced: bool) -> str | None:
    r"""What a command that a file does not define stands for where it names a letter in some font, \bx, \cL, \mbbeta,
    or the font alone, before braces: \bs{x}."""
    found = _SHORTHAND.fullmatch(command)
    if command in _OTHER or found is None:
        return _OTHER.get(command)
    font = found.lastgroup or ""
    if font == "font" or (braced and re.fullmatch(_BOLD, command)):
        return "\\mathbf" if braced else None
    letter = found[font]
    return f"\\{font}{{{letter if len(letter) == 1 else chr(92) + letter}}}"


_LOSS_WORDS = re.compile(
    r"\s*(?:(?P<CE>(?:softmax|categorical|binary)?[-_ ]*(?:cross[-_ ]*entropy|x?ent)(?:[-_ ]*(?:loss|cost|error))?)"
    r"|(?P<loss>(?:(?:softmax|log|logistic)[-_ ]*)?(?:loss|cost)(?:[-_ ]*(?:fn|func|function))?|objective)"
    r"|(?P<NLL>nll|negative[- ]log[- ]likelihood))\s*",
    re.IGNORECASE,
)


def loss_word(text: str) -> str:
    """Words that name a loss, as the one word for it: CrossEntropyLoss, Cross entropy."""
    found = _LOSS_WORDS.fullmatch(text)
    return text if found is None or text in ("loss", "Loss", "cost", "Cost") else str(found.lastgroup)
