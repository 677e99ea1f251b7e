"""The y of scikit-learn's face as 0 and 1, and what its classes weigh."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import type_of_target, unique_labels
from sklearn.utils.validation import _num_samples

from chainrule.errors import shown
from chainrule.training.examples import balanced

__all__ = ["as_targets", "class_weights", "other_targets"]

Array = npt.NDArray[Any]


def as_targets(binarizer: LabelBinarizer, y: Any) -> Array:
    """y as 0 and 1, (N, classes), or (N, 1) for two classes."""
    targets = binarizer.transform(y)
    return np.asarray(targets.toarray() if hasattr(targets, "toarray") else targets)


def other_targets(binarizer: LabelBinarizer, name: str, X: Any, y: Any) -> Array:
    """The same of other examples, whose y is of the kind and the classes of those that were fitted."""
    if X.shape[0] != _num_samples(y):
        raise ValueError(f"{name}: got {_num_samples(y)} targets for {X.shape[0]} examples")
    other = np.setdiff1d(unique_labels(y), binarizer.classes_)
    if other.size:
        raise ValueError(f"{name}: has the classes {other}, which training has not")
    kind = type_of_target(y)
    if kind.startswith("multilabel") != binarizer.y_type_.startswith("multilabel"):
        raise ValueError(f"{name}: got {kind} y, expected {binarizer.y_type_}, as in training")
    return as_targets(binarizer, y)


def class_weights(
    given: Any, binarizer: LabelBinarizer, y: Any, targets: Array, weights: Array | None, incremental: bool
) -> Array:
    """What a `class_weight` makes of each example, (N,)."""
    if isinstance(given, str):  # "balanced"
        columns = [targets.argmax(axis=1)] if binarizer.y_type_ == "multiclass" else targets.T
        each = [balanced(column, int(column.max()) + 1, weights)[column] for column in columns]
        return np.asarray(np.prod(each, axis=0))
    for name, part in enumerate(given) if isinstance(given, list) else [("", given)]:
        where = f"class_weight[{name}]" if isinstance(given, list) else "class_weight"
        if not isinstance(part, dict):
            raise ValueError(f"{where}: got {shown(part)}, expected a dict from 0 and 1 to weight")
        for label, weight in part.items():
            if not isinstance(weight, int | float | np.number) or not 0 <= weight < np.inf:
                raise ValueError(f"{where}: got {shown(weight)} for {label!r}, expected a finite number >= 0")
    if binarizer.y_type_.startswith("multilabel"):
        return _label_weights(given, binarizer.classes_, targets)
    if isinstance(given, list):
        raise ValueError("class_weight: got a list, expected a dict where an example has one class")
    here = set(unique_labels(y)) if incremental else given  # a part of the data need not have all classes
    return np.asarray(compute_sample_weight({c: weight for c, weight in given.items() if c in here}, y))


def _label_weights(given: Any, classes: Array, targets: Array) -> Array:
    """The products of the weights of each example's labels, and of the absence of the others."""
    count = targets.shape[1]
    if isinstance(given, dict):
        other = [label for label in given if label not in classes]
        if other:
            raise ValueError(f"class_weight: got the label {other[0]!r}, expected integers in [0, {count})")
        given = [{1: given.get(label, 1.0)} for label in range(count)]
    if len(given) != count:
        raise ValueError(f"class_weight: got {len(given)} dicts, expected {count}, one for each label")
    for label, part in enumerate(given):
        other = [value for value in part if value not in (0, 1)]
        if other:
            raise ValueError(f"class_weight[{label}]: got the key {other[0]!r}, expected 0 and 1")
    pairs = [np.array([part.get(0, 1.0), part.get(1, 1.0)]) for part in given]
    return np.asarray(np.prod([pair[column] for pair, column in zip(pairs, targets.T, strict=True)], axis=0))
