"""The limits of `threadpoolctl`, and of all that goes by them: they hold for Chainrule's threads as for a BLAS's.

`threadpoolctl` looks for libraries that it knows, and has to be told of this one. It is an optional package that takes
a while to import, so it is told as soon as somebody else has imported it.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from chainrule._native import _kernels
from chainrule.version import __version__

__all__ = ["announce"]

NAME = "threadpoolctl"


def announce() -> None:
    """Make Chainrule known to `threadpoolctl`, now or once it is imported."""
    if NAME in sys.modules:
        _register(sys.modules[NAME])
    else:
        sys.meta_path.insert(0, _Announcing())


class _Announcing(MetaPathFinder):
    """Waits for the import of `threadpoolctl`, and finds it as the path does."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname != NAME:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path, target)
        loader: Any = spec and spec.loader
        if loader is not None:
            load = loader.exec_module

            def load_and_register(module: Any) -> None:
                load(module)
                _register(module)

            loader.exec_module = load_and_register
        return spec


def _register(threadpoolctl: Any) -> None:
    if not hasattr(threadpoolctl, "register"):  # before 3.2
        return

    class Controller(threadpoolctl.LibController):  # type: ignore[misc]
        user_api = internal_api = "chainrule"
        filename_prefixes = (Path(_kernels.__file__).name.lower(),)
        check_symbols = ("PyInit__kernels",)

        def get_num_threads(self) -> int:
            return _kernels.max_threads()

        def set_num_threads(self, num_threads: int) -> None:
            _kernels.limit_threads(num_threads)

        def get_version(self) -> str:
            return __version__

    threadpoolctl.register(Controller)
