"""`Chain`: all that is known of one weight's gradient, and the ways to show it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chainrule.explain.example import Example
from chainrule.explain.records import Finding, Group, PathToLoss, Record, Verdict
from chainrule.explain.views.latex import chain_latex
from chainrule.explain.views.notebook import chain_html
from chainrule.explain.views.page import write_page
from chainrule.explain.views.terminal import rich_chain
from chainrule.explain.views.text import chain_text

__all__ = ["Chain"]


@dataclass(frozen=True)
class Chain(Record):
    """The chain for one weight, W_{unit,input} of a layer, or for one unit's pre-activation (input is None).

    of : the name of what is derived: 𝓛, or J where the 1/N of a batch's mean is a factor
    product, from_backward, finite_difference : the same gradient three ways, with the error of the last and its verdict
    n_paths, paths : how many paths there are, and the strongest, largest |product| first
    share : of the sum, by the paths that are listed; share_of_sizes : the same of the sum of |product|
    cancels : whether paths are open and their sum is 0 or nothing but rounding; the shares of it are 0 then
    why : one sentence on the size of the gradient; findings : what else is worth knowing of the example
    conventions : what is in the numbers and what is held fixed, a sentence each
    """

    symbol: str
    layer: int
    unit: int
    input: int | None
    label: int
    loss: float
    groups: list[Group]
    product: float
    from_backward: float
    finite_difference: float
    relative_error: float
    verdict: Verdict
    n_paths: int
    paths: list[PathToLoss]
    of: str = "𝓛"
    batch_size: int | None = None
    share: float = 0.0
    share_of_sizes: float = 0.0
    cancels: bool = False
    why: str = ""
    findings: list[Finding] = field(default_factory=list)
    conventions: list[str] = field(default_factory=list)
    held_fixed: str = ""
    explanation: Example | None = field(default=None, repr=False, compare=False)

    def to_text(self) -> str:
        """The chain as plain text, read from the loss backwards."""
        return chain_text(self.whole(), self)

    def to_latex(self) -> str:
        """The chain as LaTeX (amsmath, amssymb): each symbol over its number, group by group."""
        return chain_latex(self)

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write the page of the chain, whole or not at all (chainrule[cli])."""
        return write_page(path, self.whole(), self)

    def _repr_html_(self) -> str:
        return chain_html(self)

    def __rich__(self) -> Any:
        return rich_chain(self)

    def whole(self) -> Example:
        """The explanation that the chain is of."""
        if self.explanation is None:
            raise ValueError("a chain that did not come from an Explanation has no page and no text of its own")
        return self.explanation
