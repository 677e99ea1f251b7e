"""Derivations as people write them: documents in, a verdict for each step out."""
