"""Imports run one way, and `import chainrule` is light."""

import ast
import subprocess
import sys
from pathlib import Path

import chainrule

SOURCE = Path(chainrule.__file__).parent
# A module may import what stands above it.
ORDER = [
    "version", "errors", "_native", "extras", "notation", "equations", "files", "arrays", "checks", "output", "linear",
    "network", "conversion", "model_file", "differences", "gradcheck", "scores", "optimizers", "schedules", "streams",
    "history", "engine", "examples", "training", "progress", "tables", "derive", "html", "explain", "report", "gallery",
    "jobs", "sklearn", "_jax", "jax", "boosting",
    "_torch", "torch",
    "cli", "__main__",
]  # fmt: skip
KNOW_NOBODY = ["notation", "equations", "errors", "_native"]
# Network's save, load and from_… are a convenience over what builds networks.
EXCEPTIONS = {("network", "model_file"), ("network", "conversion")}


def imports():
    """(the room that imports, the room that is imported)"""
    for path in SOURCE.rglob("*.py"):
        room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "chainrule":
                parts = node.module.split(".")
                names = parts[1:2] or [alias.name for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [a.name.split(".")[1] for a in node.names if a.name.startswith("chainrule.")]
            yield from ((room, name) for name in names if name != room)


def test_imports_run_one_way():
    found = set(imports())
    assert ("output", "equations") in found
    for room, name in found - EXCEPTIONS:
        assert ORDER.index(name) < ORDER.index(room), f"{room} imports {name}"
        assert room not in KNOW_NOBODY, f"{room} imports {name}"
    assert not {("derive", "training"), ("explain", "training")} & found


def test_import_takes_numpy_alone():
    code = (
        "import sys; before = set(sys.modules); import chainrule; "
        "print(sorted({m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert set(ast.literal_eval(printed)) <= {"chainrule", "numpy"}
