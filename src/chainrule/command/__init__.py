"""The command `chainrule`: `cli` and `derive` read the command line and print, `jobs` do the work."""
