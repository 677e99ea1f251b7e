"""PyTorch as people use it: each of its ways to differentiate, trace, export and split what calls the losses."""

import io
import os
import socket
import warnings

import pytest

torch = pytest.importorskip("torch", reason="the PyTorch face needs torch")

import chainrule.torch as ours  # noqa: E402
from chainrule.errors import InputError  # noqa: E402

F, func = torch.nn.functional, torch.func
pytestmark = [
    # PyTorch's forward mode, tracer and exporter deprecate themselves
    pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),  # Dynamo looks
    pytest.mark.filterwarnings("ignore:You are using the legacy TorchScript-based ONNX export:DeprecationWarning"),
]


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LOGITS, WEIGHT, TARGET = numbers(6, 5), numbers(5, 5, seed=1), torch.tensor([0, 4, 2, -100, 1, 0])
CLASSES = numbers(5, seed=2).exp()


class Model(torch.nn.Module):
    def __init__(self, linear=False, **options):
        super().__init__()
        self.linear = linear
        if linear:
            self.head = ours.LinearCrossEntropyLoss(5, 5, dtype=torch.float64, **options)
        else:
            self.body, self.loss = torch.nn.Linear(5, 5, dtype=torch.float64), ours.CrossEntropyLoss(**options)

    def forward(self, x, target):
        return self.head(x, target) if self.linear else self.loss(self.body(x), target)


@pytest.mark.parametrize("transform", ["grad", "jacrev", "jacfwd", "hessian"])
def test_class_weights_are_arguments(transform):
    """functorch wraps every argument; only those of argnums are differentiated."""
    for mine, theirs, args in (
        (ours.cross_entropy, F.cross_entropy, (LOGITS, TARGET, CLASSES)),
        (
            lambda h, w, y, c: ours.linear_cross_entropy(h, w, y, weight=c),
            lambda h, w, y, c: F.cross_entropy(h @ w.T, y, c),
            (LOGITS, WEIGHT, TARGET, CLASSES),
        ),
    ):
        wanted = getattr(func, transform)(theirs)(*args)
        torch.testing.assert_close(getattr(func, transform)(mine)(*args), wanted)
    with pytest.raises(InputError, match="weight: got a tensor whose gradient is wanted"):
        func.grad(ours.cross_entropy, argnums=2)(LOGITS, TARGET, CLASSES)


def test_buffers_are_arguments():
    """The pattern of PyTorch's own tutorial: parameters and buffers both passed, parameters differentiated."""
    model = Model(weight=CLASSES)
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    assert buffers

    def loss(parameters, buffers):
        return func.functional_call(model, (parameters, buffers), (LOGITS, TARGET))

    grads = func.grad(loss)(parameters, buffers)
    wanted = torch.autograd.grad(model(LOGITS, TARGET), list(parameters.values()))
    torch.testing.assert_close(tuple(grads.values()), wanted)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_compiled_autograd(reduction):
    from torch._dynamo import compiled_autograd

    cases = (
        (lambda h, w: ours.cross_entropy(h @ w.T, TARGET, reduction=reduction), {}),
        (lambda h, w: ours.linear_cross_entropy(h, w, TARGET, reduction=reduction), {}),
    )
    for mine, _ in cases:
        leaves = [x.clone().requires_grad_() for x in (LOGITS, WEIGHT)]
        with compiled_autograd._enable(lambda graph: torch.compile(graph, backend="eager")):
            mine(*leaves).sum().backward()
        theirs = F.cross_entropy(leaves[0] @ leaves[1].T, TARGET, reduction=reduction).sum()
        torch.testing.assert_close(tuple(x.grad for x in leaves), torch.autograd.grad(theirs, leaves))


def test_make_fx():
    from torch.fx.experimental.proxy_tensor import make_fx

    def trained(logits):
        leaf = logits.detach().requires_grad_()
        return torch.autograd.grad(ours.cross_entropy(leaf, TARGET), leaf)[0]

    functions = (
        lambda a: ours.cross_entropy(a, TARGET),
        lambda a: func.grad(lambda a: ours.cross_entropy(a, TARGET, z_loss=0.1))(a),
        lambda a: ours.linear_cross_entropy(a, WEIGHT, TARGET, softcap=2.0),
        trained,
    )
    for function in functions:
        graph = make_fx(function, tracing_mode="real")(LOGITS)
        torch.testing.assert_close(graph(LOGITS * 2), function(LOGITS * 2))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # shapes are checked as they are traced
@pytest.mark.parametrize("linear", [False, True])
def test_traced_and_then_trained(linear):
    model = Model(linear)
    traced = torch.jit.trace(model, (LOGITS, TARGET))
    traced(LOGITS, TARGET).backward()
    grads = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    model(LOGITS, TARGET).backward()
    torch.testing.assert_close(grads, [p.grad for p in model.parameters()])
    before = traced(LOGITS, TARGET).item()
    torch.optim.SGD(traced.parameters(), 0.1).step()
    assert traced(LOGITS, TARGET).item() < before


@pytest.mark.parametrize("linear", [False, True])
def test_exported_to_onnx(linear):
    """A model with its loss, by the exporter that refuses operators that ONNX lacks."""
    model, buffer = Model(linear, softcap=3.0, z_loss=0.1), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        torch.onnx.export(model, (LOGITS, TARGET), buffer, dynamo=False, input_names=["x", "y"], opset_version=17)
    file = buffer.getvalue()
    assert b"Tanh" in file  # the cap, by an operator that ONNX has
    assert b"chainrule::" not in file


def test_negative_targets_and_any_sum():
    targets = numbers(6, 5, seed=3)
    assert (targets < 0).any()
    for smoothing, dtype in ((0.0, torch.float64), (0.1, torch.float64), (0.1, torch.float32)):
        leaf = LOGITS.to(dtype).requires_grad_()
        pair = [f(leaf, targets.to(dtype), label_smoothing=smoothing) for f in (ours.cross_entropy, F.cross_entropy)]
        torch.testing.assert_close(*pair)
        torch.testing.assert_close(*(torch.autograd.grad(value, leaf) for value in pair), atol=1e-6, rtol=1e-5)
    hot = F.one_hot(torch.tensor([0, 4, 2, 3, 1, 0]), 5).double().requires_grad_()
    leaves = [x.clone().requires_grad_() for x in (LOGITS, WEIGHT)]
    assert torch.autograd.gradcheck(ours.cross_entropy, (leaves[0], hot))
    assert torch.autograd.gradcheck(lambda h, w, q: ours.linear_cross_entropy(h, w, q), (*leaves, hot))
    assert torch.autograd.gradgradcheck(ours.cross_entropy, (leaves[0], hot))


def _split(rank, port, results):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE="2")
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    wrong = []
    for placement in ([Replicate()], [Shard(0)]):
        for reduction in ("mean", "sum", "none"):
            for weighted in (False, True):
                logits = distribute_tensor(LOGITS.clone(), mesh, placement).requires_grad_()
                head = distribute_tensor(WEIGHT.clone(), mesh, [Replicate()]).requires_grad_()
                target = distribute_tensor(TARGET, mesh, placement)
                classes = CLASSES if weighted else None
                leaves = [x.clone().requires_grad_() for x in (LOGITS, WEIGHT)]
                options = {"weight": classes, "reduction": reduction}
                for mine, theirs, at in (
                    (ours.cross_entropy(logits, target, **options), lambda h, w: h, (logits,)),
                    (ours.linear_cross_entropy(logits, head, target, **options), lambda h, w: h @ w.T, (logits, head)),
                ):
                    right = F.cross_entropy(theirs(*leaves), TARGET, **options)
                    wanted = torch.autograd.grad(right.sum(), leaves[: len(at)])
                    got = torch.autograd.grad(mine.sum(), at)
                    pairs = [(mine, right), *zip(got, wanted, strict=True)]
                    wrong += [
                        f"{placement} {reduction} {weighted} {i}"
                        for i, (a, b) in enumerate(pairs)
                        if not torch.allclose(a.full_tensor(), b)
                    ]
    by_classes = ours.cross_entropy(distribute_tensor(LOGITS.clone(), mesh, [Shard(1)]), TARGET)
    if not torch.allclose(by_classes.full_tensor(), F.cross_entropy(LOGITS, TARGET)):
        wrong.append("split classes")
    try:
        ours.cross_entropy(distribute_tensor(LOGITS.clone()[..., None], mesh, [Shard(2)]), TARGET[:, None])
        wrong.append("split positions were taken")
    except InputError:
        pass
    results.put(wrong)
    torch.distributed.destroy_process_group()


def test_tensors_that_are_whole_or_split_by_examples():
    """DTensors, Replicate and Shard(0), over two processes: losses and gradients are those of the whole batch."""
    distributed = pytest.importorskip("torch.distributed", reason="this PyTorch is built without torch.distributed")
    if not distributed.is_available() or not distributed.is_gloo_available():
        pytest.skip("this PyTorch is built without gloo")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    context = torch.multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    processes = [context.Process(target=_split, args=(rank, port, results)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(600)
    assert [process.exitcode for process in processes] == [0, 0]
    assert results.get() == results.get() == []
