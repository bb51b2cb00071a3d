"""Import Gradio without the work that a server does not need.

During its import, Gradio 6.31 does the following:

- It parses the source of each component to write `.pyi` files for editors to its own folder (half
  of the import time). This is skipped.
- It renders a docstring for each event with a template engine. Each template is compiled once.
- It loads pandas for a monitoring page and a cache that this program does not use (a tenth of the
  import time, 32 MiB). pandas is loaded at its first use.

Versions of Gradio without these steps are imported unchanged.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


def import_gradio() -> None:
    """Import Gradio, unless it is already imported, without loading pandas."""
    if "gradio" in sys.modules:
        return
    sys.meta_path.insert(0, _Finder)
    later = _LaterModule("pandas")
    is_stood_in = sys.modules.setdefault("pandas", later) is later
    try:
        importlib.import_module("gradio")
    finally:
        sys.meta_path.remove(_Finder)
        # From now on `import pandas` finds pandas; modules that have the placeholder load pandas
        # through it.
        if is_stood_in and sys.modules.get("pandas") is later:
            del sys.modules["pandas"]


@contextlib.contextmanager
def collection_paused() -> Iterator[None]:
    """Pause the garbage collection, and exclude the existing objects from it afterwards.

    The modules and the page live until the process ends.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if was_enabled:
            gc.enable()


class _LaterModule(ModuleType):
    """A placeholder that loads a module when one of its names is used."""

    def __getattr__(self, name: str) -> Any:  # any attribute of the module
        """Load the module and return its attribute."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def _leave_out_interfaces(component_meta: ModuleType) -> None:
    """Skip the writing of `.pyi` files."""
    if hasattr(component_meta, "create_or_modify_pyi"):
        vars(component_meta)["create_or_modify_pyi"] = lambda *_: None


def _compile_once(events: ModuleType) -> None:
    """Compile the template of each docstring once.

    There are a few dozen templates, which each component renders.
    """
    if hasattr(events, "Template"):
        vars(events)["Template"] = functools.cache(events.Template)


_CHANGES: dict[str, Callable[[ModuleType], None]] = {
    "gradio.component_meta": _leave_out_interfaces,
    "gradio.events": _compile_once,
}


class _ChangingLoader(SourceFileLoader):
    """Loads a module and patches it before it is used."""

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module, then patch it."""
        super().exec_module(module)
        _CHANGES[module.__name__](module)


class _Finder:
    """Finds the modules to patch; `sys.meta_path` accepts a class as well."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module to patch as Python does, with the patching loader; None for others."""
        if name not in _CHANGES:
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _ChangingLoader(spec.loader.name, spec.loader.path)
        return spec
