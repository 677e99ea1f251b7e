from typing import Any

import numpy as np
import numpy.typing as npt

def gradient(
    logits: npt.NDArray[Any],
    labels: npt.NDArray[np.int64],
    result: npt.NDArray[Any],
    losses: npt.NDArray[np.float64],
    weight: float,
    threads: int,
) -> None: ...
def softmax(logits: npt.NDArray[Any], result: npt.NDArray[Any], log: bool, threads: int) -> None: ...
def max_threads() -> int: ...
def instruction_set() -> str: ...
