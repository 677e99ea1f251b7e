"""The parts of `chainrule.jax`."""
