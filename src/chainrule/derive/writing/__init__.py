"""Derivations as text, LaTeX, MathML, notebooks and pages."""
