"""The chain of factors for one example: why a weight gets its gradient."""

from chainrule.explain.chain import Chain
from chainrule.explain.checking import CheckReport
from chainrule.explain.comparing import Comparison
from chainrule.explain.explanation import Explanation, explain
from chainrule.explain.records import CheckRow, Factor, Finding, Group, Move, OutputUnit, PathToLoss, Step
from chainrule.explain.rows import Rows
from chainrule.explain.views.page import write_page
from chainrule.explain.views.text import chain_text

__all__ = [
    "Chain", "CheckReport", "CheckRow", "Comparison", "Explanation", "Factor", "Finding", "Group", "Move", "OutputUnit",
    "PathToLoss", "Rows", "Step", "chain_text", "explain", "write_page",
]  # fmt: skip
