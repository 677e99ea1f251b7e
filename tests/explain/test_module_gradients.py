"""The gradient at every submodule's output of ten classifiers, against autograd's own and central differences."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from classifiers import classifiers  # noqa: E402

from chainrule.torch import explain  # noqa: E402

MODELS = classifiers()


def tensors(result):
    parts = result if isinstance(result, (tuple, list)) else [result]
    return [part for part in parts if isinstance(part, torch.Tensor) and part.is_floating_point()]


def by_autograd(module, x, label):
    """Every submodule's outputs kept by PyTorch itself, and its own cross-entropy."""
    kept, hooks = {}, []
    for name, part in module.named_modules():
        if name:

            def keep(_, __, result, name=name):
                for tensor in tensors(result):
                    tensor.retain_grad()
                    kept.setdefault(name, []).append(tensor)

            hooks.append(part.register_forward_hook(keep))
    module.eval()
    if x.is_floating_point():
        x = x.clone().requires_grad_()
        kept["x"] = [x]
    loss = torch.nn.functional.cross_entropy(module(x), torch.tensor([label]))
    loss.backward()
    for hook in hooks:
        hook.remove()
    return loss.item(), {name: [t.grad for t in parts if t.grad is not None] for name, parts in kept.items()}


def moved_by(module, x, label, name, at, move):
    """The loss where one element of a submodule's first output is moved."""

    def nudge(_, __, result):
        first = tensors(result)[0].clone(memory_format=torch.contiguous_format)
        first.view(-1)[at] += move
        return (first, *result[1:]) if isinstance(result, tuple) else first

    hook = module.get_submodule(name).register_forward_hook(nudge)
    module.eval()
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(module(x), torch.tensor([label])).item()
    hook.remove()
    return loss


@pytest.mark.parametrize("name", MODELS)
def test_every_submodules_gradient_is_autograds_and_a_differences(name):
    module, x, label = MODELS[name]
    found = explain(module, x, label)
    loss, want = by_autograd(module, x, label)
    assert found.loss == pytest.approx(loss, rel=1e-12)
    assert set(found.gradients) == set(want)
    assert {row.name for row in found.rows} == set(want)
    random = np.random.default_rng(0)
    for part, gradients in want.items():
        got = found.gradients[part]
        assert len(got) == len(gradients), part
        for one, other in zip(got, gradients, strict=True):
            assert one.dtype == np.float64
            assert one.shape == tuple(other.shape)
            size = max(other.abs().max().item(), 1e-300)
            assert np.abs(one - other.numpy()).max() <= 1e-7 * size, part
        if part != "x":
            at, h = int(random.integers(got[0].size)), 1e-5
            difference = (moved_by(module, x, label, part, at, h) - moved_by(module, x, label, part, at, -h)) / (2 * h)
            assert difference == pytest.approx(got[0].ravel()[at], rel=1e-5, abs=1e-8), part


def test_a_gradient_that_nothing_reaches_is_no_gradient():
    class Aside(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.aside = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)

        def forward(self, x):
            self.aside(x)
            return self.used(x)

    found = explain(Aside(), torch.ones(1, 2), 0)
    assert found.gradients["aside"] == []
    assert found.gradients["used"][0].shape == (1, 2)
    assert "gradients" not in found.to_dict()
