"""chainrule.torch under torch.func, vmap, autocast, checkpointing and deterministic algorithms."""

import pytest

torch = pytest.importorskip("torch", reason="the PyTorch face needs torch")

import chainrule.torch as ours  # noqa: E402

F = torch.nn.functional
pytestmark = [
    # PyTorch's forward mode and compiler script what they have deprecated themselves
    pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning"),
]


def case(n=6, d=3, k=5, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden, weight, logits = (
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in ((n, d), (k, d), (n, k))
    )
    return hidden, weight, logits, torch.randint(k, (n,), generator=generator)


def plain_linear(hidden, weight, target, **options):
    return F.cross_entropy(hidden @ weight.T, target, **options)


def close(got, wanted, tolerance=1e-10):
    torch.testing.assert_close(got, wanted, rtol=tolerance, atol=tolerance)


OPTIONS = [{}, {"reduction": "none"}, {"label_smoothing": 0.1, "reduction": "sum"}, {"ignore_index": 2}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("transform", ["grad", "jacrev", "jacfwd", "hessian", "jvp", "vjp"])
def test_torch_func(transform, options):
    hidden, weight, logits, target = case()

    def results(cross_entropy, linear_cross_entropy):
        functions = [
            (lambda a: cross_entropy(a, target, **options), logits),
            (lambda h: linear_cross_entropy(h, weight, target, **options), hidden),
            (lambda w: linear_cross_entropy(hidden, w, target, **options), weight),
        ]
        for function, at in functions:
            if transform == "grad":
                yield torch.func.grad(lambda x, function=function: function(x).sum())(at)
            elif transform == "jvp":
                yield torch.func.jvp(function, (at,), (torch.ones_like(at),))[1]
            elif transform == "vjp":
                value, pull = torch.func.vjp(function, at)
                yield pull(torch.ones_like(value))[0]
            else:
                yield getattr(torch.func, transform)(function)(at)

    mine = results(ours.cross_entropy, ours.linear_cross_entropy)
    for got, wanted in zip(mine, results(F.cross_entropy, plain_linear), strict=True):
        close(got, wanted)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_vmap_of_values(options):
    _, _, _, _ = case()
    logits, target, weight = torch.randn(3, 4, 5), torch.randint(5, (3, 4)), torch.rand(3, 5)
    hidden, matrix = torch.randn(3, 4, 2), torch.randn(3, 5, 2)
    vmap = torch.func.vmap
    for dims in ((0, 0), (0, None), (None, 0)):
        a = logits if dims[0] == 0 else logits[0]
        t = target if dims[1] == 0 else target[0]
        pick = lambda x, dim, i: x[i] if dim == 0 else x  # noqa: E731
        got = vmap(lambda a, t: ours.cross_entropy(a, t, **options), dims)(a, t)
        close(
            got,
            torch.stack([F.cross_entropy(pick(a, dims[0], i), pick(t, dims[1], i), **options) for i in range(3)]),
            1e-5,
        )
    got = vmap(lambda a, t, w: ours.cross_entropy(a, t, w, **options))(logits, target, weight)
    wanted = [F.cross_entropy(a, t, w, **options) for a, t, w in zip(logits, target, weight, strict=True)]
    close(got, torch.stack(wanted), 1e-5)
    got = vmap(lambda h, w, t: ours.linear_cross_entropy(h, w, t, **options))(hidden, matrix, target)
    wanted = [plain_linear(h, w, t, **options) for h, w, t in zip(hidden, matrix, target, strict=True)]
    close(got, torch.stack(wanted), 1e-5)
    got = vmap(lambda a: ours.cross_entropy(a, target[0], **options), in_dims=1, out_dims=-1)(logits.movedim(0, 1))
    wanted = [F.cross_entropy(a, target[0], **options) for a in logits]
    close(got, torch.stack(wanted, -1), 1e-5)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_per_sample_gradients(options):
    hidden, weight, logits, target = case()
    hidden, logits = hidden.reshape(3, 2, 3), logits.reshape(3, 2, 5)
    target = target.reshape(3, 2)

    def gradients(cross_entropy, linear_cross_entropy):
        def of_logits(a, t):
            return cross_entropy(a, t, **options).sum()

        def of_layer(w, h, t):
            return linear_cross_entropy(h, w, t, **options).sum()

        yield torch.func.vmap(torch.func.grad(of_logits))(logits, target)
        yield from torch.func.vmap(torch.func.grad(of_layer, (0, 1)), (None, 0, 0))(weight, hidden, target)
        yield torch.func.vmap(torch.func.hessian(of_logits))(logits, target)

    mine = gradients(ours.cross_entropy, ours.linear_cross_entropy)
    for got, wanted in zip(mine, gradients(F.cross_entropy, plain_linear), strict=True):
        close(got, wanted)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_torch_func_of_targets_and_class_weights(reduction):
    hidden, weight, logits, _ = case()
    target, classes = torch.softmax(torch.roll(logits, 1, 1), 1), torch.rand(5, dtype=torch.float64) + 0.5

    def results(cross_entropy, linear_cross_entropy):
        def of_logits(q, w, a=logits):
            return cross_entropy(a, q, w, reduction=reduction, label_smoothing=0.1).sum()

        def of_layer(q):
            return linear_cross_entropy(hidden, weight, q, reduction=reduction).sum()

        func = torch.func
        yield func.grad(of_logits, (0, 1))(target, classes)
        yield func.grad(of_layer)(target)
        yield func.vmap(func.grad(lambda q, a: of_logits(q[None], classes, a[None])))(target, logits)
        yield func.jacrev(func.grad(lambda a, q: of_logits(q, classes, a)), 1)(logits, target)
        yield func.jvp(func.grad(of_logits), (target, classes), (logits, classes))[1]

    mine = results(ours.cross_entropy, ours.linear_cross_entropy)
    for got, wanted in zip(mine, results(F.cross_entropy, plain_linear), strict=True):
        close(got, wanted)


def test_functional_call():
    torch.manual_seed(0)
    mine = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh())
    head, criterion = ours.LinearCrossEntropyLoss(3, 5), torch.nn.CrossEntropyLoss()
    x, target = torch.randn(6, 4), torch.randint(5, (6,))

    def loss(parameters, own):
        hidden = torch.func.functional_call(mine, parameters["body"], (x,))
        if own:
            return torch.func.functional_call(head, parameters["head"], (hidden, target))
        return criterion(hidden @ parameters["head"]["linear.weight"].T, target)

    parameters = {"body": dict(mine.named_parameters()), "head": dict(head.named_parameters())}
    got, wanted = (torch.func.grad(loss)(parameters, own) for own in (True, False))
    for part in parameters:
        for name in parameters[part]:
            close(got[part][name], wanted[part][name], 1e-5)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_autocast(reduction):
    hidden, weight, _, target = case(dtype=torch.float32)
    results = []
    for own in (True, False):
        leaves = [tensor.clone().requires_grad_() for tensor in (hidden, weight)]
        with torch.autocast("cpu", torch.bfloat16):
            logits = F.linear(*leaves)
            assert logits.dtype == torch.bfloat16
            if own:
                losses = (
                    ours.cross_entropy(logits, target, reduction=reduction),
                    ours.linear_cross_entropy(leaves[0], leaves[1], target, reduction=reduction),
                )
            else:
                losses = (F.cross_entropy(logits, target, reduction=reduction),) * 2
            (losses[0] + losses[1]).sum().backward()
        results.append([*losses, *(leaf.grad for leaf in leaves)])
    for got, wanted in zip(*results, strict=True):
        assert got.dtype == wanted.dtype == torch.float32
        close(got, wanted, 3e-2)


@pytest.mark.parametrize("kind", ["logits", "layer", "logprobs", "probabilities"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_scaled_loss_keeps_small_gradients(dtype, kind):
    """As GradScaler scales it: by 65536, which float16 does not hold, gradients of 1e-9, which it does not either."""
    torch.manual_seed(0)
    n, k = 3000, 300
    layer, hidden = torch.nn.Linear(8, k, bias=False), torch.randn(n, 8, requires_grad=True)
    target = torch.randint(k, (n,))
    if kind == "probabilities":
        target = torch.rand(n, k)
    results = []
    for own in (True, False):
        with torch.autocast("cpu", dtype):
            if kind in ("layer", "logprobs") and own:
                loss = ours.linear_cross_entropy(hidden, layer.weight, target)
                if kind == "logprobs":
                    loss = -ours.logprobs(hidden, layer.weight, target).mean()
            else:
                loss = (ours if own else F).cross_entropy(layer(hidden), target)
        grads = torch.autograd.grad(65536 * loss, (hidden, layer.weight))
        assert [x.dtype for x in (loss, *grads)] == [torch.float32] * 3
        results.append([loss, *grads])
    for got, wanted in zip(*results, strict=True):
        close = wanted.detach().abs().max().item() * (2e-3 if dtype == torch.float16 else 2e-2)
        torch.testing.assert_close(got, wanted, rtol=0, atol=close)
    if kind == "probabilities":  # which are not rounded to the logits' 16 bits
        torch.testing.assert_close(*[result[0] for result in results], rtol=1e-6, atol=0)


def test_deterministic_algorithms():
    hidden, weight, logits, target = case()
    torch.use_deterministic_algorithms(True)
    try:
        logits.requires_grad_()
        loss = ours.cross_entropy(logits, target) + ours.linear_cross_entropy(hidden, weight.requires_grad_(), target)
        first = torch.autograd.grad(loss, (logits, weight), create_graph=True)
        second = torch.autograd.grad(sum(x.square().sum() for x in first), (logits, weight))
    finally:
        torch.use_deterministic_algorithms(False)
    expected = F.cross_entropy(logits, target) + plain_linear(hidden, weight, target)
    wanted = torch.autograd.grad(expected, (logits, weight), create_graph=True)
    close(first, wanted)
    close(second, torch.autograd.grad(sum(x.square().sum() for x in wanted), (logits, weight)))


def test_checkpointing_and_threads():
    """Recomputed forwards, and backwards in other threads, give the same."""
    from torch.utils.checkpoint import checkpoint

    hidden, weight, _, target = case()
    weight.requires_grad_()
    loss = checkpoint(ours.linear_cross_entropy, hidden, weight, target, use_reentrant=False)
    (got,) = torch.autograd.grad(loss, weight)
    close(got, torch.autograd.grad(plain_linear(hidden, weight, target), weight)[0])
