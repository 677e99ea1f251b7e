"""Words and signs of LaTeX: which are functions, relations and accents, and what an exponent is."""

from __future__ import annotations

import unicodedata

from chainrule.derive.people.cursor import without_braces
from chainrule.derive.people.scripts import letter_of
from chainrule.derive.people.tokens import Token

__all__ = [
    "ACCENTS",
    "FUNCTIONS",
    "RELATIONS",
    "is_tag",
    "is_word_name",
    "relation_in",
    "unicode_base",
    "without_transpose",
]

FUNCTIONS = {
    "exp": "exp", "log": "log", "ln": "log", "tanh": "tanh", "softmax": "softmax", "Softmax": "softmax",
    "SoftMax": "softmax", "smax": "softmax",
    "sigmoid": "logistic", "Sigmoid": "logistic", "sigm": "logistic", "logistic": "logistic", "expit": "logistic",
    "ReLU": "relu", "relu": "relu",
    "RELU": "relu", "Relu": "relu", "diag": "diag", "Diag": "diag", "logsumexp": "logsumexp", "LSE": "logsumexp",
    "lse": "logsumexp",
    "LogSumExp": "logsumexp", "log_softmax": "logsoftmax",
    "log softmax": "logsoftmax", "log-softmax": "logsoftmax", "logsoftmax": "logsoftmax", "LogSoftmax": "logsoftmax",
    "sin": "sin", "cos": "cos",
    "tr": "trace", "Tr": "trace", "trace": "trace", "softplus": "softplus", "normalize": "normalize",
    "sgn": "sign", "sign": "sign", "cosh": "cosh", "sinh": "sinh", "sech": "sech", "Log": "log",
    "step": "step",
}  # fmt: skip


RELATIONS = {"=": "=", "neq": "≠", "<": "<", ">": ">", "le": "≤", "ge": "≥", "in": "∈", "notin": "∉"}


_STOPWORDS = {
    "if", "for", "when", "where", "and", "or", "since", "because", "so", "thus", "otherwise", "else", "with",
    "then", "hence", "therefore", "as",
    "by", "but", "note", "using", "from", "that", "which", "is", "the", "to", "of", "in", "we", "let", "iff",
    "while", "chain rule", "i.e.", "e.g.",
}  # fmt: skip


ACCENTS = {
    "hat": "\u0302",
    "bar": "\u0304",
    "tilde": "\u0303",
    "dot": "\u0307",
    "check": "\u030c",
    "breve": "\u0306",
    "mathring": "\u030a",
}


_BEFORE_T = ("mathrm", "mathbf", "operatorname", "^")  # a font's T in braces, or one within another exponent


def is_word_name(text: str) -> bool:
    r"""Whether words in \text are a name or a function, and not a remark."""
    text = text.strip().rstrip(".")
    return (
        bool(text)
        and " " not in text
        and text.replace("_", "").replace("-", "").replace("\\", "").isalnum()
        and all(ord(letter) < 0x400 for letter in text)  # Latin or Greek: others stand in no formula
        and text.lower() not in _STOPWORDS
    )


def relation_in(tokens: list[Token]) -> int | None:
    """Where the first relation outside of brackets stands."""
    depth = 0
    for k, token in enumerate(tokens):
        if token.kind == "char" and token.text in "{([":
            depth += 1
        elif token.kind == "char" and token.text in "})]":
            depth -= 1
        elif token.kind == "cmd" and token.text in ("begin", "end", "{", "}"):
            depth += 1 if token.text in ("begin", "{") else -1
        elif depth == 0 and token.kind in ("char", "cmd") and token.text in RELATIONS:
            return k
    return None


def unicode_base(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def without_transpose(tokens: list[Token], *, bracket: bool = False) -> tuple[list[Token], bool]:
    tokens = [t for t in without_braces(tokens) if t.kind != "space"]
    if len(tokens) > 1 and tokens[-2].text in ("/", "+", "-", "cdot", "times", "*"):  # e^{z/T} has a temperature
        return tokens, False
    shown = [t.text for t in tokens]
    if len(tokens) >= 4 and shown[-1] == "}" and shown[-2] in ("T", "t", "top") and shown[-4] in _BEFORE_T:
        return tokens[:-4], True
    if (shown == ["t"] and bracket) or (
        shown and shown[-1].strip() in ("top", "intercal", "T", "tr", "dagger", "mathsf")
    ):
        return tokens[: -2 if shown[-2:-1] == ["^"] else -1], True
    return tokens, False


def is_tag(tokens: list[Token]) -> bool:
    """Whether a superscript may be a layer, a sample or a star; else it is an exponent."""
    if not tokens:
        return False
    first = tokens[0]
    if first.text in ("(", "[") and first.kind == "char":
        return True
    if all(t.kind in ("text", "word") for t in tokens) or (first.text == "*" and len(tokens) == 1):
        return True
    if first.kind == "num" and len(tokens) == 1 and "." not in first.text:
        return True
    letter = letter_of(first)
    if letter is not None and len(tokens) == 1:
        return True
    shifted = len(tokens) == 3 and tokens[1].text in "+-" and tokens[2].kind == "num"
    return letter is not None and (shifted or tokens[1].text in "'," or tokens[1].text == "prime")
