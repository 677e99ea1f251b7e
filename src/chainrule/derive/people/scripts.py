"""Subscripts and superscripts: what stands in them, item by item. What an item means depends on the name's role."""

from __future__ import annotations

import re
from collections.abc import Callable

from chainrule.derive.people.tokens import Token
from chainrule.derive.people.tree import Condition, Item, Node, NotReadError

__all__ = ["GREEK_LETTERS", "NUMBERED", "items_of", "letter_of"]

GREEK_LETTERS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "zeta": "ζ", "eta": "η", "theta": "θ",
    "iota": "ι",
    "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ",
    "phi": "φ",
    "chi": "χ", "psi": "ψ", "omega": "ω", "upsilon": "υ", "Gamma": "Γ", "Delta": "Δ", "Theta": "Θ", "Lambda": "Λ",
    "Xi": "Ξ",
    "Pi": "Π", "Sigma": "Σ", "Phi": "Φ", "Psi": "Ψ", "Omega": "Ω", "ell": "ℓ", "imath": "i", "jmath": "j",
}  # fmt: skip
_WORDS = {
    "true", "pred", "out", "in", "hidden", "target", "label", "correct", "output", "input", "softmax", "total",
    "train", "gold", "data",
    "prev", "next", "max", "net", "final", "logit", "logits", "class", "reg", "CE", "ce", "NLL", "BCE", "MSE",
    "mse", "batch", "new", "old",
    "KL", "JS", "tot",
    "sm", "act", "loss", "all", "error", "cross", "entropy", "hid", "one", "hot", "xent", "obs", "pre",
}  # fmt: skip
NUMBERED = set("ijkmn")  # index letters that may have a number of their own
_RELATIONS = {"=": "=", "neq": "≠", "in": "∈", "<": "<", ">": ">", "le": "≤", "ge": "≥"}


def letter_of(token: Token) -> str | None:
    """The letter that a token is, if it is one."""
    if token.kind == "char" and (token.text.isalpha() or token.text == "ℓ"):
        return token.text
    if token.kind == "cmd":
        return GREEK_LETTERS.get(token.text)
    return None


def items_of(tokens: list[Token], parse: Callable[[list[Token]], Node]) -> tuple[Item, ...]:
    """The items of a script's tokens."""
    items: list[Item] = []
    part: list[Token] = []
    depth = 0
    for token in [*tokens, Token("char", ",", 0)]:
        depth += (token.text in "([{") - (token.text in ")]}") if token.kind == "char" else 0
        if depth == 0 and (token.kind == "space" or (token.kind == "char" and token.text in ",;")):
            items += _group(part, parse)
            part = []
        else:
            part.append(token)
    return tuple(items)


def _plain(tokens: list[Token]) -> list[Token]:
    """Without braces around it, and without what only names a font."""
    while len(tokens) > 1 and tokens[0].text == "{" and _closing(tokens, 0) == len(tokens) - 1:
        tokens = tokens[1:-1]
    return [t for t in tokens if not (t.kind == "cmd" and t.text in ("mathrm", "mathbf", "operatorname", "mathcal"))]


def _closing(tokens: list[Token], k: int) -> int:
    opened, closed = tokens[k].text, {"{": "}", "(": ")", "[": "]"}[tokens[k].text]
    depth = 0
    for n in range(k, len(tokens)):
        depth += (tokens[n].text == opened) - (tokens[n].text == closed)
        if depth == 0:
            return n
    return -1


def _argument_end(tokens: list[Token], k: int) -> int:
    """Where the argument of the command or sign at k ends."""
    braced = k + 1 < len(tokens) and tokens[k + 1].text == "{"
    return _closing(tokens, k + 1) + 1 if braced else k + 2


def _group(tokens: list[Token], parse: Callable[[list[Token]], Node]) -> list[Item]:
    upright = (
        len(tokens) > 3 and tokens[0].text in ("mathrm", "operatorname") and _closing(tokens, 1) == len(tokens) - 1
    )
    tokens = _plain(tokens)
    spelt = "".join(t.text for t in tokens if t.text not in "{}")
    if upright and len(spelt) > 2 and spelt.replace("-", "").isalpha():
        return [Item("word", spelt)]
    if not tokens:
        return []
    if all(t.kind in ("text", "word") for t in tokens):
        return [Item("word", " ".join(t.text.strip() for t in tokens))]
    for k, token in enumerate(tokens):
        if token.text in _RELATIONS and token.kind in ("cmd", "char"):
            left, right = _group(tokens[:k], parse), _group(tokens[k + 1 :], parse)
            if left:
                *before, one = left
                return [*before, Item("condition", Condition(one, _RELATIONS[token.text], right[0] if right else None))]
    spelt = "".join(t.text for t in tokens)
    if re.fullmatch(r"[A-Za-z]{3,}(?:-[A-Za-z]{3,})+", spelt):
        return [Item("word", spelt)]
    if (
        len(tokens) > 3
        and "_" in spelt
        and all(t.kind in ("char", "word") for t in tokens)
        and set(spelt.split("_")) & _WORDS
    ):
        return [Item("word", spelt)]
    letters = "".join(t.text for t in tokens if t.kind == "char" and t.text.isalpha())
    if (
        len(letters) == len(tokens) > 1
        and letters in _WORDS
        and (letters.isupper() or tokens[-1].at - tokens[0].at == len(letters) - 1)
    ):
        return [Item("word", letters)]
    found: list[Item] = []
    k = 0
    while k < len(tokens):
        token = tokens[k]
        if token.kind == "char" and token.text in "([" and _closing(tokens, k) > k:
            end = _closing(tokens, k)
            kind = "round" if token.text == "(" else "square"
            found.append(Item(kind, items_of(tokens[k + 1 : end], parse)))
            k = end + 1
        elif token.kind == "char" and token.text == "{" and _closing(tokens, k) > k:
            end = _closing(tokens, k)
            found += _group(tokens[k + 1 : end], parse)
            k = end + 1
        elif token.kind == "num":
            found += [Item("number", int(token.text))] if token.text.isdigit() else []
            k += 1
        elif token.kind in ("text", "word"):
            found.append(Item("word", token.text.strip()))
            k += 1
        elif (
            token.kind == "char" and token.text in "+-" and found and found[-1].kind in ("letter", "number", "shifted")
        ):
            sign = 1 if token.text == "+" else -1
            after = tokens[k + 1] if k + 1 < len(tokens) else None
            base = found.pop()
            if after is not None and after.kind == "num" and base.kind == "letter":
                found.append(Item("shifted", (base.value, sign * int(float(after.text)))))
            else:
                found.append(_parsed(tokens, parse))
                return found
            k += 2
        elif token.text in ("*", "'", "prime"):
            if token.text != "*" and found and found[-1].kind == "letter":
                found[-1] = Item("letter", found[-1].value + "'")
            else:
                found.append(Item("star", "*"))
            k += 1
        elif token.kind == "char" and token.text == "^" and found and found[-1].kind == "letter":
            end = _argument_end(tokens, k)
            inside = tokens[k + 1 : end]
            if "".join(t.text for t in inside if t.text not in "{}") == "*":  # c^*, one particular class
                found[-1] = Item("letter", found[-1].value + "*")
            elif all(t.text in ("{", "}", "prime", "'") for t in inside):
                found[-1] = Item(
                    "letter", found[-1].value + "'" * max(1, sum(t.text in ("prime", "'") for t in inside))
                )
            else:
                found[-1] = _parsed(tokens[k - 1 : end], parse)
            k = max(end, k + 1)
        elif token.kind == "char" and token.text == "_" and found and found[-1].kind == "letter":
            end = _argument_end(tokens, k)
            below = [t for t in tokens[k + 1 : end] if t.text not in "{}"]
            if found[-1].value in NUMBERED and len(below) == 1 and below[0].kind == "num":  # k_1 and k_2
                found[-1] = Item("letter", found[-1].value + below[0].text)
            else:
                found[-1] = Item("name", parse(tokens[k - 1 : end]))
            k = end
        elif token.kind == "cmd" and token.text in ("hat", "bar", "tilde", "mathbb"):
            end = _argument_end(tokens, k)
            found.append(Item("name", parse(tokens[k:end])))
            k = end
        elif (letter := letter_of(token)) is not None:
            found.append(Item("letter", letter))
            k += 1
        elif token.text in (":", "cdot", "dots", "top", "dagger", "forall", "|", "/", ".", "-", "+", "circ"):
            found.append(Item("word" if token.text in (":", "dots") else "star", token.text))
            k += 1
        else:
            return [_parsed(tokens, parse)]
    return found


def _parsed(tokens: list[Token], parse: Callable[[list[Token]], Node]) -> Item:
    """A script that is a formula; one that is none is a word that tells names apart."""
    try:
        return Item("name", parse(tokens))
    except NotReadError:
        return Item("word", "".join(t.text for t in tokens))
