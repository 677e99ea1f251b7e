"""linear_cross_entropy against PyTorch in float64, and its memory."""

import itertools
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
import torch

import chainrule

OPTIONS = [
    {},
    {"class_weights": True},
    {"label_smoothing": 0.2},
    {"ignore_index": 3},
    {"class_weights": True, "label_smoothing": 0.3, "ignore_index": -100},
    {"temperature": 2.5},
    {"z_loss": 0.01},
]


def case(n=23, d=7, k=11, seed=0, dtype=np.float64):
    random = np.random.default_rng(seed)
    arrays = random.normal(size=(n, d)), random.normal(size=(k, d)), random.normal(size=k)
    return *(array.astype(dtype) for array in arrays), random.integers(0, k, n), random.random(k) + 0.1


def by_torch(hidden, weight, labels, bias, reduction, options, weights):
    """Everything in float64, the logits stored; temperature and z-loss written out."""
    leaves = [torch.tensor(np.asarray(a, np.float64), requires_grad=True) for a in (hidden, weight, bias)]
    options = dict(options)
    temperature, z_loss = options.pop("temperature", 1.0), options.pop("z_loss", 0.0)
    class_weights = torch.tensor(weights) if options.pop("class_weights", False) else None
    logits = torch.nn.functional.linear(*leaves) / temperature
    loss = torch.nn.functional.cross_entropy(
        logits, torch.tensor(labels), weight=class_weights, reduction=reduction, **options
    )
    z = z_loss * torch.logsumexp(logits, 1) ** 2
    loss = loss + {"none": z, "sum": z.sum(), "mean": z.mean()}[reduction]
    loss.sum().backward()
    return loss.detach().numpy(), *(leaf.grad.numpy() for leaf in leaves)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("chunk_bytes", [None, 3000])
def test_every_option_equals_pytorch(options, reduction, chunk_bytes):
    hidden, weight, bias, labels, weights = case()
    expected = by_torch(hidden, weight, labels, bias, reduction, options, weights)
    ours = dict(options, class_weights=weights if options.get("class_weights") else None)
    result = chainrule.linear_cross_entropy(
        hidden, weight, labels, bias, reduction=reduction, chunk_bytes=chunk_bytes, **ours
    )
    for got, wanted in zip(result, expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-14)


def test_target_probabilities():
    hidden, weight, bias, _, _ = case()
    targets = np.random.default_rng(1).dirichlet(np.ones(11), 23)
    expected = by_torch(hidden, weight, targets, bias, "mean", {}, None)
    for got, wanted in zip(
        chainrule.linear_cross_entropy(hidden, weight, targets, bias, chunk_bytes=3000), expected, strict=True
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("form", "tolerance"), [("float16", 2e-3), ("bfloat16", 1.6e-2), ("float32", 1e-5)])
def test_formats_and_kind(form, tolerance):
    hidden, weight, bias, labels, _ = case(40, 8, 12)
    dtype = getattr(torch, form)
    tensors = [torch.tensor(a).to(dtype) for a in (hidden, weight, bias)]
    result = chainrule.linear_cross_entropy(*tensors[:2], torch.tensor(labels), tensors[2], chunk_bytes=4000)
    given = [t.double().numpy() for t in tensors]
    expected = by_torch(given[0], given[1], labels, given[2], "mean", {}, None)
    for got, wanted in zip(result, expected, strict=True):
        assert isinstance(got, torch.Tensor)
        assert got.dtype == dtype
        np.testing.assert_allclose(got.double().numpy(), wanted, rtol=tolerance, atol=tolerance * np.abs(wanted).max())


def test_strides_change_nothing_and_inputs_stay():
    hidden, weight, bias, labels, _ = case()
    expected = chainrule.linear_cross_entropy(hidden, weight, labels, bias)
    wide = np.repeat(np.repeat(weight, 2, axis=0), 3, axis=1)[::2, ::3]
    copies = [np.asfortranarray(hidden), np.asfortranarray(weight)]
    for h, w in itertools.product([hidden, copies[0], hidden[::-1].copy()[::-1]], [weight, copies[1], wide]):
        h.flags.writeable = w.flags.writeable = False
        for got, wanted in zip(chainrule.linear_cross_entropy(h, w, labels, bias), expected, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-13, atol=1e-15)


def test_no_bias_and_no_example():
    hidden, weight, bias, labels, _ = case()
    without = chainrule.linear_cross_entropy(hidden, weight, labels)
    assert without.grad_bias is None
    np.testing.assert_array_equal(without.loss, chainrule.linear_cross_entropy(hidden, weight, labels, 0 * bias).loss)
    nothing = chainrule.linear_cross_entropy(hidden[:0], weight, labels[:0], bias)
    assert (nothing.loss, nothing.grad_hidden.shape) == (0.0, (0, 7))
    assert not nothing.grad_weight.any()
    assert not nothing.grad_bias.any()


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("form", ["float32", "float16", ml_dtypes.bfloat16])
@pytest.mark.parametrize(("n", "d", "k", "chunk_bytes"), [(2000, 64, 3000, 2 << 20), (1500, 1000, 50, 4 << 20)])
def test_memory_stays_under_chunk_bytes(n, d, k, chunk_bytes, form, ignored):
    hidden, weight, bias, labels, _ = case(n, d, k, dtype=form)
    chainrule.linear_cross_entropy(hidden[:9], weight, labels[:9], bias)
    options = {"ignore_index": labels[0] if ignored else None, "chunk_bytes": chunk_bytes}
    tracemalloc.start()
    result = chainrule.linear_cross_entropy(hidden, weight, labels, bias, **options)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    outputs = sum(array.nbytes for array in result[1:])
    sums = 4 * k * d if form != "float32" else 0
    assert peak <= outputs + sums + chunk_bytes
    assert k < d or peak < n * k * hidden.itemsize  # the logits would not fit


@pytest.mark.parametrize("form", ["float64", "float32", "float16"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_out_receives_the_gradients(form, reduction):
    hidden, weight, bias, labels, _ = case(dtype=form)
    expected = chainrule.linear_cross_entropy(hidden, weight, labels, bias, reduction=reduction, chunk_bytes=3000)
    wide = np.full((11, 14), np.nan, form)[:, ::2]  # its columns lie apart
    for grad_weight in (np.full((11, 7), np.nan, form), np.full((11, 9), np.nan, form)[:, :7], wide):
        out = np.full((23, 7), np.nan, form), grad_weight, np.full(11, np.nan, form)
        result = chainrule.linear_cross_entropy(
            hidden, weight, labels, bias, reduction=reduction, out=out, chunk_bytes=3000
        )
        np.testing.assert_array_equal(result.loss, expected.loss)
        for got, given, wanted in zip(result[1:], out, expected[1:], strict=True):
            assert got is given
            np.testing.assert_array_equal(got, wanted)
    own = hidden.copy()
    result = chainrule.linear_cross_entropy(
        own, weight, labels, bias, reduction=reduction, out=(own, None, None), chunk_bytes=3000
    )
    assert result.grad_hidden is own
    for got, wanted in zip(result, expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_out_takes_tensors_and_adds_no_memory():
    n, d, k, chunk_bytes = 500, 64, 3000, 2 << 20
    hidden, weight, bias, labels, _ = case(n, d, k, dtype="float32")
    out = torch.empty(n, d), torch.empty(k, d), None
    tensors = torch.tensor(hidden), torch.tensor(weight), torch.tensor(labels)
    tracemalloc.start()
    result = chainrule.linear_cross_entropy(*tensors, out=out, chunk_bytes=chunk_bytes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= chunk_bytes
    assert result.grad_weight is out[1]
    expected = by_torch(hidden, weight, labels, 0 * bias, "mean", {}, None)
    np.testing.assert_allclose(out[1].numpy(), expected[2], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (lambda h, w, b: np.empty((23, 7)), r"out: got ndarray of shape .*, expected a tuple \(grad_hidden, grad_we"),
        (lambda h, w, b: np.empty((3, 7)), "out: got ndarray"),
        (lambda h, w, b: (None, None), "out: got tuple"),
        (lambda h, w, b: (np.empty((23, 8)), None, None), r"out, grad_hidden: got ndarray of shape \(23, 8\)"),
        (lambda h, w, b: (None, np.empty((11, 7), "f4"), None), "out, grad_weight: .* expected .* float64"),
        (lambda h, w, b: (None, None, np.zeros(22)[:11:-1]), r"out, grad_bias: got ndarray of shape \(10,\)"),
        (lambda h, w, b: (None, w, None), "out, grad_weight: overlaps an input or another buffer"),
        (lambda h, w, b: (h, h[:11], None), "out, grad_weight: overlaps an input or another buffer"),
        (lambda h, w, b: (None, None, b), "out, grad_bias: overlaps an input or another buffer"),
        (lambda h, w, b: (None, None, np.broadcast_to(0.0, 11)), "out, grad_bias: got a read-only array"),
        (lambda h, w, b: (None, [[0.0]], None), "out, grad_weight: got list"),
    ],
    ids=range(11),
)
def test_bad_out_writes_nothing(out, message):
    hidden, weight, bias, labels, _ = case()
    before = hidden.copy(), weight.copy(), bias.copy()
    with pytest.raises(chainrule.ChainruleError, match=message):
        chainrule.linear_cross_entropy(hidden, weight, labels, bias, out=out(hidden, weight, bias))
    for now, then in zip((hidden, weight, bias), before, strict=True):
        np.testing.assert_array_equal(now, then)
    with pytest.raises(chainrule.ChainruleError, match="expected None, as there are no biases"):
        chainrule.linear_cross_entropy(hidden, weight, labels, out=(None, None, np.empty(11)))


@pytest.mark.parametrize("read", ["hidden", "weight", "bias", "labels", "targets", "class_weights", "another buffer"])
@pytest.mark.parametrize("place", range(3))
def test_out_lies_on_nothing_that_is_read_or_written(place, read):
    """Each buffer laid over each input, one element further on, and over the buffer before it."""
    hidden, weight, bias, labels, weights = case()
    inputs = {"hidden": hidden, "weight": weight, "labels": labels, "bias": bias}
    inputs |= {"class_weights": weights} if read == "class_weights" else {}
    inputs |= {"labels": np.full((23, 11), 1 / 11)} if read == "targets" else {}
    memory, out = np.zeros(23 * 11 + 1), [None] * 3
    shape = [(23, 7), (11, 7), (11,)][place]
    out[place] = memory[1 : 1 + np.prod(shape)].reshape(shape)
    if read == "another buffer":
        other = (place + 1) % 3
        shape = [(23, 7), (11, 7), (11,)][other]
        out[other] = memory[: np.prod(shape)].reshape(shape)
    else:
        name = "labels" if read == "targets" else read
        array = inputs[name]
        inputs[name] = memory.view(array.dtype)[: array.size].reshape(array.shape)
        inputs[name][...] = array
    before = memory.copy()
    with pytest.raises(chainrule.ChainruleError, match="overlaps an input or another buffer"):
        chainrule.linear_cross_entropy(out=tuple(out), **inputs)
    np.testing.assert_array_equal(memory, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": np.zeros(7)}, r"hidden: got shape \(7,\), expected rank 2, \(N, D\)"),
        ({"weight": np.zeros((11, 6))}, r"weight: got shape \(11, 6\) and dtype float64, expected \(K, 7\)"),
        ({"weight": np.zeros((11, 7), "float32")}, "weight: got shape .* float32, expected .* float64"),
        ({"weight": np.zeros((0, 7))}, r"weight: got shape \(0, 7\)"),
        ({"bias": np.zeros(10)}, r"bias: got shape \(10,\) and dtype float64, expected \(11,\)"),
        ({"bias": np.zeros(11, "int64")}, "bias: got shape .* int64"),
        ({"labels": np.full(23, 11)}, r"labels: got 11 at index 0, expected integers in \[0, 11\)"),
        ({"labels": np.zeros(22, int)}, r"labels: got shape \(22,\), expected \(23,\)"),
        ({"reduction": "max"}, "reduction: got 'max'"),
        ({"chunk_bytes": 0}, "chunk_bytes: got 0, expected an integer >= 1"),
        ({"chunk_bytes": 10}, "chunk_bytes: got 10, expected at least [0-9]+, which holds one row"),
        ({"temperature": 0}, "temperature: got 0"),
        ({"threads": 0}, "threads: got 0"),
    ],
    ids=str,
)
def test_bad_input(change, message):
    hidden, weight, bias, labels, _ = case()
    arguments = {"hidden": hidden, "weight": weight, "labels": labels, "bias": bias} | change
    with pytest.raises(chainrule.ChainruleError, match=message):
        chainrule.linear_cross_entropy(**arguments)


def test_an_ignored_example_leaves_no_trace():
    hidden, weight, bias, labels, _ = case()
    labels[:2] = -1
    expected = chainrule.linear_cross_entropy(hidden, weight, labels, bias, ignore_index=-1)
    hidden[0], hidden[1] = np.nan, np.inf
    for got, wanted in zip(
        chainrule.linear_cross_entropy(hidden, weight, labels, bias, ignore_index=-1), expected, strict=True
    ):
        np.testing.assert_array_equal(got, wanted)


def test_narrow_targets_are_widened_a_chunk_at_a_time():
    n, d, k, chunk_bytes = 512, 8, 20000, 2 << 20
    random = np.random.default_rng(0)
    hidden, weight = random.normal(size=(n, d)).astype(np.float16), random.normal(size=(k, d)).astype(np.float16)
    targets = np.zeros((n, k), np.float16)
    targets[np.arange(n), random.integers(0, k, n)] = 1
    tracemalloc.start()
    result = chainrule.linear_cross_entropy(hidden, weight, targets, chunk_bytes=chunk_bytes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= result.grad_hidden.nbytes + result.grad_weight.nbytes + 4 * k * d + chunk_bytes
    wide = chainrule.linear_cross_entropy(hidden, weight, targets.argmax(1), chunk_bytes=chunk_bytes)
    np.testing.assert_allclose(result.grad_hidden.astype(float), wide.grad_hidden.astype(float), atol=1e-3)
