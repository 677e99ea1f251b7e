"""What scores are computed from: logits, labels and the last layer's inputs, given as arrays or by a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from chainrule.boundary.arrays import to_float
from chainrule.boundary.checks import check_labels, check_logits
from chainrule.equations import norms
from chainrule.errors import InputError, shown
from chainrule.network.conversion import begins_with_flatten, is_module, to_numpy
from chainrule.network.layers import Layers
from chainrule.network.network import Network, as_network
from chainrule.output.layer import softmax_cross_entropy

__all__ = ["Model", "Outputs", "chunks", "errors", "given_by_name", "model_of", "outputs_of", "row_norms", "wide"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
ROWS_AT_ONCE = 4096  # of a network's pass
NUMBERS_AT_ONCE = 1 << 17  # of what is widened to float64


class Model(NamedTuple):
    """A network of NumPy arrays; the classes that labels are of, or None for 0, 1, …; which layers have biases; whether
    an example of any shape is flattened first."""

    net: Network
    classes: Array | None
    biases: list[bool]
    flattens: bool = False

    def labels(self, labels: Any, n: int) -> Array:
        """Labels as integers in [0, K)."""
        if self.classes is None:
            return check_labels(labels, n, self.net.widths[-1])
        came = np.asarray(labels)
        if came.shape != (n,):
            raise InputError(f"labels: got shape {came.shape}, expected ({n},), one label for each example")
        places = {name: place for place, name in enumerate(self.classes.tolist())}
        names = came.tolist()
        found = [places.get(name, -1) for name in names]
        if -1 in found:
            at = found.index(-1)
            some = f"{self.classes.tolist()!r:.200}"
            raise InputError(f"labels: got {shown(names[at])} at index {at}, expected the classifier's classes, {some}")
        return np.asarray(found, dtype=np.int64)

    def taken(self, x: Any) -> Any:
        """x as an array (N, D) of NumPy, or as a sparse matrix by rows."""
        if hasattr(x, "tocsr"):
            return x.tocsr()
        x = to_numpy(x) if hasattr(x, "detach") else np.asarray(x)
        return x.reshape(len(x), -1) if self.flattens and x.ndim > 1 else x

    def rows(self, x: Any) -> Iterator[tuple[slice, Array]]:
        """What `taken` gave, checked and dense, some thousand rows at a time."""
        sparse = hasattr(x, "tocsr")
        if len(x.shape) != 2 or x.shape[0] == 0 or (x.shape[1] != self.net.widths[0] and not sparse):
            yield slice(0, 0), self.net.forward_input(x.toarray() if sparse else x)  # which says what was expected
        for begin in range(0, x.shape[0], ROWS_AT_ONCE):
            at = slice(begin, min(begin + ROWS_AT_ONCE, x.shape[0]))
            yield at, self.net.forward_input(x[at].toarray() if sparse else x[at])


class Outputs(NamedTuple):
    """The output layer of N examples, in float32 or float64: logits (N, K), the last layer's inputs (N, D) and labels
    (N,), or None where they were not asked for, whether the layer has biases, and all arguments by name."""

    logits: Array
    hidden: Any
    labels: Any
    bias: bool
    named: dict[str, Any]


def given_by_name(
    names: Sequence[str], given: Sequence[Any], named: dict[str, Any], optional: Sequence[str] = ()
) -> dict[str, Any]:
    """Arguments by name, as Python would give them to a function of these parameters.

    Examples
    --------
    >>> given_by_name(["labels", "hidden"], [1], {"hidden": 2})
    {'labels': 1, 'hidden': 2}
    """
    expected = ", ".join(names)
    if len(given) > len(names):
        raise TypeError(f"got {len(given)} arguments after the first, expected {expected}")
    values = dict(zip(names, given, strict=False))
    for name, value in named.items():
        if name not in names or name in values:
            raise TypeError(f"got {'another' if name in values else 'an argument'} {name!r}, expected {expected}")
        values[name] = value
    missing = [name for name in names if values.get(name) is None and name not in optional]
    if missing:
        raise TypeError(f"got no {missing[0]}, expected {expected} after the first argument")
    return values


def model_of(source: Any) -> Model | None:
    """A model as a network; None for what is no model."""
    if is_module(source):
        biases = [layer.bias is not None for layer in source.modules() if type(layer).__name__ == "Linear"]
        return Model(as_network(source), None, biases, begins_with_flatten(source))
    if isinstance(source, Layers) or hasattr(source, "hidden_layer_sizes"):
        net, classes = as_network(source), getattr(source, "classes_", None)
        return Model(net, None if classes is None else np.asarray(classes), [True] * net.depth)
    if hasattr(source, "predict"):
        expected = "expected an array, a Network, an MLPClassifier or a PyTorch module"
        raise InputError(f"logits: got {type(source).__name__}, {expected}")
    return None


def outputs_of(
    source: Any, given: Sequence[Any], named: dict[str, Any], wants: Sequence[str], bias: bool | None = None
) -> Outputs:
    """The output layer of what a score was given; `wants`: what it takes beside the logits, "labels" ("labels?" where
    they are optional), "hidden", and whatever it reads itself.

    Raises
    ------
    TypeError
        An argument that is missing, twice there, or not known.
    InputError
        A wrong shape, dtype or label.
    """
    names = [name.rstrip("?") for name in wants]
    optional = [name for name in ("labels",) if f"{name}?" in wants]
    model = model_of(source)
    if model is None:
        values = given_by_name(names, given, named, optional)
        a = check_logits("logits", source)
        logits = to_float(a.view, a.format)
        n, k = logits.shape
        labels = None if values.get("labels") is None else check_labels(values["labels"], n, k)
        hidden = None
        if "hidden" in names:
            h = check_logits("hidden", values["hidden"], "(N, D)")
            hidden = to_float(h.view, h.format)
            if len(hidden) != n:
                raise InputError(f"hidden: got shape {hidden.shape}, expected ({n}, D), a row for each row of logits")
        return Outputs(logits, hidden, labels, True if bias is None else bias, values)
    names = ["x", *(name for name in names if name != "hidden")]
    values = given_by_name(names, given, named, optional)
    logits_of, hidden_of = [], []
    keep = "hidden" in wants
    for _, rows in model.rows(model.taken(values["x"])):
        forward = model.net.forward(rows)
        logits_of.append(forward.logits)
        hidden_of += [forward.activations[-1]] if keep else []
    logits = np.concatenate(logits_of)
    hidden = np.concatenate(hidden_of) if keep else None
    labels = None if values.get("labels") is None else model.labels(values["labels"], len(logits))
    return Outputs(logits, hidden, labels, model.biases[-1] if bias is None else bias, values)


def chunks(rows: int, width: int) -> Iterator[slice]:
    """Slices of so many rows that their numbers stay in the cache."""
    step = max(1, NUMBERS_AT_ONCE // width)
    for begin in range(0, rows, step):
        yield slice(begin, min(begin + step, rows))


def wide(rows: Array) -> Floats:
    """As float64."""
    return rows.astype(np.float64, copy=False)


def errors(logits: Array, labels: Array, label_smoothing: float = 0.0) -> Floats:
    """e = ŷ − e(ℓ), (N, K), float64, by the exact kernels."""
    grad = softmax_cross_entropy(wide(logits), labels, reduction="none", label_smoothing=label_smoothing).grad_logits
    return np.asarray(grad)


def row_norms(rows: Array, order: int = 2) -> Floats:
    """‖row‖ of each, of order 1 or 2, float64; no square leaves the range."""
    result = np.empty(len(rows))
    for at in chunks(*rows.shape):
        part = wide(rows[at])
        if order == 1:
            result[at] = np.abs(part).sum(axis=1)
        elif rows.dtype == np.float64:
            result[at] = norms(part)
        else:
            result[at] = np.sqrt(np.vecdot(part, part))
    return result
