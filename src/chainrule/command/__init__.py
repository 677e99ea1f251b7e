"""The command `chainrule`: `arguments` and `cli` read and print, `training`, `jobs` and `derive` do the work."""
