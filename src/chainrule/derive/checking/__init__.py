"""Whether a step follows: by symbols, or by numbers at drawn points."""
