"""Import Gradio without the work that a server does not need.

While Gradio 6.31 is imported, it parses the source of each of its components to write `.pyi` files
for editors into its own folder (half of the import's time), renders a docstring for each event with
a template engine, and loads pandas for a monitoring page and a cache that this program does not use
(a tenth of the time, 32 MiB). Here the first is left out, the docstrings' templates are compiled
once each, and pandas is loaded when it is first used. Where another version of Gradio has none of
these, nothing is changed.
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
    """Import Gradio, unless it is imported already; pandas is not among what it loads."""
    if "gradio" in sys.modules:
        return
    sys.meta_path.insert(0, _Finder)
    later = _LaterModule("pandas")
    is_stood_in = sys.modules.setdefault("pandas", later) is later
    try:
        importlib.import_module("gradio")
    finally:
        sys.meta_path.remove(_Finder)
        # From here on `import pandas` finds pandas; those who have the stand-in reach it through
        # that.
        if is_stood_in and sys.modules.get("pandas") is later:
            del sys.modules["pandas"]


@contextlib.contextmanager
def collection_paused() -> Iterator[None]:
    """Collect no garbage meanwhile, and then never look at what there is.

    Modules and the page stay anyway.
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
    """Stands for a module until one of its names is used."""

    def __getattr__(self, name: str) -> Any:  # whatever the module holds
        """Load the module, and return what it holds."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def _leave_out_interfaces(component_meta: ModuleType) -> None:
    """Write no `.pyi` files."""
    if hasattr(component_meta, "create_or_modify_pyi"):
        vars(component_meta)["create_or_modify_pyi"] = lambda *_: None


def _compile_once(events: ModuleType) -> None:
    """Compile each docstring's template once.

    There are a few dozen, and each component renders its own.
    """
    if hasattr(events, "Template"):
        vars(events)["Template"] = functools.cache(events.Template)


_CHANGES: dict[str, Callable[[ModuleType], None]] = {
    "gradio.component_meta": _leave_out_interfaces,
    "gradio.events": _compile_once,
}


class _ChangingLoader(SourceFileLoader):
    """Loads a module and changes it before anyone uses it."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code, then the change."""
        super().exec_module(module)
        _CHANGES[module.__name__](module)


class _Finder:
    """Finds the modules that are changed; `sys.meta_path` takes a class as well."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module as Python does, with the loader that changes it; None for all others."""
        if name not in _CHANGES:
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _ChangingLoader(spec.loader.name, spec.loader.path)
        return spec
