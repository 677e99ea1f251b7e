"""Every nesting of torch.func's transforms to depth 3, against PyTorch's own formulas in float64."""

import itertools

import pytest

torch = pytest.importorskip("torch", reason="the PyTorch face needs torch")

import chainrule.torch as ours  # noqa: E402

F, func = torch.nn.functional, torch.func
pytestmark = [
    # PyTorch's forward mode scripts what it has deprecated itself
    pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning"),
]


def numbers(*shape, seed):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def direction(x):
    return torch.cos(torch.arange(x.numel(), dtype=x.dtype) + 1).reshape(x.shape)


def weighted(y):
    return (y * direction(y)).sum()


def pulled(f):
    def along(x):
        y, pull = func.vjp(f, x)
        return pull(direction(y))[0]

    return along


TRANSFORMS = {  # of a function of one tensor
    "grad": lambda f: func.grad(lambda x: weighted(f(x))),
    "vjp": pulled,
    "jvp": lambda f: lambda x: func.jvp(f, (x,), (direction(x),))[1],
    "jacfwd": func.jacfwd,
    "jacrev": func.jacrev,
    "hessian": func.hessian,
    "vmap": lambda f: lambda x: func.vmap(f)(torch.stack([x, x * x.cos()])),
}

LOGITS, TARGET, CLASSES = numbers(1, 3, seed=0), torch.tensor([2]), numbers(3, seed=1).exp()
SOFT, HIDDEN, WEIGHT = numbers(1, 3, seed=2).softmax(1), numbers(1, 2, seed=3), numbers(3, 2, seed=4)


def theirs_linear(hidden, weight, target, **options):
    return F.cross_entropy(hidden @ weight.T, target, **options)


def theirs_entropy(hidden, weight):
    log_p = torch.log_softmax(hidden @ weight.T, 1)
    return -(log_p.exp() * log_p).sum(1)


def theirs_logprobs(hidden, weight, labels):
    return -theirs_linear(hidden, weight, labels, reduction="none")


OURS = ours.cross_entropy, ours.linear_cross_entropy, ours.entropy, ours.logprobs
THEIRS = F.cross_entropy, theirs_linear, theirs_entropy, theirs_logprobs
SMOOTH = {"label_smoothing": 0.1}
CASES = {  # of the four functions, and where
    "labels": (lambda loss, *_: lambda a: loss(a, TARGET, CLASSES, **SMOOTH), LOGITS),
    "labels, none": (lambda loss, *_: lambda a: loss(a, TARGET, reduction="none"), LOGITS),
    "one example": (lambda loss, *_: lambda a: loss(a, TARGET[0]), LOGITS[0]),
    "targets": (lambda loss, *_: lambda a: loss(a, SOFT, CLASSES), LOGITS),
    "w.r.t. targets": (lambda loss, *_: lambda q: loss(LOGITS, q, CLASSES, **SMOOTH), SOFT),
    "w.r.t. both": (lambda loss, *_: lambda a: loss(a, a * a), LOGITS),
    "w.r.t. class weights": (lambda loss, *_: lambda w: loss(LOGITS, SOFT, w, reduction="sum"), CLASSES),
    "linear, hidden": (lambda _, linear, *__: lambda h: linear(h, WEIGHT, TARGET), HIDDEN),
    "linear, weight": (lambda _, linear, *__: lambda w: linear(HIDDEN, w, TARGET, reduction="none"), WEIGHT),
    "entropy": (lambda _, __, entropy, ___: lambda h: entropy(h, WEIGHT), HIDDEN),
    "logprobs": (lambda *all: lambda h: all[3](h, WEIGHT, TARGET), HIDDEN),
}


def check(case, nesting):
    make, x = CASES[case]
    got, wanted = make(*OURS), make(*THEIRS)
    for name in nesting:
        got, wanted = TRANSFORMS[name](got), TRANSFORMS[name](wanted)
    torch.testing.assert_close(got(x), wanted(x), rtol=1e-9, atol=1e-10, msg=lambda text: f"{case}, {nesting}: {text}")


@pytest.mark.parametrize("case", ["labels", "w.r.t. targets", "w.r.t. both", "linear, weight", "entropy"])
def test_to_depth_2(case):
    for depth in (1, 2):
        for nesting in itertools.product(TRANSFORMS, repeat=depth):
            check(case, nesting)


@pytest.mark.parametrize("first", TRANSFORMS)
def test_depth_3(first):
    """Each nesting with one of the cases in turn; derivatives of more than four orders take minutes."""
    orders = {"hessian": 2, "vmap": 0}
    for i, rest in enumerate(itertools.product(TRANSFORMS, repeat=2)):
        nesting = (first, *rest)
        if sum(orders.get(name, 1) for name in nesting) <= 4:
            check(list(CASES)[(i + 5 * list(TRANSFORMS).index(first)) % len(CASES)], nesting)
