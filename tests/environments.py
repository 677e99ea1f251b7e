"""Each extra alone, from a wheel, in fresh environments: `make environments`.

The wheels are built once, from the sdist: one for Python 3.11, one for every later Python. Then, for NumPy alone and
for each extra, in each Python that this machine has, with the newest versions and with the lowest that pyproject.toml
allows: install, do what is advertised (advertised.py) while no test tool is there, then run the tests below against
the wheel: all of them in the Python that runs this, with the newest versions. Elsewhere every test runs, but of its
many parameters only a third, in each environment another: what a version breaks shows there, and numbers are proved
by `make test`. With the lowest versions, the other Pythons do what is advertised.

Every test file is for one environment, or needs several things at once: then only `make test` runs it. `--here` makes
no environment: cibuildwheel, which has made one, tests its wheel so.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build" / "environments"
UV = [sys.executable, "-m", "uv", "--no-progress"]
# uv's own cache, below build/: what another run left half written in the user's would be taken for whole.
os.environ.setdefault("UV_CACHE_DIR", str(ROOT / "build" / "uv"))
# Each environment compiles what it imports once, and not in each of its hundreds of processes.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
EXTRAS = ("none", "cli", "derive", "sklearn", "onnx")
TESTS = {
    "none": "equations output/layer output/exact output/ordinary output/safety network/network training/engine "
    "training/fit training/checkpoint training/divergence training/examples training/optimizers network/gradcheck "
    "network/inference network/passes scores/last_layer scores/selection explain/explanation explain/factors "
    "explain/paths explain/views native/instruction_sets native/product native/threads native/xla softmax_collapse "
    "notation imports activations boundary/extras output/last_layer",
    "cli": "command/cli command/train command/audit tables/tables tables/cells tables/learning network/model_file "
    "boundary/files pages/report pages/gallery explain/explanation explain/alone explain/views training/checkpoint "
    "training/divergence training/examples training/fit command/table_options tables/model tables/text pages/doctor",
    "derive": "derive/derivations derive/brackets derive/checking derive/reading command/derive derive/documents "
    "derive/numbers derive/pages derive/showing derive/habits derive/people derive/collections derive/courses "
    "derive/notations derive/own derive/hands",
    "sklearn": "boundary/threads sklearn/classifier sklearn/weights network/conversion_sklearn sklearn/callbacks "
    "tables/evaluation",
    "onnx": "network/conversion_onnx",
    "torch": "torch/accelerate torch/buffers torch/devices torch/distributed torch/linear torch/losses torch/nestings "
    "torch/opinfo torch/programs torch/safety torch/transforms network/conversion explain/modules output/linear "
    "training/fit_options scores/models torch/last_layer torch/as_used torch/architectures torch/reports "
    "torch/split training/together explain/module_gradients",
    "jax": "jax/losses jax/linear jax/options jax/transforms",
}
# What takes several extras, another library or a browser.
TOGETHER = (
    "boosting derive/browser docs explain/page explain/page_use faces_accuracy output/options pages/formulas "
    "pages/web command/tune command/train_together explain/links explain/page_raw explain/routes explain/walk "
    "explain/walk_ways explain/figures explain/modules_page explain/over explain/training"
)
# Test tools beyond the group `tools`, and the packages that tests must not miss: without one they would skip.
TOOLS = {
    "cli": ["pandas", "pyarrow"],
    "onnx": ["onnxruntime"],
    "torch": ["expecttest", "onnx", "transformers>=5,<6"],
    "jax": ["flatbuffers", "optax"],
}
CARRIES = {
    "none": "array-api-strict",
    "cli": "polars safetensors jinja2 Rich pandas pyarrow",
    "derive": "mpmath SymPy",
    "sklearn": "scikit-learn SciPy",
    "onnx": "onnx onnxruntime",
    "torch": "PyTorch torch",
    "jax": "JAX jax Optax",
}


class Python(NamedTuple):
    version: tuple[int, int]
    path: str
    headers: bool


class Failed(Exception):
    pass


def file_of(name: str) -> str:
    """The file of tests that TESTS or TOGETHER names, below tests/."""
    return str(Path(name).with_name(f"test_{Path(name).name}.py"))


def tests_of(extra: str) -> list[str]:
    """What Python is called with, in the folder that holds tests/, to test what an extra carries."""
    files = [f"tests/{file_of(name)}" for name in TESTS[extra].split()]
    return ["-m", "pytest", "-q", "-m", "not slow", f"--carries={CARRIES[extra]}", *files]


def pythons() -> list[Python]:
    """One interpreter of each minor version from 3.11 on: this one, those on PATH, pyenv's and uv's, if they run."""
    home = Path.home()
    places = [Path(folder) for folder in os.environ["PATH"].split(os.pathsep) if folder]
    places += sorted(Path(os.environ.get("PYENV_ROOT", home / ".pyenv")).glob("versions/*/bin"))
    places += sorted((home / ".local/share/uv/python").glob("*/bin"))
    candidates = [Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}")]
    candidates += [p for folder in places for p in sorted(folder.glob("python3.[0-9]*")) if p.name[9:].isdigit()]
    asks = (
        "import os, sys, sysconfig; header = os.path.join(sysconfig.get_path('include'), 'Python.h'); "
        "print(sys.implementation.name, *sys.version_info[:2], int(os.path.exists(header)))"
    )
    found: dict[tuple[int, int], Python] = {}
    for path in candidates:
        done = subprocess.run([path, "-c", asks], capture_output=True, text=True) if path.exists() else None
        if done is None or done.returncode or not done.stdout.startswith("cpython 3 "):
            continue  # a shim of a version that is not chosen
        _, major, minor, headers = done.stdout.split()
        one = Python((int(major), int(minor)), str(path), headers == "1")
        if one.version >= (3, 11) and (one.version not in found or one.headers > found[one.version].headers):
            found[one.version] = one
    return [found[version] for version in sorted(found)]


def run(log: list[str], *command: str | Path, **options: Any) -> str:
    """Run a command to its end; its output goes to the log, and an exit code other than 0 is a failure."""
    log.append("$ " + shlex.join(map(str, command)))
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    log.append(done.stdout)
    if done.returncode:
        raise Failed(f"exit code {done.returncode}")
    return done.stdout


def build(log: list[str], found: list[Python]) -> tuple[Path, list[Path]]:
    """The sdist, unpacked, and a wheel for each way in which these Pythons load native code."""
    run(log, *UV, "build", "--sdist", "--out-dir", WORK, ROOT)
    (archive,) = WORK.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(WORK, filter="data")
    source = WORK / archive.name.removesuffix(".tar.gz")
    for group in ([p for p in found if p.version == (3, 11)], [p for p in found if p.version > (3, 11)]):
        if group:
            python = next((p for p in group if p.headers), group[0])
            run(log, *UV, "build", "--wheel", "--python", python.path, "--out-dir", WORK / "dist", source)
    return source, sorted((WORK / "dist").glob("*.whl"))


def check_wheel(log: list[str], wheel: Path) -> None:
    """It needs no library but those that every Linux has, holds no sources, and its tag is that of its code."""
    shown = run(log, sys.executable, "-m", "auditwheel", "show", wheel)
    if not re.search(r'tag:\s+"manylinux_', shown):
        raise Failed("needs a library that a Linux need not have")
    names = zipfile.ZipFile(wheel).namelist()
    (kernels,) = (name for name in names if "_kernels." in name and not name.endswith(".pyi"))
    if ("abi3" in kernels) != ("-cp312-abi3-" in wheel.name):
        raise Failed(f"holds {kernels}")
    if strange := [name for name in names if re.search(r"\.([ch]pp|o|a)$|^(?!chainrule[-/])", name)]:
        raise Failed(f"holds {strange}")


def check_environment(
    log: list[str], name: str, python: Python, extra: str, lowest: bool, share: str, source: Path, wheel: Path
) -> None:
    """Make an environment and run in it what it should carry; `share` is which part of a test's parameters."""
    home, empty, constraints = WORK / name, WORK / f"{name}-folder", WORK / f"{name}.txt"
    inside, ours = home / "bin" / "python", python.version == sys.version_info[:2]
    as_a_user = ours and not lowest
    pinned = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["test"]
    constraints.write_text("\n".join(p for p in pinned if str(p).startswith("torch==")))
    empty.mkdir(exist_ok=True)
    run(log, *UV, "venv", "--clear", *(["--seed"] if as_a_user else []), "--python", python.path, home)
    if lowest:  # named by pyproject.toml's own lines: uv lowers no other's
        named = ["-r", source / "pyproject.toml", *([] if extra == "none" else ["--extra", extra]), wheel]
        run(log, *UV, "pip", "install", "--resolution=lowest-direct", "--no-build", "--python", inside, *named)
    elif as_a_user:  # with pip, and the extra by the very command that an error names
        pip = os.environ | {"PIP_CONSTRAINT": str(constraints), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        run(log, inside, "-m", "pip", "install", "-q", wheel, env=pip)
        if extra != "none":
            code = f"from chainrule.boundary.extras import installation; print(installation({extra!r}))"
            run(log, "sh", "-c", run(log, inside, "-c", code, cwd=empty), env=pip, cwd=empty)
    else:
        named = wheel if extra == "none" else f"chainrule[{extra}] @ {wheel.as_uri()}"
        run(log, *UV, "pip", "install", "--constraint", constraints, "--python", inside, named)
    run(log, inside, "-P", source / "tests" / "advertised.py", extra, cwd=empty)
    if ours or not lowest:
        constraints.write_text(run(log, *UV, "--quiet", "pip", "freeze", "--exclude", "chainrule", "--python", inside))
        tools = ["--group", f"{source / 'pyproject.toml'}:tools", *TOOLS.get(extra, [])]
        run(log, *UV, "pip", "install", "--python", inside, "--constraint", constraints, *tools)
        run(log, inside, *tests_of(extra), f"--share={share}", cwd=source)
    shutil.rmtree(home)  # gigabytes in all


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("extras", nargs="*", metavar="EXTRA", help=f"by default {' '.join(EXTRAS)}")
    parser.add_argument("--one-python", action="store_true", help="only the Python that runs this")
    parser.add_argument("--here", action="store_true", help="only the tests, with the Chainrule of this Python")
    options = parser.parse_args()
    extras = options.extras or EXTRAS
    if options.here:
        sys.exit(max(subprocess.run([sys.executable, *tests_of(extra)], cwd=ROOT).returncode for extra in extras))
    listed = " ".join([*TESTS.values(), TOGETHER]).split()
    if other := {str(p.relative_to(ROOT / "tests")) for p in ROOT.glob("tests/**/test_*.py")} ^ set(
        map(file_of, listed)
    ):
        sys.exit(f"tests/environments.py and tests/ list different test files: {sorted(other)}")
    found = [p for p in pythons() if not options.one_python or p.version == sys.version_info[:2]]
    print("Python:", *(p.path for p in found), flush=True)
    shutil.rmtree(WORK / "dist", ignore_errors=True)
    WORK.mkdir(parents=True, exist_ok=True)
    counts = {True: 0, False: 0}

    def timed(name: str, work: Callable[..., Any], *arguments: Any) -> Any:
        """Its result, or None where it failed; then its log is shown, and the others go on."""
        started, log, result = time.monotonic(), [""], None
        try:
            result, failure = work(log, *arguments), ""
        except Exception as error:
            failure = f"FAILED: {error!r}\n" + "\n".join(log)
        counts[not failure] += 1
        last = failure or (log[-1].strip().splitlines() or [""])[-1]
        print(f"{name:24} {time.monotonic() - started:5.0f} s  {last}", flush=True)
        return result

    source, wheels = timed("the wheels", build, found) or (ROOT, [])
    for wheel in wheels:
        timed(wheel.name, check_wheel, wheel)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for python, extra, lowest in product(found if wheels else [], extras, (False, True)):
            name = "{}.{}-{}-{}".format(*python.version, extra, "lowest" if lowest else "newest")
            wheel = next(w for w in wheels if ("abi3" in w.name) == (python.version > (3, 11)))
            ours = python.version == sys.version_info[:2]
            share = "1/1" if ours and not lowest else f"{python.version[1] % 3 + 1}/3"
            pool.submit(timed, name, check_environment, name, python, extra, lowest, share, source, wheel)
    print(f"{counts[True]} passed, {counts[False]} failed")
    sys.exit(counts[False] > 0)


if __name__ == "__main__":
    main()
