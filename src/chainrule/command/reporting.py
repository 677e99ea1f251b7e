"""The report of a run: what `chainrule train --report` hands to its page."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from chainrule.command.data import AnyPath, Part, Read
from chainrule.errors import NonFiniteError
from chainrule.explain import explain
from chainrule.network.network import Network
from chainrule.output.layer import softmax_cross_entropy
from chainrule.pages.report import Seen, write_report
from chainrule.scores import example_scores
from chainrule.tables import Schema
from chainrule.tables.attribution import attribute
from chainrule.tables.schema import shown_value
from chainrule.tables.sparse import dense
from chainrule.training.history import History
from chainrule.training.watching import Watch

__all__ = ["beside", "importance", "most_surprising", "report_of_failure", "seen_of", "watch_of"]

SHUFFLES, SHUFFLED = 5, 2000  # of a column's values, among at most so many rows
SHOWN = 20  # columns


def beside(report: AnyPath | None) -> Path | None:
    """Where the explanation stands that the report points at; None without a report, or where that is a device."""
    if report is None or (os.path.exists(report) and not os.path.isfile(report)):
        return None
    return Path(report).with_name(f"{Path(report).stem}-explanation.html")


def watch_of(report: AnyPath | None, training: Part) -> Watch | None:
    """What looks at the units after each epoch, where there is to be a report."""
    return None if report is None else Watch(dense(training.first(512).x))


def seen_of(
    schema: Schema, net: Network, *, unseen: tuple[Any, Any] | None, watch: Watch | None, rate: float,
    card: dict[str, str], part: Part | None = None, error: str | None = None,
) -> Seen:  # fmt: skip
    """What the report is told besides the network and its history; `part` is what columns are shuffled in."""
    alone = [(c.name, c.note) for c in schema.columns if c.note.startswith("tells")]
    constants = [(c.name, c.low) for c in schema.columns if c.constant]
    found, lacking = importance(net, schema, part) if part is not None else ([], "")
    return Seen(unseen, watch, schema.feature_names, alone, constants, rate, error, card, found, lacking)


def card_of(
    schema: Schema, read: Read, net: Network, lines: list[str], unseen: tuple[Any, Part] | None, version: str
) -> dict[str, str]:
    """A model's card: what it is for, what it was made of, how well it does, and where it is of no use."""
    n, labels = len(read.training.labels), read.training.labels
    counts = np.bincount(labels, minlength=len(schema.classes))
    several = ", ".join(f"{c} ({counts[i]})" for i, c in enumerate(schema.classes[:12]))
    more = f" and {len(schema.classes) - 12} more" if len(schema.classes) > 12 else ""
    used = [c for c in schema.columns if not c.constant]
    size = sum(p.size for p in (*net.weights, *net.biases))
    card = {
        "predicts": f"column “{schema.target}”, one of {len(schema.classes)} classes: {several}{more}",
        "from": f"{len(used)} columns ({', '.join(c.name for c in used[:8])}{', …' if len(used) > 8 else ''})",
        "network": f"{'–'.join(map(str, net.widths))}, {net.activation}, {size:,} parameters",
        "trained on": f"{n} rows",
        "results": "; ".join(" ".join(line.split()) for line in lines if "accuracy" in line),
        "baseline": f"always naming the most frequent class is right in {counts.max() / n:.4f} of the training rows",
    }
    if unseen is not None and len(unseen[1].labels):
        logits, part = unseen
        losses = softmax_cross_entropy(np.asarray(logits), np.asarray(part.labels), reduction="none").loss
        loss = part.mean(losses, "that training did not see")
        card["log loss"] = f"{loss:.4f} on {len(part.labels)} rows that training did not see"
    if schema.left_out:
        some = [f"{name} ({why})" for name, why in list(schema.left_out.items())[:6]]
        card["left out"] = ", ".join(some) + (", …" if len(schema.left_out) > 6 else "")
    ranges = [f"{c.name} {shown_value(c, c.low)} to {shown_value(c, c.high)}" for c in used if c.kind != "category"]
    card["limits"] = (
        "It knows the rows that it was trained on and their like. Categories that training never saw, and numbers far "
        "outside its ranges, are counted by predict, and refused with --strict"
        + (f": {'; '.join(ranges[:6])}{'; …' if len(ranges) > 6 else ''}." if ranges else ".")
    )
    card["made by"] = f"Chainrule {version}"
    return card


def importance(net: Network, schema: Schema, part: Part) -> tuple[list[tuple[str, float, float]], str]:
    """How much the loss rises when a column's values are shuffled among rows, the largest first, and the spread of
    that; or why there is none. All features of a column are shuffled together."""
    if importlib.util.find_spec("sklearn") is None:
        return [], "The importance of columns needs scikit-learn, which chainrule[sklearn] brings."
    from sklearn.inspection import permutation_importance

    some = part.take(np.arange(len(part.labels))[:: max(1, len(part.labels) // SHUFFLED)])
    x, labels = dense(some.x), np.asarray(some.labels)
    names, blocks, at = [], [], 0
    for column in schema.columns:
        end = at + len(column.feature_names)
        if not column.constant:
            names.append(column.name)
            blocks.append(slice(at, end))
        at = end
    if len(labels) < 2 or not names:
        return [], ""

    def score(estimator: Any, places: Any, labels: Any) -> float:
        """−loss; what is shuffled is, for each column, the row that its cell comes from."""
        rows = x.copy()
        for j, block in enumerate(blocks):
            rows[:, block] = x[places[:, j], block]
        return -float(softmax_cross_entropy(net.logits(rows), labels).loss)

    places = np.tile(np.arange(len(x))[:, None], (1, len(names)))
    found = permutation_importance(_Fitted(), places, labels, scoring=score, n_repeats=SHUFFLES, random_state=0)
    order = np.argsort(-found.importances_mean, kind="stable")[:SHOWN]
    return [(names[j], float(found.importances_mean[j]), float(found.importances_std[j])) for j in order], ""


class _Fitted:
    """What scikit-learn asks of an estimator that it only hands on."""

    def fit(self, x: Any, y: Any) -> _Fitted:
        return self


def most_surprising(net: Network, schema: Schema, part: Part, path: Path | None) -> dict[str, Any]:
    """What the report says of the example with the largest loss, which is explained in a page of its own at `path`."""
    losses = example_scores(net, part.x, part.labels)[0]
    worst = int(losses.argmax())
    row, label = int(part.rows[worst]), int(part.labels[worst])
    x = dense(part.take(np.array([worst])).x)[0]
    e = explain(net, x, label, schema=schema, row=row)
    chain = e.weight(*e.opening_weight())
    if path is not None:
        chain.to_html(path)
    href = None if path is None else quote(path.name)
    found = {"row": row, "loss": e.loss, "why": chain.why, "href": href}
    return found | {"columns": _strongest_columns(net, schema, x)}


def _strongest_columns(net: Network, schema: Schema, x: Any) -> str:
    c = int(net.logits(x[None])[0].argmax())
    adds, at, found = attribute(net, x, schema.means(), c), 0, []
    for column in schema.columns:
        end = at + len(column.feature_names)
        found.append((float(adds[at:end].sum()), column.name))
        at = end
    found.sort(key=lambda part: -abs(part[0]))
    parts = ", ".join(f"“{name}” {value:+.3g}" for value, name in found[:3])
    return f"What adds most to the logit of “{schema.classes[c]}”, which it predicts: {parts}."


def report_of_failure(
    report: AnyPath, error: NonFiniteError, net: Network, read: Read, settings: dict[str, Any], rate: float,
    watch: Watch | None,
) -> None:  # fmt: skip
    """The report of a run that left the range of numbers: of the epochs before, with the weights that it began with."""
    history = error.history if error.history is not None else History()
    training = read.training.first(2000)
    message = re.sub(r"^training: ", "", str(error))
    seen = seen_of(read.schema, net, unseen=None, watch=watch, rate=rate, card={}, error=message)
    train = (dense(training.x), training.labels, training.rows)
    write_report(report, net, history, train, classes=read.schema.classes, settings=settings, seen=seen)
