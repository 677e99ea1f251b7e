"""Training by 1 to 4 gloo processes, each with its own rows: what one process with all of them learns."""

import os
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training by several processes needs torch")

from ranks import Ranks  # noqa: E402

from chainrule.errors import CheckpointError, InputError, NonFiniteError, ProcessError  # noqa: E402
from chainrule.network.network import Network  # noqa: E402
from chainrule.training import SGD, Adam, fit  # noqa: E402

distributed = pytest.importorskip("torch.distributed", reason="this PyTorch is built without torch.distributed")
if not distributed.is_available() or not distributed.is_gloo_available():
    pytest.skip("this PyTorch is built without gloo", allow_module_level=True)

N, D, K = 403, 7, 5
CUTS = {1: [0, N], 2: [0, 100, N], 3: [0, 7, 250, N], 4: [0, 200, 200, 201, N]}  # where ranks' rows begin


@pytest.fixture(scope="module")
def ranks():
    started = Ranks(4)
    yield started
    started.close()


def problem(dtype):
    random = np.random.default_rng(3)
    x = random.normal(size=(N, D)).astype(dtype)
    labels = (x @ random.normal(size=(D, K)) + random.normal(size=(N, K))).argmax(1)
    return x, labels, random.uniform(0.2, 2.0, N)


def network(dtype):
    return Network.create([D, 16, 12, K], activation="tanh", seed=1, dtype=dtype)


def flat(net):
    return np.concatenate([a.ravel() for a in [*net.weights, *net.biases]])


PLAIN = {"epochs": 8, "batch_size": 32, "validation": 0.0}  # 13 steps an epoch
OPTIONS = {
    "plain": {},
    "options": {"dropout": 0.2, "label_smoothing": 0.1, "weight_decay": 1e-3, "clip_norm": 0.5, "validation": 0.2,
                "class_weight": "balanced", "patience": 20},
    "memory": {"memory": 20000},
}  # fmt: skip
CASES = [
    ("float32", SGD(0.1), "plain", 1e-5), ("float64", SGD(0.1, momentum=0.5), "options", 1e-11),
    ("float64", Adam(1e-3), "plain", 1e-11), ("float64", Adam(1e-3), "memory", 1e-11),
]  # fmt: skip


def mine(group, arrays):
    cuts, rank = CUTS[group.size()], distributed.get_rank(group)
    return [a[cuts[rank] : cuts[rank + 1]] for a in arrays]


def train(group, dtype, optimizer, name, folder, more=None):
    """The weights after training, and the history."""
    net, (x, labels, weights) = network(dtype), mine(group, problem(dtype))
    options = PLAIN | OPTIONS[name] | (more or {})
    if name == "memory" and len(x):
        path = Path(folder, f"{group.size()}-{distributed.get_rank(group)}")
        np.asarray(x).tofile(path)
        x = np.memmap(path, dtype=dtype, mode="r", shape=x.shape)
    if name == "options":
        options["sample_weight"] = weights
    history = fit(net, x, labels, optimizer=optimizer, group=group, **options)
    return flat(net), history.to_dict()


def by_one(dtype, optimizer, name):
    net, (x, labels, weights) = network(dtype), problem(dtype)
    options = PLAIN | {k: v for k, v in OPTIONS[name].items() if k != "memory"}
    if name == "options":
        options["sample_weight"] = weights
    history = fit(net, x, labels, optimizer=optimizer, **options)
    return flat(net), history.to_dict()


def off(came, right):
    return np.linalg.norm(came - right) / np.linalg.norm(right)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_any_number_of_processes_learns_what_one_does(ranks, case, tmp_path):
    *arguments, bound = case
    right, history = by_one(*arguments)
    for n in CUTS:
        results = ranks.run(n, train, *arguments, str(tmp_path))
        for came, told in results:
            assert np.array_equal(came, results[0][0]), n  # the same bits everywhere
            assert off(came, right) <= bound, n
            for key in ("loss", "accuracy", "validation_loss", "validation_accuracy", "learning_rate"):
                np.testing.assert_allclose(told[key], history[key], rtol=100 * bound, err_msg=key)
            assert told["best_epoch"] == history["best_epoch"]


def interrupted(group, path, epochs):
    """Train, and be stopped after some epochs by a callback's error, as a kill would."""
    net, (x, labels, _) = network("float64"), mine(group, problem("float64"))

    def stop(record):
        if record.epoch == epochs:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fit(net, x, labels, optimizer=Adam(1e-3), group=group, checkpoint=path, progress=stop, **PLAIN)


def resumed(group, path, seed=0):
    net, (x, labels, _) = network("float64"), mine(group, problem("float64"))
    seen = []
    fit(
        net, x, labels, optimizer=Adam(1e-3), group=group, checkpoint=path, seed=seed, **PLAIN,
        progress=lambda record: seen.append(record.epoch),
    )  # fmt: skip
    return flat(net), seen


def wrongly_resumed(group, path):
    with pytest.raises(CheckpointError) as error:
        resumed(group, path, seed=5)
    return str(error.value)


def test_a_checkpoint_of_three_is_gone_on_from_by_two(ranks, tmp_path):
    path = str(tmp_path / "run.checkpoint")
    ranks.run(3, interrupted, path, 3)
    first, second = ranks.run(2, wrongly_resumed, path)
    assert "which differs in seed" in first
    assert "rank 0: " in second
    results = ranks.run(2, resumed, path)
    right, _ = by_one("float64", Adam(1e-3), "plain")
    for came, seen in results:
        assert off(came, right) <= 1e-11
        assert seen == [4, 5, 6, 7, 8]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.checkpoint"]


def wrong(group):
    """What one has wrong, all refuse; nothing hangs."""
    rank, said = distributed.get_rank(group), []
    x, labels, weights = mine(group, problem("float32"))
    bad = x.copy()
    bad[3, 2] = np.nan
    calls = [
        (bad if rank else x, labels, {}), (x, labels, {"batch_size": 16 + rank}), (x[:0], labels[:0], {}),
        (x, labels, {"sample_weight": weights if rank else None}), (x, labels, {"group": 3}),
    ]  # fmt: skip
    for rows, target, more in calls:
        with pytest.raises(InputError) as error:
            fit(network("float32"), rows, target, **PLAIN | {"group": group} | more)
        said.append(str(error.value))
    relu = Network.create([D, 16, K], activation="relu", seed=1)
    with pytest.raises(NonFiniteError) as broken:
        fit(relu, x * np.float32(1e30), labels, optimizer=SGD(1e30), group=group, **PLAIN)
    net = network("float32")
    fit(net, x, labels, group=group, **PLAIN | {"epochs": 1})
    return [*said, str(broken.value)]


def test_what_is_wrong_on_one_is_told_by_all(ranks):
    first, second = ranks.run(2, wrong)
    assert second[0].startswith("x: got nan at row 3, column 2")
    assert first[0] == f"rank 1: {second[0]}"
    assert "group: the options: got" in first[1]
    assert first[2] == "x: got no examples on any rank, expected at least one"
    assert "group: the options" in first[3]
    assert first[4] == "group: got int, expected a torch.distributed.ProcessGroup"
    assert first[5].startswith("training: ")
    assert second[5].startswith("training: ")


def stopping(group):
    """One process's callback ends it for all, and so does one's Ctrl-C."""
    import signal

    rank, (x, labels, _) = distributed.get_rank(group), mine(group, problem("float64"))
    net = network("float64")
    ended = fit(net, x, labels, group=group, callbacks=[lambda record: bool(rank) and record.epoch == 2], **PLAIN)

    def press(record):
        if rank and record.epoch == 3:
            signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    pressed = fit(network("float64"), x, labels, group=group, progress=press, **PLAIN | {"epochs": 10**6})
    return ended.stopped, len(ended.loss), pressed.stopped, flat(net)


def test_one_ends_it_for_all(ranks):
    first, second = ranks.run(2, stopping)
    assert first[:3] == second[:3] == ("callback", 2, "interrupted")
    assert np.array_equal(first[3], second[3])


def dying(group):
    x, labels, _ = mine(group, problem("float64"))

    def die(record):
        if distributed.get_rank(group) == 1 and record.epoch == 2:
            os._exit(7)

    with pytest.raises(ProcessError) as error:
        fit(network("float64"), x, labels, group=group, progress=die, **PLAIN | {"epochs": 1000})
    return str(error.value)


def test_a_process_that_dies_ends_all_and_is_named():
    """In processes of its own, which are of no use after it."""
    started = Ranks(3)
    try:
        for pipe in started.pipes:
            pipe.send((dying, 3, ()))
        told = [started._result(rank) for rank in range(3)]
    finally:
        started.close()
    assert told[1] == (False, "rank 1 died: 7")
    for fine, said in (told[0], told[2]):
        assert fine, said
        assert said.startswith("group: rank 1 of 3 died, or did not answer in time")
