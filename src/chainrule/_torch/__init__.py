"""The parts of `chainrule.torch`: operators, their gradients, and what runs on other devices."""
