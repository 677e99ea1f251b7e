"""DistributedDataParallel and FSDP2 over two gloo processes: the gradients of one process with the whole batch."""

import os
import socket

import pytest

torch = pytest.importorskip("torch", reason="the PyTorch face needs torch")

import chainrule.torch as ours  # noqa: E402

distributed = pytest.importorskip("torch.distributed", reason="this PyTorch is built without torch.distributed")
if not distributed.is_available() or not distributed.is_gloo_available():
    pytest.skip("this PyTorch is built without gloo", allow_module_level=True)


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Linear(6, 4)
        self.head = ours.LinearCrossEntropyLoss(4, 8)
        self.loss = ours.CrossEntropyLoss()

    def forward(self, x, target):
        hidden = torch.tanh(self.body(x))
        return self.head(hidden, target) + self.loss(hidden, target % 4)


def whole():
    torch.manual_seed(0)
    return Model(), torch.randn(8, 6), torch.randint(8, (8,))


def work(rank, port, kind):
    torch.set_num_threads(1)
    store = f"tcp://127.0.0.1:{port}"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    try:
        model, x, target = whole()
        expected = Model()
        expected.load_state_dict(model.state_dict())
        expected(x, target).backward()
        part = slice(4 * rank, 4 * rank + 4)
        if kind == "ddp":
            parallel = torch.nn.parallel.DistributedDataParallel(model)
            parallel(x[part], target[part]).backward()
        else:
            from torch.distributed.fsdp import fully_shard

            mesh = distributed.init_device_mesh("cpu", (2,))
            fully_shard(model.head, mesh=mesh)
            fully_shard(model, mesh=mesh)
            model(x[part], target[part]).backward()
        for (name, parameter), wanted in zip(model.named_parameters(), expected.parameters(), strict=True):
            grad = parameter.grad
            grad = grad.full_tensor() if kind == "fsdp2" else grad
            torch.testing.assert_close(grad, wanted.grad, rtol=1e-5, atol=1e-6, msg=lambda m, name=name: f"{name}: {m}")
        distributed.barrier()
    finally:
        distributed.destroy_process_group()
    os._exit(0)  # gloo's own threads abort one exit in five, also of processes that have nothing but PyTorch


@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_two_processes(kind):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.start_processes(work, (port, kind), nprocs=2, start_method="spawn")
