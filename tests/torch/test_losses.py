"""chainrule.torch.cross_entropy: PyTorch's signature, numbers in float64, derivatives, accuracy and errors."""

import inspect
import itertools

import numpy as np
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
TARGETS = ["indices", "probabilities"]
CASES = [
    (options, target, reduction)
    for options, target, reduction in itertools.product(OPTIONS, TARGETS, ["mean", "sum", "none"])
    if not (target == "probabilities" and "ignore_index" in options)
]


def case(target="indices", shape=(4, 5), dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    if target == "probabilities":
        return logits, torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype) + 0.1
    class_dim = min(len(shape) - 1, 1)
    return logits, torch.randint(shape[class_dim], shape[:class_dim] + shape[class_dim + 1 :], generator=generator)


def with_weight(options, k=5, dtype=torch.float64):
    return options | {"weight": torch.linspace(-0.5, 2.0, k, dtype=dtype)} if options.get("weight") else options


@pytest.mark.parametrize("name", ["cross_entropy", "linear_cross_entropy"])
def test_signatures_are_pytorchs(name):
    theirs, mine = (inspect.signature(getattr(module, name)).parameters for module in (F, ours))
    check_parameters(theirs, mine)


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "LinearCrossEntropyLoss"])
def test_constructors_are_pytorchs(name):
    theirs, mine = (inspect.signature(getattr(module, name)).parameters for module in (torch.nn, ours))
    check_parameters(theirs, mine)
    names = [inspect.signature(getattr(module, name).forward).parameters for module in (torch.nn, ours)]
    assert list(names[0]) == list(names[1])


def check_parameters(theirs, mine):
    """The same names, order, kinds and defaults; what is more is keyword-only."""
    assert list(mine)[: len(theirs)] == list(theirs)
    for name, parameter in theirs.items():
        assert (mine[name].kind, mine[name].default) == (parameter.kind, parameter.default), name
    for name in list(mine)[len(theirs) :]:
        assert mine[name].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("shape", [(5,), (4, 5), (4, 5, 3), (2, 5, 3, 2), (2, 5, 1, 2, 3), (0, 5), (3, 5, 0)], ids=str)
@pytest.mark.parametrize(("options", "target", "reduction"), CASES, ids=str)
def test_values_and_gradients(options, target, reduction, shape):
    logits, given = case(target, shape)
    options = with_weight(options)
    if shape[0] == 0 or 0 in shape:
        logits.requires_grad_()
        loss = ours.cross_entropy(logits, given, reduction=reduction, **options)
        (grad,) = torch.autograd.grad(loss.sum(), logits)
        assert (loss.sum().item(), grad.shape) == (0.0, logits.shape)  # where PyTorch's mean is NaN
        return
    a, b = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    mine = ours.cross_entropy(a, given, reduction=reduction, **options)
    theirs = F.cross_entropy(b, given, reduction=reduction, **options)
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(
            ours.cross_entropy(a, given, reduction=reduction, **options), theirs, rtol=1e-12, atol=1e-12
        )
    factor = torch.rand_like(theirs) + 0.5
    mine.backward(factor)
    theirs.backward(factor)
    torch.testing.assert_close(a.grad, b.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("options", "target", "reduction"), CASES, ids=str)
def test_gradcheck_and_gradgradcheck(options, target, reduction):
    logits, given = case(target, (3, 5))
    options = with_weight(options)

    def loss(a):
        return ours.cross_entropy(a, given, reduction=reduction, **options)

    logits.requires_grad_()
    assert torch.autograd.gradcheck(loss, (logits,), check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(loss, (logits,), check_fwd_over_rev=True, check_batched_grad=True)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_gradcheck_of_targets_weights_and_positions(reduction):
    logits, target = case("probabilities", (2, 3, 2))
    weight = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    inputs = [tensor.requires_grad_() for tensor in (logits, target, weight)]

    def loss(a, q, w):
        return ours.cross_entropy(a, q, w, reduction=reduction, label_smoothing=0.2)

    assert torch.autograd.gradcheck(loss, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(loss, inputs, check_fwd_over_rev=True)


def test_third_derivatives():
    logits, target = case(shape=(2, 4))
    logits.requires_grad_()

    def gradient(a):
        return torch.autograd.grad(ours.cross_entropy(a, target, label_smoothing=0.1), a, create_graph=True)[0]

    assert torch.autograd.gradgradcheck(gradient, (logits,), check_fwd_over_rev=True)


def layouts():
    random = torch.randn
    yield "transposed", random(7, 6, dtype=torch.float64).T
    yield "steps", random(12, 21, dtype=torch.float64)[::2, ::3]
    yield "backwards", random(6, 7, dtype=torch.float64).flip(0)
    yield "broadcast", random(1, 7, dtype=torch.float64).expand(6, 7)
    yield "channels last", random(2, 7, 3, 4, dtype=torch.float64).to(memory_format=torch.channels_last)
    yield "positions", random(3, 2, 7, 4, dtype=torch.float64).permute(1, 2, 3, 0)
    yield "parts", random(4, 9, 6, 8, dtype=torch.float64)[:2, 1:8, ::2, 1:5]
    yield "not aligned", torch.frombuffer(bytearray(8 * 6 * 7 + 1), dtype=torch.float64, offset=1).view(6, 7).normal_()


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize(("name", "logits"), list(layouts()), ids=lambda value: value if isinstance(value, str) else "")
def test_layouts(name, logits, reduction):
    target = torch.randint(7, logits.shape[:1] + logits.shape[2:])
    results = []
    for loss in (ours.cross_entropy, F.cross_entropy):
        a = logits.detach().requires_grad_()
        value = loss(a, target, reduction=reduction)
        results.append((value, *torch.autograd.grad(value.sum(), a)))
    for got, wanted in zip(*results, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12, check_stride=False)


@pytest.mark.parametrize("output", ["softmax", "log_softmax", "hessian_vector_product"])
@pytest.mark.parametrize("first", [0, 1])
def test_rows_of_mixed_layouts_and_inputs_that_stay(output, first):
    """Logits in one layout and a vector in another: neither is written over."""
    layouts = [torch.contiguous_format, torch.channels_last]
    inputs = [torch.randn(3, 2, 6, 5, dtype=torch.float64) for _ in range(2)]
    given = [x.to(memory_format=layouts[(first + i) % 2]) for i, x in enumerate(inputs)]
    second = [None, given[1]][output == "hessian_vector_product"]
    came = torch.ops.chainrule.by_row(output, given[0], second)
    p = torch.softmax(inputs[0], 1)
    v = p * inputs[1]
    wanted = {
        "softmax": p,
        "log_softmax": torch.log_softmax(inputs[0], 1),
        "hessian_vector_product": v - p * v.sum(1, keepdim=True),
    }
    torch.testing.assert_close(came, wanted[output], rtol=1e-12, atol=1e-12, check_stride=False)
    for now, before in zip(given, inputs, strict=True):
        assert torch.equal(now, before)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("name", "logits"), list(layouts()), ids=lambda value: value if isinstance(value, str) else "")
def test_second_derivatives_of_layouts(name, logits, target):
    class_dim = min(logits.dim() - 1, 1)
    given = case(target, tuple(logits.shape))[1]
    before, vector = logits.clone(), torch.randn(logits.shape, dtype=torch.float64)
    assert logits.shape[class_dim] == 7
    results = []
    for loss in (ours.cross_entropy, F.cross_entropy):
        a = logits.detach().requires_grad_()
        (first,) = torch.autograd.grad(loss(a, given, label_smoothing=0.1), a, create_graph=True)
        results.append(torch.autograd.grad((first * vector).sum(), a))
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12, check_stride=False)
    assert torch.equal(logits, before)


def test_pieces_do_not_change_the_bits(monkeypatch):
    logits, target = case(shape=(3, 5, 11), dtype=torch.float32)
    whole = ours.cross_entropy(logits, target, reduction="none")
    rows = ours.cross_entropy(logits.movedim(1, -1).reshape(-1, 5), target.flatten(), reduction="none")
    monkeypatch.setattr("chainrule.torch.rows.BUFFER_BYTES", 4 * 5 * 4)
    a = logits.clone().requires_grad_()
    loss = ours.cross_entropy(a, target, reduction="none")
    loss.sum().backward()
    assert torch.equal(loss, whole)
    assert torch.equal(loss.flatten(), rows)
    b = logits.movedim(1, -1).reshape(-1, 5).requires_grad_()
    ours.cross_entropy(b, target.flatten(), reduction="none").sum().backward()
    assert torch.equal(a.grad.movedim(1, -1).reshape(-1, 5), b.grad)


def test_what_differs_from_pytorch():
    """The list in docs/torch.md, each beside what PyTorch does."""
    logits, target = torch.zeros(2, 3, requires_grad=True), torch.tensor([-100, -100])
    loss = ours.cross_entropy(logits, target)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros(2, 3))
    assert torch.isnan(F.cross_entropy(logits, target))
    empty = torch.zeros(0, 3)
    assert ours.cross_entropy(empty, target[:0]).item() == 0
    assert torch.isnan(F.cross_entropy(empty, target[:0]))
    confident = torch.tensor([[0.0, 20.0]], requires_grad=True)
    for loss, zero in ((ours.cross_entropy, False), (F.cross_entropy, True)):
        confident.grad = None
        value = loss(confident, torch.tensor([1]))
        value.backward()
        assert (value.item() == 0) is zero
        assert (confident.grad[0, 1].item() == 0) is zero
    assert ours.cross_entropy(logits, torch.tensor([1, 2], dtype=torch.int16)).item() > 0
    with pytest.raises(RuntimeError, match="Long or Byte, but got Short"):
        F.cross_entropy(logits, torch.tensor([1, 2], dtype=torch.int16))
    unknown = torch.tensor([[torch.nan] * 3, [0.0] * 3], requires_grad=True)
    loss = ours.cross_entropy(unknown, torch.tensor([-100, 1]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(unknown.grad).all()
    half = ours.cross_entropy(logits, torch.full((2, 3), 1 / 3, dtype=torch.float64))
    assert half.dtype == torch.float32
    assert F.cross_entropy(logits, torch.full((2, 3), 1 / 3, dtype=torch.float64)).dtype == torch.float64


def test_no_copy_and_one_buffer():
    logits, target = case(shape=(600, 2000), dtype=torch.float32)
    before = logits.clone()
    a = logits.requires_grad_()
    loss = ours.cross_entropy(a, target)
    kept = loss.grad_fn.saved_tensors[1]
    place = kept.data_ptr()
    assert loss.grad_fn.saved_tensors[0].data_ptr() == logits.data_ptr()
    del kept
    loss.backward()
    assert a.grad.data_ptr() == place  # handed on, not copied
    assert torch.equal(a, before)


def test_backward_again_gives_the_same():
    logits, target = case()
    logits.requires_grad_()
    loss = ours.cross_entropy(logits, target)
    first, *_ = torch.autograd.grad(loss, logits, retain_graph=True)
    first = first.clone()
    loss.backward(retain_graph=True)
    logits.grad.mul_(7)  # the caller's own
    second, *_ = torch.autograd.grad(loss, logits)
    assert torch.equal(first, second)


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_inplace(factor):
    logits, target = case(shape=(6, 5))
    leaf = logits.clone().requires_grad_()
    hidden = leaf * 2
    place = hidden.data_ptr()
    (factor * ours.cross_entropy(hidden, target, inplace=True)).backward()
    expected = logits.clone().requires_grad_()
    (factor * F.cross_entropy(expected * 2, target)).backward()
    torch.testing.assert_close(leaf.grad, expected.grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(hidden.detach() * 2, expected.grad, rtol=1e-12, atol=1e-12)
    assert hidden.data_ptr() == place
    with torch.no_grad():
        untouched = logits.clone()
        ours.cross_entropy(untouched, target, inplace=True)
    assert torch.equal(untouched, logits)


def test_inplace_of_positions_and_what_it_refuses():
    logits, target = case(shape=(2, 5, 3))
    leaf, expected = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    ours.cross_entropy(leaf * 1, target, inplace=True).backward()
    F.cross_entropy(expected, target).backward()
    torch.testing.assert_close(leaf.grad, expected.grad, rtol=1e-12, atol=1e-12)
    with pytest.raises(InputError, match="inplace: got a leaf"):
        ours.cross_entropy(leaf, target, inplace=True)
    with pytest.raises(InputError, match="inplace: got logits with elements in one place"):
        ours.cross_entropy((leaf[:1] * 1).expand(2, 5, 3), target, inplace=True)
    loss = ours.cross_entropy(leaf * 1, target, inplace=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(loss, leaf, create_graph=True)
    loss = ours.cross_entropy(leaf * 1, target, inplace=True)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="handed on by the first backward"):
        loss.backward()
    activation = torch.tanh(leaf)  # which needs its own output
    loss = ours.cross_entropy(activation, target, inplace=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_deprecated_arguments():
    logits, target = case()
    for arguments, reduction in (((False, None), "sum"), ((None, False), "none"), ((True, True), "mean")):
        with pytest.warns(UserWarning, match="size_average and reduce args will be deprecated"):
            came = ours.cross_entropy(logits, target, None, arguments[0], -100, arguments[1])
        torch.testing.assert_close(came, F.cross_entropy(logits, target, reduction=reduction))
        with pytest.warns(UserWarning, match="size_average and reduce args will be deprecated"):
            assert ours.CrossEntropyLoss(None, arguments[0], -100, arguments[1]).reduction == reduction


def test_modules():
    logits, target = case(dtype=torch.float32)
    weight = torch.rand(5)
    mine = ours.CrossEntropyLoss(weight, ignore_index=2, reduction="sum", label_smoothing=0.1, inplace=True)
    theirs = torch.nn.CrossEntropyLoss(weight, ignore_index=2, reduction="sum", label_smoothing=0.1)
    torch.testing.assert_close(mine(logits, target), theirs(logits, target))
    assert mine.state_dict().keys() == theirs.state_dict().keys()
    assert isinstance(mine, torch.nn.CrossEntropyLoss)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": [1.0]}, "input: got list, expected a tensor"),
        ({"input": torch.zeros(4, 5, dtype=torch.int64)}, "input: got dtype torch.int64, expected float32"),
        ({"input": torch.zeros(4, 5, dtype=torch.complex64)}, "input: got dtype torch.complex64"),
        ({"input": torch.tensor(1.0)}, r"input: got shape \(\), expected"),
        ({"input": torch.zeros(4, 0)}, r"input: got shape \(4, 0\), expected at least one class"),
        ({"input": torch.zeros(4, 5).to_sparse()}, "input: got shape .* torch.sparse_coo, expected a dense tensor"),
        ({"input": torch.zeros(4, 5, device="meta")}, "target: got a tensor on cpu, expected one on meta"),
        ({"target": [0, 1, 2, 3]}, r"target: got list, expected a tensor of class indices of shape \(4,\) in \[0, 5\)"),
        ({"target": torch.zeros(3, dtype=torch.int64)}, r"target: got shape \(3,\) for logits of shape \(4, 5\)"),
        ({"target": torch.zeros(4)}, r"target: got dtype torch.float32 and shape \(4,\)"),
        ({"target": torch.zeros(4, dtype=torch.bool)}, "target: got dtype torch.bool"),
        ({"target": torch.zeros(4, 5, dtype=torch.int64)}, "target: got dtype torch.int64 in the logits' shape"),
        (
            {"target": torch.tensor([0, 5, 0, 0])},
            r"target: got 5 at index 1, expected integers in \[0, 5\) or ignore_in",
        ),
        ({"target": torch.tensor([0, -1, 0, 0])}, "target: got -1 at index 1"),
        ({"target": torch.full((4, 5), -torch.inf)}, "target: got -inf at row 0, column 0, expected finite numbers$"),
        ({"target": torch.full((4, 5), torch.nan)}, "target: got nan at row 0"),
        ({"target": torch.full((4, 5), 0.2), "ignore_index": 1}, "ignore_index: got 1 with class probabilities"),
        ({"weight": torch.ones(4)}, r"weight: got a tensor of shape \(4,\).*, expected shape \(5,\)"),
        ({"weight": torch.ones(5, dtype=torch.int64)}, "weight: got a tensor of shape"),
        ({"weight": torch.ones(5, device="meta")}, "weight: got .*on meta, expected shape .* on cpu"),
        ({"weight": [1.0] * 5}, "weight: got list"),
        ({"weight": torch.tensor([1.0, torch.nan, 1, 1, 1])}, "weight: got nan at index 1"),
        ({"weight": torch.ones(5, requires_grad=True)}, "weight: got a tensor whose gradient is wanted"),
        ({"reduction": "max"}, "reduction: got 'max', expected one of 'mean', 'sum', 'none'"),
        ({"label_smoothing": 1.5}, r"label_smoothing: got 1.5, expected a fraction in \[0, 1\]"),
        ({"label_smoothing": float("nan")}, "label_smoothing: got nan"),
        ({"ignore_index": 1.0}, "ignore_index: got 1.0, expected an integer"),
    ],
    ids=str,
)
def test_bad_input(change, message):
    arguments = {"input": torch.zeros(4, 5, requires_grad=True), "target": torch.tensor([0, 1, 2, 3])} | change
    with pytest.raises(InputError, match=message):
        ours.cross_entropy(**arguments)


def test_random_arguments_answer_or_explain():
    """Shapes, dtypes and values that may not fit: an answer of the right shape, or an InputError."""
    random = np.random.default_rng(0)
    dtypes = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.bool]
    answers, messages = 0, set()
    for _ in range(1500):
        shape = tuple(random.integers(0, 4, random.integers(0, 4)).tolist())
        kinds = [shape, shape[:1] + shape[2:], (), tuple(random.integers(0, 4, random.integers(0, 3)).tolist())]
        logits = torch.zeros(shape, dtype=dtypes[random.integers(0, 5)])
        target = torch.tensor(random.integers(-1, 4, kinds[random.integers(0, 4)])).to(dtypes[random.integers(0, 7)])
        options = {
            "reduction": ["mean", "sum", "none", "x"][random.integers(0, 4)],
            "label_smoothing": [0.0, 0.3, 1.0, -1.0][random.integers(0, 4)],
            "ignore_index": int(random.integers(-2, 4)),
        }
        try:
            loss = ours.cross_entropy(logits, target, **options)
        except InputError as error:
            messages.add(str(error).partition(":")[0])
            continue
        answers += 1
        assert loss.shape == (shape[:1] + shape[2:] if len(shape) > 1 and options["reduction"] == "none" else ())
    assert answers > 20
    assert messages == {"input", "target", "reduction", "label_smoothing", "ignore_index"}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_a_matrix_with_its_labels_has_the_bits_of_what_is_not_ordinary(dtype, reduction):
    for shape, smoothing, ignore in itertools.product([(0, 3), (1, 10), (7, 5), (300, 70)], [0.0, 0.1], [-100, 2]):
        logits = torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0)) * 4
        target = torch.arange(shape[0]) % shape[1]
        options = {"reduction": reduction, "label_smoothing": smoothing, "ignore_index": ignore}
        ways = []
        others = (logits, target.int()), (logits.T.contiguous().T, target), (logits[..., None], target[:, None])
        for x, t in ((logits, target), *others):
            leaf = x.clone().requires_grad_()
            loss = ours.cross_entropy(leaf, t, **options)
            alone = ours.cross_entropy(leaf.detach(), t, **options)
            assert torch.equal(loss, alone)
            loss.sum().backward()
            ways.append((loss.detach().reshape(-1).tolist(), leaf.grad.reshape(shape).tolist()))
        assert all(way == ways[0] for way in ways)


def test_a_tensor_from_outside_a_transform_is_differentiated_by_it_and_by_autograd():
    x, target = torch.randn(4, 3, dtype=torch.float64, requires_grad=True), torch.tensor([0, 1, 2, 0])
    truth = torch.autograd.grad(F.cross_entropy(x, target), x)[0]
    scales = torch.tensor([1.0, -2.0], dtype=torch.float64)
    batched = torch.func.vmap(lambda s: s * ours.cross_entropy(x, target))(scales)
    torch.testing.assert_close(torch.autograd.grad(batched.sum(), x)[0], -truth)
    slope = torch.func.grad(lambda s: s * ours.cross_entropy(x, target))(scales[0])
    torch.testing.assert_close(torch.autograd.grad(slope, x)[0], truth)
    loss = ours.cross_entropy(x, target)  # its backward, batched
    rows = torch.autograd.grad(loss, x, scales, is_grads_batched=True)[0]
    torch.testing.assert_close(rows, scales[:, None, None] * truth)
