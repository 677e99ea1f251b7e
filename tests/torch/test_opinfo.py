"""Every sample that PyTorch tests its own losses with: values, gradients and second gradients equal PyTorch's."""

import warnings

import pytest

torch = pytest.importorskip("torch", reason="the PyTorch face needs torch")
pytest.importorskip("expecttest", reason="PyTorch's samples need expecttest")

import chainrule.torch as ours  # noqa: E402
from chainrule.errors import InputError  # noqa: E402

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what PyTorch's own testing modules deprecate
    from torch.testing._internal.common_methods_invocations import op_db

NAMES = {"nn.functional.cross_entropy": "cross_entropy", "nn.functional.linear_cross_entropy": "linear_cross_entropy"}
OPS = [op for op in op_db if op.name in NAMES]
# PyTorch says that it does without chunks for such samples; the values are the same
pytestmark = pytest.mark.filterwarnings("ignore:linear_cross_entropy. ``options`` ignored:UserWarning")


def leaves_of(*values):
    return [value for value in values if isinstance(value, torch.Tensor) and value.requires_grad]


def copied(value):
    return value.detach().clone().requires_grad_(value.requires_grad) if isinstance(value, torch.Tensor) else value


def derivatives(function, sample, kwargs):
    """Value, gradients and second gradients of fresh copies of a sample's tensors."""
    args = [copied(value) for value in (sample.input, *sample.args)]
    kwargs = {name: copied(value) for name, value in kwargs.items()}
    value = function(*args, **kwargs)
    leaves = leaves_of(*args, *kwargs.values())
    grads = torch.autograd.grad(value, leaves, cotangent(value, 0), create_graph=True)
    product = sum((grad * cotangent(grad, i + 1)).sum() for i, grad in enumerate(grads))
    return [value, *grads, *torch.autograd.grad(product, leaves, allow_unused=True)]


def cotangent(tensor, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("op", OPS, ids=lambda op: op.full_name)
def test_samples(op, dtype):
    function, count = getattr(ours, NAMES[op.name]), 0
    for sample in op.sample_inputs("cpu", dtype, requires_grad=True):
        # PyTorch's own chunks have no second derivative, so its whole logits are the reference
        plain = {name: value for name, value in sample.kwargs.items() if name != "options"}
        expected = derivatives(getattr(torch.nn.functional, NAMES[op.name]), sample, plain)
        came = derivatives(function, sample, sample.kwargs)
        for got, wanted in zip(came, expected, strict=True):
            if wanted is None:
                assert got is None or not got.any()
                continue
            tolerance = {"rtol": 2e-4, "atol": 2e-4} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-9}
            torch.testing.assert_close(got, wanted, **tolerance)
        count += 1
    assert count > 10


# What differs from PyTorch on purpose: the kind of an error, which is ours everywhere (docs/torch.md).
DIFFERENCES = {RuntimeError: InputError}


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.full_name)
def test_reference_samples_in_every_format(op):
    function, theirs, count = getattr(ours, NAMES[op.name]), getattr(torch.nn.functional, NAMES[op.name]), 0
    for dtype in sorted(op.dtypes, key=str):
        near = 2e-2 if dtype.itemsize == 2 else 2e-5
        for sample in op.reference_inputs("cpu", dtype):
            plain = {name: value for name, value in sample.kwargs.items() if name != "options"}
            wanted = theirs(sample.input, *sample.args, **plain)
            got = function(sample.input, *sample.args, **sample.kwargs)
            torch.testing.assert_close(got, wanted, rtol=near, atol=near)
            count += 1
    assert count > 40


@pytest.mark.parametrize("op", [op for op in OPS if op.error_inputs_func], ids=lambda op: op.full_name)
def test_errors(op):
    """Each of PyTorch's own wrong calls is an error here."""
    function, count = getattr(ours, NAMES[op.name]), 0
    for wrong in op.error_inputs("cpu"):
        sample = wrong.sample_input
        with pytest.raises(DIFFERENCES[wrong.error_type], match="got"):
            function(sample.input, *sample.args, **sample.kwargs)
        count += 1
    assert count > 3


def test_operators_with_every_option():
    ops, shape = torch.ops.chainrule, (0.6, 0.1, 2.0, 1.7)
    logits, target = torch.randn(3, 4, dtype=torch.float64), torch.tensor([1, -100, 3])
    hidden, weight = torch.randn(3, 2, dtype=torch.float64), torch.randn(4, 2, dtype=torch.float64)
    for reduction in ("mean", "none"):
        loss = (reduction, -100, 0.1)
        torch.library.opcheck(
            ops.cross_entropy.default, (logits.requires_grad_(), target, None, *loss, True, False, *shape)
        )
        layer = (hidden.requires_grad_(), weight.requires_grad_(), None, target, None, *loss)
        torch.library.opcheck(ops.linear_cross_entropy.default, (*layer, [True, True, False], None, False, *shape))
    factors = torch.rand(3, dtype=torch.float64).requires_grad_()
    torch.library.opcheck(ops.linear_backward.default, (factors, *layer, [True, True, False], None, *shape))
