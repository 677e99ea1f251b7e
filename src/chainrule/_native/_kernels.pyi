"""The compiled kernels."""

from typing import Any

import numpy.typing as npt

def run(
    format: str,
    output: str,
    logits: npt.NDArray[Any],
    result: npt.NDArray[Any],
    options: dict[str, Any],
    threads: int,
) -> float: ...
def max_threads() -> int: ...
def instruction_set() -> str: ...
