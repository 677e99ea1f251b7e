"""Speed of prediction: `predict_proba` of 1, 100 and 20,000 rows, for networks of NumPy arrays; run by training.py.

Beside scikit-learn's, PyTorch's under `inference_mode` (Linear, ReLU and a softmax) and onnxruntime's, of the same
weights and the same rows, in the weights' dtype. Where a call is short many are timed together.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import warnings
from functools import partial
from pathlib import Path

from benchmarks.machine import paired_ratio, repeated, take_turns, turns

ROWS = (1, 100, 20_000)
SECONDS = 0.02  # a turn's, about, where calls are short
REST = 0.05  # between contestants: OpenBLAS's threads spin for 30 ms after their last product
OURS = ("Network", "our MLPClassifier")


def contestants(widths, dtype, threads):
    import chainrule

    net = chainrule.Network.create(widths, seed=0, dtype=dtype)
    runs = {"Network": net.predict_proba}
    for make in (by_sklearn, by_torch, by_onnx):
        try:
            runs |= make(net, dtype, threads)
        except ImportError as error:
            print(f"left out: {error}", file=sys.stderr)
    return runs


def by_sklearn(net, dtype, threads):
    import numpy as np
    from sklearn.neural_network import MLPClassifier

    from chainrule.sklearn import MLPClassifier as Ours

    runs, random = {}, np.random.default_rng(0)
    x, labels = random.standard_normal((200, net.widths[0]), dtype=dtype), np.arange(200) % net.widths[-1]
    for name, kind in (("our MLPClassifier", Ours), ("scikit-learn", MLPClassifier)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = kind(tuple(net.widths[1:-1]), max_iter=1).fit(x, labels)
        model.coefs_ = [np.ascontiguousarray(w.T) for w in net.weights]
        model.intercepts_ = list(net.biases)
        runs[name] = model.predict_proba
    return runs


def by_torch(net, dtype, threads):
    import torch

    torch.set_num_threads(threads)
    model = torch.nn.Sequential(net.to_torch(), torch.nn.Softmax(dim=1)).eval()

    def run(x):
        with torch.inference_mode():
            return model(torch.from_numpy(x)).numpy()

    return {"PyTorch": run}


def by_onnx(net, dtype, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder:
        session = onnxruntime.InferenceSession(net.to_onnx(Path(folder) / "net.onnx"), options)
    return {"onnxruntime": lambda x: session.run(["probabilities"], {"x": x})[0]}


def measure(widths, dtype, threads, repeats):
    import numpy as np

    every = np.random.default_rng(1).standard_normal((max(ROWS), widths[0]), dtype=dtype)
    calls = contestants(widths, dtype, threads)
    for rows in ROWS:
        x = every[:rows]
        for name, call in calls.items():
            np.testing.assert_allclose(call(x), calls["Network"](x), rtol=1e-3, atol=1e-4, err_msg=name)
        runs = {name: partial(call, x) for name, call in calls.items()}
        once = take_turns(runs, 3, rest=0.0)
        counts = {name: max(1, round(SECONDS / seconds)) for name, seconds in once.items()}
        many = turns({name: repeated(run, counts[name]) for name, run in runs.items()}, repeats, REST)
        times = {name: [time / counts[name] for time in found] for name, found in many.items()}
        yield {
            "widths": widths,
            "rows": rows,
            "threads": threads,
            "dtype": dtype,
            "microseconds": {name: 1e6 * statistics.median(found) for name, found in times.items()},
            "peers": {name: paired_ratio(found, times["Network"]) for name, found in times.items() if name not in OURS},
        }


HEADER = """
{dtype}, `predict_proba`, {threads} thread(s), µs a call

| network | rows | Network | our MLPClassifier | peers | peers / Network |
|---|---|---|---|---|---|"""


def tell(record):
    times = record["microseconds"]
    peers = ", ".join(f"{name} {times[name]:.0f}" for name in record["peers"])
    ratios = ", ".join(f"{name} {ratio:.1f}" for name, ratio in record["peers"].items())
    own = [f"{times[name]:.0f}" if name in times else "" for name in OURS]
    return f"| {' | '.join(['-'.join(map(str, record['widths'])), str(record['rows']), *own, peers, ratios])} |"
