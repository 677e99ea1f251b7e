"""The compiled kernels."""

from typing import Any

import numpy as np
import numpy.typing as npt

def run(
    format: str,
    output: str,
    logits: npt.NDArray[Any],
    result: npt.NDArray[Any],
    options: dict[str, Any],
    threads: int,
) -> float: ...
def loss_and_gradient(
    logits: Any,
    labels: Any,
    reduction: str,
    ignore_index: int | None,
    label_smoothing: float,
    temperature: float,
    z_loss: float,
    threads: int,
) -> tuple[Any, npt.NDArray[Any]] | None: ...
def is_one(table: Any, tensor: Any) -> bool: ...
def loss_and_gradient_into(
    table: Any,
    logits: Any,
    labels: Any,
    gradient: Any,
    losses: Any | None,
    reduction: str,
    ignore_index: int | None,
    label_smoothing: float,
) -> float | None: ...

class OrdinaryLoss:
    def __init__(self, of: dict[str, Any]) -> None: ...
    def __call__(
        self,
        logits: Any,
        labels: Any,
        ignore_index: Any,
        reduction: Any,
        label_smoothing: Any,
        others: tuple[Any, ...],
    ) -> Any: ...
    def hands_on(self, gradient: Any, grad_loss: Any) -> bool: ...

def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]: ...
def multiply_float32(
    a: npt.NDArray[Any], b: npt.NDArray[Any], c: npt.NDArray[Any], adds: bool, threads: int
) -> None: ...
def multiply_float64(
    a: npt.NDArray[Any], b: npt.NDArray[Any], c: npt.NDArray[Any], adds: bool, threads: int
) -> None: ...
def infer_float32(
    weights: list[npt.NDArray[Any]],
    biases: list[npt.NDArray[Any]],
    activation: str,
    x: npt.NDArray[Any],
    result: npt.NDArray[Any],
    softmax: bool,
    threads: int,
) -> None: ...
def infer_float64(
    weights: list[npt.NDArray[Any]],
    biases: list[npt.NDArray[Any]],
    activation: str,
    x: npt.NDArray[Any],
    result: npt.NDArray[Any],
    softmax: bool,
    threads: int,
) -> None: ...
def xla_handlers() -> dict[str, Any]: ...
def max_threads() -> int: ...
def limit_threads(threads: int) -> None: ...
def instruction_set() -> str: ...
def instruction_sets() -> list[str]: ...

class TrainerFloat32:
    def __init__(
        self,
        widths: list[int],
        parameters: npt.NDArray[Any],
        gradient: npt.NDArray[Any],
        first: npt.NDArray[Any] | None,
        second: npt.NDArray[Any] | None,
        options: dict[str, Any],
    ) -> None: ...
    def run(
        self,
        x: Any,
        labels: npt.NDArray[Any] | None,
        targets: npt.NDArray[Any] | None,
        weights: npt.NDArray[Any] | None,
        order: npt.NDArray[Any],
        lr: npt.NDArray[Any],
        steps_before: int,
        stopped: npt.NDArray[Any],
        exchange: tuple[Any, ...] | None,
    ) -> dict[str, Any]: ...
    def last_step(self) -> list[float]: ...

class TrainerFloat64(TrainerFloat32): ...
