"""chainrule.torch in programs: torch.compile, torch.export, torch.fx, fake tensors, what traces and what looks on."""

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


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_whoever_looks_sees_the_operator():
    """Calls that nobody looks at go to the kernel by hand; modes and tracers see the operator, and other inputs are
    computed anew."""
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.utils._python_dispatch import TorchDispatchMode

    class Names(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.append(str(function))
            return function(*args, **(kwargs or {}))

    _, _, logits, target = case()
    other, seen = logits.flip(0), []
    for leaf in (logits.clone(), logits.clone().requires_grad_()):
        seen.clear()
        with Names():
            ours.cross_entropy(leaf, target)
        assert "chainrule.cross_entropy.default" in seen
        for trace in (make_fx, lambda function: lambda x: torch.jit.trace(function, x, check_trace=False)):
            traced = trace(lambda a: ours.cross_entropy(a, target))(leaf)
            at = other.clone().requires_grad_(leaf.requires_grad)
            loss, expected = traced(at), F.cross_entropy(at, target)
            close(loss, expected)
            if leaf.requires_grad:
                close(torch.autograd.grad(loss, at), torch.autograd.grad(expected, at))


def test_compiled_errors_name_the_argument():
    compiled = torch.compile(ours.cross_entropy, fullgraph=True)
    with pytest.raises((InputError, RuntimeError), match="target: got 9 at index 0"):
        compiled(torch.zeros(2, 3), torch.tensor([9, 0]))
