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


class Language(torch.nn.Module):
    """A causal model of Transformers, called as the other one is."""

    def __init__(self, change=lambda model: model):
        super().__init__()
        from transformers import LlamaConfig, LlamaForCausalLM

        sizes = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
        model = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2, num_key_value_heads=1))
        self.model = change(model)
        self.head = self.model.lm_head

    def forward(self, x, target):
        return self.model(input_ids=x, labels=target).loss


def pair(kind):
    """The same model twice, one of them accelerated where it is a language model, and a batch."""
    if kind.startswith("accelerated"):
        torch.manual_seed(0)
        models, batch = (Language(ours.accelerate), Language()), torch.randint(64, (8, 5))
        batches = batch, batch
    else:
        model, *batches = whole()
        models = model, Model()
    models[1].load_state_dict(models[0].state_dict())
    return *models, *batches


def work(rank, port, kind):
    torch.set_num_threads(1)
    store = f"tcp://127.0.0.1:{port}"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    try:
        model, expected, x, target = pair(kind)
        expected(x, target).backward()
        part = slice(4 * rank, 4 * rank + 4)
        if "ddp" in kind:
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
            grad = grad.full_tensor() if "fsdp2" in kind else grad
            torch.testing.assert_close(grad, wanted.grad, rtol=1e-5, atol=1e-6, msg=lambda m, name=name: f"{name}: {m}")
        distributed.barrier()
    finally:
        distributed.destroy_process_group()
    os._exit(0)  # gloo's own threads abort one exit in five, also of processes that have nothing but PyTorch


@pytest.mark.parametrize("kind", ["ddp", "fsdp2", "accelerated ddp", "accelerated fsdp2"])
def test_two_processes(kind):
    if kind.startswith("accelerated"):
        pytest.importorskip("transformers", reason="accelerate changes models of transformers")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.start_processes(work, (port, kind), nprocs=2, start_method="spawn")
