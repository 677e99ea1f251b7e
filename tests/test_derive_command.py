"""`chainrule derive`, run as a user runs it, and derivations for the terminal."""

from types import SimpleNamespace

from lecture_lines import (
    LECTURE,
    derivation,
)

from chainrule.derive import terminal


def test_the_screen():
    shown = list(terminal.screen(derivation(), width=90))
    assert len(shown) == 10
    assert shown[0].splitlines()[0] == "∂(−log ŷ_ℓ)/∂a_{Li}"
    columns = {row.index("−0.2424") for block in shown for row in block.splitlines() if "−0.2424" in row}
    assert len(columns) == 1
    assert all(len(row) <= 90 for block in shown for row in block.splitlines())
    wide = "\n".join(terminal.screen(derivation(), width=200)).replace(" ", "")
    at = 0
    for words, _ in LECTURE[9:17]:
        at = wide.index("=" + words.replace(" ", ""), at)
    assert list(terminal.screen(SimpleNamespace(name="", title="", intro="", lines=[]))) == []
