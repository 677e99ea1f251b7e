"""Networks from PyTorch and back: the same probabilities as its own, and clear refusals."""

import numpy as np
import pytest
from truths import MODULES

from chainrule import Network
from chainrule.errors import InputError
from chainrule.explain import explain

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
nn = torch.nn


def softmax(logits):
    return torch.softmax(logits, dim=1).detach().numpy()


@pytest.mark.parametrize("activation", MODULES)
def test_torch_there_and_back(activation):
    torch.manual_seed(0)
    g = getattr(nn, MODULES[activation])
    module = nn.Sequential(nn.Linear(5, 7), g(), nn.Linear(7, 4), g(), nn.Linear(4, 3)).double()
    x = np.random.default_rng(0).normal(size=(6, 5))
    net = Network.from_torch(module)
    assert net.activation == activation
    # PyTorch's softplus is its argument itself above 20: off by 2e-9 there, and these are below
    np.testing.assert_allclose(net.predict_proba(x), softmax(module(torch.tensor(x))), rtol=1e-12)
    back = net.to_torch()
    np.testing.assert_allclose(softmax(back(torch.tensor(x))), net.predict_proba(x), rtol=1e-12)
    with torch.no_grad():
        back[0].weight += 1
    np.testing.assert_array_equal(net.weights[0], module[0].weight.detach().numpy())
    with torch.no_grad():
        module[0].weight += 1
    assert not (net.weights[0] == module[0].weight.detach().numpy()).any()


def test_what_is_left_out_of_a_torch_module():
    torch.manual_seed(0)
    linear = nn.Linear(4, 3, bias=False)
    hidden = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4, bias=False), nn.Dropout(0.5), nn.ReLU())
    x = torch.randn(5, 2, 3)
    for last, probabilities in (
        ([], lambda y: torch.softmax(y, dim=1)),
        ([nn.Softmax(dim=1)], lambda y: y),
        ([nn.LogSoftmax(dim=-1)], torch.exp),
    ):
        module = nn.Sequential(nn.Flatten(), hidden, linear, *last).eval()
        net = Network.from_torch(module)
        assert net.weights[0].dtype == np.float32
        expected = probabilities(module(x)).detach().numpy()
        np.testing.assert_allclose(net.predict_proba(x.reshape(5, -1).numpy()), expected, rtol=1e-5)
        explanation = explain(module, x[0], 2)
        assert explanation.forward.probabilities[0] == pytest.approx(expected[0], rel=1e-5)
    half = Network.from_torch(nn.Sequential(nn.Linear(6, 3)).bfloat16())
    assert half.weights[0].dtype == np.float32


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)], "layer 1 is BatchNorm1d"),
        ([nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2)], "'relu', 'tanh'"),
        ([nn.Linear(2, 3), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2)], "'identity', 'tanh'"),
        ([nn.Linear(2, 3), nn.ReLU()], "ends with the activation 'relu'"),
        ([nn.Linear(2, 3), nn.LeakyReLU(0.2), nn.Linear(3, 2)], "negative_slope=0.01"),
        ([nn.Linear(2, 3), nn.GELU("tanh"), nn.Linear(3, 2)], "approximate='none'"),
        ([nn.Linear(2, 3), nn.Softmax(dim=0)], "dim=1"),
        ([nn.Linear(2, 3), nn.Softmax(dim=1), nn.Linear(3, 2)], "after Softmax"),
        ([nn.Linear(2, 3), nn.ReLU(), nn.ReLU(), nn.Linear(3, 2)], "one activation after a Linear"),
        ([nn.Linear(2, 3), nn.Flatten(), nn.Linear(3, 2)], "before the first Linear"),
        ([nn.Flatten(0), nn.Linear(2, 3)], r"expected Flatten\(\)"),
        ([nn.ReLU()], "one activation after a Linear"),
        ([], "no Linear layer"),
    ],
)
def test_modules_that_are_refused(layers, message):
    with pytest.raises(InputError, match=message):
        Network.from_torch(nn.Sequential(*layers))


def test_other_things_are_refused():
    for bad in (nn.Conv2d(1, 1, 1), nn.TransformerEncoderLayer(4, 2), "a model"):
        with pytest.raises(InputError, match="expected a Sequential of Linear layers"):
            Network.from_torch(bad)
    with pytest.raises(InputError, match="net: got str, expected a Network"):
        explain("model", [1.0], 0)
    with pytest.raises(InputError, match=r"chainrule\.torch\.explain"):
        explain(nn.Conv2d(1, 1, 1), [1.0], 0)


def test_a_network_of_torch_arrays():
    net = Network.create([3, 4, 2], seed=0)
    other = Network(*([torch.tensor(a, requires_grad=True) for a in side] for side in (net.weights, net.biases)))
    x = np.ones(3)
    assert explain(other, torch.ones(3), 1).loss == explain(net, x, 1).loss
