"""A missing extra is answered with a command that installs it, from where this Chainrule came."""

import json
import shlex
import subprocess
import sys
from importlib import metadata
from importlib.machinery import PathFinder

import numpy as np
import pytest

from chainrule.boundary import extras
from chainrule.errors import MissingExtraError


@pytest.mark.parametrize(
    ("origin", "wanted"),
    [
        (None, ["chainrule[cli]"]),  # from an index: nothing is written down
        ({"url": "file:///home/ada/chain%20rule", "dir_info": {"editable": True}}, ["-e", "/home/ada/chain rule[cli]"]),
        ({"url": "file:///home/ada/chainrule", "dir_info": {}}, ["/home/ada/chainrule[cli]"]),
        (
            {"url": "file:///tmp/chainrule-0.1-cp312-abi3-linux.whl", "archive_info": {}},
            ["chainrule[cli] @ file:///tmp/chainrule-0.1-cp312-abi3-linux.whl"],
        ),
        (
            {"url": "https://forge.example/chainrule", "vcs_info": {"vcs": "git", "commit_id": "c0ffee"}},
            ["chainrule[cli] @ git+https://forge.example/chainrule@c0ffee"],
        ),
    ],
)
@pytest.mark.parametrize("pip", [True, False])
def test_the_command_names_where_it_came_from_and_this_python(tmp_path, monkeypatch, origin, wanted, pip):
    info = tmp_path / "chainrule-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: chainrule\nVersion: 0.1\n")
    if origin:
        (info / "direct_url.json").write_text(json.dumps(origin))
    find_spec = PathFinder.find_spec
    monkeypatch.setattr(metadata, "distribution", lambda name: metadata.Distribution.at(info))
    monkeypatch.setattr(PathFinder, "find_spec", lambda name, *a: pip or None if name == "pip" else find_spec(name, *a))
    with pytest.raises(MissingExtraError, match=r"^nothing_of_this_name is not installed") as raised:
        extras.require("nothing_of_this_name", "cli")
    command = shlex.split(str(raised.value).partition(": ")[2])
    installer = (
        [sys.executable, "-m", "pip", "install"] if pip else ["uv", "pip", "install", "--python", sys.executable]
    )
    assert command == installer + wanted


def test_a_package_that_is_there_but_broken_tells_its_own_error(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("import nothing_of_this_name")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="nothing_of_this_name") as raised:
        extras.require("broken_package", "cli")
    assert not isinstance(raised.value, MissingExtraError)


def test_a_copy_that_no_installer_knows_still_says_how(tmp_path, monkeypatch):
    def unknown(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", unknown)
    assert extras.installation("derive").endswith(" 'chainrule[derive]'")


def test_asking_for_pip_is_silent_where_setuptools_would_warn():
    code = """
import contextlib
with contextlib.suppress(ImportError):
    import setuptools
from chainrule.boundary import extras
print(extras.installation("cli"))
"""
    asked = subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", code], capture_output=True, text=True)
    assert (asked.stdout.strip(), asked.stderr) == (extras.installation("cli"), "")


@pytest.mark.parametrize(("module", "extra"), [("torch", "torch"), ("jax", "jax"), ("sklearn", "sklearn")])
def test_a_face_without_its_library_says_how_to_install_it(module, extra):
    code = f"import sys; sys.modules[{module!r}] = None; import chainrule.{module}"
    failed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert failed.stderr.strip().splitlines()[-1].endswith(extras.installation(extra))


def test_what_only_has_a_library_s_name_is_not_the_library(tmp_path):
    for name in ("torch", "jax"):
        (tmp_path / f"{name}.py").touch()
    code = """
import sys; sys.path.insert(0, ""); import torch, jax, numpy, chainrule
assert not hasattr(torch, "Tensor") and not hasattr(jax, "Array")
from chainrule.network.conversion import is_module
assert not is_module(chainrule.Network.create([2, 2], activation="tanh", seed=0))
print(chainrule.softmax_cross_entropy(numpy.zeros((1, 2)), numpy.zeros(1, "int64"))[0])
"""
    asked = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert (asked.stdout.strip(), asked.stderr) == (str(np.log(2)), "")
