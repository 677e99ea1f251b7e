"""Where examples come from, sparse, mapped or streamed, and which are held out."""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from problems import blobs, new_net

from chainrule import SGD, Adam, Network, fit
from chainrule.errors import InputError, TableError
from chainrule.training.examples import Examples, blocks_of, check_examples, split


@pytest.mark.parametrize("seed", range(5))
def test_validation_is_stratified(seed):
    labels = np.repeat([0, 1, 2], [100, 20, 1])
    x = np.arange(121.0)[:, None] * np.ones((1, 4))
    net = new_net()
    train, held_out = split(check_examples(net, "x", x, labels), 0.2, seed=seed)
    assert np.bincount(held_out.labels, minlength=3).tolist() == [20, 4, 0]  # of a class's one example, none
    both = np.concatenate([train.x[:, 0], held_out.x[:, 0]])
    assert sorted(both) == list(range(121))
    np.testing.assert_array_equal(held_out.labels, labels[held_out.x[:, 0].astype(int)])


def test_sparse_input_equals_dense():
    scipy_sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed")
    x, labels = blobs()
    x = np.where(np.abs(x) < 1.0, 0.0, x)
    options = {"epochs": 5, "batch_size": 16, "validation": 0.25, "optimizer": Adam(0.01)}
    dense, sparse = new_net(), new_net()
    expected = fit(dense, x, labels, **options)
    history = fit(sparse, scipy_sparse.csr_array(x), labels, **options)
    np.testing.assert_allclose(sparse.weights[0], dense.weights[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(history.validation_loss, expected.validation_loss, rtol=1e-10)
    bad = scipy_sparse.csr_array(np.where(np.arange(480).reshape(120, 4) == 21, np.inf, x))
    with pytest.raises(InputError, match="x: got inf at row 5, column 1"):
        fit(new_net(), bad, labels)


def test_a_memory_map_is_streamed_within_its_bound(tmp_path):
    n, memory = 40_000, 1 << 20
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, n)
    mapped = np.memmap(tmp_path / "x.npy", dtype="float32", mode="w+", shape=(n, 32))
    mapped[:] = random.normal(size=(n, 32)) + 2 * np.eye(3, 32)[labels]
    mapped.flush()
    x = np.memmap(tmp_path / "x.npy", dtype="float32", mode="r", shape=(n, 32))
    assert x.nbytes > 4 * memory
    net = Network.create([32, 16, 3], seed=0)
    tracemalloc.start()
    history = fit(net, x, labels, epochs=2, batch_size=64, validation=0, memory=memory)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < memory + 2 * labels.nbytes + (1 << 18)  # the labels and their check are no part of it
    assert history.accuracy[-1] > 0.8
    again = Network.create([32, 16, 3], seed=0)
    fit(again, x, labels, epochs=2, batch_size=64, validation=0, memory=memory)
    assert again.weights[0].tobytes() == net.weights[0].tobytes()
    mapped[7, 3] = np.nan
    with pytest.raises(InputError, match="x: got nan at row 7, column 3"):
        fit(net, x, labels, epochs=1, validation=0, memory=memory)


def test_a_parquet_file_is_streamed(tmp_path):
    polars = pytest.importorskip("polars", reason="polars is not installed")
    n, memory = 60_000, 2 << 20
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, n)
    x = (random.normal(size=(n, 20)) + 2 * np.eye(3, 20)[labels]).astype("float32")
    path = tmp_path / "x.parquet"
    columns = {f"x{j}": x[:, j] for j in range(20)}
    polars.DataFrame(columns | {"y": labels}).write_parquet(path, row_group_size=5000)
    assert path.stat().st_size > 2 * memory
    from_file, from_map = (Network.create([20, 8, 3], seed=0) for _ in range(2))
    fit(from_file, path, "y", epochs=1, validation=0, memory=memory)
    mapped = np.memmap(tmp_path / "x.raw", dtype="float32", mode="w+", shape=x.shape)
    mapped[:] = x
    fit(from_map, mapped, labels, epochs=1, validation=0, memory=memory)
    assert from_file.weights[0].tobytes() == from_map.weights[0].tobytes()
    with pytest.raises(InputError, match="x: got the path"):
        fit(from_file, path, labels, memory=memory)
    with pytest.raises(TableError, match="has no column 'z'"):
        fit(from_file, path, "z", memory=memory)
    polars.DataFrame({"a": ["text"] * 9, "y": [0, 1, 2] * 3}).write_parquet(path)
    with pytest.raises(TableError, match="column 'a': holds String"):
        fit(Network.create([1, 3]), path, "y", batch_size=2, validation=0, memory=memory)


def mapped(path, array, order="C", mode="r"):
    np.memmap(path, dtype=array.dtype, mode="w+", shape=array.shape, order=order)[...] = array
    return np.memmap(path, dtype=array.dtype, mode=mode, shape=array.shape, order=order)


@pytest.mark.parametrize("memory", [None, 1 << 16])
def test_a_memory_map_is_checked_whole_before_anything_is_trained(tmp_path, memory):
    x, labels = blobs()
    bad = x.copy()
    bad[70, 2] = np.nan
    broken = mapped(tmp_path / "bad", bad)
    net, before = new_net(), new_net()
    with pytest.raises(InputError, match=r"^x: got nan at row 70, column 2"):
        fit(net, broken, labels, validation=0, memory=memory)
    with pytest.raises(InputError, match=r"^validation: x: got nan at row 70, column 2"):
        fit(net, x, labels, validation=(broken, labels), memory=memory)
    assert net.weights[0].tobytes() == before.weights[0].tobytes()
    expected = new_net()
    fit(expected, x, labels, epochs=2, validation=0)
    columns = new_net()  # a map whose rows do not lie in one piece
    fit(columns, mapped(tmp_path / "f", x, "F"), labels, epochs=2, validation=0)
    assert columns.weights[0].tobytes() == expected.weights[0].tobytes()
    private = mapped(tmp_path / "c", x, mode="c")  # what its owner changed is not in the file, and stays
    private[0] += 1
    fit(new_net(), private, labels, epochs=1, validation=0, memory=memory)
    np.testing.assert_array_equal(private[0], x[0] + 1)


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="no /proc that tells what is resident")
@pytest.mark.parametrize("validation", [False, True])
def test_what_has_been_read_of_a_map_does_not_stay_in_memory(tmp_path, validation):
    n, memory = 200_000, 2 << 20
    x = mapped(tmp_path / "x", np.random.default_rng(0).normal(size=(n, 40)).astype("float32"))

    def resident():
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return 1024 * int(status["RssFile"].split()[0])

    net, labels = Network.create([40, 4, 2], seed=0), np.arange(n) % 2
    before, seen = resident(), []
    options = {"validation": (x, labels) if validation else 0, "memory": memory}
    fit(net, x, labels, epochs=2, progress=lambda _: seen.append(resident()), **options)
    assert x.nbytes == 32_000_000
    assert max(seen) - before < 8_000_000


def test_a_map_is_visited_in_blocks_in_an_order_of_chance(tmp_path):
    x = mapped(tmp_path / "x", np.arange(1000.0)[:, None] * np.ones((1, 4)))
    examples = Examples(x, np.arange(1000), np.arange(1000.0))
    orders = []
    for seed in (0, 1):
        firsts, rows = [], []
        for block, order in blocks_of(examples, 8, 100 * 32, np.random.default_rng(seed)):
            assert len(block.labels) in (96, 1000 % 96)  # whole batches within 3200 bytes, and the rest
            np.testing.assert_array_equal(block.x[:, 0], block.labels)
            np.testing.assert_array_equal(block.weights, block.labels)
            assert sorted(order) != order.tolist()
            firsts.append(block.labels[0])
            rows += block.labels[order].tolist()
        assert sorted(firsts) != firsts
        assert sorted(rows) == list(range(1000))
        orders.append(rows)
    assert orders[0] != orders[1]


class FirstStep:
    """A learning rate for the first step of an epoch alone."""

    def factors(self, t, epochs, losses):
        return (t == np.floor(t)).astype(float)


def test_a_schedule_goes_on_from_block_to_block(tmp_path):
    x, labels = np.ones((64, 4)), np.ones(64, int)  # all alike: whichever batch comes first
    net, by_hand = new_net(), new_net()
    fit(net, mapped(tmp_path / "x", x), labels, epochs=1, batch_size=8, validation=0, optimizer=SGD(0.5),
        schedule=FirstStep(), memory=2 * 8 * 32)  # fmt: skip
    backward = by_hand.backward(by_hand.forward(x), labels)
    for weights, before, gradient in zip(net.weights, by_hand.weights, backward.grad_weights, strict=True):
        np.testing.assert_allclose(weights, before - 0.5 * gradient, rtol=1e-12)
