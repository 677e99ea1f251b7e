"""Any PyTorch classifier explained from outside: its output layer exactly, and the gradient at every submodule."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule import equations
from chainrule.boundary.checks import check_index, check_names
from chainrule.boundary.extras import require
from chainrule.errors import InputError
from chainrule.explain.findings import output_findings
from chainrule.explain.records import Finding, OutputUnit, Record, output_units
from chainrule.explain.symbols import number
from chainrule.explain.views.page_modules import write_modules_page
from chainrule.output import layer as output

__all__ = ["ModuleExplanation", "ModuleRow", "explain"]


@dataclass(frozen=True)
class ModuleRow:
    """One submodule, or the input: the size of the gradient at its output, and of its own parameters' gradient.

    gradient_norm : ‖∂𝓛/∂(its output)‖, over all its calls; None where no gradient reaches it
    parameter_norm : ‖∂𝓛/∂(its own parameters)‖; None where it has none that are trained
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    gradient_norm: float | None
    parameter_norm: float | None
    n_parameters: int


@dataclass(frozen=True)
class ModuleExplanation(Record):
    """What `chainrule.torch.explain` found: the output units, and a row for each submodule in the order of calls.

    name : of the module's class
    gradients : ∂𝓛/∂(output) of each submodule, and of the input "x", in float64: a list, since a submodule may be
        called several times or return several tensors. What no gradient reaches has none. Not in `to_dict`.
    """

    label: int
    loss: float
    output_units: list[OutputUnit]
    rows: list[ModuleRow]
    findings: list[Finding]
    name: str = ""
    gradients: dict[str, list[npt.NDArray[np.float64]]] = field(default_factory=dict, repr=False, compare=False)

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write one page of it, whole or not at all (chainrule[cli]): the output layer, then every submodule's gradient
        as bars, back to the input."""
        return write_modules_page(path, self)

    def to_text(self) -> str:
        """Tables for the terminal."""
        units = self.output_units
        lines = [f"True class: {units[self.label].name}. Loss 𝓛 = −log ŷ_ℓ = {number(self.loss)}", ""]
        lines.append(f"{'class':<14}{'logit a':>12}{'ŷ':>14}{'∂𝓛/∂a':>14}")
        for u in units[:20]:
            mark = " ← ℓ" if u.unit - 1 == self.label else ""
            lines.append(
                f"{u.name[:13]:<14}{number(u.logit):>12}{number(u.probability):>14}{number(u.grad_logit):>14}{mark}"
            )
        if len(units) > 20:
            lines.append(f"… and {len(units) - 20} more classes")
        wide = max(len("module"), *(len(row.name) for row in self.rows)) + 2
        lines += ["", f"{'module':<{wide}}{'kind':<22}{'output':<18}{'‖∂𝓛/∂output‖':>14}{'‖∂𝓛/∂parameters‖':>18}"]
        for row in self.rows:
            shape = "×".join(map(str, row.shape))
            norms = f"{_norm_text(row.gradient_norm):>14}{_norm_text(row.parameter_norm):>18}"
            lines.append(f"{row.name:<{wide}}{row.kind[:21]:<22}{shape:<18}{norms}")
        return "\n".join([*lines, *(f"Finding: {f.text}" for f in self.findings)])

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.to_text())}</pre>"


def explain(module: Any, x: Any, label: int, *, classes: Any = None) -> ModuleExplanation:
    """The output layer of any PyTorch classifier exactly, and the gradient at every submodule's output.

    ∇_{a_L} 𝓛 = ŷ − e(ℓ) is computed from the logits in float64, and PyTorch carries it back from there. The module is
    run in evaluation mode and left as it was: its modes, its gradients and its hooks.

    Parameters
    ----------
    module : a torch.nn.Module that gives logits, (K,) or (1, K), or an object with such `logits`
    x : one example as the module takes it, with a batch axis of 1 where it needs one; a dict is given by name
    label : int in [0, K)
    classes : K names, optional

    Raises
    ------
    InputError
        Not a module, an example that it does not take, an output that is not one example's logits, a label out of
        range.
    MissingExtraError
        PyTorch is not installed.

    Examples
    --------
    >>> torch = require("torch", "torch")
    >>> found = explain(torch.nn.Sequential(torch.nn.Conv1d(1, 2, 3), torch.nn.Flatten()), torch.ones(1, 1, 3), 0)
    >>> [row.name for row in found.rows]
    ['x', '0', '1']

    Source: the lecture, section 1.
    """
    torch = require("torch", "torch")
    if not isinstance(module, torch.nn.Module):
        raise InputError(f"module: got {type(module).__name__}, expected a torch.nn.Module that gives logits")
    parameters = [p for p in module.parameters() if p.requires_grad]
    with torch.enable_grad(), _evaluating(module):
        given, x = _with_gradient(torch, x)
        calls: list[tuple[str, Any, list[Any]]] = [("x", None, given)] if given else []
        found = _call(torch, module, x, calls)
        logits = getattr(found, "logits", found)
        a = _checked_logits(torch, logits)
        k = len(a)
        index = check_index("label", label, k)
        if classes is not None:
            check_names("classes", classes, k)
        loss, grad = output.softmax_cross_entropy(a[None], [index], reduction="none")
        at = [tensor for _, _, tensors in calls for tensor in tensors]
        gradients: tuple[Any, ...] = (None,) * (len(at) + len(parameters))
        if logits.requires_grad:
            back = torch.from_numpy(grad).reshape(logits.shape).to(logits)
            gradients = torch.autograd.grad(logits, [*at, *parameters], back, allow_unused=True)
    sizes = {
        id(tensor): None if gradient is None else float(gradient.detach().double().norm())
        for tensor, gradient in zip([*at, *parameters], gradients, strict=True)
    }
    names = [f"class {i}" for i in range(1, k + 1)] if classes is None else [str(c) for c in classes]
    probabilities = equations.softmax(a)
    units = output_units(names, a, probabilities, equations.grad_probabilities(probabilities, index), grad[0])
    findings = output_findings(a, index, names)
    kept = {
        id(tensor): gradient.detach().to("cpu", torch.float64).numpy()
        for tensor, gradient in zip(at, gradients[: len(at)], strict=True)
        if gradient is not None and not gradient.is_complex()
    }
    by_name: dict[str, list[Any]] = {}
    for name, _, tensors in calls:
        by_name.setdefault(name, []).extend(kept[id(t)] for t in tensors if id(t) in kept)
    rows = _rows(calls, sizes)
    return ModuleExplanation(index, float(loss[0]), units, rows, findings, type(module).__name__, by_name)


@contextmanager
def _evaluating(module: Any) -> Iterator[None]:
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for m, training in modes:
            m.training = training


def _with_gradient(torch: Any, x: Any) -> tuple[list[Any], Any]:
    """The example's floating tensors, as leaves that take a gradient, and the example with copies of them: a module
    may begin with what works in place."""
    if isinstance(x, Mapping):
        parts = {name: _with_gradient(torch, value) for name, value in x.items()}
        return [t for tensors, _ in parts.values() for t in tensors], {name: v for name, (_, v) in parts.items()}
    if isinstance(x, torch.Tensor) and (x.is_floating_point() or x.is_complex()):
        leaf = x.detach().requires_grad_()
        return [leaf], leaf.clone()
    return [], x


def _call(torch: Any, module: Any, x: Any, calls: list[tuple[str, Any, list[Any]]]) -> Any:
    """The module's output, with the outputs of every submodule noted in the order of the calls."""

    def note(name: str) -> Any:
        def hook(called: Any, _: Any, result: Any) -> Any:
            kept: list[Any] = []
            copied = _copied(torch, result, kept)
            calls.append((name, called, kept))
            return copied

        return hook

    hooks = [m.register_forward_hook(note(name)) for name, m in module.named_modules() if name]
    try:
        return module(**x) if isinstance(x, Mapping) else module(x)
    except Exception as error:  # PyTorch's own, of shapes, dtypes and places that do not say whose they are
        said = str(error).strip().partition("\n")[0]
        given, kind = _described(torch, x), type(module).__name__
        raise InputError(f"x: got {given}, which {kind} does not take: {said}") from error
    finally:
        for hook in hooks:
            hook.remove()


def _described(torch: Any, x: Any) -> str:
    if isinstance(x, torch.Tensor):
        return f"a tensor of shape {tuple(x.shape)} and {x.dtype}"
    if isinstance(x, Mapping):
        return f"a dict of {', '.join(map(str, x))}"
    return f"{type(x).__name__}, no tensor"


def _copied(torch: Any, result: Any, kept: list[Any]) -> Any:
    """The result with copies of its tensors, so that what works in place changes no tensor that is kept."""
    if isinstance(result, torch.Tensor):
        if not result.is_floating_point():
            return result
        if not result.requires_grad:  # nothing before it is trained: the gradient ends here, and is still wanted
            result = result.detach().requires_grad_()
        kept.append(result)
        return result.clone()
    if type(result) in (tuple, list):
        return type(result)(_copied(torch, part, kept) for part in result)
    return result


def _checked_logits(torch: Any, logits: Any) -> Any:
    """The logits of one example as float64, (K,)."""
    expected = "expected one example's logits, (K,) or (1, K)"
    if not isinstance(logits, torch.Tensor) or not logits.is_floating_point():
        raise InputError(f"module: gives {type(logits).__name__}, {expected}")
    shape = tuple(logits.shape)
    if len(shape) not in (1, 2) or shape[-1] == 0 or (len(shape) == 2 and shape[0] != 1):
        raise InputError(f"module: gives shape {shape}, {expected}")
    a = logits.detach().to("cpu", torch.float64).numpy().reshape(-1)
    if not np.isfinite(a).all():
        raise InputError(f"module: gives {a[~np.isfinite(a)][0]} among its logits, expected finite numbers")
    if len(a) > 1 and (a >= 0).all() and math.isclose(a.sum(), 1.0, rel_tol=1e-3):
        raise InputError(f"module: gives numbers from 0 to 1 that sum to 1, probabilities; {expected}")
    return a


def _rows(calls: list[tuple[str, Any, list[Any]]], sizes: dict[int, float | None]) -> list[ModuleRow]:
    by_name: dict[str, list[tuple[Any, list[Any]]]] = {}
    for name, module, tensors in calls:
        by_name.setdefault(name, []).append((module, tensors))
    rows = []
    for name, several in by_name.items():
        module, first = several[0]
        own = [] if module is None else list(module.parameters(recurse=False))
        at = _together([sizes[id(t)] for _, tensors in several for t in tensors])
        trained = _together([sizes[id(p)] for p in own if p.requires_grad])
        shape = tuple(first[0].shape) if first else ()
        kind = "input" if module is None else type(module).__name__
        rows.append(ModuleRow(name, kind, shape, at, trained, sum(p.numel() for p in own)))
    return rows


def _together(norms: list[float | None]) -> float | None:
    known = [n for n in norms if n is not None]
    return math.hypot(*known) if known else None


def _norm_text(norm: float | None) -> str:
    return "" if norm is None else number(norm)
