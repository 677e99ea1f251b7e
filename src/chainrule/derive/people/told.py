"""What the words beside a letter say that it is: "the logits $z$", "$y$ is a one-hot vector"."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

from chainrule.derive.people.documents import Document
from chainrule.derive.people.rows import rows

__all__ = ["told"]

# Words and the role that they give, the more particular first.
_SAID = (
    (r"vector of (?:all )?ones|all[- ]ones|ones vector", "ones"),
    (r"identity matrix|unit matrix", "eye"),
    (r"kronecker", "kron"),
    (r"number of|how many|\bcount of", "count"),
    (r"learning rate|step size|regulari[sz]", "const"),
    (
        r"(?:correct|true|right|target|gold) (?:class|label|index|word)|index of the (?:correct|true)|class label",
        "label",
    ),
    (r"one[- ]hot|ground[- ]truth|\btargets?\b|\blabels?\b|true (?:distribution|probabilit|output|value)", "y"),
    (r"\bdesired|expected output", "y"),
    (r"activation function|non-?linearity|\bsigmoid function|logistic function", "g"),
    (r"\blogits?\b|\bscores?\b|pre-?activations?|net input|weighted (?:sum|input)|unnormali[sz]ed", "a"),
    (r"probabilit|predict|softmax output|outputs? of (?:the |a )?softmax|softmax of|model output", "p"),
    (r"\bloss\b|\bcost\b|cross[- ]entropy|objective|error function|log[- ]likelihood", "L"),
    (r"\bweights?\b|\bparameters?\b", "W"),
    (r"\bbias(?:es)?\b", "b"),
    (r"\berror (?:term|signal)\b|\bdelta\b", "δ"),
    (r"\binputs?\b|\bfeatures?\b|\bsample\b|data point", "x"),
    (r"\bhidden\b|\bactivations?\b", "h"),
)
_LINKS = re.compile(
    r"^\s*[,(:—–-]?\s*(?:is|are|be|denotes?|stands? for|represents?|means?|=|as|for)?\s*(?:the|an?|our|its|is)?\s*",
    re.IGNORECASE,
)


def told(document: Document) -> dict[str, Counter[str]]:
    """By letter: the roles that words beside it give, and how often."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    pieces = document.pieces
    for n, piece in enumerate(pieces):
        if piece.kind != "inline" or len(piece.text) > 60:
            continue
        base = _base(piece.text, document)
        if base is None:
            continue
        after = pieces[n + 1].text if n + 1 < len(pieces) and pieces[n + 1].kind == "prose" else ""
        before = pieces[n - 1].text if n and pieces[n - 1].kind == "prose" else ""
        behind = re.split(r"[.;()\n]|\band\b|\bwith\b|, ", after[_LINKS.match(after).end() :][:60])[0]  # type: ignore[union-attr]
        linked = re.match(r"^\s*(?:,\s*(?:the|an?)|:|\(|is|are|be|denotes?|stands|represents?|the|an?|as)\b", after)
        kind = _kind(behind) if linked or after[:1] in (":", "(") else None
        kind = kind or _kind(" ".join(re.split(r"[.;:,()\n]|\bof\b|\bby\b|\bto\b|\bin\b", before)[-1].split()[-3:]))
        if kind is not None:
            found[base][kind] += 1
    return found


def _kind(words: str) -> str | None:
    for pattern, kind in _SAID:
        if re.search(pattern, words.lower()):
            return kind
    return None


def _base(text: str, document: Document) -> str | None:
    """The letter that an inline formula is, or that it defines."""
    if re.search(r"\\partial|\\nabla|\\sum", text.split("=")[0]):
        return None
    sides = [side for row in rows(text, document.macros, 0, text) for side in row.sides]
    if len(sides) not in (1, 2) or sides[0].node is None or sides[0].node.op not in ("name", "app"):
        return None
    base: str = sides[0].node.data.base
    return base
