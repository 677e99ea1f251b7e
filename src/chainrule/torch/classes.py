"""One block of rows whose classes are split over processes: what each tells of its own, and what all make of it.

With r for the processes, in their order, and of each row m_r the largest of rank r's z and s_r the sum of the
exponentials exp(z_j − m_r) of its others:

    m = max_r m_r,    s_o = s_R + Σ_{r≠R} (1 + s_r) exp(m_r − m), R the first rank with m,    S = 1 + s_o
    loss = (m − z_ℓ) + log1p(s_o),    grad_j = (e_j (Q − q_j + 2λ lse) − q_j o_j)/S,  o_j = S − e_j, s_o for the largest

as in one process (_native/options.cpp). What targets weigh is summed likewise. Numbers are float64, or double-double
where float64 would lose digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from chainrule.boundary.processes import Processes
from chainrule.output.options import LossOptions
from chainrule.torch.double_double import DoubleDouble, Number, exp, high_of, log1p, select, total, zeros_where

__all__ = ["Block", "Classes", "Rows", "combined", "gradient"]

FEW = 2.0**-18  # how small a part of its terms a difference may be, before float64 has too few digits for float32


@dataclass(frozen=True)
class Classes:
    """Which classes this process has: `here` of them from the `first`, of `all`. firsts : of every rank."""

    processes: Processes
    first: int
    here: int
    all: int
    firsts: tuple[int, ...]


@dataclass(frozen=True)
class Block:
    """Some rows: their logits, (n, k) in float64, of this process's classes, k ≥ 1, and their targets.

    labels : (n, 1), those of ignored rows 0; or shares : (n, k) class probabilities; weights : (1, k) of the classes;
    exact : in double-double; extras : what is told besides
    """

    classes: Classes
    options: LossOptions
    logits: torch.Tensor
    labels: torch.Tensor | None
    shares: torch.Tensor | None
    weights: torch.Tensor
    exact: bool
    extras: Sequence[str]

    @property
    def soft(self) -> bool:
        """Has more than one class a target?"""
        return self.labels is None or self.options.label_smoothing != 0.0

    def number(self, value: torch.Tensor) -> Number:
        return DoubleDouble(value) if self.exact else value

    def shaped(self) -> tuple[Number, Number]:
        """z, and z′; a number where it is the same for all."""
        o, z = self.options, self.number(self.logits)
        slope: Number = self.number(torch.ones_like(self.weights[:, :1]))
        if o.softcap != 0.0:
            u = self.number(self.logits.abs().clamp(max=373.0 * o.softcap / o.scale)) * o.scale / o.softcap
            e = exp(u * -2.0)
            capped = (1.0 - e) / (1.0 + e) * o.softcap
            slope = e / ((1.0 + e) * (1.0 + e)) * (4.0 * o.scale)
            sign = torch.where(self.logits < 0, -1.0, 1.0)
            z = select(self.logits == -torch.inf, self.number(self.logits), capped * sign)
            z = select(self.logits.isnan(), self.number(self.logits), z)
        elif o.scale != 1.0:
            z, slope = z * o.scale, slope * o.scale
        if o.temperature != 1.0:
            z, slope = z / o.temperature, slope / o.temperature
        return z, slope

    def places(self) -> torch.Tensor:
        """Where the labels are, (n, k) booleans."""
        assert self.labels is not None
        here = torch.arange(self.logits.shape[1], device=self.logits.device) + self.classes.first
        return (here < self.classes.first + self.classes.here) & (here == self.labels)

    def targets(self, *, given: bool = False) -> Number:
        """q, (n, k): smoothed and weighted, or as they were given."""
        q = self.number(self.places().to(self.logits.dtype) if self.shares is None else self.shares)
        if given:
            return q
        if (epsilon := self.options.label_smoothing) != 0.0:
            one = self.number(torch.ones_like(self.weights[:, :1]))
            q = q * (one - epsilon) + one * epsilon / float(self.classes.all)
        return q * self.weights

    def told(self) -> dict[str, Number]:
        """What the others need to know of this process's classes, each (n, 1)."""
        z, _ = self.shaped()
        largest, at = self.logits.max(1, keepdim=True)
        top = _at(z, at)
        below = _shift(top) - z
        e = exp(-below)
        others = total(_put(e, at, 0.0))
        found: dict[str, Number] = {"largest": largest, "top": top, "others": others}
        found["at"] = (at + self.classes.first).to(largest.dtype)
        if self.labels is not None:
            place = self.labels - self.classes.first
            mine = (place >= 0) & (place < self.classes.here)
            place = torch.where(mine, place, 0)
            found["label"] = select(mine, _at(z, place), -torch.inf)
            found["weight"] = torch.where(mine, self.weights.expand_as(self.logits).gather(1, place), 0.0)
        if self.soft:
            q = self.targets()
            found["mass"], found["far"] = total(q), total(zeros_where(high_of(q) == 0, q * below))
        if "entropy" in self.extras:
            found["spread"] = total(zeros_where(high_of(e) == 0, e * below))
        if self.shares is not None and "log_likelihood" in self.extras:
            q = self.targets(given=True)
            found["given mass"], found["given far"] = total(q), total(zeros_where(high_of(q) == 0, q * below))
        if self.shares is not None and "correct" in self.extras:
            heaviest, place = self.shares.max(1, keepdim=True)
            found["heaviest"], found["heavy"] = heaviest, (place + self.classes.first).to(largest.dtype)
        return found


@dataclass(frozen=True)
class Rows:
    """What all processes know of some rows, each (n, 1): z of the largest class, and which that is; the sum of the
    others' exponentials; log S; the targets' mass; the losses, and the extras that were asked for."""

    top: Number
    at: torch.Tensor
    others: Number
    log_sum: Number
    mass: Number
    given_mass: Number
    losses: Number
    told: dict[str, torch.Tensor]


def combined(block: Block) -> Rows:
    """Tell the others of this process's classes, by one collective, and combine what all have told."""
    told = block.told()
    columns = [part for value in told.values() for part in _parts(value)]
    found = block.classes.processes.gather(torch.cat(columns, 1))
    all_of: dict[str, Number] = {}
    at = 0
    for name, value in told.items():
        wide = len(_parts(value))
        parts = [found[:, :, at + i : at + i + 1] for i in range(wide)]
        all_of[name], at = (DoubleDouble(*parts) if wide == 2 else parts[0]), at + wide
    return _rows(block, all_of)


def _rows(block: Block, all_of: dict[str, Number]) -> Rows:
    options, largest = block.options, all_of["largest"]
    assert isinstance(largest, torch.Tensor)
    winner = largest.argmax(0, keepdim=True)  # the first of the largest, or the first NaN
    top, ranks = _of_rank(all_of["top"], winner), range(largest.shape[0])
    size = [exp(all_of["top"][r] - top) for r in ranks]  # of each rank's largest
    others = block.number(torch.zeros_like(largest[0]))
    for r in ranks:
        own = all_of["others"][r]
        others = others + select(winner[0] == r, own, (1.0 + own) * size[r])
    broken = high_of(top) - high_of(top)  # NaN where the largest is infinite, or none
    others = others + broken
    log_sum = log1p(others)
    logsumexp = top + log_sum
    extras: dict[str, torch.Tensor] = {"logsumexp": high_of(logsumexp)}

    def of_targets(mass: str, far: str) -> tuple[Number, Number]:
        """Σ q, and Σ q_j (m − z_j)."""
        masses = distances = block.number(torch.zeros_like(largest[0]))
        for r in ranks:
            own = all_of[mass][r]
            apart = zeros_where(high_of(own) == 0, own * (top - _shift(all_of["top"][r])))
            masses, distances = masses + own, distances + all_of[far][r] + apart
        return masses, distances

    given_mass: Number = block.number(torch.ones_like(largest[0]))
    distance: Number = given_mass
    if block.labels is not None:
        firsts = torch.tensor(block.classes.firsts[1:], device=largest.device)
        owner = torch.bucketize(block.labels, firsts, right=True)[None]
        distance = top - _of_rank(all_of["label"], owner)
        weight = high_of(_of_rank(all_of["weight"], owner))
        extras["weight"] = weight
    if block.soft:
        mass, far = of_targets("mass", "far")
        losses = far + mass * log_sum
    else:
        mass = block.number(weight)
        losses = zeros_where(weight == 0, (distance + log_sum) * weight) + broken
    if options.z_loss != 0.0:
        losses = losses + logsumexp * logsumexp * options.z_loss
    if "entropy" in block.extras:
        spread = block.number(torch.zeros_like(largest[0]))
        for r in ranks:
            apart = zeros_where(
                high_of(size[r]) == 0, (all_of["others"][r] + 1.0) * size[r] * (top - _shift(all_of["top"][r]))
            )
            spread = spread + all_of["spread"][r] * size[r] + apart
        extras["entropy"] = high_of(log_sum + spread / (others + 1.0))
    if block.labels is not None:
        extras["log_likelihood"] = 0.0 - high_of(distance + log_sum)
    elif "log_likelihood" in block.extras:
        given_mass, far = of_targets("given mass", "given far")
        extras["log_likelihood"] = 0.0 - high_of(far + given_mass * log_sum)
    at = high_of(_of_rank(all_of["at"], winner)).long()
    extras["prediction"] = at
    if "correct" in block.extras:
        right = block.labels
        if right is None:
            heaviest = high_of(all_of["heaviest"]).argmax(0, keepdim=True)
            right = high_of(_of_rank(all_of["heavy"], heaviest)).long()
        extras["correct"] = (at == right) & ~high_of(losses).isnan()
    return Rows(top, at, others, log_sum, mass, given_mass, losses, extras)


def gradient(
    block: Block, rows: Rows, by_loss: torch.Tensor | None, by_extras: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """What cotangents (n, 1) of the losses and of extras give for this process's logits, (n, k), and in which rows
    float64 has too few digits for that, (n, 1)."""
    z, slope = block.shaped()
    place = rows.at - block.classes.first
    mine = (place >= 0) & (place < block.classes.here)
    below = rows.top - z
    e, whole = exp(z - rows.top), rows.others + 1.0
    o = whole - e
    at = torch.where(mine, place, 0)
    o = _put(o, at, select(mine, rows.others, _at(o, at)))
    result = e * 0.0
    lost = torch.zeros_like(rows.at, dtype=torch.bool)

    def of_targets(q: Number, mass: Number, pull: Number | float) -> tuple[Number, torch.Tensor]:
        rest = mass - q
        first, second = e * (rest + pull), q * o
        difference = first - second
        widest = high_of(e) * (high_of(rest).abs() + abs(high_of(pull))) + high_of(second).abs()
        return difference, (high_of(difference).abs() < widest * FEW).any(1, keepdim=True)

    if by_loss is not None:
        pull = (rows.top + rows.log_sum) * (2.0 * block.options.z_loss) if block.options.z_loss != 0.0 else 0.0
        difference, lost = of_targets(block.targets(), rows.mass, pull)
        result = result + difference * by_loss
    if "logsumexp" in by_extras:
        result = result + e * by_extras["logsumexp"]
    if "entropy" in by_extras:
        each = below + rows.log_sum - rows.told["entropy"]
        result = result + zeros_where(high_of(e) == 0, e * each) * by_extras["entropy"]
    if "log_likelihood" in by_extras:
        difference, few = of_targets(block.targets(given=True), rows.given_mass, 0.0)
        result, lost = result - difference * by_extras["log_likelihood"], lost | few
    return high_of(result / whole * slope) + 0.0, lost & (not block.exact)


def _shift(top: Number) -> Number:
    """What exponents are taken from: a finite number, also where every class is masked."""
    return zeros_where(high_of(top) == -torch.inf, top)


def _at(x: Number, place: torch.Tensor) -> Number:
    if isinstance(x, DoubleDouble):
        return DoubleDouble(x.high.gather(1, place), x.low.gather(1, place))
    return x.gather(1, place)


def _put(x: Number, place: torch.Tensor, value: Number | float) -> Number:
    if not isinstance(x, DoubleDouble):
        return x.scatter(1, place, value)
    high, low = (value.high, value.low) if isinstance(value, DoubleDouble) else (value, value)
    return DoubleDouble(x.high.scatter(1, place, high), x.low.scatter(1, place, low))


def _of_rank(x: Number, rank: torch.Tensor) -> Number:
    """Of values (ranks, n, 1), that of one rank in each row."""
    if isinstance(x, DoubleDouble):
        return DoubleDouble(x.high.gather(0, rank)[0], x.low.gather(0, rank)[0])
    return x.gather(0, rank)[0]


def _parts(x: Number) -> list[torch.Tensor]:
    return [x.high, x.low] if isinstance(x, DoubleDouble) else [x]
