"""Imports run one way, file by file, and `import chainrule` is light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import chainrule

SOURCE = Path(chainrule.__file__).parent
FILES = {
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SOURCE.rglob("*.py")
}
# A room may import what stands before it.
ORDER = [
    "version", "errors", "_native", "notation", "activations", "equations", "boundary", "output", "network", "scores",
    "derive", "explain", "tables", "training", "pages", "sklearn", "torch", "jax", "boosting", "command", "__main__",
]  # fmt: skip
KNOW_NOBODY = ["errors", "_native", "notation", "activations"]


def imported(name):
    """The files that one file imports at run time, at its top or inside a function."""
    tree = ast.parse(FILES[name].read_text(encoding="utf-8"))
    guards = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test).endswith("TYPE_CHECKING")]
    for_types = {id(n) for guard in guards for statement in guard.body for n in ast.walk(statement)}
    found = set()
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {full if full in FILES else node.module for full in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {other for other in found if other in FILES} - {name}


def room(name):
    return name.split(".")[1] if "." in name else "__init__"


IMPORTS = {name: imported(name) for name in FILES}


def test_rooms_know_only_those_before_them():
    assert "chainrule.equations" in IMPORTS["chainrule.output.layer"]
    for name, others in IMPORTS.items():
        for other in others:
            if "__init__" not in (room(name), room(other)) and room(name) != room(other):
                assert ORDER.index(room(other)) < ORDER.index(room(name)), f"{name} imports {other}"
                assert room(name) not in KNOW_NOBODY, f"{name} imports {other}"
    for name in FILES:
        if room(name) in ("derive", "explain"):
            assert not [other for other in IMPORTS[name] if room(other) == "training"], name


@pytest.mark.parametrize("name", FILES)
def test_no_file_is_imported_by_what_it_imports(name):
    reached, ahead = set(), list(IMPORTS[name])
    while ahead:
        if (other := ahead.pop()) not in reached:
            reached.add(other)
            ahead += IMPORTS[other]
    assert name not in reached


def test_import_takes_numpy_alone():
    code = (
        "import sys; before = set(sys.modules); import chainrule; "
        "print(sorted({m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert set(ast.literal_eval(printed)) <= {"chainrule", "numpy"}
