"""chainrule.torch where tensors are used twice, changed between forward and backward, or of unusual kinds: the right
numbers or an error, and never numbers that are wrong."""

import copy
import os
import pickle
import threading

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the PyTorch face needs torch")

import chainrule.torch as ours  # noqa: E402
from chainrule.errors import InputError  # noqa: E402

F = torch.nn.functional


def case(n=6, d=3, k=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits, hidden, weight = (
        torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((n, k), (n, d), (k, d))
    )
    return logits, hidden, weight, torch.randint(k, (n,), generator=generator)


def losses(module):
    """Of logits alone, and of hidden units and weights."""
    logits, hidden, weight, target = case()
    if module is F:
        yield (lambda a: F.cross_entropy(a, target)), [logits]
        yield (lambda h, w: F.cross_entropy(h @ w.T, target)), [hidden, weight]
    else:
        yield (lambda a: ours.cross_entropy(a, target)), [logits]
        yield (lambda h, w: ours.linear_cross_entropy(h, w, target)), [hidden, weight]


BOTH = [0, 1]


def leaves_of(which):
    (loss, tensors), (expected, _) = (list(losses(module))[which] for module in (ours, F))
    return loss, expected, [tensor.clone().requires_grad_() for tensor in tensors]


@pytest.mark.parametrize("which", BOTH)
@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_a_gradient_that_is_changed_leaves_the_next_backward_right(which, factor):
    loss, expected, leaves = leaves_of(which)
    value = factor * loss(*leaves)
    wanted = torch.autograd.grad(factor * expected(*leaves), leaves)
    for _ in range(2):
        for came, right in zip(torch.autograd.grad(value, leaves, retain_graph=True), wanted, strict=True):
            torch.testing.assert_close(came, right, rtol=1e-12, atol=1e-12)
            came.mul_(7)  # the caller's own: clipping does so
    came = torch.autograd.grad(value, leaves)
    torch.testing.assert_close(came, wanted, rtol=1e-12, atol=1e-12)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        torch.autograd.grad(value, leaves)


@pytest.mark.parametrize("which", BOTH)
def test_one_loss_on_two_paths_two_losses_on_one_tensor_and_hooks(which):
    loss, expected, leaves = leaves_of(which)

    def both(function):
        inner = [leaf * 1.5 for leaf in leaves]
        seen = []
        inner[0].register_hook(lambda grad: (seen.append(grad.clone()), 2 * grad)[1])
        inner[0].retain_grad()
        first, second = function(*inner), function(*inner)
        value = first * first + first + 3 * second
        grads = torch.autograd.grad(value, leaves, retain_graph=True)
        value.backward()
        return [value, *grads, seen[-1], inner[0].grad, *(leaf.grad for leaf in leaves)]

    results = []
    for function in (loss, expected):
        for leaf in leaves:
            leaf.grad = None
        results.append([tensor.clone() for tensor in both(function)])
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("which", BOTH)
def test_what_is_changed_between_forward_and_backward_is_an_error(which):
    for changed in range(which + 1):
        loss, _, leaves = leaves_of(which)
        inner = [leaf * 1.5 for leaf in leaves]
        value = loss(*inner)
        inner[changed].mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            value.backward()
    logits, *_, target = case()
    value = ours.cross_entropy(logits.requires_grad_(), target)
    target.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()


@pytest.mark.parametrize("which", BOTH)
def test_a_factor_is_multiplied_into_the_kept_gradient(which):
    """Accumulation and loss scaling need no second buffer."""
    loss, _, leaves = leaves_of(which)
    value = loss(*leaves)
    kept = {tensor.data_ptr() for tensor in value.grad_fn.saved_tensors if tensor is not None}
    (value / 4).backward()
    assert {leaf.grad.data_ptr() for leaf in leaves} <= kept


def test_accumulation_only_where_the_weights_gradient_is_asked_for():
    _, hidden, weight, target = case()
    hidden.requires_grad_()
    weight.requires_grad_()
    loss = ours.linear_cross_entropy(hidden, weight, target, accumulate=True)
    (came,) = torch.autograd.grad(loss, hidden, retain_graph=True)
    assert weight.grad is None
    expected = F.cross_entropy(hidden @ weight.T, target)
    wanted = torch.autograd.grad(expected, (hidden, weight))
    torch.testing.assert_close(came, wanted[0], rtol=1e-12, atol=1e-12)
    loss.backward(inputs=[hidden], retain_graph=True)
    assert weight.grad is None
    loss.backward()
    torch.testing.assert_close(weight.grad, wanted[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("which", BOTH)
def test_saved_tensors_elsewhere(which):
    """Offloaded between forward and backward, under anomaly detection, and with changes that PyTorch undoes."""
    loss, expected, leaves = leaves_of(which)
    wanted = torch.autograd.grad(expected(*leaves), leaves)
    with torch.autograd.graph.save_on_cpu(), torch.autograd.set_detect_anomaly(True):
        came = torch.autograd.grad(loss(*leaves), leaves)
    torch.testing.assert_close(came, wanted, rtol=1e-12, atol=1e-12)
    with torch.autograd.graph.allow_mutation_on_saved_tensors():
        inner = [leaf * 1 for leaf in leaves]
        value = loss(*inner)
        inner[0].zero_()
        came = torch.autograd.grad(value, leaves)
    torch.testing.assert_close(came, wanted, rtol=1e-12, atol=1e-12)


def test_meta_tensors_have_shapes():
    hidden, weight = (torch.empty(shape, device="meta", requires_grad=True) for shape in ((4, 3), (5, 3)))
    target = torch.zeros(4, dtype=torch.int64, device="meta")
    for reduction, shape in (("mean", ()), ("none", (4,))):
        logits = torch.empty((4, 5), device="meta", requires_grad=True)
        values = [
            ours.cross_entropy(logits, target, torch.ones(5, device="meta"), reduction=reduction),
            ours.linear_cross_entropy(hidden, weight, target, reduction=reduction),
        ]
        assert [value.shape for value in values] == [shape] * 2
        grads = torch.autograd.grad(sum(value.sum() for value in values), (logits, hidden, weight), create_graph=True)
        assert [(grad.shape, grad.device.type) for grad in grads] == [(s, "meta") for s in ((4, 5), (4, 3), (5, 3))]
        torch.autograd.grad(sum(grad.sum() for grad in grads), (logits, hidden, weight))
    for value in (ours.logprobs(hidden, weight, target), ours.entropy(hidden, weight)):
        assert value.shape == (4,)
        value.sum().backward()


def test_numbers_of_numpy_and_of_torch():
    logits, *_, target = case()
    wanted = F.cross_entropy(logits, target, ignore_index=1, label_smoothing=0.25)
    for index, smoothing in ((np.int64(1), np.float32(0.25)), (torch.tensor(1), np.float64(0.25)), (1, 0.25)):
        came = ours.cross_entropy(logits, target, ignore_index=index, label_smoothing=smoothing)
        torch.testing.assert_close(came, wanted, rtol=1e-12, atol=1e-12)
    for bad in (2**70, -(2**64), True, np.array([1, 2]), 1.0, "1"):
        with pytest.raises(InputError, match="ignore_index: got "):
            ours.cross_entropy(logits, target, ignore_index=bad)
        with pytest.raises(InputError, match="ignore_index: got "):
            ours.logprobs(logits, logits, target, ignore_index=bad)


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16, torch.uint64], ids=str
)
def test_integers_of_every_size(dtype):
    """Compared before they are widened: 156 is no −100, whatever its bits as int8 say."""
    logits = torch.randn(3, 200, dtype=torch.float64)
    target = torch.tensor([0, 100, 127 if dtype == torch.int8 else 156]).to(dtype)
    torch.testing.assert_close(ours.cross_entropy(logits, target), F.cross_entropy(logits, target.long()))
    if dtype == torch.uint8:
        target[0] = 255
        came = ours.cross_entropy(logits, target, ignore_index=255)
        torch.testing.assert_close(came, F.cross_entropy(logits, target.long(), ignore_index=255))
        with pytest.raises(InputError, match="target: got 255 at index 0"):
            ours.cross_entropy(logits, target)


def test_tensors_of_unusual_kinds():
    logits, *_, target = case()
    logits, imaginary = logits.float(), torch.randn(6, 5, dtype=torch.complex64).conj().imag  # negated when read
    probabilities = imaginary.abs().neg()._neg_view()
    assert imaginary.is_neg()
    assert probabilities.is_neg()
    for a, t in ((imaginary, target), (logits, probabilities), (imaginary, probabilities)):
        a = a.detach().requires_grad_()
        results = []
        for function in (ours.cross_entropy, F.cross_entropy):
            value = function(a, t)
            results.append((value, *torch.autograd.grad(value, a)))
        torch.testing.assert_close(*results)
    with torch.inference_mode():
        torch.testing.assert_close(ours.cross_entropy(logits, target), F.cross_entropy(logits, target))
    kind = type("Kind", (torch.Tensor,), {})
    value = ours.cross_entropy(logits.as_subclass(kind), target)
    assert type(value) is type(F.cross_entropy(logits.as_subclass(kind), target))
    parameter = torch.nn.Parameter(torch.randn(3000, 500))  # of more than a large page
    ours.cross_entropy(parameter, torch.zeros(3000, dtype=torch.int64)).backward()
    assert parameter.grad.is_contiguous()
    for bad in (
        torch.ones(2, 3, dtype=torch.int64),
        torch.ones(2, 3, dtype=torch.complex64),
        torch.ones(2, 3).to_sparse(),
    ):
        with pytest.raises(InputError, match="input: got "):
            ours.cross_entropy(bad, torch.zeros(2, dtype=torch.int64))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_nested_tensors_are_refused():
    for layout in (torch.strided, torch.jagged):
        nested = torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(1, 3)], layout=layout)
        with pytest.raises(InputError, match="input: got "):
            ours.cross_entropy(nested, torch.zeros(2, dtype=torch.int64))


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("label", [0, 2])
@pytest.mark.parametrize(
    "row", [[NAN, 0, 1], [INF, 0, 1], [INF] * 3, [-INF] * 3, [-INF, 0, 1], [INF, -INF, 0]], ids=str
)
def test_infinities_and_nan_are_pytorchs(row, label):
    results = []
    for function in (ours.cross_entropy, F.cross_entropy):
        logits = torch.tensor([row], dtype=torch.float64, requires_grad=True)
        value = function(logits, torch.tensor([label]))
        value.backward()
        results.append((value, logits.grad))
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12, equal_nan=True)


def test_modules_are_copied_and_pickled():
    hidden, target = torch.randn(6, 3), torch.randint(5, (6,))
    criterion = ours.CrossEntropyLoss(torch.rand(5), ignore_index=2, label_smoothing=0.1, inplace=True)
    layer = ours.LinearCrossEntropyLoss(3, 5, bias=True, weight=torch.rand(5), reduction="sum", chunk_bytes=9000)
    for change in (copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))):
        torch.testing.assert_close(
            change(criterion)(hidden @ layer.linear.weight.T, target), criterion(hidden @ layer.linear.weight.T, target)
        )
        other = change(layer)
        torch.testing.assert_close(other(hidden, target), layer(hidden, target))
        assert vars(other).keys() == vars(layer).keys()
        with torch.no_grad():
            other.linear.weight.zero_()
        assert layer.linear.weight.any()


def test_threads_at_once():
    logits, target = torch.randn(64, 3000), torch.randint(3000, (64,))
    wanted = logits.clone().requires_grad_()
    value = ours.cross_entropy(wanted, target)
    value.backward()
    wrong = []

    def work():
        for _ in range(10):
            a = logits.clone().requires_grad_()
            loss = ours.cross_entropy(a, target)
            loss.backward()
            wrong.extend(1 for came, right in ((loss, value), (a.grad, wanted.grad)) if not torch.equal(came, right))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


class Losses(torch.utils.data.Dataset):
    """Its examples are losses, which the workers of a DataLoader compute."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        logits, *_, target = case(n=200, k=300, seed=index)
        logits.requires_grad_()
        loss = ours.cross_entropy(logits, target)
        loss.backward()
        return loss.detach(), logits.grad.norm()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork.* was called:RuntimeWarning")  # JAX, where another test has imported it
def test_in_the_forked_workers_of_a_data_loader():
    data = Losses()
    here = [data[i] for i in range(4)]  # the kernels' threads are there before the fork
    loader = torch.utils.data.DataLoader(data, batch_size=None, num_workers=2, multiprocessing_context="fork")
    for came, wanted in zip(loader, here, strict=True):
        assert torch.equal(torch.stack(came), torch.stack(wanted))


MEMORY = {  # tensors whose memory does not hold their numbers, or not side by side, made of (2, 5)
    "negative": lambda x: torch._neg_view(-x),
    "imaginary, conjugate": lambda x: torch.complex(x, -x).conj().imag,
    "imaginary": lambda x: torch.complex(x, x * 1).imag,
    "columns": lambda x: torch.cat([x, x], 1)[:, :5],
    "every other column": lambda x: torch.stack([x, x], 2).flatten(1)[:, ::2],
    "every other row": lambda x: torch.stack([x, x], 1).flatten(0, 1)[::2],
    "zero": lambda x: torch._efficientzerotensor(2, 5, dtype=x.dtype) * x,
}


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("name", MEMORY)
def test_memory_that_is_not_what_it_says(name, inplace):
    torch.manual_seed(0)
    leaf, target = torch.randn(2, 5, dtype=torch.float64, requires_grad=True), torch.tensor([1, 4])
    logits = MEMORY[name](leaf)
    plain = logits.detach().clone().requires_grad_()
    wanted = torch.nn.functional.cross_entropy(plain, target)
    (slope,) = torch.autograd.grad(wanted, plain)
    logits.retain_grad()
    got = ours.cross_entropy(logits, target, inplace=inplace)
    got.backward()
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(logits.grad.clone(), slope)


@pytest.mark.parametrize("name", MEMORY)
def test_every_argument_whose_memory_is_not_what_it_says(name):
    torch.manual_seed(0)
    x = torch.rand(2, 5, dtype=torch.float64) + 0.1
    odd, hidden, weight = MEMORY[name](x), torch.randn(2, 3).double(), torch.randn(5, 3).double()
    target = torch.tensor([1, 4])

    def results(odd):
        a = x.clone().requires_grad_()
        yield ours.cross_entropy(a, odd)
        yield ours.cross_entropy(a, target, odd[0], reduction="sum")
        yield ours.linear_cross_entropy(hidden, weight, target, linear_bias=odd[0])
        yield ours.linear_cross_entropy(odd, weight.T.repeat(2, 1)[:5].T, target)
        yield ours.entropy(hidden, weight, bias=odd[1])
        yield torch.autograd.grad(ours.cross_entropy(a, target, reduction="none"), a, odd[:, 0])[0]
        h = hidden.clone().requires_grad_()
        yield torch.autograd.grad(ours.linear_cross_entropy(h, weight, target, reduction="none"), h, odd[:, 1])[0]

    for got, wanted in zip(results(odd), results(odd.clone()), strict=True):
        torch.testing.assert_close(got, wanted)


def test_inplace_knows_which_elements_share_a_place():
    leaf, target = torch.randn(10, requires_grad=True), torch.tensor([1, 2])
    apart = (leaf * 1).as_strided((2, 3), (3, 2))  # 0 2 4 and 3 5 7: between one another, and never the same
    got = torch.autograd.grad(ours.cross_entropy(apart, target, inplace=True), leaf)
    wanted = torch.autograd.grad(torch.nn.functional.cross_entropy(leaf.as_strided((2, 3), (3, 2)), target), leaf)
    torch.testing.assert_close(got, wanted)
    with pytest.raises(InputError, match="elements in one place"):
        ours.cross_entropy((leaf * 1).unfold(0, 3, 2)[:2], target, inplace=True)


ORDINARY = {  # of labels in 5 classes: what native code answers by itself
    "mean": {},
    "sum": {"reduction": "sum"},
    "each": {"reduction": "none"},
    "smoothed": {"label_smoothing": 0.25},
    "ignored": {"ignore_index": 1},
}


@pytest.mark.parametrize("name", ORDINARY)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_ordinary_loss_has_the_bits_of_one_that_python_checks(name, dtype):
    options, target = ORDINARY[name], torch.tensor([1, 4, 0])
    torch.manual_seed(0)
    logits, bits = torch.randn(3, 5, dtype=dtype), []
    for temperature in (1.0, 1):  # the same number; the second is left to the checks
        leaf = logits.clone().requires_grad_()
        loss = ours.cross_entropy(leaf, target, temperature=temperature, **options)
        loss.sum().backward()
        bits.append((type(loss.grad_fn).__name__, loss.detach(), leaf.grad))
        assert torch.equal(ours.cross_entropy(logits, target, temperature=temperature, **options), loss)
    (quick, *first), (slow, *second) = bits
    assert quick != slow
    assert all(map(torch.equal, first, second))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": True}, "temperature: got True"),
        ({"z_loss": False}, "z_loss: got False"),
        ({"scale": True}, "scale: got True"),
        ({"ignore_index": True}, "ignore_index: got True"),
        ({"ignore_index": 2**70}, "ignore_index: got 1180591620717411303424"),
        ({"label_smoothing": 1.5}, "label_smoothing: got 1.5"),
        ({"reduction": "avg"}, "reduction: got 'avg'"),
    ],
)
@pytest.mark.parametrize("compiled", [False, True])
def test_what_is_nearly_ordinary_is_checked(options, message, compiled):
    call = torch.compile(ours.cross_entropy, backend="eager") if compiled else ours.cross_entropy
    with pytest.raises(InputError, match=message):
        call(torch.zeros(2, 3, requires_grad=True), torch.tensor([1, 0]), **options)
