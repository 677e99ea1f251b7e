"""Losses whose classes are split over the processes of a group, in the order of ranks, unevenly or not.

Each process has all rows: of logits (N, K_r) its own classes', or all hidden units and its own classes' weights, which
never become more logits than a chunk's. The forward pass tells and combines what the loss is made of, a block of rows
and one collective at a time (classes.py), and keeps a few numbers for each row; the backward pass computes the block's
logits and gradients from them. Hidden units get the sum of all processes' gradients.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd import Function

from chainrule.boundary.processes import Processes
from chainrule.errors import InputError
from chainrule.output.options import LossOptions
from chainrule.torch import devices
from chainrule.torch.classes import Block, Classes, Rows, combined, gradient
from chainrule.torch.double_double import DoubleDouble, high_of, total
from chainrule.torch.layer import Inputs

__all__ = ["of_rows"]

ARRAYS = 10  # of a block's shape, in float64, that live together
CHUNK_BYTES = 32 << 20
EXACT_BYTES = 8 << 20  # in double-double, whose many passes want a cache
DIFFERENTIABLE = ("logsumexp", "log_likelihood", "entropy")


@dataclass(frozen=True)
class Plan:
    """What is no tensor. wants : whose gradients; leaf : whose `.grad` receives the weights' gradient"""

    options: LossOptions
    classes: Classes
    rows: int
    dtype: torch.dtype
    extras: Sequence[str]
    exact: bool
    leaf: torch.Tensor | None = None


def of_rows(
    inputs: Inputs, options: LossOptions, processes: Processes, *, dtype: torch.dtype, chunk_bytes: int | None = None,
    extras: Sequence[str] = (), leaf: torch.Tensor | None = None, error: InputError | None = None,
) -> list[torch.Tensor]:  # fmt: skip
    """The loss and the extras of rows (N, D) and this process's classes' weights (K_r, D), or of logits (N, K_r), where
    `weight` is None. Labels (N,) count all classes, probabilities (N, K_r) and class weights (K_r,) are of those here.

    error : what this process has found wrong with its arguments; then every process raises
    """
    plan = _agreed(inputs, options, processes, dtype, chunk_bytes, extras, leaf, error)
    results: list[torch.Tensor] = list(_Split.apply(*inputs, plan))
    return results


def _agreed(
    inputs: Inputs, options: LossOptions, processes: Processes, dtype: torch.dtype, chunk_bytes: int | None,
    extras: Sequence[str], leaf: torch.Tensor | None, error: InputError | None,
) -> Plan:  # fmt: skip
    """Tell the others how many classes are here; what does not fit together is refused by all."""
    hidden, weight, _, target, class_weight = inputs
    n = k = labels = 0
    if error is None:
        n, k = hidden.shape[0], hidden.shape[1] if weight is None else weight.shape[0]
        labels = zlib.crc32(target.cpu().numpy().tobytes()) if target.dim() == 1 else 0
    wants = hidden.requires_grad and torch.is_grad_enabled() if error is None else False
    named = repr((options, dtype, tuple(extras), wants, chunk_bytes, class_weight is None, target.dtype))
    mine = torch.tensor([error is not None, n, k, zlib.crc32(named.encode()), labels])
    found = processes.gather(mine)
    if found[:, 0].any():
        said = processes.gather_objects(None if error is None else str(error))
        if error is not None:
            raise error
        rank = next(r for r, message in enumerate(said) if message is not None)
        raise InputError(f"group: rank {rank} was given: {said[rank]}")
    for column, what in ((1, "rows"), (3, "options, dtypes or wanted gradients"), (4, "labels")):
        other = (found[:, column] != found[0, column]).nonzero()
        if len(other):
            came = f"{int(found[other[0], column])} and {int(found[0, column])} " if column == 1 else "different "
            raise InputError(f"group: rank {int(other[0])} and rank 0 came with {came}{what}, expected the same")
    sizes = found[:, 2].tolist()
    if not sum(sizes):
        raise InputError("group: no rank has a class, expected at least one")
    firsts = tuple(sum(sizes[:r]) for r in range(len(sizes)))
    classes = Classes(processes, firsts[processes.rank], k, sum(sizes), firsts)
    if target.dim() == 1:  # the same everywhere
        devices.check_values(target, None, options, classes.all, probabilities=False)
    exact = hidden.dtype == torch.float64 or "logsumexp" in extras
    each = max(1, *sizes) * 8 * ARRAYS
    budget = min(CHUNK_BYTES, EXACT_BYTES) if exact else CHUNK_BYTES
    rows = max(1, (budget if chunk_bytes is None else min(budget, chunk_bytes)) // each)
    return Plan(options, classes, rows, dtype, extras, exact, leaf=leaf)


class _Split(Function):  # type: ignore[misc]
    """(hidden units or logits, weights, biases, target, class weights) → the loss and the extras."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: Any, bias: Any, target: torch.Tensor, class_weight: Any, plan: Plan
    ) -> Any:
        inputs = Inputs(hidden, weight, bias, target, class_weight)
        rows = [combined(block) for _, block in _blocks(inputs, plan)]
        counted = target != plan.options.ignore_index if target.dim() == 1 else None

        def joined(parts: list[torch.Tensor], empty: torch.dtype = torch.float64) -> torch.Tensor:
            return torch.cat([p[:, 0] for p in parts]) if parts else torch.zeros(0, dtype=empty, device=target.device)

        losses = joined([high_of(r.losses) for r in rows])
        told = {name: joined([r.told[name] for r in rows]) for name in plan.extras}
        if counted is not None:
            losses = torch.where(counted, losses, 0.0)
            for name, none in (("log_likelihood", 0.0), ("correct", False)):
                if name in told:
                    told[name] = torch.where(counted, told[name], none)
        divisor = torch.ones((), dtype=torch.float64, device=target.device)
        if plan.options.reduction == "mean":
            divisor = divisor * hidden.shape[0]
            if counted is not None:
                divisor = torch.where(counted, joined([r.told["weight"] for r in rows]), 0.0).sum()
            divisor = torch.where(divisor == 0, torch.inf, divisor)
        if plan.options.reduction != "none":
            losses = high_of(total(DoubleDouble(losses[None])))[0, 0] / divisor
        ctx.plan, ctx.rows, ctx.scale = plan, rows, 1.0 / divisor
        ctx.save_for_backward(*inputs)
        ctx.set_materialize_grads(False)
        results = [losses.to(plan.dtype)]
        for name in plan.extras:
            kind = {"prediction": torch.int64, "correct": torch.bool}.get(name, plan.dtype)
            results.append(told[name].to(kind))
        fixed = [r for r, name in zip(results[1:], plan.extras, strict=True) if name not in DIFFERENTIABLE]
        ctx.mark_non_differentiable(*fixed)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *given: torch.Tensor | None) -> Any:
        with torch.no_grad():
            found = _Split.gradients(ctx, *given)
        if torch.is_grad_enabled():  # create_graph=True
            of = [x for x in (*ctx.saved_tensors, *given) if x is not None and x.requires_grad]
            found = [None if g is None else _Once.apply(g, *of) for g in found]
        return *found, None, None, None

    @staticmethod
    def gradients(ctx: Any, by_loss: torch.Tensor | None, *others: torch.Tensor | None) -> Any:
        """Of hidden units or logits, weights and biases."""
        inputs, plan = Inputs(*ctx.saved_tensors), ctx.plan
        given = {n: g for n, g in zip(plan.extras, others, strict=True) if g is not None and n in DIFFERENTIABLE}
        if by_loss is not None:
            by_loss = (by_loss.double() * ctx.scale).expand(inputs.hidden.shape[0])
        sums = _Sums(inputs, plan, ctx.needs_input_grad)
        for (some, block), rows in zip(_blocks(inputs, plan), ctx.rows, strict=True):
            sums.add(some, _delta(some, block, rows, inputs, by_loss, given))
        return sums.given()


class _Once(Function):  # type: ignore[misc]
    """A gradient that has none of its own: to leave out that part of a second derivative would be wrong."""

    @staticmethod
    def forward(ctx: Any, gradient: torch.Tensor, *of: torch.Tensor) -> torch.Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *given: torch.Tensor) -> Any:
        raise InputError(
            "group: got a second derivative, expected first ones of classes that are split: gather the logits for it "
            "(torch.distributed.nn.functional.all_gather) and leave `group` out"
        )


def _blocks(inputs: Inputs, plan: Plan) -> Any:
    """Some rows at a time: their place, and the block. They are the same rows in every process."""
    hidden, weight, bias, target, class_weight = inputs
    wide = _product_dtype(hidden)
    if weight is not None:
        weight, bias = weight.to(wide), None if bias is None else bias.to(wide)
    k = plan.classes.here
    weights = torch.ones((1, k), dtype=torch.float64, device=hidden.device)
    if class_weight is not None:
        weights = class_weight.double()[None]
    if k == 0:
        weights = weights.new_zeros((1, 1))
    for begin in range(0, hidden.shape[0], plan.rows):
        some = slice(begin, min(begin + plan.rows, hidden.shape[0]))
        a = hidden[some]
        if weight is not None:
            a = torch.nn.functional.linear(a.to(wide), weight, bias)
        a, labels, shares = a.double(), None, None
        if target.dim() == 1:
            labels = torch.where(target[some] == plan.options.ignore_index, 0, target[some]).long()[:, None]
        else:
            shares = target[some].double() if k else a.new_zeros((len(a), 1))
        if k == 0:  # a class that does not count
            a = a.new_full((len(a), 1), -torch.inf)
        yield some, Block(plan.classes, plan.options, a, labels, shares, weights, plan.exact, plan.extras)


def _delta(
    some: slice, block: Block, rows: Rows, inputs: Inputs, by_loss: torch.Tensor | None, given: dict[str, torch.Tensor]
) -> torch.Tensor:
    """The gradients of a block's logits, (n, K_r) in float64."""
    ignored = None
    if inputs.target.dim() == 1:
        ignored = (inputs.target[some] == block.options.ignore_index)[:, None]

    def cotangent(of: torch.Tensor, name: str) -> torch.Tensor:
        each = of[some].double()[:, None]
        return torch.where(ignored, 0.0, each) if ignored is not None and name in ("", "log_likelihood") else each

    loss = None if by_loss is None else cotangent(by_loss, "")
    extras = {name: cotangent(g, name) for name, g in given.items()}
    found, lost = gradient(block, rows, loss, extras)
    if not block.exact and (block.soft or block.options.z_loss != 0.0):
        again = block.classes.processes.add(lost.long())[:, 0].nonzero()[:, 0]
        if len(again):  # in double-double, the rows in which any process has too few digits
            part = _exactly(block, again)
            found[again], _ = gradient(
                part, combined(part), None if loss is None else loss[again], {n: g[again] for n, g in extras.items()}
            )
    if ignored is not None and not {"logsumexp", "entropy"} & given.keys():
        found = torch.where(ignored, 0.0, found)  # also where the logits are NaN
    return found[:, : block.classes.here]


def _exactly(block: Block, rows: torch.Tensor) -> Block:
    labels, shares = (None if x is None else x[rows] for x in (block.labels, block.shares))
    return Block(block.classes, block.options, block.logits[rows], labels, shares, block.weights, True, block.extras)


class _Sums:
    """The gradients that are wanted, of hidden units or logits, weights and biases, as blocks of rows add to them."""

    def __init__(self, inputs: Inputs, plan: Plan, wants: Sequence[bool]) -> None:
        self.inputs, self.plan, self.wants = inputs, plan, wants
        self.wide = _product_dtype(inputs.hidden)
        hidden, weight, bias = inputs[:3]
        summed = self.wide if weight is not None else hidden.dtype
        self.hidden = torch.zeros(hidden.shape, dtype=summed, device=hidden.device) if wants[0] else None
        self.weight = None if weight is None or not wants[1] else torch.zeros_like(weight, dtype=self.wide)
        self.bias = None if bias is None or not wants[2] else torch.zeros_like(bias, dtype=self.wide)

    def add(self, some: slice, delta: torch.Tensor) -> None:
        hidden, weight, _, target, _ = self.inputs
        if weight is None:
            if self.hidden is not None:
                self.hidden[some] = delta.to(self.hidden.dtype)
            return
        if self.bias is not None:
            self.bias += delta.sum(0).to(self.wide)
        delta = delta.to(self.wide)
        if self.hidden is not None:
            self.hidden[some] = delta @ weight.to(self.wide)
        if self.weight is not None:
            x = hidden[some].to(self.wide)
            if target.dim() == 1:  # a gradient of 0 times a hidden unit that is NaN is NaN
                x = torch.where((target[some] == self.plan.options.ignore_index)[:, None], 0.0, x)
            self.weight.addmm_(delta.T, x)

    def given(self) -> tuple[Any, Any, Any]:
        hidden, weight, bias = self.inputs[:3]
        if weight is not None and self.hidden is not None:
            self.plan.classes.processes.add(self.hidden)
        of_weight = None if self.weight is None else self.weight.to(weight.dtype)
        leaf = self.plan.leaf
        if leaf is not None and of_weight is not None:
            leaf.grad = of_weight if leaf.grad is None else leaf.grad + of_weight
            of_weight = None
        return (
            None if self.hidden is None else self.hidden.to(hidden.dtype),
            of_weight,
            None if self.bias is None else self.bias.to(bias.dtype),
        )


def _product_dtype(hidden: torch.Tensor) -> torch.dtype:
    return torch.float64 if hidden.dtype == torch.float64 else torch.float32
