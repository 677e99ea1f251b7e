"""A tree of somebody's formula in one line of Unicode, for messages."""

from __future__ import annotations

from chainrule.derive.people.tree import Bound, Condition, Item, Name, Node

__all__ = ["shown"]


def shown(node: Node) -> str:
    """A formula as text.

    Examples
    --------
    >>> from chainrule.derive.people.grammar import parse
    >>> from chainrule.derive.people.tokens import tokens
    >>> shown(parse(tokens(r"-\\frac{y_k}{p_k} (1 - p_i)", {})))
    '−y_k / p_k (1 − p_i)'
    """
    return _shown(node, 0)


def _shown(node: Node, outer: int) -> str:
    """The text, in brackets where what stands around it binds more strongly than it does."""
    text, strength = _text(node)
    return f"({text})" if strength < outer else text


def _text(node: Node) -> tuple[str, int]:
    kids = node.kids
    if node.op == "num":
        return (f"{node.data:g}", 4)
    if node.op == "name":
        return _name(node.data), 4
    if node.op == "neg":
        return f"−{_shown(kids[0], 2)}", 1
    if node.op == "add":
        parts = [_shown(kids[0], 1)]
        parts += [f"− {_shown(kid.kids[0], 2)}" if kid.op == "neg" else f"+ {_shown(kid, 1)}" for kid in kids[1:]]
        return " ".join(parts), 1
    if node.op == "mul":
        signs = node.data or ("",) * (len(kids) - 1)
        parts = [_shown(kids[0], 2)]
        parts += [
            (f"{sign} " if sign else "") + _shown(kid, 3 if sign else 2)
            for sign, kid in zip(signs, kids[1:], strict=False)
        ]
        return " ".join(parts), 2
    if node.op == "div":
        return f"{_shown(kids[0], 2)} / {_shown(kids[1], 3)}", 2
    if node.op == "pow":
        return f"{_shown(kids[0], 4)}^{_shown(kids[1], 4)}", 3
    if node.op == "T":
        return f"{_shown(kids[0], 4)}ᵀ", 4
    if node.op == "fn":
        function, primes = node.data
        return f"{function}{'′' * primes}({_shown(kids[0], 0)})", 4
    if node.op in ("app", "appow"):
        return f"{_name(node.data)}({', '.join(_shown(kid, 0) for kid in kids)})", 4
    if node.op == "D":
        return f"∂{_shown(kids[0], 3)}/" + "".join(f"∂{_shown(kid, 3)}" for kid in kids[1:]), 3
    if node.op == "grad":
        return f"∇_{_shown(kids[1], 4) if len(kids) > 1 else ''} {_shown(kids[0], 3)}", 3
    if node.op in ("sum", "prod", "max", "min"):
        sign = {"sum": "Σ", "prod": "Π"}.get(node.op, node.op)
        return f"{sign}{_bound(node.data)} {_shown(kids[0], 2)}", 2
    if node.op == "ind":
        return f"𝟙[{', '.join(map(_condition, node.data))}]", 4
    if node.op == "elem":
        return f"{_shown(kids[0], 4)}_{''.join(map(_item, node.data))}", 4
    if node.op == "norm":
        return f"‖{_shown(kids[0], 0)}‖", 4
    return node.op + "(" + ", ".join(_shown(kid, 0) for kid in kids) + ")", 4


def _name(name: Name) -> str:
    text = name.base + "′" * name.primes
    if name.sub:
        inside = "".join(map(_item, name.sub))
        text += f"_{inside}" if len(inside) == 1 else f"_{{{inside}}}"
    if name.sup:
        inside = "".join(map(_item, name.sup))
        text += f"^{inside}" if len(inside) == 1 else f"^{{{inside}}}"
    return text


def _item(item: Item) -> str:
    if item.kind == "shifted":
        letter, shift = item.value
        return f"{letter}{'+' if shift > 0 else '−'}{abs(shift)}"
    if item.kind in ("round", "square"):
        inside = ",".join(map(_item, item.value))
        return f"({inside})" if item.kind == "round" else f"[{inside}]"
    if item.kind == "name":
        return shown(item.value)
    if item.kind == "condition":
        right = item.value.right
        return f"{_item(item.value.left)} {item.value.rel} {_item(right) if right is not None else ''}"
    return str(item.value)


def _condition(condition: Condition) -> str:
    left, right = (shown(side) if isinstance(side, Node) else str(side) for side in (condition.left, condition.right))
    return f"{left} {condition.rel} {right}"


def _bound(bound: Bound) -> str:
    inside = ", ".join(map(_condition, bound.conditions)) or ", ".join(bound.letters)
    return f"_{inside}" if len(inside) == 1 else f"_{{{inside}}}" if inside else ""
