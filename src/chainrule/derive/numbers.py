"""A derivation in numbers: the value of every line at one point, the same from top to bottom.

The point is the user's logits and label. Every other name has a fixed example: `EXAMPLES` has those of the scalars, and
weights, biases, hidden units and the rest take the numbers of `ENTRIES`, each name from another one on. Where g may be
any function, it is tanh.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chainrule.derive.checking.given import Point, aligned, free_indices
from chainrule.derive.checking.values import array_at, value_at
from chainrule.derive.people.values import Plain
from chainrule.derive.setting import Defined, Free, Setting
from chainrule.derive.syntax import Call, Indexed, Name, Node, Number, walk
from chainrule.derive.writing import unicode
from chainrule.errors import InputError

if TYPE_CHECKING:
    from chainrule.derive.derivation import Derivation

__all__ = ["ENTRIES", "EXAMPLES", "LABEL", "LOGITS", "values", "with_numbers"]

LOGITS = (2.0, 1.0, 0.1)
LABEL = 1  # counted from 1, as ℓ is
EXAMPLES = {"T": "2", "γ": "2", "ε": "0.1", "λ": "0.1", "y": "0.8"}
ENTRIES = ("0.5", "-0.3", "0.8", "0.2", "-0.6", "0.4", "-0.1", "0.7", "-0.9")
_LARGEST = 40  # of a logit: exp(−80) still has digits where derivatives are differences
_MOST_CLASSES = 10
_AGREE = 30  # digits


def with_numbers(
    derivation: Derivation, *, logits: Sequence[float] | None = None, label: int | None = None
) -> Derivation:
    """The same derivation with the value of every line beside it, and in its introduction the point.

    A line in which an index is free has a value for each value of the index; ℓ is the label.

    Parameters
    ----------
    derivation : what `derive` gives
    logits : 2 to 10 numbers from −40 to 40; by default 2.0, 1.0, 0.1
    label : the true class, counted from 1 as in the lecture; by default 1

    Raises
    ------
    InputError
        The logits or the label are not of that kind, or the derivation has none; or the value of a line is not that of
        the line before it.

    Examples
    --------
    >>> from chainrule.derive import derive
    >>> with_numbers(derive("gradient_wrt_logits")).lines[-1].value
    '[−0.3410, 0.2424, 0.0986]'
    """
    example = _Example(derivation, logits, label)
    shown = [_shown(value) for value in example.values()]
    lines = tuple(replace(line, value=value) for line, value in zip(derivation.lines, shown, strict=True))
    return replace(derivation, intro=f"{derivation.intro} {example.words()}".strip(), lines=lines)


def values(derivation: Derivation, *, logits: Sequence[float] | None = None, label: int | None = None) -> list[Any]:
    """The value of every line: a float, or lists of floats. Parameters and errors are those of `with_numbers`.

    Examples
    --------
    >>> from chainrule.derive import derive
    >>> round(values(derive("loss"), logits=[0, 0])[-1], 4)
    0.6931
    """
    return _Example(derivation, logits, label).values()


class _Chain(NamedTuple):
    """Expressions that are equal to each other: the left side if there is one, then the lines, from `first` on."""

    first: int
    left: Node | None
    rights: list[Node]

    @property
    def sides(self) -> list[Node]:
        return self.rights if self.left is None else [self.left, *self.rights]


class _Example:
    """A derivation, and where it is evaluated."""

    def __init__(self, derivation: Derivation, logits: Sequence[float] | None, label: int | None) -> None:
        defined = derivation.setting.defined.items()
        put = {s: replace(entry, expression=_put_tanh(entry.expression)) for s, entry in defined}
        self.setting = replace(derivation.setting, defined=put)
        self.chains: list[_Chain] = []
        for n, line in enumerate(derivation.lines, start=1):
            if line.left is not None or not self.chains:
                left = line.left and _put_tanh(line.left)
                self.chains.append(_Chain(n, left, []))
            self.chains[-1].rights.append(_put_tanh(line.right))
        sides = [side for line in derivation.lines for side in (line.left, line.right) if side is not None]
        used = _used(sides, derivation.setting)
        self.meanings = {s: defined for s, defined in derivation.setting.defined.items() if s in used}
        self.has_g = any(_has_g(node) for node in (*sides, *(defined.expression for defined in self.meanings.values())))
        if logits is not None and "a_L" not in used:
            raise InputError(f"logits: got some, but {derivation.name} has no logits a_L that could take them")
        self.logits = _logits(LOGITS if logits is None else logits)
        self.classes = len(self.logits)
        self.letters = [free_indices(chain.sides, self.setting, self.classes) for chain in self.chains]
        # In one order for all chains: rows and columns of values stay what they are.
        self.order = list(dict.fromkeys(letter for letters in self.letters for letter in letters if letter != "ℓ"))
        self.has_label = any("ℓ" in letters for letters in self.letters)
        if label is not None and not self.has_label:
            raise InputError(f"label: got one, but {derivation.name} has no label ℓ")
        self.label = _label(LABEL if label is None else label, self.classes)
        self.point: Point = {
            symbol: self._entries(symbol, free) for symbol, free in self.setting.free.items() if symbol in used
        }

    def words(self) -> str:
        """The point in words."""
        parts = [f"{symbol} = {_shown(_listed(value), short=True)}" for symbol, value in self.point.items()]
        parts += [f"ℓ = {self.label}"] if self.has_label else []
        parts += ["g = tanh"] if self.has_g else []
        parts = [part.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}") for part in parts]
        words = f"In numbers: {', '.join(parts)}."
        if self.meanings and set(self.point) != {"a_L"}:  # the lecture's output layer needs no reminder
            words += f" Here {', '.join(_meaning(s, defined) for s, defined in self.meanings.items())}."
        counts = {letter: count for letters in self.letters for letter, count in letters.items()}
        each = [f"{letter} = {_counted(counts[letter])}" for letter in self.order]
        if len(each) == 1:
            words += f" Where {self.order[0]} is free, there is a value for each of {each[0]}."
        elif each:
            words += f" Where {' and '.join(self.order)} are free, there is a row for each of {each[0]}"
            words += f" with a value for each of {', '.join(each[1:])}."
        return words

    def values(self) -> list[Any]:
        """The value of every line. Those of a chain are compared with its first side."""
        found: list[Any] = []
        for chain, letters in zip(self.chains, self.letters, strict=True):
            computed = [self._computed(side, letters) for side in chain.sides]
            for n, other in enumerate(computed[-len(chain.rights) :], start=chain.first):
                if not _agree(_flat(computed[0]), _flat(other)):
                    raise InputError(f"line {n}: is {_shown(other)}, and what it should equal {_shown(computed[0])}")
                found.append(_floats(other))
        return found

    def _computed(self, side: Node, letters: Mapping[str, int]) -> Any:
        """The value of a side; a list of values where a letter is free, and so on for the next letter."""
        others = {letter: letters[letter] for letter in self.order if letter in letters}
        found = array_at(side, self.setting, self.classes, self.point, {"ℓ": self.label}, others)
        shape = (*others.values(), *found.data.shape[len(found.letters) :])
        _, data, _ = aligned(Plain(np.empty(shape), tuple(others)), found)

        def at(value: Any, left: int) -> Any:
            return [at(part, left - 1) for part in value] if left else _listed(value)

        return at(data.tolist(), len(others))

    def _entries(self, symbol: str, free: Free) -> Any:
        axes = self.setting.axes(symbol, self.classes)
        count = math.prod(axes)
        if symbol == "a_L":
            entries = [_exact(Fraction(str(logit))) for logit in self.logits]
        elif free.domain == "simplex":  # most of it at the label
            rest = Fraction(1, 5 * (count - 1))
            entries = [_exact(Fraction(4, 5) if n == self.label else rest) for n in range(1, count + 1)]
        elif not axes:
            return _exact(Fraction(EXAMPLES.get(symbol, ENTRIES[0])))
        else:
            cycle = itertools.cycle(ENTRIES)
            skipped = itertools.islice(cycle, sum(map(ord, symbol)) % len(ENTRIES), None)
            drawn = [Fraction(entry) for entry in itertools.islice(skipped, count)]
            entries = [_exact(entry if free.domain in ("real", "nonzero") else abs(entry)) for entry in drawn]
        columns = axes[1] if len(axes) == 2 else 1
        return [entries[n : n + columns] for n in range(0, count, columns)]


def _used(nodes: Sequence[Node], setting: Setting) -> set[str]:
    """Every name that the expressions use, also by way of definitions."""
    found: set[str] = set()
    queue = list(nodes)
    while queue:
        for part in walk(queue.pop()):
            if isinstance(part, (Name, Indexed)) and part.symbol not in found:
                found.add(part.symbol)
                if part.symbol in setting.defined:
                    queue.append(setting.defined[part.symbol].expression)
    return found


def _put_tanh(node: Any) -> Any:
    """The expression with tanh for g: the checks' own stand-in for any function is one that nobody would choose."""
    if isinstance(node, tuple):
        return tuple(_put_tanh(part) for part in node)
    if not isinstance(node, Node):
        return node
    changed = {one.name: _put_tanh(getattr(node, one.name)) for one in fields(node)}  # type: ignore[arg-type]
    if isinstance(node, Call) and node.function.rstrip("'") == "g":
        changed["function"] = "tanh" + node.function[1:]
    return type(node)(**changed)


def _has_g(node: Node) -> bool:
    return any(isinstance(part, Call) and part.function.rstrip("'") == "g" for part in walk(node))


def _meaning(symbol: str, defined: Defined) -> str:
    return unicode.equation(Indexed(symbol, defined.indices) if defined.indices else Name(symbol), defined.expression)


def _logits(logits: Any) -> list[float]:
    expected = f"2 to {_MOST_CLASSES} numbers from −{_LARGEST} to {_LARGEST}"
    try:
        numbers = [float(logit) for logit in logits]
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"logits: got {logits!r}, expected {expected}") from None
    if not 2 <= len(numbers) <= _MOST_CLASSES:
        raise InputError(f"logits: got {len(numbers)} of them, expected {expected}")
    for number in numbers:
        if not abs(number) <= _LARGEST:
            raise InputError(f"logits: got {number}, expected {expected}")
    return numbers


def _label(label: Any, classes: int) -> int:
    if isinstance(label, bool) or not hasattr(label, "__index__") or not 1 <= label <= classes:
        raise InputError(f"label: got {label!r}, expected an integer from 1 to {classes}, the number of logits")
    return int(label)


def _exact(number: Fraction) -> Any:
    """A number as those that are computed with."""
    return value_at(Number(number), Setting({}), 2, {}, {})


def _listed(value: Any) -> Any:
    """A column or a row as a list, a matrix as a list of its rows."""
    if not isinstance(value, list):
        return value
    if len(value) == 1 or len(value[0]) == 1:
        return [entry for row in value for entry in row]
    return value


def _flat(value: Any) -> list[Any]:
    return [entry for part in value for entry in _flat(part)] if isinstance(value, list) else [value]


def _agree(left: list[Any], right: list[Any]) -> bool:
    return len(left) == len(right) and all(
        abs(x - y) <= max(abs(x), abs(y), 1) * x.context.mpf(10) ** -_AGREE for x, y in zip(left, right, strict=True)
    )


def _floats(value: Any) -> Any:
    """The value as floats; what is left of a difference that should be 0 is 0."""
    if isinstance(value, list):
        return [_floats(part) for part in value]
    return float(value) if abs(value) > value.context.mpf(10) ** -(_AGREE + 10) else 0.0


def _counted(count: int) -> str:
    return ", ".join(map(str, range(1, count + 1))) if count <= 4 else f"1, 2, …, {count}"


def _shown(value: Any, *, short: bool = False) -> str:
    """A value in four decimals, or where it is `short` anyway, as it is."""
    if isinstance(value, list):
        return f"[{', '.join(_shown(part, short=short) for part in value)}]"
    number = float(value)
    size = abs(number)
    if number == 0 or short:
        return f"{number:g}".replace("-", "−")
    if 1e-3 <= size < 1e5:
        return f"{number:.4f}".replace("-", "−")
    digits, _, power = f"{number:.3e}".partition("e")
    raised = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{digits} · 10{raised}".replace("-", "−")
