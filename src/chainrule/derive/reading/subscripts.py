"""A letter and its subscript: the name, or the element of one, that they mean. And what all of reading shares."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chainrule.derive import syntax as s
from chainrule.errors import InputError

__all__ = [
    "GREEK", "Piece", "Terms", "UnreadableError", "index_in", "indices_of", "named", "position_of", "primes_in",
    "rule_of",
]  # fmt: skip

GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "varepsilon": "ε", "eta": "η", "theta": "θ",
    "lambda": "λ", "mu": "μ", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "varphi": "φ", "Phi": "Φ", "ell": "ℓ",
    "omega": "ω",
}  # fmt: skip
_LAYERED = "ahWb"  # letters whose first subscript may be a layer
_MOST_DIGITS = 6  # of an index


class UnreadableError(InputError):
    r"""A line cannot be read. `position` is the character, counted from 1, at which reading stopped.

    Examples
    --------
    >>> from chainrule.derive.reading.latex import read_line
    >>> try:
    ...     read_line(r"= \input{/etc/passwd}")
    ... except UnreadableError as error:
    ...     print(error.position, error)
    3 at character 3: \input is not a command that is read here
    """

    def __init__(self, message: str, position: int | None = None) -> None:
        super().__init__(message if position is None else f"at character {position}: {message}")
        self.position = position


@dataclass(frozen=True)
class Piece:
    """A part of a term before its neighbours are known."""

    kind: str  # node, bracket, letter, function, sum, operator, nabla, partial, times
    position: int
    node: s.Node | None = None
    text: str = ""
    bold: bool = False
    primes: int = 0
    sub: tuple[Any, ...] | None = None  # tokens
    sup: s.Node | None = None
    variables: tuple[s.Node, ...] = field(default=())


Terms = list[tuple[bool, list[Piece]]]  # (is it subtracted, its pieces)


def rule_of(tree: Any) -> str:
    return str(getattr(tree, "data", "")) or str(tree.type)


def position_of(tree: Any) -> int:
    start = tree.start_pos if not hasattr(tree, "data") else getattr(tree.meta, "start_pos", 0)
    return int(start) + 1


def primes_in(token: Any) -> int:
    return str(token).count("'") or str(token).count("\\prime")


def _sub_groups(tokens: Any, at: int) -> list[list[str]]:
    """The parts of a subscript, and the groups that commas make: {L,i'} is [["L"], ["i'"]], {k+1} is [["k+1"]]."""
    groups: list[list[str]] = [[]]
    joins = False
    for token in tokens:
        rule, group = rule_of(token), groups[-1]
        if rule == "COMMA":
            groups.append([])
        elif rule == "PRIME" and group:
            group[-1] += "'" * primes_in(token)
        elif rule == "SIGN" and group:
            group[-1] += "+" if token == "+" else "−"
            joins = True
        elif rule in ("LETTER", "GREEK", "NUMBER"):
            text = GREEK[token[1:]] if rule == "GREEK" else str(token)
            if rule == "NUMBER" and (len(token) > _MOST_DIGITS or not token.isdigit()):
                raise UnreadableError(
                    f"an index is a letter or a number of up to {_MOST_DIGITS} digits", position_of(token)
                )
            if joins:
                group[-1] += text
            else:
                group.append(text)
            joins = False
        else:
            raise UnreadableError(f"{token} is not expected in a subscript", position_of(token))
    if joins or not all(groups):
        raise UnreadableError("a subscript is not complete", at)
    return groups


def indices_of(tokens: Any, at: int) -> tuple[s.Index, ...]:
    """The indices of a subscript; `at` is where it, or what has it, stands."""
    return tuple(_index(part, at) for group in _sub_groups(tokens, at) for part in group)


def _index(text: str, at: int) -> s.Index:
    if text.isdigit() and int(text) == 0:
        raise UnreadableError("an index of 0: indices count from 1", at)
    if "+" in text or "−" in text:
        raise UnreadableError(f"the index {text}: only a layer is counted on or back", at)
    return int(text) if text.isdigit() else text


def index_in(node: s.Node) -> s.Index | None:
    """The index that an expression is; None where it is more than one, or no index."""
    if isinstance(node, s.Name):
        return node.symbol
    if isinstance(node, s.Number) and node.value.denominator == 1 and 0 < node.value < 10**_MOST_DIGITS:
        return int(node.value)
    return None


def named(letter: str, tokens: tuple[Any, ...], at: int) -> s.Node:
    """A letter with its subscript: a_{Li} is element i of layer L, W_{111} element 1, 1 of layer 1, ŷ_ℓ element ℓ.
    δ_{ij} is Kronecker's, an indicator."""
    groups = _sub_groups(tokens, at)
    symbol = letter
    first = groups[0][0]
    if letter in _LAYERED and (first.isdigit() or first[0] == "L" or first[0] == "k"):
        if first.isdigit() and len(groups) == 1:
            layer, rest = first[0], first[1:]
            groups[0][:1] = [rest] if rest else []
        else:
            layer = groups[0].pop(0)
        symbol = f"{letter}_{layer}" if len(layer) == 1 else f"{letter}_{{{layer}}}"
    parts = [part for group in groups for part in group]
    if letter == "δ" and len(parts) == 2 and "L" not in parts:  # with L it would be an error of the last layer
        return s.Indicator(_index(parts[0], at), _index(parts[1], at))
    if letter == "W" and len(parts) == 1 and parts[0].isdigit():
        parts = list(parts[0])  # W_{111}, W_{1,11}: row and column are digits side by side
    return s.Indexed(symbol, tuple(_index(part, at) for part in parts)) if parts else s.Name(symbol)
