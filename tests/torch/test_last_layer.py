"""Cap, multiplier, temperature and z-loss, and what is told beside the loss, with derivatives of every order."""

import itertools
import threading

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the PyTorch face needs torch")

from exact_options import BARS, mp, ulps  # noqa: E402
from shaped import truth  # noqa: E402

import chainrule.torch as ours  # noqa: E402
from chainrule.errors import InputError  # noqa: E402

F, func = torch.nn.functional, torch.func
# PyTorch's forward mode and its compiler script what they have deprecated themselves
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning")

EXTRAS = ("logsumexp", "log_likelihood", "entropy", "prediction", "correct")
SHAPES = {
    "softcap": {"softcap": 2.0},
    "scale": {"scale": 1.7},
    "temperature": {"temperature": 0.6},
    "z-loss": {"z_loss": 0.1},
    "all": {"softcap": 2.0, "scale": 1.7, "temperature": 0.6, "z_loss": 0.1, "label_smoothing": 0.1},
}
PARAMETERS = ("softcap", "scale", "temperature", "z_loss")


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LOGITS, HIDDEN, WEIGHT, BIAS = numbers(3, 4), numbers(3, 2, seed=1), numbers(4, 2, seed=2), numbers(4, seed=3)
TARGETS = {"labels": torch.tensor([1, -100, 3]), "probabilities": numbers(3, 4, seed=4).softmax(1)}
CLASSES = numbers(4, seed=5).exp()


def seen(logits, softcap=None, scale=1.0, temperature=1.0, **_):
    z = logits * scale
    return (z if softcap is None else softcap * torch.tanh(z / softcap)) / temperature


def by_hand(logits, target, **options):
    """By PyTorch's own operations."""
    z, z_loss, reduction = seen(logits, **options), options.get("z_loss", 0.0), options.get("reduction", "mean")
    theirs = {name: value for name, value in options.items() if name not in PARAMETERS}
    each = F.cross_entropy(z, target, **theirs | {"reduction": "none"}) if reduction == "none" else None
    counted = target != -100 if target.dim() == 1 else torch.ones(len(z), dtype=torch.bool)
    squares = torch.where(counted, z_loss * torch.logsumexp(z, 1) ** 2, 0.0)
    if each is not None:
        return each + squares
    weights = options.get("weight") if target.dim() == 1 else None
    mass = counted.sum() if weights is None else (weights[target.clamp(min=0)] * counted).sum()
    return F.cross_entropy(z, target, **theirs) + squares.sum() / (mass if reduction == "mean" else 1)


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("name", SHAPES)
def test_values_and_derivatives(name, kind):
    target = TARGETS[kind]
    leaves = [x.clone().requires_grad_() for x in (LOGITS, HIDDEN, WEIGHT, BIAS)]
    for reduction, weight in itertools.product(("mean", "sum", "none"), (None, CLASSES)):
        options = SHAPES[name] | {"reduction": reduction, "weight": weight}

        def loss(a, options=options):
            return ours.cross_entropy(a, target, **options)

        def layer(h, w, b, options=options):
            return ours.linear_cross_entropy(h, w, target, linear_bias=b, **options)

        torch.testing.assert_close(loss(leaves[0]), by_hand(leaves[0], target, **options))
        torch.testing.assert_close(layer(*leaves[1:]), by_hand(HIDDEN @ WEIGHT.T + BIAS, target, **options))
        for function, at in ((loss, leaves[:1]), (layer, leaves[1:])):
            assert torch.autograd.gradcheck(function, at, check_forward_ad=True)
            if (reduction, weight is None) in (("mean", False), ("none", True)):  # what differs has been seen above
                assert torch.autograd.gradgradcheck(function, at)


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("name", SHAPES)
def test_extras_and_their_derivatives(name, kind):
    target = TARGETS[kind]
    leaves = [x.clone().requires_grad_() for x in (LOGITS, HIDDEN, WEIGHT, BIAS)]
    options = SHAPES[name]

    def loss(a):
        return ours.cross_entropy(a, target, extras=EXTRAS, **options)

    def layer(h, w, b):
        return ours.linear_cross_entropy(h, w, target, linear_bias=b, extras=EXTRAS, **options)

    for record, logits in ((loss(leaves[0]), LOGITS), (layer(*leaves[1:]), HIDDEN @ WEIGHT.T + BIAS)):
        z = seen(logits, **options)
        p = z.softmax(1)
        torch.testing.assert_close(record.loss, by_hand(logits, target, **options))
        torch.testing.assert_close(record.logsumexp, torch.logsumexp(z, 1))
        torch.testing.assert_close(record.entropy, -(p * p.log()).sum(1))
        torch.testing.assert_close(record.log_likelihood, -F.cross_entropy(z, target, reduction="none"))
        assert torch.equal(record.prediction, logits.argmax(1))
        labels = target if target.dim() == 1 else target.argmax(1)
        assert torch.equal(record.correct, logits.argmax(1) == labels)
    for function, at in ((loss, leaves[:1]), (layer, leaves[1:])):
        assert torch.autograd.gradcheck(lambda *x, function=function: function(*x)[:4], at)
        assert torch.autograd.gradgradcheck(lambda *x, function=function: function(*x)[:4], at)


@pytest.mark.parametrize("kind", TARGETS)
def test_under_transformations(kind):
    target, options = TARGETS[kind], SHAPES["all"]

    def mine(a):
        record = ours.cross_entropy(a, target, extras=EXTRAS, **options)
        return sum((i + 1) * value.sum() for i, value in enumerate(record[:4]))

    def theirs(a):
        z = seen(a, **options)
        p, each = z.softmax(1), -F.cross_entropy(z, target, reduction="none")
        told = torch.logsumexp(z, 1).sum() * 2 + each.sum() * 3 - (p * p.log()).sum() * 4
        return by_hand(a, target, **options) + told

    for transform in (func.grad, func.hessian, func.jacfwd, lambda f: func.jacfwd(func.hessian(f))):
        torch.testing.assert_close(transform(mine)(LOGITS), transform(theirs)(LOGITS))
    batch = torch.stack([LOGITS, LOGITS.cos()])
    torch.testing.assert_close(func.vmap(func.grad(mine))(batch), func.vmap(func.grad(theirs))(batch))


def test_within_the_bars():
    """Through autograd, batched by vmap too: float32 and narrower half a unit, float64 four and six."""
    random = np.random.default_rng(0)
    options = {"softcap": 30.0, "scale": 0.7, "temperature": 0.8, "z_loss": 1e-3}
    for dtype, bars in BARS.items():
        form = getattr(torch, np.dtype(dtype).name)
        for k in (2, 10, 200):
            given = (random.normal(size=(3, k)) * 5).astype(dtype)
            labels = torch.tensor(random.integers(0, k, 3))
            logits = torch.tensor(given.astype(np.float64)).to(form)

            def loss(a, y):
                return ours.cross_entropy(a, y, reduction="none", **options)

            leaf = logits.clone().requires_grad_()
            eager = loss(leaf, labels)
            eager.sum().backward()
            batched = func.vmap(lambda a, y: loss(a[None], y[None])[0])(logits, labels)
            assert torch.equal(batched, eager)
            for n, label in enumerate(labels.tolist()):
                true, grad, terms, _, _ = truth(given[n], [int(j == label) for j in range(k)], **options)
                assert ulps(eager[n].item(), true, dtype, 0) <= bars[0]
                for came, right, size in zip(leaf.grad[n].tolist(), grad, terms, strict=True):
                    assert ulps(came, right, dtype, size * mp.mpf(2) ** -70) <= bars[1]


@pytest.mark.parametrize("dtype", BARS)
def test_extras_are_as_exact_under_transformations(dtype):
    """Of rows whose logsumexp or entropy cancels too, whichever label they have."""
    options = {"softcap": 50.0, "scale": 0.7, "temperature": 0.8}
    random, form, names = np.random.default_rng(0), getattr(torch, np.dtype(dtype).name), EXTRAS[:3]
    given = np.concatenate([[[0, 40, 0], [-40, 0, -40]], np.log(random.dirichlet(np.ones(3), 4))]).astype(dtype)
    logits, labels = torch.tensor(given.astype(np.float64)).to(form), torch.tensor([0, 1, 0, 1, 2, 0])

    def told(a, y):
        record = ours.cross_entropy(a, y, reduction="none", extras=names, **options)
        return torch.stack([getattr(record, name) for name in names])

    batched = func.vmap(lambda a, y: told(a[None], y[None])[:, 0], out_dims=1)(logits, labels)
    for values in (batched, func.vjp(lambda a: told(a, labels), logits)[0]):
        for n, label in enumerate(labels.tolist()):
            loss, _, _, logsumexp, entropy = truth(given[n], [int(j == label) for j in range(3)], **options)
            for came, right in zip(values[:, n].tolist(), (logsumexp, -loss, entropy), strict=True):
                assert ulps(came, right, dtype, mp.mpf(2) ** -90) <= max(BARS[dtype])


def test_the_slope_of_a_cap_keeps_its_digits():
    """1 − tanh²(x/c) is 6e-18 at x = 20 c: in second derivatives, and where extras are differentiated."""
    a, cap = torch.tensor([[20.0, 18.0, -19.0]], dtype=torch.float64), 1.0
    x = [mp.mpf(v) for v in a[0].tolist()]
    slopes, e = [mp.sech(v) ** 2 for v in x], [mp.exp(mp.tanh(v)) for v in x]
    p = [v / mp.fsum(e) for v in e]
    second = [-2 * mp.tanh(v) * s for v, s in zip(x, slopes, strict=True)]

    def close(came, right):
        assert all(abs(mp.mpf(c) - r) <= abs(r) * mp.mpf(2) ** -48 for c, r in zip(came, right, strict=True))

    def loss(a):
        return ours.cross_entropy(a, torch.tensor([0]), softcap=cap)

    def logsumexp(a):
        return ours.cross_entropy(a, torch.tensor([0]), softcap=cap, extras=("logsumexp",)).logsumexp.sum()

    delta = [q - (j == 0) for j, q in enumerate(p)]
    wanted = [q * (1 - q) * s**2 + d * t for q, s, d, t in zip(p, slopes, delta, second, strict=True)]
    for hessian in (func.hessian(loss), lambda a: torch.autograd.functional.hessian(loss, a)):
        close(hessian(a).reshape(3, 3).diagonal().tolist(), wanted)
    leaf = a.clone().requires_grad_()
    logsumexp(leaf).backward()
    for grad in (leaf.grad, func.grad(logsumexp)(a)):
        close(grad[0].tolist(), [q * s for q, s in zip(p, slopes, strict=True)])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_float32_loss_of_sixteen_bits(dtype):
    logits = numbers(6, 5).to(dtype)
    hidden, weight, target = (
        numbers(6, 3).to(dtype),
        numbers(5, 3, seed=1).to(dtype),
        torch.tensor([0, 1, 2, -100, 4, 0]),
    )
    for reduction in ("mean", "none"):
        options = {"reduction": reduction, "softcap": 3.0}
        for given, function in (((logits,), ours.cross_entropy), ((hidden, weight), ours.linear_cross_entropy)):
            narrow = [x.clone().requires_grad_() for x in given]
            wide = [x.float().requires_grad_() for x in given]
            record = function(*narrow, target, loss_dtype=torch.float32, extras=("entropy",), **options)
            right = function(*wide, target, extras=("entropy",), **options)
            plain = function(*narrow, target, loss_dtype=torch.float32, **options)
            assert record.loss.dtype == record.entropy.dtype == plain.dtype == torch.float32
            torch.testing.assert_close(record, right, rtol=1e-6, atol=1e-7)
            torch.testing.assert_close(plain, right.loss, rtol=1e-6, atol=1e-7)
            grads = torch.autograd.grad(record.loss.sum() + record.entropy.sum(), narrow)
            wanted = torch.autograd.grad(right.loss.sum() + right.entropy.sum(), wide)
            for got, exact in zip(grads, wanted, strict=True):
                assert got.dtype == dtype
                torch.testing.assert_close(got.float(), exact, rtol=1e-2, atol=1e-2)
    assert ours.cross_entropy(logits.float(), target, loss_dtype=torch.float32).dtype == torch.float32
    for bad in (torch.float16, "float32"):
        with pytest.raises(InputError, match="loss_dtype: got"):
            ours.cross_entropy(logits, target, loss_dtype=bad)
    with pytest.raises(InputError, match=r"loss_dtype: got torch.float32 for input of torch.float64"):
        ours.cross_entropy(logits.double(), target, loss_dtype=torch.float32)


def test_modules_compiled_and_k_dimensional():
    options = {"softcap": 2.0, "z_loss": 0.1}
    logits, target = numbers(2, 4, 3, 2), torch.randint(4, (2, 3, 2))
    record = ours.CrossEntropyLoss(extras=EXTRAS, **options)(logits.requires_grad_(), target)
    rows = logits.movedim(1, -1).reshape(-1, 4)
    torch.testing.assert_close(record.loss, by_hand(rows, target.flatten(), **options))
    torch.testing.assert_close(record.entropy, torch.distributions.Categorical(logits=seen(rows, **options)).entropy()
                               .reshape(2, 3, 2))  # fmt: skip
    single = ours.cross_entropy(LOGITS[0], torch.tensor(1), extras=("logsumexp",))
    assert single.logsumexp.shape == ()
    head = ours.LinearCrossEntropyLoss(2, 4, dtype=torch.float64, extras=EXTRAS, **options)
    eager = head(HIDDEN, TARGETS["labels"])
    compiled = torch.compile(head, fullgraph=True)(HIDDEN, TARGETS["labels"])
    torch.testing.assert_close(compiled, eager)
    for record in (eager, compiled):
        (record.loss + record.entropy.sum()).backward()
    grad = head.linear.weight.grad.clone()
    head.zero_grad()
    (2 * (eager := head(HIDDEN, TARGETS["labels"])).loss + 2 * eager.entropy.sum()).backward()
    torch.testing.assert_close(grad, head.linear.weight.grad)


def test_extras_are_refused_where_there_is_no_place():
    target = TARGETS["labels"]
    weight = WEIGHT.clone().requires_grad_()
    with pytest.raises(InputError, match="accumulate: got True with extras"):
        ours.linear_cross_entropy(HIDDEN, weight, target, accumulate=True, extras=("entropy",))
    with pytest.raises(InputError, match="inplace: got True with extras"):
        ours.cross_entropy(LOGITS.clone(), target, inplace=True, extras=("entropy",))
    with pytest.raises(InputError, match="extras: got 'probabilities', expected one of"):
        ours.cross_entropy(LOGITS, target, extras=("probabilities",))
    with pytest.raises(InputError, match="extras: got 'entropy', expected a sequence"):
        ours.cross_entropy(LOGITS, target, extras="entropy")


def test_nothing_of_the_logits_size_is_kept():
    """With all extras, forward and backward, no tensor as large as the logits is made."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        bytes = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            for tensor in result if isinstance(result, tuple) else (result,):
                if isinstance(tensor, torch.Tensor) and tensor._base is None:
                    self.bytes = max(self.bytes, tensor.numel() * tensor.itemsize)
            return result

    hidden, weight = torch.randn(2000, 4).requires_grad_(), torch.randn(3000, 4).requires_grad_()
    options = {"softcap": 5.0, "z_loss": 0.1, "extras": EXTRAS, "chunk_bytes": 4 << 20}
    record = ours.linear_cross_entropy(hidden, weight, torch.zeros(2000, dtype=torch.int64), **options)
    kept, nodes = set(), [record.loss.grad_fn]
    while nodes:
        node = nodes.pop()
        kept |= {tuple(t.shape) for t in getattr(node, "saved_tensors", ()) if t is not None}
        nodes += [parent for parent, _ in node.next_functions if parent is not None]
    assert (2000, 3000) not in kept
    with Largest() as largest:
        (record.loss + record.entropy.sum() + record.logsumexp.sum()).backward()
    assert 0 < largest.bytes <= 4 << 20 < 2000 * 3000 * 4


def test_threads_ask_at_once():
    wrong, target = [], torch.randint(50, (64,))
    logits = torch.randn(64, 50, dtype=torch.float64)
    right = ours.cross_entropy(logits, target, softcap=3.0, extras=EXTRAS)

    def work():
        for _ in range(20):
            found = ours.cross_entropy(logits, target, softcap=3.0, extras=EXTRAS)
            wrong.extend(1 for a, b in zip(found, right, strict=True) if not torch.equal(a, b))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
