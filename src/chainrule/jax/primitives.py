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

from chainrule.jax import ffi

try:
    from jax import enable_x64
except ImportError:  # before JAX 0.8
    from jax.experimental import enable_x64

__all__ = ["row_primitive"]

WITH_FLOAT64 = ("cuda", "rocm")  # a TPU's is made of float32, whose bits nobody reads


def row_primitive(
    name: str,
    function: Callable[..., Any],
    kernel: Callable[..., Any] | None = None,
    exact: Callable[..., Any] | None = None,
    *,
    several: bool = False,
) -> Any:
    """A primitive that is `function`, of one result or a tuple of several, and `kernel` on a CPU that has it. Where it
    has not, and on other platforms with float64, it is `exact`, which is lowered with 64 bits switched on.

    Its derivatives are set where it is made. Its parameters, which can be hashed, are all functions' by name.
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
    lowered = partial(mlir.lower_fun, multiple_results=several)
    anywhere = lowered(function)
    mlir.register_lowering(primitive, anywhere)
    if exact is not None:
        anywhere = _in_float64(lowered(exact))
        for platform in WITH_FLOAT64:
            mlir.register_lowering(primitive, anywhere, platform=platform)
    if kernel is not None:
        by_kernel = lowered(kernel)

        def on_cpu(*arguments: Any, **parameters: Any) -> Any:
            return (by_kernel if ffi.registered() else anywhere)(*arguments, **parameters)

        mlir.register_lowering(primitive, on_cpu, platform="cpu")
    return primitive


def _in_float64(rule: Callable[..., Any]) -> Callable[..., Any]:
    def lowering(*arguments: Any, **parameters: Any) -> Any:
        with enable_x64(True):
            return rule(*arguments, **parameters)

    return lowering
