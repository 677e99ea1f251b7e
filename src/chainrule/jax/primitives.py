"""Primitives of JAX for functions of rows: any leading axes, and work along the last one.

They are primitives, not functions with `jax.custom_jvp`, because JAX (0.10) forgets such a function's rule where it
stands in a `lax.scan` that is differentiated twice; and a primitive may have a lowering of its own for the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

__all__ = ["row_primitive"]


def row_primitive(
    name: str, function: Callable[..., Any], on_cpu: Callable[..., Any] | None = None, *, several: bool = False
) -> Any:
    """A primitive that is `function`, of one result or a tuple of several, and `on_cpu` where that is given.

    Its derivatives are set where it is made. Its parameters, which can be hashed, are both functions' by name.
    """
    primitive = Primitive(f"chainrule_{name}")
    primitive.multiple_results = several

    @lru_cache
    def typed(*avals: Any, **parameters: Any) -> Any:
        found = jax.make_jaxpr(partial(function, **parameters))(*avals).out_avals
        return found if several else found[0]

    def batch(arguments: Any, axes: Any, **parameters: Any) -> Any:
        size = next(a.shape[axis] for a, axis in zip(arguments, axes, strict=True) if axis is not None)
        moved = [batching.bdim_at_front(a, axis, size) for a, axis in zip(arguments, axes, strict=True)]
        results = primitive.bind(*moved, **parameters)
        return (results, [0] * len(results)) if several else (results, 0)

    primitive.def_abstract_eval(typed)

    @lru_cache
    def compiled(**parameters: Any) -> Any:
        return jax.jit(lambda *arguments: primitive.bind(*arguments, **parameters))

    def run(*arguments: Any, **parameters: Any) -> Any:
        with jax.disable_jit(False):  # there is nothing to step through, and without jit it would call itself
            return compiled(**parameters)(*arguments)

    primitive.def_impl(run)
    batching.primitive_batchers[primitive] = batch
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=several))
    if on_cpu is not None:
        mlir.register_lowering(primitive, mlir.lower_fun(on_cpu, multiple_results=several), platform="cpu")
    return primitive
