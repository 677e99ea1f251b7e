"""What runs on devices without kernels, forced on the CPU: the closed form in chunked PyTorch operations."""

import itertools

import exact_options
import mpmath
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the PyTorch face needs torch")

import chainrule.torch as ours  # noqa: E402
from chainrule.errors import InputError  # noqa: E402
from chainrule.torch import devices, rows  # noqa: E402

F = torch.nn.functional
# PyTorch's forward mode scripts its decompositions when it is first used
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning")

OPTIONS = [{}, {"weight": True}, {"label_smoothing": 0.2}, {"weight": True, "label_smoothing": 0.3}]


@pytest.fixture(autouse=True)
def no_kernels(monkeypatch):
    monkeypatch.setattr(rows, "NATIVE", ())


def case(target, shape=(7, 5), d=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    n, k = shape[:2]
    logits, hidden, weight = (torch.randn(s, generator=generator).to(dtype) for s in (shape, (n, d), (k, d)))
    if target == "probabilities":
        given = torch.rand(shape, generator=generator).to(dtype) + 0.1
    else:
        given = torch.randint(k, (n, *shape[2:]), generator=generator)
        given.flatten()[1] = -100
    return logits.requires_grad_(), hidden.requires_grad_(), weight.requires_grad_(), given


@pytest.mark.parametrize("chunk", [64 << 20, 700], ids=["one chunk", "chunks"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("options", "target"), list(itertools.product(OPTIONS, ["indices", "probabilities"])), ids=str)
def test_values_and_gradients(options, target, reduction, chunk, monkeypatch):
    monkeypatch.setattr(devices, "CHUNK_BYTES", chunk)
    more = options | {"reduction": reduction}
    if more.get("weight"):
        more["weight"] = torch.linspace(0.5, 2.0, 5, dtype=torch.float64)
    for shape in ((7, 5), (2, 5, 3)):
        logits, hidden, weight, given = case(target, shape)
        pairs = [((ours.cross_entropy(logits, given, **more), F.cross_entropy(logits, given, **more)), (logits,))]
        if len(shape) == 2:
            layer = ours.linear_cross_entropy(hidden, weight, given, **more)
            pairs.append(((layer, F.cross_entropy(hidden @ weight.T, given, **more)), (hidden, weight)))
        for (got, wanted), leaves in pairs:
            torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
            cotangent = torch.linspace(0.5, 1.5, got.numel(), dtype=got.dtype).reshape(got.shape)
            both = (torch.autograd.grad(value, leaves, cotangent) for value in (got, wanted))
            for a, b in zip(*both, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("target", ["indices", "probabilities"])
def test_gradcheck(target):
    logits, hidden, weight, given = case(target, (3, 4))
    options = {"label_smoothing": 0.1, "reduction": "none"}
    functions = (
        (lambda a: ours.cross_entropy(a, given, **options), (logits,)),
        (lambda h, w: ours.linear_cross_entropy(h, w, given, **options), (hidden, weight)),
    )
    for function, at in functions:
        assert torch.autograd.gradcheck(function, at, check_forward_ad=True)
        assert torch.autograd.gradgradcheck(function, at)


@pytest.mark.parametrize("margin", [0.0, 20.0, 60.0])
def test_half_an_ulp(margin):
    random = np.random.default_rng(0)
    logits = torch.tensor(-random.random((6, 9)))
    target = torch.tensor(random.integers(0, 9, 6))
    logits[torch.arange(6), target] += margin
    logits = logits.float().requires_grad_()
    losses = ours.cross_entropy(logits, target, reduction="none")
    losses.sum().backward()
    with mpmath.workdps(60):
        for row, label, loss, grad in zip(
            logits.tolist(), target.tolist(), losses.tolist(), logits.grad.tolist(), strict=True
        ):
            e = [mpmath.exp(mpmath.mpf(a) - mpmath.mpf(row[label])) for a in row]
            others = mpmath.fsum(x for j, x in enumerate(e) if j != label)
            truth = [mpmath.log1p(others)]
            truth += [(-others if j == label else x) / (1 + others) for j, x in enumerate(e)]
            for came, exact in zip([loss, *grad], truth, strict=True):
                ulp = mpmath.mpf(2) ** max(int(mpmath.floor(mpmath.log(abs(exact), 2))) - 23, -149)
                assert abs(came - exact) <= 0.51 * ulp


PLACES = ("", ", optimum", ", 10 units", ", 10⁶ units", ", margin 100")
CANCEL = [f"targets{place}" for place in PLACES] + [
    *("smoothing", "smoothing, optimum", "weighted smoothing", "weighted smoothing, optimum", "z-loss", "temperature"),
    *("weighted smoothing, margin 100", "all", "all, margin 100"),
]


@pytest.mark.parametrize("dtype", exact_options.BARS, ids=lambda dtype: np.dtype(dtype).name)
def test_terms_that_cancel(dtype):
    """Every option within the kernels' bars, where the two terms of the gradient nearly agree too."""
    of_loss, of_gradient = exact_options.BARS[dtype]
    excuse = mpmath.mpf(2) ** (-96 if dtype is np.float64 else -70)
    for k, name in [*((k, name) for k in (2, 10) for name in CANCEL), (200, "targets, optimum"), (200, "all")]:
        a, y, options = exact_options.case(name, k, dtype, np.random.default_rng(k))
        a, y, weights = a[:3], y[:3], options.pop("class_weights", np.ones(k))
        logits = torch.tensor(a.astype(np.float64)).to(getattr(torch, np.dtype(dtype).name)).requires_grad_()
        given = torch.tensor(y.astype(np.float64)).to(logits.dtype) if y.ndim == 2 else torch.tensor(y)
        losses = ours.cross_entropy(logits, given, torch.tensor(weights), reduction="none", **options)
        losses.sum().backward()
        more = [options.get(name, none) for name, none in (("label_smoothing", 0), ("temperature", 1), ("z_loss", 0))]
        for row, q, loss, grad in zip(
            a, y if y.ndim == 2 else np.eye(k)[y], losses.tolist(), logits.grad.tolist(), strict=True
        ):
            true_loss, true_grad, terms = exact_options.truth(row, q, weights, *more)
            assert exact_options.ulps(loss, true_loss, dtype, 0) <= of_loss, (name, k)
            for came, true, size in zip(grad, true_grad, terms, strict=True):
                assert exact_options.ulps(came, true, dtype, size * excuse) <= of_gradient, (name, k)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_extras_do_not_depend_on_the_label(dtype):
    logits = torch.tensor([[0.0, 40.0], [-40.0, 0.0], [3.0, 1.0], [-torch.inf, 2.0]], dtype=dtype)
    infinite = torch.full((1, 2), torch.inf, dtype=dtype)
    for label in (0, 1):
        options = {"reduction": "none", "extras": ("logsumexp", "entropy")}
        told = ours.cross_entropy(logits, torch.full((4,), label), **options)
        for row, logsumexp, entropy in zip(
            logits.tolist(), told.logsumexp.tolist(), told.entropy.tolist(), strict=True
        ):
            with mpmath.workdps(60):
                e = [mpmath.exp(mpmath.mpf(a)) for a in row]
                p = [x / mpmath.fsum(e) for x in e if x]
                exact = mpmath.log(mpmath.fsum(e)), -mpmath.fsum(x * mpmath.log(x) for x in p)
                for came, wanted in zip((logsumexp, entropy), exact, strict=True):
                    below = 2.0**-25 if dtype == torch.float16 else 0
                    assert abs(came - wanted) <= 2 * torch.finfo(dtype).eps * abs(wanted) + below
        for sign in (1, -1):
            told = ours.cross_entropy(sign * infinite, torch.tensor([label]), **options)
            assert told.logsumexp.item() == sign * torch.inf


def test_chunks_keep_to_their_bytes():
    """The largest tensor that is made beside inputs and outputs is smaller than what is allowed."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        bytes = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result._base is None and result.shape != (30, 2000):
                self.bytes = max(self.bytes, result.numel() * result.itemsize)
            return result

    hidden, weight = torch.randn(400, 30), torch.randn(2000, 30)
    with torch.no_grad(), Largest() as largest:
        ours.linear_cross_entropy(hidden, weight, torch.zeros(400, dtype=torch.int64), chunk_bytes=1 << 20)
    assert 0 < largest.bytes <= 1 << 20 < 400 * 2000 * 4


def test_nothing_counted_and_bad_targets():
    logits = torch.zeros(2, 3, requires_grad=True)
    loss = ours.cross_entropy(logits, torch.tensor([-100, -100]))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()
    with pytest.raises(InputError, match="target: got 3 at index 1"):
        ours.cross_entropy(logits, torch.tensor([0, 3]))
    with pytest.raises(InputError, match="target: got class probabilities from -inf"):
        ours.cross_entropy(logits, torch.full((2, 3), -torch.inf))


def test_a_bad_label_poisons_its_row_where_a_check_would_wait(monkeypatch):
    monkeypatch.setattr(devices, "ON_HOST", ())
    logits, hidden, weight, _ = case("indices", (4, 5))
    target = torch.tensor([1, 5, -100, -1])
    losses = ours.cross_entropy(logits, target, reduction="none", weight=torch.ones(5, dtype=torch.float64))
    assert losses.isnan().tolist() == [False, True, False, True]
    (grad,) = torch.autograd.grad(losses.sum(), logits)
    assert grad.isnan().all(1).tolist() == [False, True, False, True]
    assert not grad[2].any()
    torch.testing.assert_close(losses[0], F.cross_entropy(logits[:1], target[:1]))
    assert ours.linear_cross_entropy(hidden, weight, target).isnan()


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("target", ["indices", "probabilities"])
def test_options_and_extras_are_the_kernels(target, reduction, monkeypatch):
    options = {"softcap": 2.0, "scale": 1.7, "temperature": 0.6, "z_loss": 0.1, "reduction": reduction}
    names = ("logsumexp", "log_likelihood", "entropy", "prediction", "correct")

    def found():
        results = []
        for smoothing in (0.0, 0.1):
            logits, hidden, weight, given = case(target)
            more = options | {"label_smoothing": smoothing, "extras": names}
            for record, leaves in (
                (ours.cross_entropy(logits, given, **more), (logits,)),
                (ours.linear_cross_entropy(hidden, weight, given, chunk_bytes=1700, **more), (hidden, weight)),
            ):
                total = sum(value.sum() * (i + 1) for i, value in enumerate(record[:4]))
                results += [*record, *torch.autograd.grad(total, leaves)]
        return results

    here = found()
    monkeypatch.setattr(rows, "NATIVE", ("cpu",))
    for got, wanted in zip(here, found(), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


def test_products_of_a_device_take_many_rows(monkeypatch):
    """64 MiB of float64 temporaries are few rows of 128,256 classes; a chunk's products take 4096."""
    from chainrule.torch import layer

    hidden = torch.empty(10000, 8, dtype=torch.float32)
    beside = devices.temporaries(hidden, probabilities=False, options=None)
    assert layer._chunks(10000, 8, 128256, hidden, None, beside)[0] < 50
    monkeypatch.setattr(devices, "ON_HOST", ())
    assert layer._chunks(10000, 8, 128256, hidden, None, beside)[0] == 4096
    assert layer._chunks(10000, 8, 128256, hidden, 64 << 20, beside)[0] < 50
