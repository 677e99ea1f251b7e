"""What the installed Chainrule advertises, run with what its extra brings and nothing else, not even a test tool.

`python advertised.py EXTRA` (`none` for NumPy alone), in an empty folder, by the Python of an environment that holds
just that: every example of the documentation of every public function, the README's commands, and, for what the
environment lacks, the errors. tests/environments.py makes the environments.
"""

from __future__ import annotations

import doctest
import importlib
import io
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS = ("cli", "derive", "sklearn", "onnx", "torch", "jax")
# A module, or one name in it, whose examples need an extra. What is not here needs NumPy alone.
NEEDS = {
    "chainrule.load": "cli",
    "chainrule.command.cli.main": "cli",
    "chainrule.pages.gallery.Gallery": "cli",
    "chainrule.network.model.load_model": "cli",
    "chainrule.tables.parquet": "cli",
    "chainrule.tables": "cli",
    "chainrule.derive": "derive",
    "chainrule.sklearn": "sklearn",
    "chainrule.network.network.Network.to_onnx": "onnx",
    "chainrule.network.network.Network.from_torch": "torch",
    "chainrule.network.network.Network.to_torch": "torch",
    "chainrule.explain.modules": "torch",
    "chainrule.torch": "torch",
    "chainrule.jax": "jax",
}
# Blocks of Python in the documents that need more than an extra: a library that is none, a table that is not here,
# several processes.
ELSEWHERE = ("xgboost", "accelerate", "measurements.parquet", "group=group")
# What fails without an extra, and says so.
REFUSED = {
    "cli": "from chainrule.tables import read_table; read_table('table.csv')",
    "derive": "from chainrule.derive import derive; derive('loss').check()",
    "sklearn": "import chainrule.sklearn",
    "onnx": "import chainrule; chainrule.Network.create([2, 2], seed=0).to_onnx('net.onnx')",
    "torch": "import chainrule; chainrule.Network.create([2, 2], seed=0).to_torch()",
    "jax": "import chainrule.jax",
}
BROUGHT = {"torch": ["derive"]}  # PyTorch needs SymPy and mpmath too
RUNNER = doctest.DocTestRunner(verbose=False)
HOMEWORK = r"""
\frac{\partial}{\partial a_{Li}} - \log \hat{y}_\ell
= -(\mathbb{1}_{(\ell=i)} - \hat{y}_i)
"""


def needs(name: str) -> str:
    """The extra that the examples of a module, or of one of its names, need."""
    while name not in NEEDS and "." in name:
        name = name.rpartition(".")[0]
    return NEEDS.get(name, "none")


def carried(text: str, page: str, extra: str) -> bool:
    """Whether a block of Python in a document is for this environment, by what it imports or the page it is on."""
    wanted = next((e for e in EXTRAS if f"chainrule.{e}" in text), page if page in EXTRAS else "none")
    wanted = "cli" if "chainrule.load(" in text else wanted
    return wanted in ("none", extra) and not any(word in text for word in ELSEWHERE)


def tests(extra: str) -> Iterator[doctest.DocTest]:
    """The examples of the public functions that this environment carries."""
    import chainrule

    finder = doctest.DocTestFinder(exclude_empty=True)
    for name in ["chainrule", *(m.name for m in pkgutil.walk_packages(chainrule.__path__, "chainrule."))]:
        if needs(name) in ("none", extra) and name != "chainrule.__main__":
            found = finder.find(importlib.import_module(name), name)
            yield from (test for test in found if needs(test.name) in ("none", extra))


def documents() -> list[Path]:
    # docs/courses.md is run from end to end by tests/derive/test_courses.py
    return [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").glob("*.md") if p.name != "courses.md")]


def run_python(extra: str) -> None:
    """The blocks of Python in the documents, with the names that a reader would have."""
    import numpy as np

    random = np.random.default_rng(0)
    for path in documents():
        text = path.read_text(encoding="utf-8")
        x, labels = random.normal(size=(40, 64)), random.integers(0, 10, 40)
        logits, hidden, weight, bias = (random.normal(size=n) for n in ((40, 10), (40, 64), (10, 64), 10))
        if path.stem == extra == "torch":
            torch = importlib.import_module("torch")
            hidden, weight, labels = (torch.from_numpy(array) for array in (hidden, weight, labels))
        names = {"x": x, "labels": labels, "logits": logits, "hidden": hidden, "weight": weight, "bias": bias}
        names["np"], names["chainrule"] = np, importlib.import_module("chainrule")
        if extra == "cli":
            names["frame"] = importlib.import_module("polars").read_csv("examples/digits.csv")
        blocks = [block for block in re.findall(r"```python\n(.*?)```", text, re.S) if carried(block, path.stem, extra)]
        for block in blocks:
            if ">>>" not in block:
                exec(compile(block, str(path), "exec"), names)
        shown = "".join(block for block in blocks if ">>>" in block)
        RUNNER.run(doctest.DocTestParser().get_doctest(shown, {}, path.name, str(path), 0))


def run_commands(extra: str) -> None:
    """The documents' commands, on examples/digits.csv: those of the extra work; NumPy alone refuses them all."""
    from chainrule.boundary.extras import installation

    Path("homework.tex").write_text(HOMEWORK, encoding="utf-8")
    table = Path("examples/digits.csv")
    rows = table.read_text(encoding="utf-8")
    table.write_text("".join(rows.splitlines(keepends=True)[:600]), encoding="utf-8")  # a third takes a third as long
    shown = "".join(path.read_text(encoding="utf-8") for path in documents())
    for line in dict.fromkeys(re.findall(r"^\$ chainrule (.*?) *(?:#.*)?$", shown, re.M)):
        words = re.sub(r"\bCOLUMN\b", "label", re.sub(r"\b\w*TABLE\b", "examples/digits.csv", line)).split()
        wanted = {"derive": "derive", "tune": "sklearn"}.get(words[0], "cli")
        shows = words[0] == "derive" and not {"--check", "--numbers", "--logits"} & set(words)
        if shows or words[-2:-1] == ["--check"]:  # a derivation shown, or somebody's own
            wanted = "none"
        # a server does not end; each derivation's check, half a minute in all, is a test of its own, as is what needs
        # two extras
        if extra == wanted and "--serve" not in words and words != ["derive", "--check"] and words[0] != "tune":
            chainrule(*words)
        elif extra == "none":
            said = chainrule(*words, code=1)
            assert re.fullmatch(rf"chainrule: error: .*{re.escape(installation(wanted))}\n", said), said
    table.write_text(rows, encoding="utf-8")


def chainrule(*words: str, code: int = 0) -> str:
    """What the command says; its exit code is 0, or another that is expected. One process runs them all: to import
    what a command needs takes longer than most commands."""
    from chainrule.command.cli import main as run

    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        ended = run(words)
    if ended != code:
        sys.exit(f"chainrule {shlex.join(words)}\nended with {ended}:\n{out.getvalue()}{err.getvalue()}")
    return err.getvalue() if code else out.getvalue()


def run_refusals(extra: str) -> None:
    """What Python asks of an extra that is not here is refused with the command that installs it."""
    from chainrule.boundary.extras import installation
    from chainrule.errors import ChainruleError, MissingExtraError

    for other, code in REFUSED.items():
        said: ChainruleError | None = None
        try:
            exec(code, {})
        except ChainruleError as error:
            said = error
        missing = other not in (extra, *BROUGHT.get(extra, []))
        assert isinstance(said, MissingExtraError) == missing, (code, said)
        assert not missing or str(said).endswith(installation(other)), said


def main(extra: str) -> None:
    import chainrule as installed

    shutil.copytree(ROOT / "examples", "examples", dirs_exist_ok=True)
    where = Path(installed.__file__).resolve()
    assert Path(sys.prefix).resolve() in where.parents, f"{where} is not this environment's"
    version = subprocess.check_output([sys.executable, "-m", "chainrule", "--version"], text=True)
    assert version == f"chainrule {metadata.version('chainrule')}\n"
    for test in tests(extra):
        RUNNER.run(test)
    run_commands(extra)  # they leave the model that some blocks load
    run_python(extra)
    result = RUNNER.summarize(verbose=False)
    if result.failed:
        sys.exit(f"{result.failed} of {result.attempted} examples failed")
    run_refusals(extra)
    print(f"{result.attempted} lines of examples")


if __name__ == "__main__":
    main(sys.argv[1])
