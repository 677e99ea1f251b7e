"""What an explanation looks like: as text, in a terminal, as LaTeX, in a notebook, as a page."""
