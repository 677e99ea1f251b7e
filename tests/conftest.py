"""What every test leaves as it found it."""

import sys

import pytest


@pytest.fixture(autouse=True)
def jax_as_it_was():
    """JAX's 64 bits are off but where a test turns them on: a later test would be given other numbers."""
    yield
    if jax := sys.modules.get("jax"):
        jax.config.update("jax_enable_x64", False)
