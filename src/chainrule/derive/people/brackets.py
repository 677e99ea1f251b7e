"""Conditions in brackets, indicators of them, and the layer in brackets behind a name."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod

from chainrule.derive.people.cursor import Cursor, split
from chainrule.derive.people.scripts import items_of
from chainrule.derive.people.tokens import Token
from chainrule.derive.people.tree import Condition, Item, Name, Node, NotReadError
from chainrule.derive.people.words import RELATIONS, relation_in

__all__ = ["Brackets"]


class Brackets(Cursor, ABC):
    @abstractmethod
    def whole(self, tokens: list[Token]) -> Node:
        """All of the tokens, read."""

    @abstractmethod
    def term(self) -> Node: ...
    @abstractmethod
    def factor(self) -> Node: ...
    @abstractmethod
    def name(self, name: Name) -> Node: ...
    @abstractmethod
    def scripted(self, node: Node) -> Node: ...

    def stops_argument(self, token: Token) -> bool:
        return token.text in (")", "]", "}", ",", "=", "&", "cdot", "times", "odot") and token.kind in ("char", "cmd")

    def condition(self, tokens: list[Token]) -> Condition:
        tokens = [t for t in tokens if t.kind != "space"]
        k = relation_in(tokens)
        if k is None:
            raise NotReadError("a condition without a relation")
        return Condition(self.whole(tokens[:k]), RELATIONS[tokens[k].text], self.whole(tokens[k + 1 :]))

    def indicator(self) -> Node | None:
        """What follows a 1 or an I, where that is a condition."""
        start = self.at
        token = self.peek()
        if token is None:
            return None
        if token.text == "_" and token.kind == "char":
            self.at += 1
            inside = self.group()
        elif token.text in ("{", "[", "("):
            try:
                inside = self.inside()
            except NotReadError:
                self.at = start
                return None
        else:
            return None
        while inside and inside[0].text in "([{" and inside[-1].text in ")]}" and len(inside) > 2:
            inside = inside[1:-1]
        parts = [part for part in split(inside, ",") if part]
        if not parts or any(relation_in(part) is None for part in parts):
            self.at = start
            return None
        try:
            return Node("ind", (), tuple(self.condition(part) for part in parts))
        except NotReadError:
            self.at = start
            return None

    def in_square_brackets(self) -> tuple[Item, ...] | None:
        """Indices as in code: S[i,k]. A bracket that holds an operation is a factor."""
        start = self.at
        try:
            inside = self.inside()
            items = items_of(inside, self.whole)
        except NotReadError:
            self.at = start
            return None
        if (
            inside
            and len(inside) <= 14
            and items
            and all(item.kind in ("letter", "number", "name") for item in items)
            and (any(t.text == "," for t in inside) or self._is_place(start, inside))
        ):
            return items
        self.at = start
        return None

    def _is_place(self, start: int, inside: list[Token]) -> bool:
        """Whether a bracket right behind a letter holds one index: P[i]."""
        before, opened = self.tokens[start - 1], self.tokens[start]
        near = start > 0 and before.kind == "char" and before.text not in "EI" and opened.at == before.at + 1
        return near and len(inside) == 1 and inside[0].text in "ijkmn"

    def layer_in_brackets(self) -> Item | None:
        """[1], [l] or [l-1] right behind a name."""
        opened, before = self.tokens[self.at], self.tokens[self.at - 1] if self.at else None
        close = next((k for k in range(self.at, min(self.at + 5, len(self.tokens))) if self.tokens[k].text == "]"), 0)
        inside = self.tokens[self.at + 1 : close]
        spelt = "".join(t.text for t in inside)
        if before is None or opened.at != before.at + len(before.text) or not re.fullmatch(r"\d|[lL]([+-]1)?", spelt):
            return None
        self.at = close + 1
        return Item("square", items_of(inside, self.whole))
