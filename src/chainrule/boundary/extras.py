"""Optional dependencies: imported when first needed, with an error that says how to install them."""

from __future__ import annotations

import importlib
import importlib.machinery
import os
import sys
from typing import Any

from chainrule.errors import MissingExtraError

__all__ = ["installation", "require"]

_PACKAGES = {"sklearn": "scikit-learn"}  # where a package is called otherwise than its module


def require(module: str, extra: str) -> Any:
    """Import `module`, which comes with `chainrule[extra]`.

    Raises
    ------
    MissingExtraError
        The module is not installed; the message holds the command that installs it.

    Examples
    --------
    >>> require("json", "cli").dumps([1])
    '[1]'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and module.split(".")[0] != error.name.split(".")[0]:
            raise  # the package is there, but broken: its own message is the better one
        package = _PACKAGES.get(module.split(".")[0], module.split(".")[0])
        raise MissingExtraError(f"{package} is not installed, and this needs it: {installation(extra)}") from error


def installation(extra: str) -> str:
    """The command that brings `chainrule[extra]` to the Python that runs, from where its Chainrule came.

    That may be an index, a checkout (editable or not), a file or a repository: an installer writes it down.

    Examples
    --------
    >>> "pip install" in installation("cli") and "[cli]" in installation("cli")
    True
    """
    import shlex  # what only an error needs does not slow `import chainrule`
    import subprocess
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    if importlib.machinery.PathFinder.find_spec("pip"):  # not importlib.util: setuptools' finder may warn there
        command = [sys.executable, "-m", "pip", "install"]
    else:
        command = ["uv", "pip", "install", "--python", sys.executable]
    origin = _origin()
    url = origin.get("url", "")
    if "dir_info" in origin:
        command += ["-e"] * origin["dir_info"].get("editable", False)
        command.append(f"{url2pathname(urlsplit(url).path)}[{extra}]")
    elif "vcs_info" in origin:
        command.append(f"chainrule[{extra}] @ {origin['vcs_info']['vcs']}+{url}@{origin['vcs_info']['commit_id']}")
    else:
        command.append(f"chainrule[{extra}]" + (url and f" @ {url}"))
    return subprocess.list2cmdline(command) if os.name == "nt" else shlex.join(command)


def _origin() -> dict[str, Any]:
    """What the installer wrote of where Chainrule came from; nothing where that was an index."""
    import json
    from importlib import metadata

    try:
        return dict(json.loads(metadata.distribution("chainrule").read_text("direct_url.json") or "{}"))
    except metadata.PackageNotFoundError:
        return {}
