"""From LaTeX to expressions."""
