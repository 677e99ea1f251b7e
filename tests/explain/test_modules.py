"""Any PyTorch classifier explained from outside: its norms against autograd's own, and the module left as it was."""

import json
import re

import numpy as np
import pytest

from chainrule.errors import InputError

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from chainrule.torch import explain  # noqa: E402

nn = torch.nn


class Net(nn.Module):
    """Convolution, batch norm, an activation in place, dropout, a residual, and one layer called twice."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.act = nn.ReLU(inplace=True)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(48, 6), nn.Dropout(0.5))
        self.twice = nn.Linear(6, 6)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        h = self.body(self.act(self.norm(self.convolution(x))))
        h = h + torch.tanh(self.twice(torch.tanh(self.twice(h))))
        return self.head(h)


def make():
    torch.manual_seed(0)
    module = Net().double()
    module(torch.randn(8, 1, 4, 4, dtype=torch.float64))  # statistics for the batch norm
    return module, torch.randn(1, 1, 4, 4, dtype=torch.float64)


def test_every_norm_is_autograds():
    module, x = make()
    found = explain(module, x, 2, classes=["a", "b", "c", "d"])
    rows = {row.name: row for row in found.rows}
    assert list(rows) == [
        "x", "convolution", "norm", "act", "body.0", "body.1", "body.2", "body", "twice", "head",
    ]  # fmt: skip
    # the same once more, written out, with every output kept
    module.eval()
    module.zero_grad()
    x = x.clone().requires_grad_()
    kept = {"x": x, "convolution": module.convolution(x)}
    kept["norm"] = module.norm(kept["convolution"])
    kept["act"] = torch.relu(kept["norm"])
    kept["body"] = kept["body.2"] = kept["body.1"] = module.body[1](kept["act"].flatten(1))
    kept["body.0"] = kept["act"]
    first = module.twice(kept["body"])
    second = module.twice(torch.tanh(first))
    kept["head"] = module.head(kept["body"] + torch.tanh(second))
    for tensor in [*kept.values(), first, second]:
        tensor.retain_grad()
    loss = nn.functional.cross_entropy(kept["head"], torch.tensor([2]))
    loss.backward()
    assert found.loss == pytest.approx(loss.item(), rel=1e-14)
    for name, tensor in kept.items():
        assert rows[name].gradient_norm == pytest.approx(tensor.grad.norm().item(), rel=1e-12), name
    twice = np.hypot(first.grad.norm().item(), second.grad.norm().item())
    assert rows["twice"].gradient_norm == pytest.approx(twice, rel=1e-12)
    for name in ("convolution", "norm", "body.1", "twice", "head"):
        own = torch.cat([p.grad.ravel() for p in module.get_submodule(name).parameters(recurse=False)])
        assert rows[name].parameter_norm == pytest.approx(own.norm().item(), rel=1e-12), name
        assert rows[name].n_parameters == own.numel()
    for name in ("x", "act", "body", "body.0", "body.2"):  # a parent's are its children's own
        assert (rows[name].parameter_norm, rows[name].n_parameters) == (None, 0)
    assert rows["convolution"].shape == (1, 3, 4, 4)
    p = torch.softmax(kept["head"], dim=1)[0].detach().numpy()
    assert [u.grad_logit for u in found.output_units] == pytest.approx(p - [0, 0, 1, 0], rel=1e-13)
    assert [u.name for u in found.output_units] == ["a", "b", "c", "d"]
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["version"] == 2
    for row in found.rows:
        assert row.name in found.to_text()


def test_the_text_keeps_its_columns_apart_where_all_names_are_short():
    found = explain(nn.Sequential(nn.Linear(2, 3)), torch.zeros(2), 0)
    assert re.search(r"^module +kind +output ", found.to_text(), re.MULTILINE)


def test_the_output_layer_is_exact_where_pytorchs_rounds_to_zero():
    module = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        module.weight[:] = torch.tensor([[0.0], [-40.0]])
    found = explain(module, torch.ones(1, 1), 0)
    assert found.output_units[0].grad_logit == pytest.approx(-np.exp(-40), rel=1e-13, abs=0)
    assert [f.kind for f in found.findings] == ["learned", "rounded to zero"]
    assert found.rows[0].gradient_norm == pytest.approx(40 * np.exp(-40), rel=1e-6, abs=0)
    logits = torch.tensor([[0.0, -40.0]], requires_grad=True)
    nn.functional.cross_entropy(logits, torch.tensor([0])).backward()
    assert logits.grad[0, 0] == 0


def test_the_module_is_left_as_it_was():
    module, x = make()
    module.train()
    module.norm.eval()
    modes = [m.training for m in module.modules()]
    state = {name: value.clone() for name, value in module.state_dict().items()}
    explain(module, x, 0)
    with pytest.raises(InputError, match="label: got 9"):
        explain(module, x, 9)
    assert [m.training for m in module.modules()] == modes
    assert all(not m._forward_hooks for m in module.modules())
    assert all(p.grad is None for p in module.parameters())
    assert x.grad is None
    assert not x.requires_grad
    for name, value in module.state_dict().items():
        assert torch.equal(value, state[name])


def test_a_module_may_begin_in_place():
    module = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 2)).double()
    x = torch.tensor([[-1.0, 2.0, 3.0]], dtype=torch.float64)
    found = explain(module, x, 0)
    assert x.tolist() == [[-1, 2, 3]]
    leaf = x.clone().requires_grad_()
    nn.functional.cross_entropy(module[1](torch.relu(leaf)), torch.tensor([0])).backward()
    assert found.rows[0].gradient_norm == pytest.approx(leaf.grad.norm().item(), rel=1e-12)


def test_frozen_layers_and_integer_inputs():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 4))
    tokens = torch.tensor([[1, 3]])
    free = explain(module, tokens, 1)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    with torch.no_grad():
        frozen = explain(module, tokens, 1)
    assert [row.name for row in frozen.rows] == ["0", "1", "2"]
    assert [row.gradient_norm for row in frozen.rows] == pytest.approx([row.gradient_norm for row in free.rows])
    assert [row.parameter_norm for row in frozen.rows] == [None] * 3
    assert free.rows[2].parameter_norm > 0


class Named(nn.Module):
    """Inputs by name, an object with logits, and a submodule that returns a tuple."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(3, 4, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x, scale):
        from types import SimpleNamespace

        states, last = self.rnn(x * scale)
        return SimpleNamespace(logits=self.head(last[-1] + states[:, -1]))


def test_tuples_names_and_objects_with_logits():
    torch.manual_seed(0)
    module = Named().double()
    x = torch.randn(1, 5, 3, dtype=torch.float64)
    rows = {row.name: row for row in explain(module, {"x": x, "scale": 2.0}, 0).rows}
    states, last = module.rnn(2 * x)
    states.retain_grad(), last.retain_grad()
    nn.functional.cross_entropy(module.head(last[-1] + states[:, -1]), torch.tensor([0])).backward()
    together = torch.cat([states.grad.ravel(), last.grad.ravel()]).norm().item()
    assert rows["rnn"].gradient_norm == pytest.approx(together, rel=1e-12)
    weights = torch.cat([p.grad.ravel() for p in module.rnn.parameters()])
    assert rows["rnn"].parameter_norm == pytest.approx(weights.norm().item(), rel=1e-12)


def test_bad_input():
    linear, x = nn.Linear(2, 3), torch.ones(1, 2)
    for module, given, label, message in (
        ("a model", x, 0, "module: got str, expected a torch.nn.Module"),
        (linear, x, 3, r"label: got 3, expected an integer in \[0, 3\)"),
        (linear, x, 0.5, "label: got 0.5"),
        (linear, torch.ones(2, 2), 0, r"module: gives shape \(2, 3\), expected one example"),
        (nn.Sequential(linear, nn.Softmax(dim=1)), x, 0, "probabilities"),
        (linear, torch.full((1, 2), torch.nan), 0, "gives nan among its logits"),
        (nn.GRU(2, 3), torch.ones(1, 1, 2), 0, "gives tuple"),
        (linear, torch.ones(1, 5), 0, r"x: got a tensor of shape \(1, 5\) and torch.float32, which Linear does not"),
        (linear, x.double(), 0, r"x: got .* and torch.float64, which Linear does not take"),
        (linear, [1.0, 2.0], 0, "x: got list, no tensor, which Linear does not take"),
        (linear, {"other": x}, 0, "x: got a dict of other, which Linear does not take"),
    ):
        with pytest.raises(InputError, match=message):
            explain(module, given, label)
    with pytest.raises(InputError, match="classes: got 1 names, expected 3"):
        explain(linear, x, 0, classes=["a"])
    assert explain(linear, torch.ones(2), 0).rows[0].shape == (2,)
