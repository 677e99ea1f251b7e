"""Networks written as ONNX: a runtime and the reference evaluator give their numbers."""

import numpy as np
import pytest

from chainrule import Network
from chainrule.activations import ACTIVATIONS

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
reference = pytest.importorskip("onnx.reference", reason="onnx is not installed")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_an_onnx_runtime_gives_the_same_numbers(activation, dtype, tmp_path):
    net = Network.create([5, 7, 4, 3], activation=activation, seed=1, dtype=dtype)
    for bias in net.biases:
        bias += np.linspace(-0.5, 0.7, len(bias)).astype(dtype)
    path = net.to_onnx(tmp_path / "net.onnx")
    onnx.checker.check_model(str(path), full_check=True)
    operators = str(ACTIVATIONS[activation].onnx)
    if dtype == "float64" and ("Erf" in operators or "Softplus" in operators):  # for which the runtime has no kernels
        session = reference.ReferenceEvaluator(str(path))
    else:
        session = runtime.InferenceSession(str(path))
    x = np.random.default_rng(0).normal(size=(6, 5)).astype(dtype)
    logits, probabilities = session.run(["logits", "probabilities"], {"x": x})
    # the reference evaluator's Erf is float32
    tolerance = 1e-12 if dtype == "float64" and "Erf" not in operators else 2e-5
    np.testing.assert_allclose(logits, net.forward(x).logits, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(probabilities, net.predict_proba(x), rtol=tolerance)
