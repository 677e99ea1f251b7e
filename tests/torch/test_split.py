"""Classes split over 2 and 3 gloo processes: losses, gradients and extras are those of one process."""

import itertools
import os
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the PyTorch face needs torch")

import mpmath  # noqa: E402
from ranks import Ranks  # noqa: E402

import chainrule.torch as ours  # noqa: E402
from chainrule.errors import InputError, ProcessError  # noqa: E402
from chainrule.torch.double_double import DoubleDouble, exp, log1p  # noqa: E402

distributed = pytest.importorskip("torch.distributed", reason="this PyTorch is built without torch.distributed")
if not distributed.is_available() or not distributed.is_gloo_available():
    pytest.skip("this PyTorch is built without gloo", allow_module_level=True)

OPTIONS = [
    {}, {"reduction": "sum"}, {"reduction": "none"}, {"ignore_index": 1}, {"label_smoothing": 0.1},
    {"temperature": 0.7}, {"z_loss": 0.01}, {"softcap": 5.0}, {"scale": 0.3},
    {"softcap": 5.0, "scale": 2.0, "temperature": 1.3, "z_loss": 1e-3, "label_smoothing": 0.2},
]  # fmt: skip
EXTRAS = ("logsumexp", "log_likelihood", "entropy", "prediction", "correct")
CUTS = {2: [(0, 3, 7), (0, 0, 7)], 3: [(0, 1, 1, 2), (0, 17, 25, 40), (0, 2, 2, 2)]}  # where ranks' classes begin


@pytest.fixture(scope="module")
def ranks():
    started = Ranks(3)
    yield started
    started.close()


def units(came, right):
    """By how many units in the last place of the right numbers."""
    info, (came, right) = torch.finfo(right.dtype), (came.detach().double(), right.detach().double())
    size = torch.exp2(torch.floor(torch.log2(right.abs().clamp(min=info.tiny)))) * info.eps
    off = torch.where(came == right, 0.0, (came - right).abs() / size)
    return float(off.max()) if off.numel() else 0.0


def mine(group, cuts):
    rank = distributed.get_rank(group)
    return slice(cuts[rank], cuts[rank + 1])


def compare_options(group):
    """The largest differences from one process, in units; every fourth combination has extras, every other weights or
    class probabilities."""
    worst = {}
    cases = itertools.product((torch.float32, torch.bfloat16, torch.float16), CUTS[group.size()], OPTIONS)
    for i, (dtype, cuts, options) in enumerate(cases):
        k, here = cuts[-1], mine(group, cuts)
        random = torch.Generator().manual_seed(i)
        a = (torch.randn(9, k, generator=random) * 4).to(dtype)
        target = torch.randint(k, (9,), generator=random)
        weight = torch.rand(k, generator=random) + 0.3 if i % 2 else None
        if i // 2 % 2:
            target = torch.softmax(torch.randn(9, k, generator=random), 1).to(dtype)
            options = {name: value for name, value in options.items() if name != "ignore_index"}
        if i % 4 == 3:
            options = options | {"extras": EXTRAS}
        whole, part = a.clone().requires_grad_(), a[:, here].clone().requires_grad_()
        right = ours.cross_entropy(whole, target, weight, **options)
        given = target[:, here] if target.dim() == 2 else target
        came = ours.cross_entropy(part, given, None if weight is None else weight[here], group=group, **options)
        pairs = zip(came, right, strict=True) if "extras" in options else [(came, right)]
        for x, y in pairs:
            if y.is_floating_point():
                worst[dtype] = max(worst.get(dtype, 0.0), units(x, y))
            else:
                assert torch.equal(x, y)
        (came.loss if "extras" in options else came).sum().backward()
        (right.loss if "extras" in options else right).sum().backward()
        worst[dtype] = max(worst[dtype], units(part.grad, whole.grad[:, here]))
    return {str(dtype): value for dtype, value in worst.items()}


@pytest.mark.parametrize("n", [2, 3])
def test_every_option_is_one_processs_to_a_unit(ranks, n):
    for worst in ranks.run(n, compare_options):
        assert max(worst.values()) <= 1.0, worst


def float64_case(group, which):
    """Of logits near their optimum, and beyond float64's digits: losses and gradients, here and by one process."""
    random = torch.Generator().manual_seed(5)
    a = torch.randn(4, 7, generator=random, dtype=torch.float64) * 3
    options = {}
    if which == "label":
        a[:, 2] += 50
        target = torch.tensor([2, 2, 0, 6])
    else:
        target, options = torch.softmax(a, 1) * (1 + 2e-15), {"z_loss": 1e-3} if which == "z-loss" else {}
    here = mine(group, CUTS[2][0])
    whole, part = a.clone().requires_grad_(), a[:, here].clone().requires_grad_()
    right = ours.cross_entropy(whole, target, reduction="none", **options)
    given = target[:, here] if target.dim() == 2 else target
    came = ours.cross_entropy(part, given, reduction="none", group=group, **options)
    right.sum().backward()
    came.sum().backward()
    return a, target, came.detach(), part.grad, right.detach(), whole.grad


@pytest.mark.parametrize("which", ["label", "targets", "z-loss"])
def test_float64_keeps_its_digits(ranks, which):
    found = ranks.run(2, float64_case, which)
    a, target, losses, _, _, _ = found[0]
    grads = torch.cat([f[3] for f in found], 1)
    with mpmath.workdps(60):
        for n in range(4):
            row = [mpmath.mpf(x) for x in a[n].tolist()]
            e = [mpmath.exp(x - max(row)) for x in row]
            size = mpmath.fsum(e)
            lse, z = max(row) + mpmath.log(size), mpmath.mpf(1e-3) if which == "z-loss" else mpmath.mpf(0)
            q = [mpmath.mpf(x) for x in target[n].tolist()] if target.dim() == 2 else None
            q = q or [mpmath.mpf(j == int(target[n])) for j in range(7)]
            loss = mpmath.fsum(t * (lse - x) for t, x in zip(q, row, strict=True)) + z * lse**2
            pull = mpmath.fsum(q) + 2 * z * lse
            for j, (x, t) in enumerate(zip(e, q, strict=True)):
                right = x / size * pull - t
                excused = mpmath.mpf(2) ** -100 * (x / size * pull + t)  # the bits of double-double
                off = abs(mpmath.mpf(float(grads[n, j])) - right)
                assert off <= mpmath.mpf(2) ** -52 * abs(right) + excused
            assert units(losses[n], torch.tensor(float(loss), dtype=torch.float64)) <= 1
    for _, _, came, part, one, whole in found:  # and one process's are as near as they promise to be
        assert units(came, one) <= 4
        assert part.shape[1] < whole.shape[1]


def test_double_double_has_a_hundred_bits():
    x = DoubleDouble(torch.linspace(-300, 300, 97, dtype=torch.float64), torch.full((97,), 1e-18, dtype=torch.float64))
    y = DoubleDouble(torch.logspace(-20, 5, 97, dtype=torch.float64))
    with mpmath.workdps(60):
        for function, truth, given, bits in ((exp, mpmath.exp, x, 96), (log1p, mpmath.log1p, y, 79)):
            found = function(given)
            for parts in zip(given.high, given.low, found.high, found.low, strict=True):
                high, low, first, second = (mpmath.mpf(float(part)) for part in parts)
                right = truth(high + low)
                assert abs(first + second - right) <= abs(right) * mpmath.mpf(2) ** -bits


def linear_case(group, dtype, accumulate):
    cuts = {2: (0, 4, 11), 3: (0, 5, 5, 11)}[group.size()]
    here, random = mine(group, cuts), torch.Generator().manual_seed(1)
    h, w, b = (torch.randn(*s, generator=random).to(dtype) for s in ((3, 8, 6), (11, 6), (11,)))
    y = torch.randint(11, (3, 8), generator=random)
    y[0, :3] = -100
    h[0, 1] = torch.nan  # of an ignored example
    options = {"label_smoothing": 0.1, "z_loss": 1e-3, "extras": ("entropy", "correct")}
    results = []
    for some, more in ((slice(None), {}), (here, {"group": group, "accumulate": False, "chunk_bytes": 2000})):
        leaves = [x.clone().requires_grad_() for x in (h, w[some], b[some])]
        found = ours.linear_cross_entropy(*leaves[:2], y, linear_bias=leaves[2], **options, **more)
        (found.loss + found.entropy[1:].sum()).backward()
        results.append((found, [leaf.grad for leaf in leaves]))
    (right, (to_h, to_w, to_b)), (came, grads) = results
    bound = 2e-2 if dtype == torch.bfloat16 else 1e-5
    close = {"rtol": bound, "atol": bound, "equal_nan": True}
    torch.testing.assert_close(came.loss, right.loss, **close)
    torch.testing.assert_close(came.entropy, right.entropy, **close)
    for x, right_x in zip(grads, (to_h, to_w[here], to_b[here]), strict=True):
        torch.testing.assert_close(x, right_x, **close)
    logs = ours.logprobs(h[1:], w[here], y[1:], bias=b[here], group=group)
    torch.testing.assert_close(logs, ours.logprobs(h[1:], w, y[1:], bias=b), **close)
    entropy = ours.entropy(h[1:], w[here], bias=b[here], group=group)
    torch.testing.assert_close(entropy, ours.entropy(h[1:], w, bias=b), **close)
    if accumulate:
        leaf = w[here].clone().requires_grad_()
        for _ in range(2):
            ours.linear_cross_entropy(h, leaf, y, linear_bias=b[here], accumulate=True, group=group).backward()
        other = w.clone().requires_grad_()
        ours.linear_cross_entropy(h, other, y, linear_bias=b).backward()
        torch.testing.assert_close(leaf.grad, 2 * other.grad[here], **close)


@pytest.mark.parametrize(("n", "dtype", "accumulate"), [(2, torch.float32, True), (3, torch.bfloat16, False)])
def test_the_last_layer(ranks, n, dtype, accumulate):
    ranks.run(n, linear_case, dtype, accumulate)


def odd_cases(group):
    """Masked classes, rows that are no numbers, K-dimensional and unbatched input, no rows: as one process has them."""
    here = mine(group, (0, 2, 4))
    a = torch.tensor(
        [[0, 1, -torch.inf, 2], [-torch.inf] * 4, [torch.nan, 0, 0, 0], [0, 1, torch.inf, 0], [3, 0, 1, 2]]
    )
    y = torch.tensor([2, 0, 1, 0, 0])
    same = {"equal_nan": True, "rtol": 1e-6, "atol": 0}
    cube = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    for logits, target in ((a, y), (cube, torch.tensor([[0, 1, 2], [3, 2, 1]])), (a[4], y[4]), (a[:0], y[:0])):
        dim = 0 if logits.dim() == 1 else 1
        whole = logits.clone().requires_grad_()
        part = logits.movedim(dim, -1)[..., here].movedim(-1, dim).clone().requires_grad_()
        right = ours.cross_entropy(whole, target, reduction="none")
        came = ours.cross_entropy(part, target, reduction="none", group=group)
        torch.testing.assert_close(came, right, **same)
        came.sum().backward()
        right.sum().backward()
        torch.testing.assert_close(part.grad, whole.grad.movedim(dim, -1)[..., here].movedim(-1, dim), **same)


def test_odd_rows_and_shapes(ranks):
    ranks.run(2, odd_cases)


def refusals(group):
    """What one process is given wrongly, all refuse; and then they still work together."""
    rank, said = distributed.get_rank(group), []
    a, y = torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64)
    calls = [
        lambda: ours.cross_entropy(a if rank else a.int(), y, group=group),
        lambda: ours.cross_entropy(a, y + 6, group=group),
        lambda: ours.cross_entropy(a[:, :0], y, group=group),
        lambda: ours.cross_entropy(a[rank:], y[rank:], group=group),
        lambda: ours.cross_entropy(a, y + rank, group=group),
        lambda: ours.cross_entropy(a, y, z_loss=0.1 * rank, group=group),
        lambda: ours.cross_entropy(a, y, group="all"),
    ]
    for call in calls:
        with pytest.raises(InputError) as error:
            call()
        said.append(str(error.value))
    assert float(ours.cross_entropy(a, y, group=group)) == pytest.approx(1.791759469)
    return said


def test_what_one_rank_is_given_wrongly_all_refuse(ranks):
    first, second = ranks.run(2, refusals)
    assert first[0].startswith("input: got dtype torch.int32")
    assert second[0] == f"group: rank 0 was given: {first[0]}"
    assert "target: got 6 at index 0, expected integers in [0, 6)" in first[1]
    assert first[2] == "group: no rank has a class, expected at least one"
    assert first[3] == "group: rank 1 and rank 0 came with 3 and 4 rows, expected the same"
    assert "different labels" in first[4]
    assert "different options" in first[5]
    assert first[6] == "group: got str, expected a torch.distributed.ProcessGroup"


def beyond_first_derivatives(group):
    """What is not there is said, and never left out unseen."""
    a, y, w = torch.randn(4, 3), torch.tensor([0, 1, 2, 3]), torch.randn(3, 5)
    said = []

    def penalised(leaf, loss):
        (gradient,) = torch.autograd.grad(loss, leaf, create_graph=True)
        return (loss + gradient.square().sum()).backward()

    logits, hidden = a.clone().requires_grad_(), torch.randn(4, 5).requires_grad_()
    calls = [
        lambda: penalised(logits, ours.cross_entropy(logits, y, group=group)),
        lambda: penalised(hidden, ours.linear_cross_entropy(hidden, w, y, group=group)),
        lambda: torch.func.grad(lambda x: ours.cross_entropy(x, y, group=group))(a),
        lambda: torch.vmap(lambda x: ours.cross_entropy(x, y, group=group))(a[None]),
        lambda: ours.linear_cross_entropy(torch.zeros(4, 5), torch.zeros(3, 2, 5), y, group=group),
    ]
    for call in calls:
        with pytest.raises(InputError) as error:
            call()
        said.append(str(error.value))
    return said


def test_what_is_beyond_first_derivatives_is_refused_by_name(ranks):
    for said in ranks.run(2, beyond_first_derivatives):
        assert said[0] == said[1]
        assert said[0].startswith("group: got a second derivative, expected first ones of classes that are split")
        assert said[2] == said[3]
        assert said[2].startswith("group: got a group within torch.func or vmap")
        assert said[4] == "linear_weight: got shape (3, 2, 5) with a group, expected (C_r, D)"


def with_dtensors(group):
    """Split by classes, by examples, and by both, with weights: one process's loss and gradients."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor
    from torch.distributed.tensor.parallel import loss_parallel

    mesh = init_device_mesh("cpu", (3,))
    random = torch.Generator().manual_seed(2)
    a, w, h = (torch.randn(*s, generator=random) for s in ((7, 5), (5, 4), (7, 4)))
    y, weight = torch.tensor([0, 4, 2, 2, 1, 3, -100]), torch.rand(5, generator=random) + 0.2
    q = torch.softmax(torch.randn(7, 5, generator=random), 1)

    def check(loss, right, leaf, whole):
        torch.testing.assert_close(loss.full_tensor(), right, rtol=1e-6, atol=1e-7)
        loss.sum().backward()
        right.sum().backward()
        torch.testing.assert_close(leaf.grad.full_tensor(), whole.grad, rtol=1e-5, atol=1e-7)

    for placement, target in itertools.product((Shard(0), Shard(1)), (y, q)):
        for options in ({}, {"reduction": "none"}, {"label_smoothing": 0.1, "weight": weight}):
            leaf = distribute_tensor(a.clone(), mesh, [placement]).requires_grad_()
            whole = a.clone().requires_grad_()
            labels = placement == Shard(1) and target is y
            there = distribute_tensor(target, mesh, [Replicate() if labels else placement])
            check(ours.cross_entropy(leaf, there, **options), ours.cross_entropy(whole, target, **options), leaf, whole)
    with loss_parallel():  # PyTorch's own, where it has it; and another softmax beside
        leaf = distribute_tensor(a.clone(), mesh, [Shard(1)]).requires_grad_()
        other = distribute_tensor(a.clone(), mesh, [Shard(1)]).requires_grad_()
        theirs = torch.nn.functional.cross_entropy(other, distribute_tensor(y, mesh, [Replicate()]))
        loss = ours.cross_entropy(leaf, distribute_tensor(y, mesh, [Replicate()]))
        beside = torch.log_softmax(a, 1)
        torch.testing.assert_close(loss.full_tensor(), theirs.full_tensor())
        torch.testing.assert_close(beside.exp().sum(1), torch.ones(7))
        loss.backward()
        theirs.backward()
        torch.testing.assert_close(leaf.grad.full_tensor(), other.grad.full_tensor())
    for rows, target in itertools.product((Replicate(), Shard(0)), (y, q)):
        leaves = [distribute_tensor(x.clone(), mesh, [p]).requires_grad_() for x, p in ((h, rows), (w, Shard(0)))]
        wholes = [x.clone().requires_grad_() for x in (h, w)]
        there = distribute_tensor(target, mesh, [rows if target is y or rows == Shard(0) else Shard(1)])
        loss = ours.linear_cross_entropy(*leaves, there, weight=weight)
        right = ours.linear_cross_entropy(*wholes, target, weight=weight)
        check(loss, right, leaves[1], wholes[1])
        torch.testing.assert_close(leaves[0].grad.full_tensor(), wholes[0].grad, rtol=1e-5, atol=1e-7)
    with pytest.raises(InputError, match=r"linear_weight: got a DTensor .* where FSDP2 split it"):
        ours.linear_cross_entropy(h, distribute_tensor(w, mesh, [Shard(0)]), y)
    return True


def test_dtensors(ranks):
    assert all(ranks.run(3, with_dtensors))


def reports(group):
    """ml-cross-entropy 59 (a target on a padded column), Megatron-LM 7452 (smoothing), pytorch 162338 (gloo has no
    average), unsloth 10616 and OLMo-core 702 with split classes."""
    here = mine(group, (0, 3, 6))
    a = torch.randn(4, 6, generator=torch.Generator().manual_seed(3))
    a[:, 5] = -torch.inf  # the padding
    y = torch.tensor([0, 2, 4, 1])
    capped = ours.cross_entropy(a[:, here], y, softcap=3.0, group=group)
    assert torch.isfinite(capped)
    assert capped == ours.cross_entropy(a, y, softcap=3.0)
    none = ours.cross_entropy(a[:, here], torch.tensor([5, 5, 5, 5]), weight=torch.tensor([1.0] * 3), group=group)
    assert none == torch.inf  # it is masked: no other number is right, and no NaN
    smooth = a.clone()
    smooth[:, 5] = -2
    came = ours.cross_entropy(smooth[:, here], y, label_smoothing=0.1, group=group)
    right = torch.nn.functional.cross_entropy(smooth, y, label_smoothing=0.1)
    torch.testing.assert_close(came, right)
    off = ours.cross_entropy(smooth[:, here], y, z_loss=0.0, group=group)
    assert off == ours.cross_entropy(smooth[:, here], y, group=group)
    twice = [ours.cross_entropy(smooth[:, here], y, group=group) for _ in range(2)]
    assert twice[0] == twice[1]
    assert (ours.logprobs(smooth, torch.eye(6)[here], y, group=group) <= 0).all()


def test_reports_that_need_several_processes(ranks):
    ranks.run(2, reports)


def test_weights_that_zero_3_has_split_are_refused_by_name():
    weight = torch.nn.Parameter(torch.empty(0))
    weight.ds_shape = torch.Size([8, 4])
    with pytest.raises(InputError, match=r"linear_weight: got no element of \(8, 4\), which DeepSpeed's ZeRO-3"):
        ours.linear_cross_entropy(torch.zeros(2, 4), weight, torch.tensor([0, 1]))


def dying(rank, folder):
    torch.set_num_threads(1)
    store, timeout = f"file://{folder}/store", timedelta(seconds=60)
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=3, timeout=timeout)
    a, y = torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64)
    ours.cross_entropy(a, y, group=distributed.group.WORLD)
    if rank == 1:
        os._exit(1)
    started = time.monotonic()
    try:
        ours.cross_entropy(a, y, group=distributed.group.WORLD)
    except ProcessError as error:
        Path(folder, f"said{rank}").write_text(f"{time.monotonic() - started < 60} {error}")
    sys.stdout.flush()
    os._exit(0)


def test_a_rank_that_dies_is_named_by_the_others():
    with tempfile.TemporaryDirectory() as folder:
        started = torch.multiprocessing.start_processes(dying, (folder,), nprocs=3, join=False, start_method="spawn")
        for process in started.processes:
            process.join(600)
            assert process.exitcode is not None, "it hangs"
        for rank in (0, 2):
            said = Path(folder, f"said{rank}").read_text()
            assert said.startswith("True group: rank 1 of 3 died, or did not answer in time"), said
