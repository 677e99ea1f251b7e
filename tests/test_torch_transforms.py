"""chainrule.torch under torch.func, torch.compile, torch.export, autocast, fake tensors, deterministic algorithms."""

import pytest

torch = pytest.importorskip("torch", reason="the PyTorch face needs torch")

import chainrule.torch as ours  # noqa: E402
from chainrule.errors import InputError  # noqa: E402

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


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_compile_fullgraph(options):
    hidden, weight, logits, target = case(dtype=torch.float32)

    def both(cross_entropy, linear_cross_entropy, a, h, w):
        first = cross_entropy(a * 2, target, **options)
        return first.sum() + linear_cross_entropy(torch.tanh(h), w, target, **options).sum()

    compiled = torch.compile(lambda *x: both(ours.cross_entropy, ours.linear_cross_entropy, *x), fullgraph=True)
    results = []
    for function in (compiled, lambda *x: both(F.cross_entropy, plain_linear, *x)):
        leaves = [tensor.clone().requires_grad_() for tensor in (logits, hidden, weight)]
        loss = function(*leaves)
        loss.backward()
        with torch.no_grad():
            close(function(*leaves), loss.detach(), 1e-5)
        results.append([loss, *(leaf.grad for leaf in leaves)])
    for got, wanted in zip(*results, strict=True):
        close(got, wanted, 1e-5)


def test_compile_with_dynamic_shapes():
    compiled = torch.compile(
        lambda a, t, h, w: ours.cross_entropy(a, t) + ours.linear_cross_entropy(h, w, t), fullgraph=True, dynamic=True
    )
    for n in (4, 9, 5):
        a, h, w = (torch.randn(shape, requires_grad=True) for shape in ((n, 7), (n, 3), (7, 3)))
        t = torch.randint(7, (n,))
        loss, expected = compiled(a, t, h, w), F.cross_entropy(a, t) + plain_linear(h, w, t)
        close(loss, expected, 1e-5)
        grads = (torch.autograd.grad(value, (a, h, w)) for value in (loss, expected))
        for got, wanted in zip(*grads, strict=True):
            close(got, wanted, 1e-5)


def test_compiled_modules_and_policy():
    layer, criterion = ours.LinearCrossEntropyLoss(3, 5), ours.CrossEntropyLoss(inplace=True)
    hidden, target = torch.randn(4, 3), torch.randint(5, (4,))

    @torch.compile(fullgraph=True)
    def step(h):
        weight = layer.linear.weight
        more = ours.logprobs(h, weight, target).sum() + ours.entropy(h, weight).sum()
        return layer(h, target) + criterion(h @ weight.T, target) + more

    loss = step(hidden)
    (got,) = torch.autograd.grad(loss, layer.linear.weight)
    logits = hidden @ layer.linear.weight.T
    log_p = torch.log_softmax(logits, 1)
    more = log_p.gather(1, target[:, None]).sum() - (log_p.exp() * log_p).sum()
    expected = 2 * F.cross_entropy(logits, target) + more
    close(loss, expected, 1e-5)
    close(got, torch.autograd.grad(expected, layer.linear.weight)[0], 1e-5)


def test_export():
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.criterion = ours.LinearCrossEntropyLoss(3, 5), ours.CrossEntropyLoss()

        def forward(self, hidden, target):
            return self.layer(hidden, target) + self.criterion(self.layer.linear(hidden), target)

    model = Model()
    hidden, target = torch.randn(4, 3), torch.randint(5, (4,))
    exported = torch.export.export(model, (hidden, target))
    names = {str(node.target) for node in exported.graph.nodes}
    assert {"chainrule.cross_entropy.default", "chainrule.linear_cross_entropy.default"} <= names
    close(exported.module()(hidden, target), model(hidden, target), 1e-6)


def derivatives(function, tensors):
    """The value, and first to third derivatives."""
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    value = function(*leaves)
    value = value.sum()
    first = torch.autograd.grad(value, leaves, create_graph=True)
    second = torch.autograd.grad(sum(x.square().sum() for x in first), leaves, create_graph=True)
    third = torch.autograd.grad(sum(x.sin().sum() for x in second), leaves)
    return [value, *first, *second, *third]


@pytest.mark.parametrize("how", ["exported", "traced by Dynamo"])
@pytest.mark.parametrize("target", ["indices", "probabilities"])
@pytest.mark.parametrize("options", [{}, {"reduction": "none"}, {"label_smoothing": 0.1, "reduction": "sum"}], ids=str)
def test_programs_of_operators_are_differentiated_again(options, target, how):
    """The operators' own formulas, in the second and third derivatives."""
    hidden, weight, logits, given = case()
    bias = torch.linspace(-1, 1, 5, dtype=torch.float64)
    if target == "probabilities":
        given = torch.softmax(torch.roll(logits, 1, 0), 1)

    class OfLogits(torch.nn.Module):
        def forward(self, a):
            return ours.cross_entropy(a, given, **options)

    class OfLayer(torch.nn.Module):
        def forward(self, h, w, b):
            return ours.linear_cross_entropy(h, w, given, linear_bias=b, **options)

    def program(module, *at):
        if how == "exported":
            with torch.no_grad():
                sample = tuple(x.clone().requires_grad_() for x in at)
            return torch.export.export(module, sample).module()
        torch.compiler.reset()
        return torch.compile(module, fullgraph=True, backend="eager")

    of_logits, of_layer = program(OfLogits(), logits), program(OfLayer(), hidden, weight, bias)
    wanted = derivatives(lambda a: F.cross_entropy(a, given, **options), [logits])
    close(derivatives(of_logits, [logits]), wanted)
    wanted = derivatives(lambda h, w, b: F.cross_entropy(F.linear(h, w, b), given, **options), [hidden, weight, bias])
    close(derivatives(of_layer, [hidden, weight, bias]), wanted)


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "hessian_vector_product"])
def test_gradients_of_rows(name):
    _, _, logits, _ = case(n=3)
    vector = torch.roll(logits, 1, 0) if name == "hessian_vector_product" else None
    inputs = [logits.requires_grad_()] + ([] if vector is None else [vector.requires_grad_()])
    assert torch.autograd.gradcheck(lambda a, v=None: torch.ops.chainrule.by_row(name, a, v), inputs)
    assert torch.autograd.gradgradcheck(lambda a, v=None: torch.ops.chainrule.by_row(name, a, v), inputs)


@pytest.mark.parametrize("loss", ["ours", "PyTorch's"])
def test_what_pytorch_does_not_compile(loss):
    """Second derivatives of a compiled program are refused, whoever's loss it is; torch.func.grad within one, of an
    operator that a library has registered."""
    _, _, logits, target = case()
    function = ours.cross_entropy if loss == "ours" else F.cross_entropy
    compiled = torch.compile(lambda a: function(a * 1, target), fullgraph=True, backend="aot_eager")
    a = logits.clone().requires_grad_()
    (grad,) = torch.autograd.grad(compiled(a), a, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(grad.square().sum(), a)
    if loss == "ours":
        inner = torch.compile(lambda a: torch.func.grad(lambda x: function(x, target))(a), fullgraph=True)
        with pytest.raises(RuntimeError, match=r"setup_context|functorch"):
            inner(logits)


def test_fake_tensors_have_the_shapes_of_real_ones():
    from torch._subclasses.fake_tensor import FakeTensorMode

    shapes = []
    for mode in (FakeTensorMode(), torch.no_grad()):
        with mode, torch.enable_grad():
            logits, target = torch.zeros(2, 5, 3, requires_grad=True), torch.zeros(2, 3, dtype=torch.int64)
            hidden, weight = torch.zeros(4, 3, requires_grad=True), torch.zeros(5, 3, requires_grad=True)
            labels = torch.zeros(4, dtype=torch.int64)
            some = []
            for reduction in ("mean", "none"):
                loss = ours.cross_entropy(logits, target, reduction=reduction)
                layer = ours.linear_cross_entropy(hidden, weight, labels, reduction=reduction)
                grads = torch.autograd.grad(loss.sum(), logits) + torch.autograd.grad(layer.sum(), (hidden, weight))
                some += [(x.shape, x.stride(), x.dtype) for x in (loss, layer, *grads)]
            shapes.append(some)
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_opcheck(reduction):
    hidden, weight, logits, target = case()
    options = reduction, -100, 0.1
    ops = torch.ops.chainrule
    torch.library.opcheck(ops.cross_entropy.default, (logits.requires_grad_(), target, None, *options, True, False))
    torch.library.opcheck(ops.by_row.default, ("hessian_vector_product", logits.detach(), logits.detach()))
    wants = [reduction == "mean"] * 2 + [False]
    layer = hidden.requires_grad_(), weight.requires_grad_(), None, target, None, *options
    torch.library.opcheck(ops.linear_cross_entropy.default, (*layer, wants, None, False))
    factors = torch.ones(6 if reduction == "none" else (), dtype=torch.float64)
    layer = hidden.detach(), weight.detach(), None, target, None, *options
    torch.library.opcheck(ops.linear_backward.default, (factors, *layer, [True, True, False], None))


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


def test_torch_fx_and_modes_and_subclasses():
    """What overrides PyTorch's functions overrides these."""

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.criterion = ours.LinearCrossEntropyLoss(3, 5), ours.CrossEntropyLoss(label_smoothing=0.1)

        def forward(self, hidden, target):
            return self.layer(hidden, target) + self.criterion(self.layer.linear(hidden), target)

    model, hidden, target = Model(), torch.randn(4, 3), torch.randint(5, (4,))
    graph = torch.fx.symbolic_trace(model)
    assert {ours.cross_entropy, ours.linear_cross_entropy} <= {node.target for node in graph.graph.nodes}
    close(graph(hidden, target), model(hidden, target), 1e-6)
    seen = []

    class Kind(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            seen.append(function)
            return super().__torch_function__(function, types, args, kwargs)

    loss = ours.cross_entropy(torch.zeros(4, 5).as_subclass(Kind), target, reduction="none")
    assert seen == [ours.cross_entropy]
    assert type(loss) is Kind
    close(loss.as_subclass(torch.Tensor), torch.full((4,), 5.0).log(), 1e-6)
    with torch.device("cpu"):
        assert ours.cross_entropy(torch.zeros(4, 5), target).item() == pytest.approx(loss[0].item())


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


def test_compiled_errors_name_the_argument():
    compiled = torch.compile(ours.cross_entropy, fullgraph=True)
    with pytest.raises((InputError, RuntimeError), match="target: got 9 at index 0"):
        compiled(torch.zeros(2, 3), torch.tensor([9, 0]))
