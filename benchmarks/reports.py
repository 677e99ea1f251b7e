"""What users of fused and last-layer losses reported, put to every loss that is installed: who does what.

    python -m benchmarks.reports [--json FILE]

The cases are those of tests/support/reports.py, the same for all, in float32 unless a case says otherwise. "right" is
what the case checks, "wrong" is what it found else, and "—" says that a peer has no such option or function. A peer is
called as its documentation shows, on the CPU; those that need a GPU (Liger-Kernel, ml-cross-entropy) are named as
missing where they cannot run.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from benchmarks.machine import facts


def optax_peer():
    """Optax's losses of logits, and of a product that JAX makes."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax
    from reports import Missing

    class Peer:
        @staticmethod
        def rounded(array, dtype):
            return np.asarray(jnp.asarray(array, dtype), np.float64)

        def logits(self, a, target, *, dtype="float32", beside=False, gives_input=False, reduction="mean", **options):
            if options:
                raise Missing(f"no {', '.join(options)}")
            if (np.asarray(target) == -100).any():
                raise Missing("no ignored rows")
            given, labels = jnp.asarray(a, dtype), np.asarray(target)

            def each(logits):
                if labels.ndim == 2:
                    return optax.losses.softmax_cross_entropy(logits, jnp.asarray(labels, dtype))
                return optax.losses.softmax_cross_entropy_with_integer_labels(logits, jnp.asarray(labels))

            def total(logits):
                losses = each(logits)
                scale = 1 / len(labels) if reduction == "mean" else 1
                return losses.sum() * scale + (jnp.exp(logits).sum() if beside else 0)

            grad = jax.grad(total)(given)
            if gives_input:
                return np.asarray(given)
            losses = np.asarray(each(given), np.float64)
            return losses.mean() if reduction == "mean" else losses, [np.asarray(grad, np.float64)]

        def linear(self, *_, **__):
            raise Missing("no loss of a last layer")

        copies_of_weights = linear

    return Peer()


def peers():
    """Those that are here, by name with version."""
    import torch
    from reports_in_torch import Peer

    import chainrule
    import chainrule.torch as ours

    functional = torch.nn.functional
    found = {
        f"chainrule.torch {chainrule.__version__}": Peer(ours.cross_entropy, ours.linear_cross_entropy),
        f"torch {torch.__version__}": Peer(functional.cross_entropy, getattr(functional, "linear_cross_entropy", None)),
    }
    missing = {}
    try:
        import optax

        found[f"optax {optax.__version__}"] = optax_peer()
    except ImportError as error:
        missing["optax"] = str(error)
    for name, module, function in (
        ("Liger-Kernel", "liger_kernel.transformers.functional", "liger_cross_entropy"),
        ("ml-cross-entropy", "cut_cross_entropy", "linear_cross_entropy"),
    ):
        try:
            loaded = getattr(__import__(module, fromlist=[function]), function)
        except Exception as error:  # not installed, or no GPU
            missing[name] = f"{type(error).__name__}: {error}"
            continue
        found[name] = Peer(loaded, None) if function.startswith("liger") else Peer(None, loaded)
    return found, missing


def verdict(function, peer):
    from reports import Missing

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function(peer)
    except Missing:
        return "—"
    except AssertionError:
        return "wrong"
    except Exception as error:
        return f"error: {type(error).__name__}"
    return "right"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    from reports import CASES

    found, missing = peers()
    about = facts("numpy", "torch", "jax", "optax") | {"date": datetime.datetime.now(datetime.UTC).date().isoformat()}
    print("\n".join(f"{name}: {value}" for name, value in about.items()))
    print("\n".join(f"missing: {name} ({why})" for name, why in missing.items()))
    print(f"\n| report | complaint | {' | '.join(found)} |\n|---|---|{'---|' * len(found)}")
    records = []
    for report, complaint, function in CASES.values():
        verdicts = [verdict(function, peer) for peer in found.values()]
        print(f"| {report} | {complaint} | {' | '.join(verdicts)} |", flush=True)
        records.append({"report": report, "complaint": complaint} | dict(zip(found, verdicts, strict=True)))
    if arguments.json:
        arguments.json.write_text(json.dumps(about | {"missing": missing, "results": records}, indent=1))


if __name__ == "__main__":
    main()
