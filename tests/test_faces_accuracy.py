"""The accuracy bars of the output layer, through autograd of PyTorch and of JAX: against mpmath at 60 digits."""

import exact_options as kernels
import ml_dtypes
import mpmath as mp
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the PyTorch face needs torch")

import chainrule.torch as ours  # noqa: E402

DIGITS = {"float32": (24, -149), "float64": (53, -1074), "bfloat16": (8, -133), "float16": (11, -24)}  # smallest: 2**b
BARS = {"float32": (0.51, 0.51), "bfloat16": (0.51, 0.51), "float16": (0.51, 0.51), "float64": (4, 6)}
ROWS = 3


def normal(deviation, offset=0.0, best=False):
    def make(random, k):
        logits = offset + deviation * random.normal(size=(ROWS, k))
        return logits, logits.argmax(1) if best else random.integers(0, k, ROWS)

    return make


def margin(lead):
    def make(random, k):
        logits, labels = -random.random((ROWS, k)), random.integers(0, k, ROWS)
        logits[np.arange(ROWS), labels] = lead
        return logits, labels

    return make


def ties(height):
    def make(random, k):
        return np.where(random.random((ROWS, k)) < 0.5, height, height * 0.5), random.integers(0, k, ROWS)

    return make


def masked(random, k):
    logits, labels = random.normal(size=(ROWS, k)), random.integers(0, k, ROWS)
    hidden = random.random((ROWS, k)) < 0.5
    hidden[np.arange(ROWS), labels] = False
    return np.where(hidden, -np.inf, logits), labels


def subnormal(random, k):
    return random.integers(-100, 101, (ROWS, k)) * 2.0**-149, random.integers(0, k, ROWS)


CASES = {
    **{f"N(0, {d}^2), {best=}": normal(d, best=best) for d in (1, 10, 100) for best in (False, True)},
    **{f"margin {lead}": margin(lead) for lead in (5, 10, 17, 20, 40, 80, 100, 300, 700)},
    "ties": ties(1.0),
    "ties at 1e30": ties(1e30),
    "offset 1e4": normal(1, offset=1e4),
    "offset 1e30": normal(1, offset=1e30),
    "half masked": masked,
    "subnormal": subnormal,
}


def rounded(numbers, format):
    with np.errstate(over="ignore"):
        return numbers.astype(ml_dtypes.bfloat16 if format == "bfloat16" else format)


def truth_of(row, label):
    """−log ŷ_ℓ and ŷ − e(ℓ) of one row of numbers, taken as exact."""
    with mp.workdps(60):
        row = [mp.mpf(float(a)) for a in row]
        top = max(row)
        e = [mp.exp(a - top) for a in row]
        others = mp.fsum(x for j, x in enumerate(e) if j != label)
        total = others + e[label]
        loss = mp.log1p(others) if row[label] == top else top - row[label] + mp.log(total)
        return loss, [-others / total if j == label else x / total for j, x in enumerate(e)]


def ulps(value, truth, format):
    """How far a number is from the truth, in units of the last place of the truth in that format."""
    digits, tiny = DIGITS[format]
    if not truth:
        return 0.0 if value == 0 else np.inf
    unit = mp.mpf(2) ** max(int(mp.floor(mp.log(abs(truth), 2))) + 1 - digits, tiny)
    return float(abs(mp.mpf(float(value)) - truth) / unit)


def by_torch(logits, labels, format):
    a = torch.tensor(logits.astype(np.float64)).to(getattr(torch, format)).requires_grad_()
    losses = ours.cross_entropy(a, torch.tensor(labels), reduction="none")
    losses.sum().backward()
    return losses.detach().double().numpy(), a.grad.double().numpy()


def by_torch_linear(logits, labels, format):
    """Weights that are the identity: products are exact, and the gradient w.r.t. hidden is that w.r.t. the logits."""
    a = torch.tensor(np.where(np.isinf(logits), 0, logits).astype(np.float64)).to(getattr(torch, format))
    eye = torch.eye(a.shape[1], dtype=a.dtype)
    grads, losses = [], []
    for row, label in zip(a, labels, strict=True):  # a bias of −∞ masks a class
        mask = torch.tensor(np.where(np.isinf(logits[len(losses)]), -np.inf, 0.0)).to(a.dtype)
        hidden = row[None].clone().requires_grad_()
        loss = ours.linear_cross_entropy(hidden, eye, torch.tensor([label]), linear_bias=mask)
        loss.backward()
        losses.append(loss.item())
        grads.append(hidden.grad[0].double().numpy())
    return np.array(losses), np.array(grads)


def by_jax(logits, labels, format):
    jax = pytest.importorskip("jax", reason="the JAX face needs jax")
    import chainrule.jax as face

    x64 = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64
    with x64(format == "float64"):
        a, y = jax.numpy.asarray(logits), jax.numpy.asarray(labels)
        loss_of = face.softmax_cross_entropy_with_integer_labels
        grad = jax.grad(lambda a: loss_of(a, y).sum())(a)
        return np.asarray(loss_of(a, y)).astype(np.float64), np.asarray(grad).astype(np.float64)


@pytest.mark.parametrize(
    ("name", "format"),
    # float16 does not hold 1e30
    [(name, format) for name in CASES for format in DIGITS if not ("1e30" in name and format == "float16")],
)
def test_within_the_bars(name, format):
    random = np.random.default_rng(0)
    for k in (2, 3, 10, 1000):
        logits, labels = CASES[name](random, k)
        logits = rounded(logits, format)
        truth = [truth_of(row, label) for row, label in zip(logits, labels, strict=True)]
        faces = [by_torch, by_jax] if k == 1000 else [by_torch, by_torch_linear, by_jax]
        for face in faces:
            losses, grads = face(logits, labels, format)
            for loss, grad, label, (true_loss, true_grad) in zip(losses, grads, labels, truth, strict=True):
                check(face.__name__, format, [loss, *grad], [true_loss, *true_grad])
                if abs(true_grad[label]) > mp.mpf(2) ** (DIGITS[format][1] - 1):
                    assert loss > 0
                    assert grad[label] < 0


def check(face, format, came, exact):
    of_loss, of_gradient = BARS[format]
    for i, (value, truth) in enumerate(zip(came, exact, strict=True)):
        assert ulps(value, truth, format) <= (of_gradient if i else of_loss), (face, i, value, truth)
        if face != "by_torch_linear":  # whose gradient is rounded from float32's, −0 and all
            assert value != 0 or not np.signbit(value), (face, i)
    if format == "float32":  # Σg, as the largest of all errors allows it
        gradient = [mp.mpf(float(value)) for value in came[1:]]
        assert (
            abs(mp.fsum(gradient)) <= mp.mpf(2) ** -23 * mp.fsum(map(abs, gradient)) + len(gradient) * mp.mpf(2) ** -149
        )


def test_128000_classes():
    random = np.random.default_rng(0)
    logits, labels = margin(20)(random, 128000)
    logits, labels = rounded(logits[:1], "float32"), labels[:1]
    loss, grad = truth_of(logits[0], labels[0])
    for face in (by_torch, by_jax):
        came = face(logits, labels, "float32")
        check(face.__name__, "float32", [came[0][0], *came[1][0]], [loss, *grad])


@pytest.mark.parametrize("face", [by_torch, by_jax], ids=["torch", "jax"])
def test_shifts_and_splits_change_no_bit(face):
    random = np.random.default_rng(0)
    logits = random.integers(-(2**12), 2**12, (9, 40)) * np.float32(2**-8)  # 2**12 more is exact
    labels = random.integers(0, 40, 9)
    losses, grads = face(logits, labels, "float32")
    shifted = face(logits + np.float32(2**12), labels, "float32")
    first, rest = (face(logits[part], labels[part], "float32") for part in (slice(0, 4), slice(4, 9)))
    for whole, moved, begin, end in zip((losses, grads), shifted, first, rest, strict=True):
        assert np.array_equal(whole, moved)
        assert np.array_equal(whole, np.concatenate([begin, end]))


@pytest.mark.parametrize("format", ["float32", "bfloat16", "float16", "float64"])
def test_linear_from_the_same_logits(format):
    """Hidden units and weights whose products and sums are exact in float32. The losses are within the bars of the
    truth of those logits. A gradient is a sum of K or N products in float32 (float64) of numbers that are rounded to
    it: within half a unit of its own format, and for each term a unit, in the sum's format, of the terms' magnitude."""
    random = np.random.default_rng(0)
    n, d, k = 12, 6, 40
    hidden, weight, bias = (random.integers(-8, 9, shape) / 4 for shape in ((n, d), (k, d), (k,)))
    labels = random.integers(0, k, n)
    logits = hidden @ weight.T + bias
    labels[:6] = logits[:6].argmax(1)
    dtype = getattr(torch, format)
    leaves = [torch.tensor(x).to(dtype).requires_grad_() for x in (hidden, weight, bias)]
    arguments = leaves[0], leaves[1], torch.tensor(labels)
    losses = ours.linear_cross_entropy(*arguments, linear_bias=leaves[2], reduction="none")
    losses.sum().backward()
    summed = [leaf.grad.clone() for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    ours.linear_cross_entropy(*arguments, linear_bias=leaves[2], reduction="sum").backward()
    assert all(torch.equal(leaf.grad, grad) for leaf, grad in zip(leaves, summed, strict=True))
    log_p = ours.logprobs(*arguments, bias=leaves[2])
    entropies = ours.entropy(leaves[0], leaves[1], bias=leaves[2])
    delta = []
    for i in range(n):
        loss, grad = truth_of(logits[i], labels[i])
        assert ulps(losses[i].item(), loss, format) <= BARS[format][0]
        assert ulps(-log_p[i].item(), loss, format) <= BARS[format][0]
        p = [g + (j == labels[i]) for j, g in enumerate(grad)]
        with mp.workdps(60):
            exact = -mp.fsum(x * mp.log(x) for x in p)
            own = mp.mpf(2) ** (1 - DIGITS[format][0]) + k * mp.mpf(2) ** -(52 if format == "float64" else 23)
            assert abs(mp.mpf(entropies[i].item()) - exact) <= own * max(exact, 1)
        delta.append(grad)
    sums = 52 if format == "float64" else 23
    exact = np.array(delta)
    for came, left, right in (
        (leaves[0].grad, exact, weight),
        (leaves[1].grad, exact.T, hidden),
        (leaves[2].grad[:, None], exact.T, np.ones((n, 1))),
    ):
        truth, size = left @ right, np.abs(left) @ np.abs(right)
        terms = left.shape[1] * mp.mpf(2) ** -sums
        for value, t, s in zip(came.double().numpy().flat, truth.flat, size.flat, strict=True):
            assert abs(mp.mpf(float(value)) - t) <= terms * s + mp.mpf(2) ** -DIGITS[format][0] * abs(t)


OPTIMA = [
    *("targets", "targets, optimum", "targets, 10 units", "targets, margin 100"),
    *("smoothing", "smoothing, optimum", "weighted smoothing, optimum", "weighted smoothing, margin 100"),
]


@pytest.mark.parametrize("format", DIGITS)
@pytest.mark.parametrize("name", OPTIMA)
def test_every_option_passes_through(name, format):
    """Where the terms of the gradient cancel too: beyond an error of 2⁻⁷⁰ (float64: 2⁻⁹⁶) of them."""
    dtype = ml_dtypes.bfloat16 if format == "bfloat16" else np.dtype(format).type
    excuse = mp.mpf(2) ** (-96 if format == "float64" else -70)
    for k in (2, 12):
        logits, labels, options = kernels.case(name, k, dtype, np.random.default_rng(k))
        logits, labels = logits[:ROWS], labels[:ROWS]
        weights, smoothing = options.get("class_weights", np.ones(k)), options.get("label_smoothing", 0.0)
        given = labels if labels.ndim == 2 else np.eye(k)[labels]
        faces = {"torch": torch_options, "vmap": vmapped_options, "linear": linear_options, "jax": jax_options}
        for face, results in faces.items():
            if face == "jax" and options:  # which has none
                continue
            losses, grads = results(logits, labels, weights, smoothing, format)
            for row, q, loss, grad in zip(logits, given, losses, grads, strict=True):
                true_loss, true_grad, terms = kernels.truth(row, q, weights, smoothing, 1.0, 0.0)
                assert kernels.ulps(loss, true_loss, dtype, 0) <= BARS[format][0], (face, k)
                for found, true, size in zip(grad, true_grad, terms, strict=True):
                    assert kernels.ulps(found, true, dtype, size * excuse) <= BARS[format][1], (face, k)


def tensors(logits, labels, weights, format):
    dtype = getattr(torch, format)
    given = torch.tensor(labels.astype(np.float64)).to(dtype) if labels.ndim == 2 else torch.tensor(labels)
    return torch.tensor(logits.astype(np.float64)).to(dtype), given, torch.tensor(weights)


def torch_options(logits, labels, weights, smoothing, format):
    a, y, w = tensors(logits, labels, weights, format)
    losses = ours.cross_entropy(a.requires_grad_(), y, w, reduction="none", label_smoothing=smoothing)
    losses.sum().backward()
    return losses.tolist(), a.grad.tolist()


def vmapped_options(logits, labels, weights, smoothing, format):
    a, y, w = tensors(logits, labels, weights, format)

    def loss(a, y):
        return ours.cross_entropy(a, y, w, reduction="sum", label_smoothing=smoothing)

    grads, losses = torch.func.vmap(torch.func.grad_and_value(loss))(a, y)
    return losses.tolist(), grads.tolist()


def linear_options(logits, labels, weights, smoothing, format):
    """Each row by itself, with weights that are the identity; its gradient w.r.t. the logits is the bias's."""
    a, y, w = tensors(logits, labels, weights, format)
    hidden, zeros = torch.eye(a.shape[1], dtype=a.dtype), torch.zeros(a.shape[1], dtype=a.dtype)
    losses, grads = [], []
    for row, label in zip(a, y, strict=True):
        bias = zeros.clone().requires_grad_()
        options = {"linear_bias": bias, "weight": w, "label_smoothing": smoothing, "reduction": "sum"}
        loss = ours.linear_cross_entropy(row[None], hidden, label[None], **options)
        loss.backward()
        losses.append(loss.item())
        grads.append(bias.grad.tolist())
    return losses, grads


def jax_options(logits, labels, weights, smoothing, format):
    jax = pytest.importorskip("jax", reason="the JAX face needs jax")
    import chainrule.jax as face

    x64 = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64
    with x64(format == "float64"):
        a, q = jax.numpy.asarray(logits), jax.numpy.asarray(labels)
        value, grad = jax.vmap(jax.value_and_grad(face.softmax_cross_entropy))(a, q)
        return np.asarray(value).astype(np.float64), np.asarray(grad).astype(np.float64)


@pytest.mark.parametrize("format", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_batched_mean_is_rounded_once(weighted, format):
    random = np.random.default_rng(0)
    logits, labels = 3 * random.normal(size=(4, 3, 7)), random.integers(0, 7, (4, 3))
    a, _, w = tensors(logits, labels[0], random.uniform(0.3, 3, 7), format)
    y = torch.tensor(labels)

    def loss(a, y):
        return ours.cross_entropy(a, y, w if weighted else None)

    grads, losses = torch.func.vmap(torch.func.grad_and_value(loss))(a, y)
    for rows, label, grad, mean in zip(a.double().tolist(), labels, grads.tolist(), losses.tolist(), strict=True):
        with mp.workdps(60):
            each = [mp.mpf(w[i].item()) if weighted else mp.mpf(1) for i in label]
            truth = [truth_of(row, i) for row, i in zip(rows, label, strict=True)]
            of_rows = zip(each, truth, strict=True)
            pairs = [(m / mp.fsum(each) * of_loss, [m / mp.fsum(each) * x for x in g]) for m, (of_loss, g) in of_rows]
            assert ulps(mean, mp.fsum(loss for loss, _ in pairs), format) <= 0.51
            for found, (_, true) in zip(grad, pairs, strict=True):
                assert max(ulps(x, t, format) for x, t in zip(found, true, strict=True)) <= 0.51
