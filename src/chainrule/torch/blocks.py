"""Logits (N, K, …) cut into matrices of rows that fit into a buffer."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

__all__ = ["Block", "blocks_of", "put"]


class Block:
    """Some positions of some examples."""

    def __init__(self, examples: slice, positions: slice, k: int):
        self.examples, self.positions, self.k = examples, positions, k

    def part(self, tensor: torch.Tensor) -> torch.Tensor:
        flat = tensor.flatten(2) if tensor.dim() > 2 else tensor[..., None]
        return flat[self.examples, :, self.positions]

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        """Of logits, or what has their shape, as a matrix (rows, K)."""
        return self.part(tensor).movedim(1, -1).reshape(-1, self.k)

    def of_rows(self, tensor: torch.Tensor) -> torch.Tensor:
        """Of what has the logits' shape without the classes, (rows,)."""
        flat = tensor.flatten(1) if tensor.dim() > 1 else tensor[:, None]
        return flat[self.examples, self.positions].reshape(-1)


def blocks_of(logits: torch.Tensor, buffer_bytes: int) -> Iterator[Block]:
    """In the order of the flattened targets; each block's logits fit into the buffer, or are a single row."""
    n, k = logits.shape[:2]
    positions = math.prod(logits.shape[2:])
    rows = max(1, buffer_bytes // (k * logits.dtype.itemsize))
    if positions and rows >= positions:
        yield from (Block(slice(i, i + rows // positions), slice(None), k) for i in range(0, n, rows // positions))
    else:
        for i in range(n):
            yield from (Block(slice(i, i + 1), slice(j, j + rows), k) for j in range(0, positions, rows))


def put(tensor: torch.Tensor, block: Block, matrix: torch.Tensor) -> None:
    """A block's matrix back to where it came from."""
    part = block.part(tensor)
    part.copy_(matrix.reshape(part.shape[0], part.shape[2], block.k).movedim(-1, 1))
