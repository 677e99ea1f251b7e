"""A derivation that is read, and a slip in it that is not passed."""

from chainrule.derive.people.check import check_derivation

__all__ = ["assert_read_without_a_slip"]


def assert_read_without_a_slip(written, wrong, name="notes.md"):
    """All of it follows, and no longer where `wrong`, a text that stands once and another in its place, is put in."""

    def verdicts(text):
        return {step["verdict"] for step in check_derivation(text, name).steps}

    assert verdicts(written) == {"follows"}
    assert written.count(wrong[0]) == 1
    assert verdicts(written.replace(*wrong)) - {"follows"}
