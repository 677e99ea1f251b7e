"""The chain of factors for one example: why a weight gets its gradient."""

from chainrule.explain.chain import Chain, Explanation, Factor, Group, Path, explain
from chainrule.explain.page import write_page
from chainrule.explain.text import chain_text

__all__ = ["Chain", "Explanation", "Factor", "Group", "Path", "chain_text", "explain", "write_page"]
