r"""LaTeX to tokens: macros expanded, what only lays out the page dropped, every way to write a sign made one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import NamedTuple

from chainrule.derive.people.macros import Macro, group_at
from chainrule.derive.people.symbols import (
    DROPPED,
    DROPPED_WITH_ARGUMENT,
    FIRST_ARGUMENT_DROPPED,
    GREEK,
    KEPT_ARGUMENT,
    SAME,
    SYMBOLS,
    TEXTS,
    loss_word,
    shorthand,
)  # fmt: skip
from chainrule.derive.people.tree import NotReadError

__all__ = ["WORDS", "Token", "tokens"]

_MOST_TOKENS = 20_000


class Token(NamedTuple):
    """`kind`: cmd, char, num, text (words in \\text), word (several letters of a plain text), or space (\\quad)."""

    kind: str
    text: str
    at: int


_TOKEN = re.compile(r"\\([A-Za-z]+)\*?|\\(.)|(\d+(?:\.\d+)?|\.\d+)|(\S)", re.DOTALL)
# Words in scripts that formulas are not written in, with what stands in brackets beside them.
_FOREIGN = re.compile(
    r"（[^（）\n]*）|[\u0400-\u04ff]{2,}(?:[ ,.]+[\u0400-\u04ff]+)*"
    r"|[\u3000-\u303f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uff01-\uff0b\uff0d-\uff1c\uff1e-\uffef]+"
)
WORDS = re.compile(
    r"(?:softmax|Softmax|Diag|sinh|cosh|sech|sin|cos|log_softmax|logsumexp|sigmoid|tanh|relu|ReLU|exp|log|ln|sum|prod|diag|max|partial|delta|theta|sigma|alpha|beta|eta|gamma"
    r"|lambda|dot|yhat|y_hat|grad|nabla|loss|Loss|logits|probs|net(?=[_^{\s)}=])|(?:in|out|act|inp|pre|hid|err)(?=[_^])|target(?=_)|onehot|one_hot|[tT]r(?=\()|if|for|where|and|otherwise|else|when|CE|BCE|NLL|MSE|XE|FL|KL|SSE|RSS|MAE|ELBO|Err|err|with)(?![A-Za-z])"
)
_SPACED = re.compile(
    r"(?<![A-Za-z\\] )\b(?:l o s s|L o s s|s o f t m a x|s i g m o i d|c o s t|t a n h|l o g|e x p)\b(?! [A-Za-z]\b)"
)
_SPELT = re.compile(r"[A-Za-z][a-z]{3,}(?![A-Za-z])")
_GLUED = re.compile(r"^(?:.{1,2}(?:log|exp|ln).{0,2}|(?:log|exp|ln).)$")
_SPOKEN = {
    "sum": "\\sum", "prod": "\\prod", "partial": "\\partial", "delta": "\\delta", "theta": "\\theta",
    "sigma": "\\sigma",
    "alpha": "\\alpha", "beta": "\\beta", "eta": "\\eta", "gamma": "\\gamma", "lambda": "\\lambda",
    "grad": "\\nabla", "nabla": "\\nabla",
    "exp": "\\exp", "log": "\\log", "ln": "\\log", "tanh": "\\tanh", "max": "\\max", "dot": "\\cdot",
}  # fmt: skip


_ENTROPY = re.compile(r"cross[- ]entropy(?: loss)?", re.IGNORECASE)  # as one name


def tokens(text: str, macros: Mapping[str, Macro], at: int = 0) -> list[Token]:
    """The tokens of a formula that stands at a place of its file.

    Raises
    ------
    NotReadError
        It is too long, or its macros do not end.
    """
    text = _SPACED.sub(lambda m: m[0].replace(" ", "").ljust(len(m[0])), text)
    raw = _raw(text, at, True)
    return _with_sums(_fractions(_nested(_laid_out(_expanded(raw, macros)))))


def _fractions(found: list[Token]) -> list[Token]:
    r"""{A \over B} as \frac{A}{B}, so that ∂L over ∂w is read as a derivative."""
    opened: list[int] = []
    read: list[Token] = []
    for token in found:
        if token.kind == "char" and token.text == "{":
            opened.append(len(read))
        elif token.kind == "char" and token.text == "}" and opened:
            opened.pop()
        elif token.kind == "cmd" and token.text == "over" and opened:
            start = opened[-1]
            read.insert(start, Token("cmd", "frac", read[start].at))
            read += [Token("char", "}", token.at), Token("char", "{", token.at)]
            continue
        read.append(token)
    return read


def _nested(found: list[Token]) -> list[Token]:
    """With a round bracket that closes behind its group, z^{(2}), closed within it, and one that closes within a group
    that it holds, (e^{z)}, behind it."""
    opened = [0]
    for k, token in enumerate(found):
        if token.kind != "char":
            continue
        after = found[k + 1 : k + 2]
        if token.text == "{":
            opened.append(0)
        elif token.text == "(":
            opened[-1] += 1
        elif token.text == ")" and opened[-1] == 0 < sum(opened) and after and after[0].text == "}" and len(opened) > 1:
            found[k], found[k + 1] = after[0], token
            opened.pop()
        elif token.text == ")":
            opened[-1] -= 1
        elif token.text == "}" and len(opened) > 1 and opened.pop() == 1 and [t.text for t in after] == [")"]:
            found[k], found[k + 1] = found[k + 1], token
            opened.append(0)
    return found


def _with_sums(found: list[Token]) -> list[Token]:
    """Σ as a word where the formula has one with nothing to sum: \\frac{e^{z_i} \\sum - e^{z_i} e^{z_j}}{\\sum^2}."""
    bare = [
        k
        for k, t in enumerate(found)
        if t.kind == "cmd" and t.text == "sum" and (found[k + 1 :][:1] or [t])[0].text != "_"
    ]

    def ends(k: int) -> bool:
        after = [t.text for t in found[k + 1 : k + 3]]
        return not after or after[0] in ("}", ")", "]", "=", "&", ",") or after == ["^", "2"]

    if not any(ends(k) for k in bare):
        return found
    return [t._replace(kind="word", text="Σ") if k in bare else t for k, t in enumerate(found)]


def _raw(text: str, at: int, plain: bool) -> list[Token]:
    found: list[Token] = []
    k = 0
    while k < len(text):
        if plain and (word := WORDS.match(text, k)) and _begins_word(text, k):
            said = word.group()
            found += _raw(_SPOKEN[said], at + k, False) if said in _SPOKEN else [Token("word", said, at + k)]
            k = word.end()
            continue
        if plain and (spelt := _SPELT.match(text, k)) and _is_spelt(text, k, spelt.group()):  # score_k, activation(z)
            found.append(Token("word", spelt.group(), at + k))
            k = spelt.end()
            continue
        if plain and (glued := _spelt_together(text, k)):  # ylna, y_ilog(ŷ)
            found.append(Token("cmd", _SPOKEN[glued][1:], at + k))
            k += len(glued)
            continue
        if (words := _FOREIGN.match(text, k)) is not None:
            found.append(Token("text", words.group(), at + k))
            k = words.end()
            continue
        if text.startswith("...", k):
            found.append(Token("cmd", "dots", at + k))
            k += len(text) - k - len(text[k:].lstrip("."))
            continue
        letter = text[k]
        if letter in SYMBOLS or letter in GREEK:
            found += [t._replace(at=at + k) for t in _raw(SYMBOLS.get(letter) or GREEK[letter], 0, False)]
            k += 1
            continue
        if ord(letter) > 127 and (same := _plain_form(text, k)):
            written, k2 = same
            found += [t._replace(at=at + k) for t in _raw(written, 0, False)]
            k = k2
            continue
        match = _TOKEN.match(text, k)
        if match is None:
            k += 1
            continue
        if match[1] in TEXTS and text[match.end() :].lstrip()[:1] == "{":
            begin = text.index("{", match.end())
            inside = group_at(text, begin)
            if match[1] in ("textbf", "textit") and len(inside) == 1:  # a letter in bold is no remark
                found += [Token("cmd", "mathbf", at + k), *_raw("{" + inside + "}", at + begin, False)]
                k = begin + 3
                continue
            sign = inside.strip() in ("+", "-", "=")
            found.append(Token("char", inside.strip(), at + k) if sign else Token("text", loss_word(inside), at + k))
            k = begin + len(inside) + 2
            continue
        if match[1]:
            found.append(Token("cmd", match[1], at + k))
        elif match[2]:
            spaces = {",": "", ";": "", ":": "", "!": "", " ": "", ">": "", "\n": "", "/": "", "-": ""}
            if match[2] not in spaces:
                found.append(Token("cmd", match[2], at + k))
        elif match[3]:
            found.append(Token("num", match[3], at + k))
        elif text.startswith("~~", k):
            found.append(Token("space", " ", at + k))
        elif match[4] != "~":
            found.append(Token("char", match[4], at + k))
        k = match.end()
    return found


def _is_spelt(text: str, k: int, word: str) -> bool:
    """Whether letters side by side are a word, and no product: not in a script, where they are indices."""
    before = text[:k].rstrip("{ ")[-1:] if text[k - 1 : k] == "{" else text[k - 1 : k]
    vowels = any(letter in "aeiou" for letter in word.lower())
    return vowels and not before.isalpha() and before not in ("\\", "_", "^") and not _GLUED.search(word)


def _spelt_together(text: str, k: int) -> str:
    """The logarithm or exponential that is written beside letters here: no command, and no longer word."""
    start = end = k
    while start and text[start - 1].isalpha():
        start -= 1
    while end < len(text) and text[end].isalpha():
        end += 1
    found = next((word for word in ("ln", "log", "exp") if text.startswith(word, k)), "")
    command = start and text[start - 1] == "\\"
    most = 2 if start < k else 1  # ylna, lny, but no logit
    return found if found and not command and end - start <= len(found) + most else ""


def _begins_word(text: str, k: int) -> bool:
    before = text[k - 1] if k else " "
    if before == "d" and text[k].isupper():  # dCE
        return not (k > 1 and text[k - 2].isalpha())
    transposed = before == "T" and k > 1 and text[k - 2] == "^"  # 1^Texp(x)
    return transposed or (not before.isalpha() and before != "\\")


def _plain_form(text: str, k: int) -> tuple[str, int] | None:
    """Unicode's small letters above and below the line, letters with hats, and mathematical alphabets."""
    kind = unicodedata.decomposition(text[k]).split(" ")[0]
    if kind in ("<sub>", "<super>"):
        end = k
        while end < len(text) and unicodedata.decomposition(text[end]).startswith(kind):
            end += 1
        inside = unicodedata.normalize("NFKC", text[k:end]).replace("−", "-")
        return ("_" if kind == "<sub>" else "^") + "{" + inside + "}", end
    apart = unicodedata.normalize("NFKD", text[k])
    if len(apart) == 2 and apart[1] in "\u0302\u0303\u0304\u0305":
        accent = {"\u0302": "hat", "\u0303": "tilde"}.get(apart[1], "bar")
        return f"\\{accent}{{{apart[0]}}}", k + 1
    if apart != text[k] and len(apart) == 1:
        return (GREEK.get(apart) or apart), k + 1
    return None


def _expanded(raw: list[Token], macros: Mapping[str, Macro]) -> list[Token]:
    found: list[Token] = []
    ahead = list(reversed(raw))
    steps = 0
    while ahead:
        token = ahead.pop()
        if token.kind == "cmd" and token.text in macros:
            macro = macros[token.text]
            steps += 1
            if steps > 2000 or len(ahead) > _MOST_TOKENS:
                raise NotReadError(f"the macro \\{token.text} does not end")
            arguments: list[list[Token]] = []
            for n in range(macro.arguments):
                if n == 0 and macro.default is not None:
                    arguments.append(_optional(ahead) or _raw(macro.default, token.at, False))
                else:
                    arguments.append(_argument(ahead))
            body: list[Token] = []
            inside = _raw(macro.body, 0, False)
            k = 0
            while k < len(inside):
                is_hole = inside[k].text == "#" and k + 1 < len(inside) and inside[k + 1].kind == "num"
                if is_hole and 0 < int(inside[k + 1].text[0]) <= len(arguments):
                    body += arguments[int(inside[k + 1].text[0]) - 1]
                    rest = inside[k + 1].text[1:]
                    body += [Token("num", rest, token.at)] if rest else []
                    k += 2
                    continue
                body.append(inside[k]._replace(at=token.at))
                k += 1
            ahead += reversed(body)
            continue
        found.append(token)
        if len(found) > _MOST_TOKENS:
            raise NotReadError("the formula is too long")
    return found


def _argument(ahead: list[Token]) -> list[Token]:
    """The next group, without its braces; `ahead` is in reverse."""
    if not ahead:
        return []
    first = ahead.pop()
    if first.text != "{" or first.kind != "char":
        return [first]
    found: list[Token] = []
    depth = 1
    while ahead:
        token = ahead.pop()
        if token.kind == "char" and token.text in "{}":
            depth += 1 if token.text == "{" else -1
            if depth == 0:
                break
        found.append(token)
    return found


def _optional(ahead: list[Token]) -> list[Token]:
    if not ahead or ahead[-1].text != "[" or ahead[-1].kind != "char":
        return []
    ahead.pop()
    found: list[Token] = []
    while ahead and (token := ahead.pop()).text != "]":
        found.append(token)
    return found


def _between(found: list[Token], token: Token, ahead: list[Token]) -> bool:
    """Whether a colon stands between two factors without any space, and not within braces."""
    if not found or not ahead or found[-1].at + len(found[-1].text) != token.at or ahead[-1].at != token.at + 1:
        return False
    depth = 0  # of braces within scripts
    opened: list[bool] = []
    for k, one in enumerate(found):
        if one.kind == "char" and one.text == "{":
            opened.append(k > 0 and found[k - 1].text in ("_", "^"))
            depth += opened[-1]
        elif one.kind == "char" and one.text == "}" and opened:
            depth -= opened.pop()
    before, after = found[-1], ahead[-1]
    return (
        depth == 0
        and before.kind == "char"
        and (before.text.isalpha() or before.text == ")")
        and after.kind in ("char", "cmd")
        and (after.text.isalpha() or after.text == "(")
        and after.text != "mathbb"
    )


def _laid_out(raw: list[Token]) -> list[Token]:
    found: list[Token] = []
    ahead = list(reversed(raw))
    while ahead:
        token = ahead.pop()
        name = token.text
        if token.kind == "cmd":
            if name in ("left", "right") and ahead and ahead[-1].text == ".":
                ahead.pop()
                continue
            if name in DROPPED:
                continue
            if name == "not":
                ahead[-1:] = (
                    [Token("cmd", "neq", token.at)] if ahead and ahead[-1].text in ("=", "equiv") else ahead[-1:]
                )
                continue
            if name == "unicode":
                code = "".join(t.text for t in _argument(ahead)).lower().replace("x", "0x", 1)
                letter = chr(int(code, 16)) if re.fullmatch(r"0x[0-9a-f]{2,5}", code) else ""
                ahead += [t._replace(at=token.at) for t in reversed(_raw(letter, 0, False))]
                continue
            if name == "eqalign":
                continue
            begins = [t.text for t in ahead[:-3:-1]] == ["{", "d"] and len(ahead) > 2
            if name == "mathrm" and begins and ahead[-3].at > ahead[-2].at + 1:  # \\mathrm{d f(x)}
                inside = _argument(ahead)
                ahead += reversed([Token("char", "{", token.at), inside[0], Token("char", "}", token.at), *inside[1:]])
                found.append(token)
                continue
            if name in ("quad", "qquad", "hfill"):
                found.append(Token("space", " ", token.at))
                continue
            if name in DROPPED_WITH_ARGUMENT:
                _optional(ahead)
                words = _argument(ahead)
                if name == "hspace":
                    found.append(Token("space", " ", token.at))
                if name in ("intertext", "shortintertext"):
                    found.append(Token("text", "".join(t.text for t in words), token.at))
                continue
            if name in FIRST_ARGUMENT_DROPPED:
                _optional(ahead)
                _argument(ahead)
                continue
            if name in KEPT_ARGUMENT:
                _optional(ahead)
                continue
            if name in ("overset", "stackrel", "underset", "xlongequal"):
                over = _argument(ahead)
                if name != "xlongequal":
                    ahead += reversed(_argument(ahead))
                    if name == "underset" and ahead and ahead[-1].text in ("max", "min", "sum"):
                        shown = [
                            Token("char", "_", token.at),
                            Token("char", "{", token.at),
                            *over,
                            Token("char", "}", token.at),
                        ]
                        ahead[-1:] = [*reversed(shown), ahead[-1]]
                else:
                    ahead.append(Token("char", "=", token.at))
                continue
            same = SAME.get(name)
            if same is None:
                same = shorthand(name, bool(ahead) and ahead[-1].text == "{")
            if same is not None:
                ahead += [t._replace(at=token.at) for t in reversed(_raw(same, 0, False))]
                if same.startswith("\\") and same[1:] == name:
                    found.append(ahead.pop())
                continue
        if (
            token.text == "|" and token.kind == "char" and ahead and ahead[-1] == Token("char", "|", token.at + 1)
        ):  # ||w||
            token = Token("cmd", "|", token.at)
            ahead.pop()
        if token.text == "cdot" and ahead and ahead[-1].text == "*":  # .*, as in code
            ahead[-1] = Token("cmd", "odot", token.at)
            continue
        if token.kind == "char" and name == ":" and "=" in ([t.text for t in (*ahead[-1:], *found[-1:])]):  # := and =:
            continue
        if token.kind == "char" and name == ":" and found and found[-1].text == "&":  # v &: v − α g
            token = Token("char", "=", token.at)
        if token.kind == "char" and name in "<>" and ahead and ahead[-1].text == "=" and ahead[-1].at == token.at + 1:
            ahead[-1] = Token("cmd", "le" if name == "<" else "ge", token.at)
            continue
        if token.kind == "word" and name in ("quad", "qquad"):
            found.append(Token("space", " ", token.at))
            continue
        if token.kind == "char" and name == "!" and ahead and ahead[-1].text == "=":  # as in code
            ahead[-1] = Token("cmd", "neq", token.at)
            continue
        if token.kind == "char" and name == "." and ahead and ahead[-1].text == "*" and found:  # p .* q, as in code
            ahead[-1] = Token("cmd", "odot", token.at)
            continue
        if token.kind == "char" and name == ":" and _between(found, token, ahead):  # A:B, a sum over all entries
            found.append(Token("cmd", "frobenius", token.at))
            continue
        if token.kind == "char" and name == "=" and found and found[-1].text == "=" and found[-1].at == token.at - 1:
            continue
        found.append(token)
    return found
