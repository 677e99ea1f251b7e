"""Pages about a trained network: the report of its training and the gallery of its examples."""
