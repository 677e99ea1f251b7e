"""How many of the labels that were flipped are found, beside cleanlab with the same cross-validated probabilities.

    python -m benchmarks.label_errors [--seeds 5] [--tables digits wine …] [--json FILE]

A twentieth of a table's labels become another class. `chainrule audit` as it comes trains networks in five folds, and
its logits go to `chainrule.scores.label_errors`; the probabilities go to cleanlab's `find_label_issues`, as it comes
with its issues ranked by self-confidence or by normalised margin. Precision is the share of flipped rows among the
first of a ranking, as many as were flipped. cleanlab ranks only what it takes for issues: where these are fewer, the
places that stay empty count as misses in its precision, and the last column gives the precision of what it does name.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from benchmarks.machine import facts
from benchmarks.tables import tables

RANKS = ("self_confidence", "normalized_margin")
CHOSEN = ("digits", "wine", "breast_cancer", "mlc_churn")


def flipped(frame, target, seed):
    """The table with a twentieth of its labels flipped, and which rows they are."""
    import numpy as np

    random, frame = np.random.default_rng(seed), frame.copy()
    classes = sorted(frame[target].unique().tolist())
    rows = random.choice(len(frame), round(len(frame) / 20), replace=False)
    places = {name: place for place, name in enumerate(classes)}
    values = frame[target].tolist()
    for row in rows:
        values[row] = classes[(places[values[row]] + int(random.integers(1, len(classes)))) % len(classes)]
    frame[target] = values
    return frame, rows


def audited(frame, target, seed):
    """What `chainrule audit` finds with no option but the seed."""
    from chainrule.command.arguments import parser
    from chainrule.command.audit import AuditRequest, audit
    from chainrule.command.cli import COMMANDS

    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.csv"
        frame.to_csv(table, index=False)
        options = parser(COMMANDS).parse_args(["audit", str(table), "--target", target, "--seed", str(seed)])
        return audit(AuditRequest(**{name: getattr(options, name) for name in AuditRequest.__annotations__}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tables", nargs="*", default=CHOSEN)
    parser.add_argument("--json", type=Path, default=Path("build/label_errors.json"))
    options = parser.parse_args()
    import numpy as np
    from cleanlab.filter import find_label_issues

    from chainrule import softmax

    about, results = facts("chainrule", "cleanlab", "scikit-learn", "numpy"), []
    print("\n".join(f"{name}: {value}" for name, value in about.items()))
    print(
        "\n| table | rows | flipped | ours | cleanlab, self-confidence | cleanlab, margin | it names | right of these |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, frame, target in tables():
        if name not in options.tables:
            continue
        found = {"ours": [], "named": [], "right": []} | {rank: [] for rank in RANKS}
        for seed in range(options.seeds):
            table, wrong = flipped(frame, target, seed)
            result = audited(table, target, seed)
            m, probabilities = len(wrong), softmax(result.logits.astype(float))
            found["ours"].append(np.isin(result.found.order[:m], wrong).sum() / m)
            if name == "digits":
                found.setdefault("first 120", []).append(int(np.isin(result.found.order[:120], wrong).sum()))
            for rank in RANKS:
                issues = find_label_issues(result.labels, probabilities, return_indices_ranked_by=rank)
                found[rank].append(np.isin(issues[:m], wrong).sum() / m)
            found["named"].append(len(issues))
            found["right"].append(np.isin(issues, wrong).mean() if len(issues) else 0.0)
        means = {key: statistics.mean(map(float, values)) for key, values in found.items()}
        results.append({"table": name, "rows": len(frame)} | {key: list(map(float, v)) for key, v in found.items()})
        print(
            f"| {name} | {len(frame)} | {m} | {means['ours']:.3f} | {means[RANKS[0]]:.3f} | {means[RANKS[1]]:.3f} | "
            f"{means['named']:.0f} | {means['right']:.3f} |",
            flush=True,
        )
        if "first 120" in found:
            print(f"  of digits' {m} flipped labels among the first 120, by seed: {found['first 120']}")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(about | {"results": results}, indent=1))


if __name__ == "__main__":
    main()
