"""The derivations themselves: lines and rules, as data. To add one, write it into a file here."""

from __future__ import annotations

from collections.abc import Iterator

from chainrule.derive.written import Written

__all__ = ["all_written"]


def all_written() -> Iterator[Written]:
    """Every derivation, in the order in which they are taught."""
    from chainrule.derive.lines import activations, hidden_layers, in_code, one_weight, output_layer, variants

    for topic in (output_layer, hidden_layers, one_weight, in_code, variants, activations):
        yield from topic.DERIVATIONS
