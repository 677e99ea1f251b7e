"""`python -m chainrule` is the command `chainrule`."""

from chainrule.command.cli import run

run()
