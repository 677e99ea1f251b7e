"""The optimizers take PyTorch's steps, and no other rule is taken for one of them."""

import dataclasses

import numpy as np
import pytest
from problems import blobs, new_net

from chainrule import SGD, Adam, AdamW, fit
from chainrule.errors import InputError

OPTIMIZERS = {
    "sgd": (SGD(0.1), lambda t, p: t.optim.SGD(p, 0.1)),
    "momentum": (SGD(0.05, momentum=0.9), lambda t, p: t.optim.SGD(p, 0.05, momentum=0.9)),
    "nesterov": (SGD(0.05, 0.9, nesterov=True), lambda t, p: t.optim.SGD(p, 0.05, momentum=0.9, nesterov=True)),
    "adam": (Adam(0.01), lambda t, p: t.optim.Adam(p, 0.01)),
    "adamw": (AdamW(0.01, weight_decay=0.1), lambda t, p: t.optim.AdamW(p, 0.01, weight_decay=0.1)),
}


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-12)])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_ten_steps_equal_pytorch(name, dtype, tolerance):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours, theirs = OPTIMIZERS[name]
    start = np.random.default_rng(0).normal(size=50).astype(dtype)
    parameters, scratch = start.copy(), np.empty_like(start)
    state = ours.state(50, start.dtype)
    tensor = torch.nn.Parameter(torch.tensor(start))
    optimizer = theirs(torch, [tensor])
    for t in range(1, 11):
        gradient = np.random.default_rng(t).normal(size=50).astype(dtype)
        tensor.grad = torch.tensor(gradient)
        optimizer.step()
        ours.step(parameters, gradient.copy(), state, t, scratch)
        np.testing.assert_allclose(parameters, tensor.detach().numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_epoch_in_one_batch_equals_pytorch(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x, labels = blobs()
    net = new_net()
    layers = [torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3)]
    model = torch.nn.Sequential(*layers).double()
    with torch.no_grad():
        for layer, w, b in zip((layers[0], layers[2]), net.weights, net.biases, strict=True):
            layer.weight.copy_(torch.tensor(w))
            layer.bias.copy_(torch.tensor(b))
    optimizer = OPTIMIZERS[name][1](torch, model.parameters())
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(torch.tensor(x)), torch.tensor(labels))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    history = fit(net, x, labels, optimizer=OPTIMIZERS[name][0], epochs=5, batch_size=500, validation=0)
    np.testing.assert_allclose(history.loss, losses, rtol=1e-10)
    np.testing.assert_allclose(net.weights[0], layers[0].weight.detach().numpy(), rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(net.biases[1], layers[2].bias.detach().numpy(), rtol=1e-8, atol=1e-10)


@dataclasses.dataclass(frozen=True)
class Lion(Adam):
    def native_options(self):
        return {"rule": "lion"}


@dataclasses.dataclass(frozen=True)
class Halved(SGD):
    def step(self, parameters, gradient, state, t, scratch):
        parameters -= self.lr / 2 * gradient


@dataclasses.dataclass(frozen=True)
class Warm(Adam):
    def state(self, n, dtype):
        return {"mean": np.ones(n, dtype), "square": np.ones(n, dtype)}


class Own:
    lr = 0.1

    def state(self, n, dtype):
        return {}

    def step(self, parameters, gradient, state, t, scratch):
        parameters -= self.lr * gradient

    def native_options(self):
        return {"rule": "sgd"}


@dataclasses.dataclass(frozen=True)
class Quick(AdamW):
    lr: float = 0.01


@pytest.mark.parametrize("optimizer", [Lion(), Halved(), Warm(), Own(), Adam])
def test_an_optimizer_whose_step_would_not_be_taken_is_refused(optimizer):
    x, labels = blobs()
    net, before = new_net(), new_net()
    with pytest.raises(InputError, match=r"optimizer: got .*, expected SGD, Adam or AdamW"):
        fit(net, x, labels, optimizer=optimizer)
    assert net.weights[0].tobytes() == before.weights[0].tobytes()


def test_a_subclass_with_the_same_rule_is_taken():
    x, labels = blobs()
    ours, plain = new_net(), new_net()
    fit(ours, x, labels, optimizer=Quick(), epochs=2)
    fit(plain, x, labels, optimizer=AdamW(0.01), epochs=2)
    assert ours.weights[0].tobytes() == plain.weights[0].tobytes()
