"""The memory that results as large as the logits take: used again once nothing looks at it, and never before."""

import gc
import os
import threading

import pytest

torch = pytest.importorskip("torch", reason="the PyTorch face needs torch")

import chainrule.torch as ours  # noqa: E402
from chainrule.torch import buffers  # noqa: E402

F = torch.nn.functional
SHAPE = (1100, 1000)  # 4.4 MB of float32
if not buffers.KEEPS:
    pytest.skip("this system has no MADV_FREE", allow_module_level=True)


@pytest.fixture(autouse=True)
def nothing_kept():
    buffers.release()
    yield
    buffers.release()


def test_a_block_is_used_again_when_its_last_view_is_gone():
    first = buffers.empty(SHAPE, torch.float32)
    place = first.data_ptr()
    views = [first[3:5], first.view(torch.int32).numpy(), first.detach(), first.untyped_storage()]
    del first
    meanwhile = buffers.empty(SHAPE, torch.float32)
    assert meanwhile.data_ptr() != place
    while views:
        free = [block.is_free() for block in buffers._kept]
        assert not any(free)
        views.pop()
        gc.collect()
    shapes = ((SHAPE, torch.float32), ((2, *SHAPE), torch.bfloat16), ((550, 1000), torch.float64), ((1090, 1000), None))
    for shape, dtype in ((shape, dtype or torch.float32) for shape, dtype in shapes):
        again = buffers.empty(shape, dtype)
        assert (again.data_ptr(), again.shape, again.dtype) == (place, shape, dtype)
        assert again.is_contiguous()
        assert not again._is_view()
        again.fill_(3)
        assert bool((again == 3).all())
        del again


def test_the_larger_block_is_kept_and_small_ones_are_pytorchs():
    small = buffers.empty((10, 10), torch.float32)
    assert small.untyped_storage().resizable()
    tensors = [buffers.empty((rows, 1000), torch.float32) for rows in (2200, 1100, 3300)]
    places = [tensor.data_ptr() for tensor in tensors]
    assert len(set(places)) == 3
    tensors.clear()
    assert buffers.empty((3300, 1000), torch.float32).data_ptr() == places[2]
    buffers._collect()
    count = len(buffers._kept)  # apart, for a failure would print all their bytes
    assert count == 1
    small = buffers.empty(SHAPE, torch.float32)  # which would hold all of a block three times as large
    assert small.untyped_storage().nbytes() == small.nbytes
    buffers.release()
    count = len(buffers._kept)
    assert count == 0
    assert buffers.empty((0, 1000), torch.float32).shape == (0, 1000)


def test_the_system_may_take_the_pages_that_nobody_looks_at(monkeypatch):
    advised, system = [], buffers._madvise

    def madvise(begin, size, advice):
        advised.append((begin.value, size.value, advice))
        return system(begin, size, advice)

    monkeypatch.setattr(buffers, "_madvise", madvise)
    tensor = buffers.empty((4400, 1000), torch.float32)
    place, end = tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes
    alias = tensor.detach()
    alias[:] = 3
    del tensor
    assert buffers.mmap.MADV_FREE not in [advice for *_, advice in advised]
    assert bool((alias == 3).all())
    del alias
    again = buffers.empty((4400, 1000), torch.float32)
    assert again.data_ptr() == place
    del again
    _ = [None for _ in range(2)]  # the interpreter comes to it between two steps
    (begin, size, _), *more = [call for call in advised if call[2] == buffers.mmap.MADV_FREE]
    assert not more
    assert place <= begin < begin + size <= end < begin + size + 2 * buffers.PAGE


@pytest.mark.parametrize("rows", [10, 1100, 2100])
def test_gradients_can_be_resized(rows):
    logits, target = torch.randn(rows, 1000, requires_grad=True), torch.randint(1000, (rows,))
    for size in (0, 1, 2 * rows):
        (grad,) = torch.autograd.grad(ours.cross_entropy(logits, target), logits)
        kept = grad[:1].clone()
        grad.resize_(size, 1000)
        assert grad.shape == (size, 1000)
        assert torch.equal(grad[:1], kept[: min(size, 1)])
        storage = grad.untyped_storage()
        storage.resize_(0)  # as FullyShardedDataParallel frees what it has gathered
        assert storage.nbytes() == 0
        del grad, storage
        again = torch.autograd.grad(ours.cross_entropy(logits, target), logits)[0]
        assert torch.equal(again[:1], kept)


def test_no_memory_is_pytorchs_error():
    with pytest.raises(RuntimeError, match=r"not enough memory|can't allocate"):
        buffers.empty((1 << 30, 1 << 22), torch.float64)


def test_a_training_loop_takes_one_block():
    logits, target = torch.randn(SHAPE, requires_grad=True), torch.randint(1000, SHAPE[:1])
    wanted = torch.autograd.grad(F.cross_entropy(logits, target), logits)[0]
    places = set()
    for _ in range(4):
        logits.grad = None
        ours.cross_entropy(logits, target).backward()
        places.add(logits.grad.data_ptr())
        torch.testing.assert_close(logits.grad, wanted, rtol=1e-5, atol=1e-9)
    assert len(places) == 1


def test_gradients_that_live_have_memory_of_their_own():
    target = torch.randint(1000, SHAPE[:1])
    leaves = [torch.randn(SHAPE, requires_grad=True) for _ in range(3)]
    losses = [ours.cross_entropy(leaf, target) for leaf in leaves]
    for loss in losses:
        loss.backward()
    assert len({leaf.grad.data_ptr() for leaf in leaves}) == 3
    for leaf in leaves:
        expected = torch.autograd.grad(F.cross_entropy(leaf, target), leaf)[0]
        torch.testing.assert_close(leaf.grad, expected, rtol=1e-5, atol=1e-9)


def test_threads_at_once():
    target = torch.randint(1000, SHAPE[:1])
    leaves = [torch.randn(SHAPE) for _ in range(3)]
    wanted = [
        torch.autograd.grad(ours.cross_entropy(a := leaf.clone().requires_grad_(), target), a)[0] for leaf in leaves
    ]
    wrong = []

    def work(leaf, right):
        for _ in range(10):
            a = leaf.clone().requires_grad_()
            ours.cross_entropy(a, target).backward()
            wrong.extend([1] * (not torch.equal(a.grad, right)))

    threads = [threading.Thread(target=work, args=pair) for pair in zip(leaves, wanted, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork.* was called:RuntimeWarning")  # JAX, where another test has imported it
def test_a_forked_child_does_not_write_into_its_parents_block():
    kept = buffers.empty(SHAPE, torch.float32)
    kept.numpy()[:] = 1  # by NumPy: PyTorch's own threads do not live through a fork
    del kept
    gc.collect()
    live = buffers.empty((2200, 1000), torch.float32).numpy()
    live[:] = 2
    child = os.fork()
    if child == 0:
        mine = buffers.empty(SHAPE, torch.float32).numpy()
        mine[:] = 5
        os._exit(0 if (mine == 5).all() and (live == 2).all() else 1)
    mine = buffers.empty(SHAPE, torch.float32).numpy()
    mine[:] = 7
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (mine == 7).all()
    assert (live == 2).all()
