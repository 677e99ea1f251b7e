"""chainrule.torch.linear_cross_entropy and its kin: PyTorch's numbers, derivatives, what is skipped, memory, errors."""

import itertools
import tracemalloc

import pytest

torch = pytest.importorskip("torch", reason="the PyTorch face needs torch")

import chainrule.torch as ours  # noqa: E402
from chainrule.errors import InputError  # noqa: E402

F = torch.nn.functional
# PyTorch's forward mode scripts its decompositions when it is first used
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning")

OPTIONS = [
    {},
    {"weight": True},
    {"label_smoothing": 0.2},
    {"weight": True, "label_smoothing": 0.3},
    {"ignore_index": 2},
    {"weight": True, "label_smoothing": 0.3, "ignore_index": 2},
]
CASES = [
    (options, target, reduction)
    for options, target, reduction in itertools.product(OPTIONS, ["indices", "probabilities"], ["mean", "sum", "none"])
    if not (target == "probabilities" and "ignore_index" in options)
]


def case(n=6, d=3, k=5, dtype=torch.float64, target="indices", positions=(), seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = (n, d), (k, *positions, d), (k, *positions)
    hidden, weight, bias = (torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes)
    if target == "probabilities":
        given = torch.rand((n, k, *positions), generator=generator, dtype=torch.float64).to(dtype) + 0.1
    else:
        given = torch.randint(k, (n, *positions), generator=generator)
    return [hidden.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()], given


def with_weight(options, k=5):
    return options | {"weight": torch.linspace(0.5, 2.0, k, dtype=torch.float64)} if options.get("weight") else options


def loss_of(function, leaves, target, **options):
    hidden, weight, bias = leaves
    return function(hidden, weight, target, linear_bias=bias, **options)


@pytest.mark.parametrize("positions", [(), (2,), (2, 1)], ids=str)
@pytest.mark.parametrize(("options", "target", "reduction"), CASES, ids=str)
def test_values_and_gradients(options, target, reduction, positions):
    options = with_weight(options) | {"reduction": reduction}
    leaves, given = case(target=target, positions=positions)
    expected = loss_of(F.linear_cross_entropy, leaves, given, **options)
    factor = torch.rand_like(expected) + 0.5
    wanted = torch.autograd.grad(expected, leaves, factor)
    for chunk_bytes in (None, 2000):
        loss = loss_of(ours.linear_cross_entropy, leaves, given, **options, chunk_bytes=chunk_bytes)
        torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
        for came, right in zip(torch.autograd.grad(loss, leaves, factor), wanted, strict=True):
            torch.testing.assert_close(came, right, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        loss = loss_of(ours.linear_cross_entropy, leaves, given, **options)
        torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("options", "target", "reduction"), CASES, ids=str)
def test_gradcheck_and_gradgradcheck(options, target, reduction):
    leaves, given = case(n=3, d=2, k=4, target=target)
    options = with_weight(options, 4) | {"reduction": reduction}

    def loss(*tensors):
        return loss_of(ours.linear_cross_entropy, tensors, given, **options)

    assert torch.autograd.gradcheck(loss, leaves, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(loss, leaves, check_fwd_over_rev=True)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_gradcheck_of_positions_and_targets(reduction):
    leaves, given = case(n=2, d=2, k=3, positions=(2,), target="probabilities")

    def loss(hidden, weight, target):
        return ours.linear_cross_entropy(hidden, weight, target, reduction=reduction)

    inputs = [*leaves[:2], given.requires_grad_()]
    assert torch.autograd.gradcheck(loss, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(loss, inputs)


@pytest.mark.parametrize("frozen", list(itertools.product([False, True], repeat=3)), ids=str)
def test_what_is_frozen_is_not_computed(frozen, monkeypatch):
    leaves, given = case()
    for leaf, is_frozen in zip(leaves, frozen, strict=True):
        leaf.requires_grad_(not is_frozen)
    products, buffers = [], []
    from chainrule.output import linear
    from chainrule.torch import layer

    class Counting:
        def __getattr__(self, name):
            function = getattr(kernels, name)
            return (lambda *args: (products.append(name), function(*args))[1]) if "multiply" in name else function

    def counted(*args, **kwargs):
        buffers.extend(args[1])
        return layer_into(*args, **kwargs)

    kernels, layer_into = linear._kernels, layer.layer_into
    monkeypatch.setattr(linear, "_kernels", Counting())
    monkeypatch.setattr(layer, "layer_into", counted)
    loss = loss_of(ours.linear_cross_entropy, leaves, given)
    assert len(products) == 1 + (not frozen[0]) + (not frozen[1])
    assert [buffer is None for buffer in buffers] == list(frozen)
    if not all(frozen):
        loss.backward()
        assert len(products) == 1 + (not frozen[0]) + (not frozen[1])  # backward hands on
    assert [leaf.grad is None for leaf in leaves] == list(frozen)


def test_tied_weights():
    embedding = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    tokens, target = torch.randint(7, (9,)), torch.randint(7, (9,))
    ours.linear_cross_entropy(torch.tanh(embedding[tokens]), embedding, target).backward()
    mine, embedding.grad = embedding.grad, None
    F.cross_entropy(torch.tanh(embedding[tokens]) @ embedding.T, target).backward()
    torch.testing.assert_close(mine, embedding.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_accumulation_into_grad(reduction, dtype):
    leaves, given = case(dtype=dtype)
    weight = leaves[1]
    for step in range(3):  # three backwards, each halved
        loss = loss_of(ours.linear_cross_entropy, leaves, given, reduction=reduction, accumulate=True)
        (loss / 2).sum().backward()
        if step == 0:
            place = weight.grad.data_ptr()
    assert weight.grad.data_ptr() == place
    mine = [leaf.grad for leaf in leaves]
    leaves, given = case(dtype=torch.float64)
    loss = loss_of(
        F.linear_cross_entropy, [leaf.detach().to(dtype).double().requires_grad_() for leaf in leaves], given
    )
    leaves = [leaf.detach().to(dtype).double().requires_grad_() for leaf in leaves]
    loss = loss_of(F.linear_cross_entropy, leaves, given, reduction=reduction)
    (1.5 * loss).sum().backward()
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 3e-2}[dtype]
    for came, leaf in zip(mine, leaves, strict=True):
        torch.testing.assert_close(came.double(), leaf.grad, rtol=tolerance, atol=tolerance)


def test_accumulation_makes_no_gradient_of_its_own():
    n, d, k = 64, 64, 4000
    leaves, given = case(n, d, k, dtype=torch.float32)
    hidden, weight, _ = leaves
    weight.grad = torch.zeros_like(weight)
    loss = ours.linear_cross_entropy(hidden, weight, given, accumulate=True, chunk_bytes=1 << 20)
    tensors = [tensor for tensor in loss.grad_fn.saved_tensors if tensor is not None]
    assert max(tensor.numel() for tensor in tensors) == weight.numel()
    assert any(tensor.data_ptr() == weight.data_ptr() for tensor in tensors)
    tracemalloc.start()
    loss.backward()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= (1 << 20) + hidden.numel() * 4 + 2**17
    expected = torch.autograd.grad(F.cross_entropy(hidden @ weight.T, given), weight)[0]
    torch.testing.assert_close(weight.grad, expected, rtol=1e-4, atol=1e-6)


def test_accumulation_refuses_what_it_cannot():
    leaves, given = case()
    hidden, weight, _ = leaves
    for bad in (weight * 1, weight.detach()):
        with pytest.raises(InputError, match="accumulate: got linear_weight as a tensor of shape"):
            ours.linear_cross_entropy(hidden, bad, given, accumulate=True)
    loss = ours.linear_cross_entropy(hidden, weight, given, accumulate=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(loss, hidden, create_graph=True)


def test_forward_keeps_no_logits():
    n, d, k = 700, 16, 3000
    leaves, given = case(n, d, k, dtype=torch.float32)
    tracemalloc.start()
    loss = ours.linear_cross_entropy(*leaves[:2], given, chunk_bytes=1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= (1 << 20) + 2**17
    saved = [tensor for tensor in loss.grad_fn.saved_tensors if tensor is not None]
    assert max(tensor.numel() for tensor in saved) < n * k // 2
    kept = {tensor.data_ptr() for tensor in saved}
    del saved
    loss.backward()
    assert {leaves[0].grad.data_ptr(), leaves[1].grad.data_ptr()} <= kept  # handed on, not copied


@pytest.mark.parametrize("lead", [(), (6,), (2, 3), (2, 1, 3)], ids=str)
def test_leading_dimensions(lead):
    leaves, _ = case()
    weight = leaves[1].detach()
    hidden, target = torch.randn(*lead, 3, dtype=torch.float64), torch.randint(5, lead)
    for reduction in ("mean", "none"):
        loss = ours.linear_cross_entropy(hidden, weight, target, reduction=reduction)
        logits = (hidden @ weight.T).reshape(-1, 5)
        expected = F.cross_entropy(logits, target.reshape(-1), reduction=reduction)
        torch.testing.assert_close(loss, expected.reshape(loss.shape))
        assert loss.shape == (lead if reduction == "none" else ())


def test_nothing_counted_is_zero():
    leaves, given = case()
    loss = loss_of(ours.linear_cross_entropy, leaves, torch.full_like(given, -100))
    loss.backward()
    assert loss.item() == 0
    assert not any(leaf.grad.any() for leaf in leaves)


def test_modules():
    torch.manual_seed(0)
    arguments = {"out_features": (2,), "bias": True, "weight": torch.rand(5), "label_smoothing": 0.1}
    options = torch.nn.LinearCrossEntropyOptions()
    mine = ours.LinearCrossEntropyLoss(3, 5, **arguments, options=options)
    theirs = torch.nn.LinearCrossEntropyLoss(3, 5, **arguments)
    theirs.load_state_dict(mine.state_dict())
    hidden, target = torch.randn(6, 3), torch.randint(5, (6, 2))
    losses = [module(hidden, target) for module in (mine, theirs)]
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(*losses)
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-6)
    assert "num_classes=5" in repr(mine)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_logprobs_and_entropy(dtype):
    leaves, given = case(n=10, k=7, dtype=dtype)
    given[0] = -100
    wide = [leaf.detach().double().requires_grad_() for leaf in leaves]
    log_p = torch.log_softmax(F.linear(*wide), 1)
    chosen = log_p.gather(1, given.clamp(min=0)[:, None])[:, 0]
    expected = torch.where(given == -100, 0.0, chosen), -(log_p.exp() * log_p).sum(1)
    hidden, weight, bias = leaves
    came = (
        ours.logprobs(hidden, weight, given, bias=bias, chunk_bytes=2000),
        ours.entropy(hidden, weight, bias=bias, chunk_bytes=500),
    )
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 3e-2}[dtype]
    for got, wanted in zip(came, expected, strict=True):
        assert got.dtype == dtype
        torch.testing.assert_close(got.double(), wanted, rtol=tolerance, atol=tolerance)
        factor = torch.rand(10, dtype=torch.float64)
        grads = torch.autograd.grad(got, leaves, factor.to(dtype))
        for a, b in zip(grads, torch.autograd.grad(wanted, wide, factor, retain_graph=True), strict=True):
            torch.testing.assert_close(a.double(), b, rtol=tolerance, atol=2 * tolerance)


def test_entropy_gradcheck_and_a_masked_class():
    leaves, given = case(n=3, d=2, k=4)

    def entropy(*tensors):
        return ours.entropy(*tensors[:2], bias=tensors[2])

    assert torch.autograd.gradcheck(entropy, leaves, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(entropy, leaves)
    assert torch.autograd.gradgradcheck(lambda *t: ours.logprobs(*t[:2], given, bias=t[2]), leaves)
    hidden, weight, bias = leaves
    masked = bias.detach().index_fill(0, torch.tensor([1]), -torch.inf).requires_grad_()
    came = ours.entropy(hidden, weight, bias=masked)
    left = [0, 2, 3]
    torch.testing.assert_close(came, ours.entropy(hidden, weight[left], bias=bias[left]))
    came.sum().backward()
    assert torch.isfinite(weight.grad).all()
    assert not weight.grad[1].any()
    certain = ours.entropy(torch.tensor([[1e30, 0.0]]), torch.eye(2))
    assert certain.tolist() == [0.0]
    assert not torch.signbit(certain).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": torch.tensor(1.0)}, r"input: got shape \(\), expected a dense tensor \(D,\)"),
        ({"input": torch.zeros(4, 2, dtype=torch.int64)}, "input: got dtype torch.int64"),
        ({"linear_weight": torch.zeros(5)}, r"linear_weight: got shape \(5,\)"),
        ({"linear_weight": torch.zeros(5, 2)}, r"linear_weight: got shape \(5, 2\), expected \(K, …, 3\) for input"),
        ({"linear_weight": torch.zeros(0, 3)}, r"linear_weight: got shape \(0, 3\)"),
        ({"linear_weight": torch.zeros(5, 3).double()}, "linear_weight: got .*float64, on cpu, expected .*float32"),
        ({"linear_weight": torch.zeros(5, 3, device="meta")}, "linear_weight: got .*on meta, expected .* on cpu"),
        ({"linear_bias": torch.zeros(4)}, r"linear_bias: got a tensor of shape \(4,\).*, expected shape \(5,\)"),
        ({"target": torch.tensor([0, 1, 2, 5])}, r"target: got 5 at index 3, expected integers in \[0, 5\)"),
        ({"target": torch.zeros(4)}, "target: got dtype torch.float32"),
        ({"target": torch.zeros(3, dtype=torch.int64)}, r"target: got shape \(3,\) for logits of shape \(4, 5\)"),
        ({"target": torch.full((4, 5), 0.2), "ignore_index": -100}, "ignore_index: got -100 with class probabilities"),
        ({"weight": torch.ones(4)}, r"weight: got a tensor of shape \(4,\)"),
        ({"reduction": "max"}, "reduction: got 'max'"),
        ({"label_smoothing": -0.5}, "label_smoothing: got -0.5"),
        ({"chunk_bytes": 0}, "chunk_bytes: got 0, expected an integer >= 1"),
        ({"chunk_bytes": 10}, "chunk_bytes: got 10, expected at least [0-9]+, which holds one row"),
        ({"options": 3}, "options: got int, expected a torch.nn.LinearCrossEntropyOptions or None"),
    ],
    ids=str,
)
def test_bad_input(change, message):
    arguments = {
        "input": torch.zeros(4, 3, requires_grad=True),
        "linear_weight": torch.zeros(5, 3),
        "target": torch.tensor([0, 1, 2, 3]),
    } | change
    with pytest.raises(InputError, match=message):
        ours.linear_cross_entropy(**arguments)


def test_bad_input_of_the_others():
    with pytest.raises(InputError, match="labels: got class probabilities"):
        ours.logprobs(torch.zeros(4, 3), torch.zeros(5, 3), torch.zeros(4, 5))
    with pytest.raises(InputError, match=r"weight: got shape \(5, 2, 3\), expected \(K, 3\)"):
        ours.entropy(torch.zeros(4, 3), torch.zeros(5, 2, 3))
    with pytest.raises(InputError, match="labels: got 9 at index 0"):
        ours.logprobs(torch.zeros(4, 3), torch.zeros(5, 3), torch.full((4,), 9))
