"""A run that ends early, killed, by Ctrl-C or by a callback, and goes on from its checkpoint."""

import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from problems import blobs, new_net

from chainrule import SGD, Adam, Cosine, Network, fit
from chainrule.errors import CheckpointError

SCRIPT = """
import sys, numpy as np
from chainrule import Adam, Cosine, Network, WarmUp, fit
random = np.random.default_rng(0)
labels = random.integers(0, 3, 400)
x = random.normal(size=(400, 4)) + np.eye(3, 4)[labels]
net = Network.create([4, 16, 3], seed=0)
def progress(record):
    print(record.epoch, flush=True)
    sys.stdin.readline()
fit(net, x, labels, epochs=40, batch_size=8, optimizer=Adam(0.01), seed=3, checkpoint=sys.argv[1], progress=progress,
    schedule=WarmUp(2, Cosine(0.1)), weight_decay=1e-4, dropout=0.2, label_smoothing=0.1, clip_norm=1.0,
    sample_weight=random.random(400), class_weight="balanced")
net.save(sys.argv[2])
"""


def test_killed_and_resumed_gives_the_same_bits(tmp_path):
    pytest.importorskip("safetensors", reason="safetensors is not installed")

    def start(checkpoint, model):
        command = [sys.executable, "-c", SCRIPT, str(checkpoint), str(model)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    whole = start(tmp_path / "whole.safetensors", tmp_path / "whole.model.safetensors")
    whole.communicate()
    assert whole.returncode == 0
    kills = 0
    random = np.random.default_rng(7)
    while True:
        process = start(tmp_path / "killed.safetensors", tmp_path / "killed.model.safetensors")
        for _ in range(int(random.integers(1, 9))):  # let it come some epochs far, then kill it wherever it is
            if not process.stdout.readline():
                break
            process.stdin.write("\n")
            process.stdin.flush()
        process.kill()
        process.communicate()
        if process.returncode == 0:
            break
        kills += 1
        assert kills < 100
    assert kills >= 3
    killed, unkilled = (tmp_path / f"{n}.model.safetensors" for n in ("killed", "whole"))
    assert killed.read_bytes() == unkilled.read_bytes()


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    x, labels = blobs()
    path = tmp_path / "run.safetensors"
    fit(new_net(), x, labels, epochs=2, checkpoint=path)
    before = path.read_bytes()
    for change, named in (
        ({"seed": 1}, "seed"),
        ({"batch_size": 5}, "batch_size"),
        ({"optimizer": SGD(0.1)}, "optimizer"),
        ({"validation": 0.5}, "examples"),
        ({"x": x + 1}, "differs in the examples;"),
        ({"labels": labels[::-1]}, "differs in .*the labels"),
        ({"sample_weight": np.full(120, 2.0)}, "differs in the sample weights;"),
        ({"class_weight": [1, 2, 3]}, "differs in the options;"),
        ({"dropout": 0.5}, "differs in the options;"),
        ({"schedule": Cosine()}, "differs in the schedule;"),
    ):
        with pytest.raises(CheckpointError, match=named):
            fit(new_net(), **{"x": x, "labels": labels} | change, epochs=2, checkpoint=path)
    with pytest.raises(CheckpointError, match="initial weights"):
        fit(new_net(seed=1), x, labels, epochs=2, checkpoint=path)
    assert path.read_bytes() == before
    longer, straight = new_net(), new_net()
    assert len(fit(longer, x, labels, epochs=5, checkpoint=path, threads=7).loss) == 5
    fit(straight, x, labels, epochs=5)
    assert longer.weights[0].tobytes() == straight.weights[0].tobytes()
    path.write_bytes(before[: len(before) // 2])
    with pytest.raises(CheckpointError, match="truncated"):
        fit(new_net(), x, labels, epochs=2, checkpoint=path)


def test_a_checkpoint_is_of_one_size_of_blocks(tmp_path):
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    x, labels = blobs()
    np.memmap(tmp_path / "x", dtype=x.dtype, mode="w+", shape=x.shape)[...] = x
    options = {"validation": 0, "batch_size": 8, "checkpoint": tmp_path / "run.safetensors"}
    mapped = np.memmap(tmp_path / "x", dtype=x.dtype, mode="r", shape=x.shape)
    fit(new_net(), mapped, labels, epochs=1, memory=1 << 11, **options)
    with pytest.raises(CheckpointError, match="differs in the memory;"):
        fit(new_net(), mapped, labels, epochs=2, memory=1 << 12, **options)


def test_ctrl_c_stops_within_an_epoch_and_keeps_what_was_learned(ctrl_c):
    x, labels = blobs(100_000)  # an epoch of a minute
    net, before = (Network.create([4, 512, 512, 3], seed=0) for _ in range(2))
    timer = threading.Timer(0.2, signal.raise_signal, (signal.SIGINT,))

    class Started:
        """A schedule that is asked when the epoch begins."""

        def factors(self, t, epochs, losses):
            timer.start()
            return np.ones_like(t)

    history = fit(net, x, labels, batch_size=1, validation=0, threads=1, schedule=Started(), optimizer=Adam(1e-5))
    timer.join()
    assert (history.stopped, history.loss, history.best_epoch) == ("interrupted", [], 0)
    assert np.isfinite(net.weights[0]).all()
    assert net.weights[0].tobytes() != before.weights[0].tobytes()


def test_a_caller_that_ignores_ctrl_c_still_does():
    x, labels = blobs()
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        history = fit(new_net(), x, labels, epochs=3, progress=lambda _: signal.raise_signal(signal.SIGINT))
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, handler)
    assert (history.stopped, len(history.loss)) == ("epochs", 3)


def test_ctrl_c_keeps_the_best_weights(ctrl_c):
    x, labels = blobs()

    def interrupt(record):
        if record.epoch == 3:
            signal.raise_signal(signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    net, three = new_net(), new_net()
    history = fit(net, x, labels, epochs=50, batch_size=16, progress=interrupt)
    assert history.stopped == "interrupted"
    assert len(history.loss) == 3
    assert signal.getsignal(signal.SIGINT) is handler
    fit(three, x, labels, epochs=3, batch_size=16)
    assert net.weights[0].tobytes() == three.weights[0].tobytes()


def test_a_second_ctrl_c_raises_and_so_does_a_callback_and_nothing_is_lost(ctrl_c):
    x, labels = blobs()

    def interrupt_twice(record):
        if record.epoch == 2:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    def fail(record):
        if record.epoch == 2:
            raise ZeroDivisionError

    two = new_net()
    fit(two, x, labels, epochs=2)
    for callback, error in ((interrupt_twice, KeyboardInterrupt), (fail, ZeroDivisionError)):
        net = new_net()
        with pytest.raises(error):
            fit(net, x, labels, epochs=5, progress=callback)
        assert net.weights[0].tobytes() == two.weights[0].tobytes()


def test_a_checkpoint_towards_another_number_of_epochs(tmp_path):
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    x, labels = blobs()
    path = tmp_path / "c.safetensors"
    fit(new_net(), x, labels, epochs=3, schedule=Cosine(), checkpoint=path)
    with pytest.raises(CheckpointError, match="learning rates went towards another number of epochs"):
        fit(new_net(), x, labels, epochs=6, schedule=Cosine(), checkpoint=path)


def test_what_a_callback_ended_stays_ended(tmp_path):
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    x, labels = blobs()
    path, nets = tmp_path / "c.safetensors", [new_net(), new_net()]
    for net in nets:
        history = fit(net, x, labels, epochs=6, checkpoint=path, callbacks=[lambda record: record.epoch == 3])
        assert (len(history.loss), history.stopped) == (3, "callback")
    assert nets[0].weights[0].tobytes() == nets[1].weights[0].tobytes()
