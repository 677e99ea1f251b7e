"""`chainrule train` by several processes: the model, the report and the words of one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pl = pytest.importorskip("polars", reason="polars is not installed")
torch = pytest.importorskip("torch", reason="training by several processes needs torch")

from ranks import Ranks  # noqa: E402

from chainrule.boundary.processes import Processes  # noqa: E402
from chainrule.command.cli import main  # noqa: E402
from chainrule.command.request import Request  # noqa: E402
from chainrule.command.training import train  # noqa: E402
from chainrule.errors import TableError  # noqa: E402
from chainrule.network.model import load_model  # noqa: E402

distributed = pytest.importorskip("torch.distributed", reason="this PyTorch is built without torch.distributed")
if not distributed.is_available() or not distributed.is_gloo_available():
    pytest.skip("this PyTorch is built without gloo", allow_module_level=True)

SETTINGS = {"target": "y", "hidden": [8], "epochs": 6, "lr": 0.01, "batch_size": 64, "test": 0.1, "patience": 20}


def write_shards(folder):
    """900 rows in three files of unequal size, with numbers, dates and categories."""
    random, n = np.random.default_rng(0), 900
    a, b = random.normal(size=(2, n))
    kind = random.choice(["red", "green", "blue"], n)
    table = pl.DataFrame(
        {
            "a": a, "b": np.where(random.random(n) < 0.05, None, b.round(3).astype(str)), "kind": kind,
            "constant": np.ones(n), "y": np.where(a + b + (kind == "red") > 0.3, "yes", "no"),
        }
    )  # fmt: skip
    for i, (begin, end) in enumerate(((0, 100), (100, 750), (750, n))):
        table[begin:end].write_parquet(folder / f"part{i}.parquet", row_group_size=64)
    return str(folder / "*.parquet")


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="module")
def ranks():
    started = Ranks(2)
    yield started
    started.close()


def run(group, table, folder, **more):
    """What was said, and what it told at the end."""
    processes, said = Processes(group), []
    result = train(
        Request(table, output=f"{folder}/model.safetensors", report=f"{folder}/report.html", **SETTINGS | more),
        said.append, processes=processes, show=said.extend,
    )  # fmt: skip
    return said, result.lines(), result.test_accuracy, result.history.validation_loss


def flat(path):
    net = load_model(path).network
    return np.concatenate([p.ravel() for p in (*net.weights, *net.biases)])


def test_two_processes_make_the_model_and_the_report_of_one(ranks, shards, tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    (alone,) = ranks.run(1, run, shards, str(folders[0]))
    first, second = ranks.run(2, run, shards, str(folders[1]))
    assert [line for line in first[0] if "waiting for the other" not in line] == alone[0]
    assert any("constant" in line for line in alone[0])
    assert first[2] == second[2] == alone[2]
    np.testing.assert_allclose(first[3], alone[3], rtol=1e-5)
    one, two = (load_model(folder / "model.safetensors") for folder in folders)
    assert one.schema == two.schema
    assert one.classes == two.classes == ["no", "yes"]
    weights = [flat(folder / "model.safetensors") for folder in folders]
    assert np.linalg.norm(weights[0] - weights[1]) <= 1e-4 * np.linalg.norm(weights[0])
    assert sorted(p.name for p in folders[1].iterdir()) == [
        "model.safetensors", "report-explanation.html", "report.html",
    ]  # fmt: skip
    pages = [(folder / "report.html").read_text(encoding="utf-8") for folder in folders]
    assert abs(len(pages[0]) - len(pages[1])) < 0.05 * len(pages[0])


def refused(group, table, folder):
    said = []
    for more in ({"target": "z"}, {"types": [("kind", "number")], "missing": []}, {"cv": 3}):
        with pytest.raises((TableError, ValueError)) as error:
            run(group, table, folder, **more)
        said.append((str(error.value), error.value.told))
    return said


def test_what_is_wrong_with_the_table_all_refuse(ranks, shards, tmp_path):
    first, second = ranks.run(2, refused, shards, str(tmp_path))
    assert "'z'" in first[0][0]
    assert first[2][0].startswith("--cv: got it with several processes")
    assert [told for _, told in second] == [True, True, True]  # so the first one alone says it
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["tune", "audit"])
def test_other_commands_refuse_several_processes(command, shards, monkeypatch, capsys):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "run")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main([command, shards, "--target", "y"]) == 1
    assert f"{command}: got 2 processes, expected one" in capsys.readouterr().err


WORKER = """
import os, sys
from chainrule.command.cli import main
from chainrule.training.run import Run

ended = Run.ended
def dying(self, found):
    record = ended(self, found)
    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and os.environ["RANK"] == "1" and self.epoch == 3:
        os._exit(9)
    return record
Run.ended = dying
code = main(sys.argv[1:])
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)  # gloo's own threads abort some exits
"""


def test_torchrun_goes_on_from_the_checkpoint_where_a_process_died(ranks, shards, tmp_path):
    worker = tmp_path / "worker.py"
    worker.write_text(WORKER)
    made, right = tmp_path / "made", tmp_path / "right"
    made.mkdir()
    right.mkdir()
    options = [
        f"--hidden=8 --epochs=6 --lr=0.01 --batch-size=64 --test=0.1 --patience=20 --output={made}/m.safetensors"
    ]
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1",
        str(worker), "train", shards, "--target=y", f"--checkpoint={made}/run.checkpoint", *options[0].split(),
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("model:") == 1
    assert "rank      : 1" in done.stderr or "exitcode: 9" in done.stderr or "exitcode  : 9" in done.stderr
    ranks.run(1, run, shards, str(right))
    weights = flat(Path(made, "m.safetensors")), flat(right / "model.safetensors")
    assert np.linalg.norm(weights[0] - weights[1]) <= 1e-4 * np.linalg.norm(weights[0])
