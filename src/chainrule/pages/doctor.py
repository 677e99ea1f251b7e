"""What is wrong with a training run, with its evidence; and what was looked for and not found, with its measure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.boundary.html import number
from chainrule.network.network import Network
from chainrule.output.layer import softmax_cross_entropy
from chainrule.pages.inputs import InputFindings, look_at_inputs
from chainrule.training.history import History
from chainrule.training.watching import Watch, silent_units

__all__ = ["Diagnosis", "Finding", "Quiet", "diagnose"]

Array = npt.NDArray[Any]
SEEN = 512  # training rows that units are looked at with
SILENT = 0.5  # of a layer's units are dead or saturated
USUAL = 1e-4, 1e-2  # of a step's change, as a share of the weights
HIGH, VERY_HIGH, LOW = (
    2e-2,
    3e-2,
    1e-5,
)  # the same: where the loss says so too, where half of the epochs do, and too low
RISE = 1.25  # times the loss of the epoch before
DRIFT = 1e3  # between the gradients of the first and the last layer
GAP = 0.15  # between the accuracy of training and of new rows
CAUSES = (  # what may be the cause of another stands first
    "alike", "wild scale", "diverged", "rate too high", "rate too low", "vanishing", "exploding", "dead", "saturated",
    "leak", "chance", "overfitting",
)  # fmt: skip
EQUAL = 1e-3  # of their size: weights of two units that are alike


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    grave : whether the network is of no use for it; else it is worth a look
    text : the evidence, with its epochs; remedy : what to do; flag : an option that does it, or ""
    title_of_chart, series : curves by epoch that show it, by name; from epoch `first`
    """

    kind: str
    grave: bool
    title: str
    text: str
    remedy: str
    flag: str = ""
    title_of_chart: str = ""
    series: dict[str, list[float]] = field(default_factory=dict)
    logarithmic: bool = True
    first: int = 1


@dataclass(frozen=True)
class Quiet:
    """Something that was looked for and not found, with what was measured."""

    name: str
    measured: str


@dataclass(frozen=True)
class Diagnosis:
    """The findings, the gravest first, and what was not found."""

    findings: list[Finding]
    quiet: list[Quiet]

    @property
    def learned(self) -> bool:
        """Whether the network has learned enough for its surprise to say something of the labels."""
        return not any(
            f.kind in ("diverged", "rate too high", "rate too low", "chance", "alike") for f in self.findings
        )


def diagnose(
    net: Network,
    history: History,
    x: Any,
    labels: Any,
    *,
    unseen: tuple[Any, Any] | None = None,
    watch: Watch | None = None,
    names: Sequence[str] | None = None,
    alone: Sequence[tuple[str, str]] | None = None,
    constants: Sequence[tuple[str, float]] = (),
    rate: float | None = None,
    error: str | None = None,
) -> Diagnosis:
    """What is wrong with a run.

    Parameters
    ----------
    net, history : the trained network, and what `fit` returned
    x, labels : array (N, D), (N,): the training examples
    unseen : logits (M, K) and labels (M,) of examples that training did not see
    watch : a callback of the run, which saw the units after each epoch
    names : the D inputs'
    alone : columns that tell the class alone, with what is known of it; by default found in x
    constants : columns of one value, with it, which are no inputs or are 0 in x
    rate : the learning rate
    error : what ended training, where it left the range of numbers

    Examples
    --------
    >>> net = Network([np.zeros((4, 2)), np.zeros((2, 4))], [np.zeros(4), np.zeros(2)])
    >>> x = np.random.default_rng(0).normal(size=(40, 2))
    >>> [finding.kind for finding in diagnose(net, History(), x, [0, 1] * 20).findings]
    ['alike', 'chance']
    """
    x, labels = np.asarray(x), np.asarray(labels)
    names = [f"input {j + 1}" for j in range(net.widths[0])] if names is None else names
    some = x[:: max(1, len(x) // SEEN)][:SEEN]
    run = _Run(net, history, x, labels, unseen, watch, names, rate, error, some)
    inputs = look_at_inputs(x, labels, names, alone, constants)
    found: list[Finding] = []
    quiet: list[Quiet] = []
    for look in (_alike, _rate, _chance, _drift, _silent, _overfitting):
        for result in look(run, found):
            (found if isinstance(result, Finding) else quiet).append(result)  # type: ignore[arg-type]
    _add_inputs(inputs, found, quiet)
    return Diagnosis(sorted(found, key=lambda f: (not f.grave, CAUSES.index(f.kind))), quiet)


@dataclass(frozen=True)
class _Run:
    net: Network
    history: History
    x: Array
    labels: Array
    unseen: tuple[Any, Any] | None
    watch: Watch | None
    names: Sequence[str]
    rate: float | None
    error: str | None
    some: Array

    @property
    def kept(self) -> int:
        """The place of the epoch whose weights are kept, from 0; −1 without any."""
        return min(self.history.best_epoch, len(self.history.loss)) - 1


def _rate(run: _Run, found: list[Finding]) -> list[Finding | Quiet]:
    history, updates = run.history, run.history.updates
    curves = {f"layer {k + 1}": [u[k] for u in updates] for k in range(len(updates[0]) if updates else 0)}
    largest = [max(u) for u in updates]
    chart = {"title_of_chart": "update ÷ weight, by layer", "series": curves}
    guess = math.log(run.net.widths[-1])
    tenth = "" if run.rate is None else f"--lr {run.rate / 10:.2g}"
    high: dict[str, Any] = {
        "kind": "rate too high", "grave": True, "flag": tenth,
        "remedy": f"Train with a tenth of the rate{'' if run.rate is None else f', which was {run.rate:g}'}.", **chart,
    }  # fmt: skip
    # a network that is dead all the same was so before, or its weights decayed
    calm = bool(largest) and largest[0] < HIGH and history.loss[0] < 1.5 * guess
    if run.error is not None or (history.diverged and not (calm and "is dead" in history.diverged)):
        text = run.error or str(history.diverged)
        evidence = f" {_first(largest)}" if largest and largest[0] > USUAL[1] else ""
        title = "Training diverged" + ("" if calm else ": the learning rate is too high")
        return [Finding(**high | {"kind": "diverged"}, title=title, text=_sentence(text) + evidence)]
    rises = [
        e + 2
        for e, (a, b) in enumerate(zip(history.loss, history.loss[1:], strict=False))
        if b > RISE * a and b - a > 0.02 * guess
    ]
    many = len(rises) >= max(2, 0.15 * len(history.loss))
    start = history.loss[0] if history.loss else 0.0
    late, least = (
        float(np.mean(history.loss[-max(1, len(history.loss) // 4) :] or [0.0])),
        min(history.loss, default=0.0),
    )
    worse = late > 1.3 * least and late - least > 0.1 * guess  # it climbed away from where it was
    restless = bool(largest) and float(np.median(largest)) > VERY_HIGH
    if largest and (restless or (max(largest) > HIGH and (many or worse or start > 3 * guess))):
        above = sum(u > USUAL[1] for u in largest)
        text = f"{_first(largest)} It was above 1 % in {above} of {len(largest)} epochs"
        if rises:
            some = ", ".join(map(str, rises[:4])) + (" …" if len(rises) > 4 else "")
            text += f", and the training loss rose by more than a quarter in {len(rises)} of them (epochs {some})"
        if worse:
            text += (
                f"; the training loss was {number(least, 3)} at its least and {number(late, 3)} over the last quarter"
            )
        if start > 3 * guess:
            text += f"; the loss of epoch 1 was {number(start, 3)}, where guessing has {number(guess, 3)}"
        return [Finding(**high, title="The learning rate is too high", text=text + ".")]
    fell = (history.loss[0] - min(history.loss)) / history.loss[0] if history.loss and history.loss[0] else 1.0
    alike = any(f.kind == "alike" for f in found)
    if largest and max(largest) < LOW and fell < 0.1 and not alike:
        text = (
            f"No step changed the weights by more than {_percent(max(largest))} of their norm; 0.01 to 1 % is usual. "
            f"In {len(history.loss)} epochs the training loss went from {number(history.loss[0], 4)} to "
            f"{number(history.loss[-1], 4)}."
        )
        more: dict[str, Any] = {
            "remedy": "Train with a larger rate: Adam’s usual 0.001, SGD’s 0.01.",
            "flag": "--lr 0.001",
            **chart,
        }
        return [Finding("rate too low", True, "The learning rate is too low", text, **more)]
    if not largest:
        return [Quiet("a rate too high or too low", "no epoch was recorded")]
    return [
        Quiet("a rate too high", f"steps change the weights by {_percent(float(np.median(largest)))} at the median"),
        Quiet(
            "a rate too low",
            f"the training loss fell from {number(history.loss[0], 3)} to {number(min(history.loss), 3)}",
        ),
    ]


def _first(largest: list[float]) -> str:
    return f"A step of epoch 1 changed the weights by {_percent(largest[0])} of their norm; 0.01 to 1 % is usual."


def _percent(share: float) -> str:
    return f"{number(100 * share, 2 if share < 0.995 else 3)} %"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _chance(run: _Run, found: list[Finding]) -> list[Finding | Quiet]:
    """Whether the network does no better than the shares of the classes alone, beyond what luck may be."""
    if any(f.kind == "diverged" for f in found) or not len(run.labels):
        return []
    part, labels = "new", None
    if run.unseen is not None and len(run.unseen[1]):
        logits, labels = run.unseen
    else:
        part, logits, labels = "training", run.net.logits(run.x), run.labels
    logits, labels = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    k = logits.shape[1]
    shares = (np.bincount(run.labels, minlength=k) + 0.5) / (len(run.labels) + 0.5 * k)
    losses = softmax_cross_entropy(logits, labels, reduction="none").loss
    gain = -np.log(shares[labels]) - losses
    n = len(labels)
    right, most = float((logits.argmax(axis=1) == labels).mean()), float((labels == shares.argmax()).mean())
    error = float(gain.std()) / math.sqrt(n)
    luck = 2 * math.sqrt(max(most * (1 - most), 1 / n) / n)
    if float(gain.mean()) > max(2 * error, 1e-3) or right > most + luck:
        return [
            Quiet(
                "no better than chance",
                f"{_percent(right)} of the {part} rows right; the commonest class is {_percent(most)}",
            )
        ]
    guess = number(float(-np.log(shares[labels]).mean()), 3)
    text = (
        f"{_percent(right)} of {n} {part} rows are right; always naming the commonest class gives {_percent(most)}. "
        f"The loss is {number(float(losses.mean()), 3)}; that of the classes’ shares alone {guess}."
    )
    history = run.history
    if part == "new" and run.kept >= 0 and history.accuracy[-1] > most + 0.1:
        by_heart = f"{_percent(history.accuracy[-1])} right in epoch {len(history.loss)}"
        text += f" The training rows are learned by heart ({by_heart})."
    remedy = (
        "Mend the other findings first."
        if found
        else (
            "The columns may have nothing to do with the class: look whether rows and labels belong together, and for "
            "columns that could tell."
        )
    )
    curves = {n: v for n, v in (("training", history.loss), ("validation", history.validation_loss)) if v}
    more: dict[str, Any] = {"title_of_chart": "loss", "series": curves}
    return [Finding("chance", True, f"On {part} rows the network is no better than chance", text, remedy, **more)]


def _alike(run: _Run, found: list[Finding]) -> list[Finding | Quiet]:
    """Whether all units of a hidden layer have the same weights: they then stay the same for ever."""
    nearest = math.inf
    for k, (w, b) in enumerate(zip(run.net.weights[:-1], run.net.biases[:-1], strict=True), start=1):
        if len(w) < 2:
            continue
        rows = np.column_stack([w, b]).astype(np.float64)
        away, size = float(np.linalg.norm(rows - rows[0], axis=1).max()), float(np.linalg.norm(rows, axis=1).max())
        if not math.isfinite(size):
            continue
        if away <= EQUAL * size:
            what = "0" if size == 0 else "the same"
            text = (
                f"All {len(w)} units of hidden layer {k} have {'weights of 0' if size == 0 else 'the same weights'} "
                f"after {len(run.history.loss)} epochs. Their gradients are {what} too, so that they can never differ."
            )
            remedy = "Start from random weights: Network.create(…, seed=0)."
            return [Finding("alike", True, f"The units of hidden layer {k} are all alike", text, remedy)]
        nearest = min(nearest, away / size)
    if nearest == math.inf:
        return []
    return [
        Quiet(
            "units all alike", f"the weights of a layer’s units are {number(nearest, 2)} of their size apart and more"
        )
    ]


def _drift(run: _Run, found: list[Finding]) -> list[Finding | Quiet]:
    norms = run.history.gradient_norms
    if len(run.net.weights) < 2 or not norms or any(f.kind in ("alike", "diverged") for f in found):
        return []
    first = [n for n in norms[: max(1, len(norms) // 10)] if min(n) >= 0 and n[-1] > 0]
    if not first:
        return []
    ratio = float(np.median([n[0] / n[-1] for n in first]))
    curves = {f"layer {k + 1}": [n[k] for n in norms] for k in (0, len(run.net.weights) - 1)}
    more: dict[str, Any] = {"title_of_chart": "norm of ∇W, first and last layer", "series": curves}
    if ratio < 1 / DRIFT:
        text = (
            f"In the first {len(first)} {'epoch' if len(first) == 1 else 'epochs'} the gradient of layer 1’s weights "
            f"had {number(ratio, 2)} times the norm of layer {len(run.net.weights)}’s. Each of the "
            f"{len(run.net.weights) - 1} hidden layers with {run.net.activation} takes its share."
        )
        remedy = "Use fewer hidden layers, or one whose slope is 1: ReLU."
        return [
            Finding(
                "vanishing", True, "The gradient vanishes on its way back", text, remedy, "--activation relu", **more
            )
        ]
    if ratio > DRIFT:
        text = (
            f"In the first epochs the gradient of layer 1’s weights had {number(ratio, 3)} times the last layer’s norm."
        )
        remedy = "Clip the gradient, and start from smaller weights."
        return [
            Finding("exploding", True, "The gradient explodes on its way back", text, remedy, "--clip-norm 1", **more)
        ]
    largest = max(max(n) for n in norms)
    return [
        Quiet("vanishing gradients", f"layer 1’s norm is {number(ratio, 2)} × the last layer’s at first"),
        Quiet("exploding gradients", f"the largest norm of an epoch is {number(largest, 2)}"),
    ]


def _silent(run: _Run, found: list[Finding]) -> list[Finding | Quiet]:
    """Dead and saturated units, at the end and by epoch."""
    widths = run.net.widths[1:-1]
    if not widths or not len(run.some) or any(f.kind == "alike" for f in found):
        return []
    results: list[Finding | Quiet] = []
    at_end = silent_units(run.net, run.some)
    watch = run.watch if run.watch is not None and run.watch.epochs else None
    kinds = ("dead", at_end[0], watch.dead if watch else []), ("saturated", at_end[1], watch.saturated if watch else [])
    for kind, counts, by_epoch in kinds:
        shares = [c / w for c, w in zip(counts, widths, strict=True)]
        k = int(np.argmax(shares))
        if shares[k] < SILENT:
            name = f"{kind} units"
            most = f"at most {counts[k]} of {widths[k]} in a layer" if max(counts) else "none"
            results.append(Quiet(name, f"{most}, on {len(run.some)} training rows"))
            continue
        curves, when, first = {}, "", watch.epochs[0] if watch else 1
        if watch is not None:
            curves = {f"hidden layer {j + 1}": [100 * e[j] / widths[j] for e in by_epoch] for j in range(len(widths))}
            half = next((watch.epochs[i] for i, e in enumerate(by_epoch) if e[k] >= SILENT * widths[k]), None)
            when = f" {by_epoch[0][k]} were so after epoch {first}"
            when += f"; half were by epoch {half}." if half is not None else "."
        more: dict[str, Any] = {
            "title_of_chart": f"{kind} units in %", "series": curves, "logarithmic": False, "first": first,
        }  # fmt: skip
        title = f"{counts[k]} of {widths[k]} units in hidden layer {k + 1} are {kind}"
        if kind == "dead":
            text = f"They are 0 for every one of {len(run.some)} training rows, so that no gradient passes them.{when}"
            remedy, flag = "Use a leaky ReLU", "--activation leaky_relu"
        else:
            text = f"Their slope is below a twentieth of the steepest for nine in ten of {len(run.some)} rows.{when}"
            remedy, flag = "Use ReLU, or standardised inputs", "--activation relu"
        first_of_all = any(f.kind in ("rate too high", "diverged") for f in found)
        remedy = (
            f"The high rate does this; mend it first. If it stays, {remedy[:1].lower()}{remedy[1:]}."
            if first_of_all
            else remedy + "."
        )
        results.append(Finding(kind, shares[k] >= 0.9, title, text, remedy, flag, **more))
    return results


def _overfitting(run: _Run, found: list[Finding]) -> list[Finding | Quiet]:
    history = run.history
    if run.unseen is None or run.kept < 0 or any(f.grave for f in found):
        return []
    logits, labels = (np.asarray(a) for a in run.unseen)
    n, new = len(labels), float((logits.argmax(axis=1) == labels).mean()) if len(labels) else 0.0
    if not n:
        return []
    seen = float((run.net.logits(run.x).argmax(axis=1) == run.labels).mean())
    gap, error = seen - new, math.sqrt(max(new * (1 - new), 1 / n) / n)
    if gap < max(GAP, 3 * error):
        return [
            Quiet("overfitting", f"{_percent(seen)} of the training rows are right, {_percent(new)} of {n} new ones")
        ]
    best = history.best_epoch
    text = (
        f"{_percent(seen)} of the training rows are right, and {_percent(new)} of {n} rows that training did not see."
    )
    if history.validation_loss:
        v = history.validation_loss
        lowest, last = number(v[best - 1], 3), number(v[-1], 3)
        text += f" The validation loss was lowest in epoch {best} ({lowest}) and {last} in epoch {len(v)}."
    curves = {n: v for n, v in (("training", history.loss), ("validation", history.validation_loss)) if v}
    remedy = "More rows help most; else a smaller network, more weight decay, or dropout."
    more: dict[str, Any] = {"title_of_chart": "loss", "series": curves}
    return [
        Finding(
            "overfitting",
            False,
            "The network knows its training rows better than new ones",
            text,
            remedy,
            "--dropout 0.3",
            **more,
        )
    ]


def _add_inputs(inputs: InputFindings, found: list[Finding], quiet: list[Quiet]) -> None:
    if inputs.wild:
        name, evidence = inputs.wild[0]
        more = f" So have {len(inputs.wild) - 1} more columns." if len(inputs.wild) > 1 else ""
        remedy = "Standardise it, or leave it out."
        found.append(
            Finding("wild scale", True, f"“{name}” has a wild scale", evidence + more, remedy, f"--ignore {name}")
        )
    else:
        quiet.append(Quiet("a wild scale", inputs.scales))
    if inputs.alone:
        name, evidence = inputs.alone[0]
        more = f" So do {len(inputs.alone) - 1} more." if len(inputs.alone) > 1 else ""
        text = (
            f"It {evidence}.{more} If it is known only after the class is, the network is of no use where it is needed."
        )
        remedy = "Leave it out, unless it is known beforehand."
        found.append(Finding("leak", False, f"“{name}” alone tells the class", text, remedy, f"--ignore {name}"))
    else:
        quiet.append(Quiet("a column that tells the class alone", inputs.best))
    quiet.append(Quiet("rows without a number", f"none of {inputs.rows}"))
