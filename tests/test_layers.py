"""Imports point one way, and each outside library has one door."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
PACKAGE = "rembg_tuner"

# DESIGN.md's rooms: a room imports only from rows above its own, and from itself.
ROWS: tuple[tuple[str, ...], ...] = (
    ("base",),
    ("models",),
    ("imaging",),
    ("engines",),
    ("settings",),
    ("worker",),
    ("runtime",),
    ("tuning",),
    ("quantization",),
    ("export",),
    ("batch",),
    ("cli",),
    ("web",),
    ("__main__", "app"),
)
# Imports that still point the other way.
BESIDE: set[tuple[str, str]] = set()
# A library's modules that may import it; a room stands for all its modules.
DOORS: dict[str, tuple[str, ...]] = {
    "yaml": ("base.yaml_files",),
    "onnx": ("models.graph",),
    "google": ("models.graph",),  # protobuf, in which onnx is written and whose errors it raises
    "pyvips": ("imaging",),
    "isal": ("imaging.png_writer",),
    "onnxruntime": ("engines.onnxruntime",),
    "onnxsim": ("quantization.make",),
    "nncf": ("engines.openvino.int8",),
    "openvino": ("engines.openvino",),
    "ncnn": ("engines.ncnn",),
    "rembg": ("engines.rembg",),
    "PIL": ("engines.rembg",),
    "pi_heif": ("imaging.heif",),
    "psutil": ("runtime.meter",),
    "numpy": ("imaging", "engines", "tuning.bench", "worker"),
    "gradio": ("web.pages", "web.api", "web.server.page_server"),
    "starlette": ("web.server",),
    "uvicorn": ("web.server.connections",),
    "python_multipart": ("web.server.request_checks",),
    "optuna": ("tuning.search",),
    "brotli": ("web.server.answers",),
    "tqdm": ("cli.console",),
    "babel": ("web.locale.catalogues",),
    "jinja2": ("base.templates",),
    "markupsafe": ("base.templates", "web.pages.templating"),
}
NEVER_IN_THE_WORKER = {
    "pi_heif",  # but for a HEIC picture
    "gradio",
    "pydantic",
    "pandas",
    "yaml",
    "babel",
    "jinja2",
    "psutil",
    "onnx",
    "argparse",
    "tqdm",
    "openvino.tools.ovc",  # half of what importing openvino takes
    f"{PACKAGE}.runtime",
    f"{PACKAGE}.tuning",
    f"{PACKAGE}.cli",
    f"{PACKAGE}.web",
    f"{PACKAGE}.base.child_process",
    f"{PACKAGE}.worker.conversion",
    f"{PACKAGE}.settings.presets",
    f"{PACKAGE}.settings.machine",
    f"{PACKAGE}.settings.check",
    f"{PACKAGE}.settings.requested",
    f"{PACKAGE}.settings.precision",
    f"{PACKAGE}.settings.resolve",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One imported module as a source file names it."""

    importer: str  # below the package: "models.graph"
    imported: str  # whole: "rembg_tuner.base.files", "onnx"
    line: int
    only_types: bool
    in_function: bool = False


class _Reader(ast.NodeVisitor):
    """Collects a file's imports, those inside functions too."""

    def __init__(self, importer: str) -> None:
        """Read for a module."""
        self.importer = importer
        self.imports: list[Import] = []
        self._only_types = False
        self._in_function = False

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Mark what stands in a function."""
        outside, self._in_function = self._in_function, True
        self.generic_visit(node)
        self._in_function = outside

    def _add(self, imported: str, line: int) -> None:
        self.imports.append(
            Import(
                importer=self.importer,
                imported=imported,
                line=line,
                only_types=self._only_types,
                in_function=self._in_function,
            )
        )

    def visit_If(self, node: ast.If) -> None:
        """Mark what stands under `if TYPE_CHECKING`."""
        outside = self._only_types
        self._only_types = outside or ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body:
            self.visit(statement)
        self._only_types = outside
        for statement in node.orelse:
            self.visit(statement)

    def visit_Import(self, node: ast.Import) -> None:
        """Read `import a.b`."""
        for alias in node.names:
            self._add(alias.name, node.lineno)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Read `from a import b`; b may be a module of ours."""
        assert node.level == 0, f"{self.importer}:{node.lineno}: a relative import"
        for alias in node.names:
            whole = f"{node.module}.{alias.name}"
            self._add(whole if whole in our_modules() else str(node.module), node.lineno)


@cache
def our_modules() -> dict[str, Path]:
    """Map every module of the package, and app.py, to its file."""
    modules = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    if (ROOT / "app.py").is_file():
        modules["app"] = ROOT / "app.py"
    return modules


@cache
def all_imports() -> tuple[Import, ...]:
    """Read the imports of every module."""
    found: list[Import] = []
    for name, path in our_modules().items():
        reader = _Reader(name.removeprefix(f"{PACKAGE}."))
        reader.visit(ast.parse(path.read_text(encoding="utf-8"), str(path)))
        found += reader.imports
    return tuple(found)


def room_of(module: str) -> str:
    """Return the room of a module, by its name below the package."""
    return module.split(".")[0]


def row_of(room: str) -> int:
    """Give a room's row, the lowest number on top; one that is in none is below them all."""
    return next((number for number, row in enumerate(ROWS) if room in row), len(ROWS))


def inner_imports() -> Iterator[tuple[Import, str]]:
    """Give the imports of one room by another, with the room that is imported; types aside."""
    for found in all_imports():
        if found.imported.startswith(f"{PACKAGE}.") and not found.only_types:
            room = room_of(found.imported.removeprefix(f"{PACKAGE}."))
            if room != room_of(found.importer):
                yield found, room


def test_every_module_has_a_room() -> None:
    """A new module is given its row in the table above before it imports anything."""
    rooms = {room for row in ROWS for room in row}
    modules = {room_of(name.removeprefix(f"{PACKAGE}.")) for name in our_modules()} - {PACKAGE}
    assert modules <= rooms, f"without a room: {sorted(modules - rooms)}"


def test_the_reader_sees_imports_wherever_they_stand() -> None:
    """Imports in functions count, those for types are told apart, an else is no type."""
    reader = _Reader("toy")
    reader.visit(
        ast.parse(
            "import a.b\n"
            "if TYPE_CHECKING:\n    from c import d\nelse:\n    import e\n"
            "def f():\n    try:\n        from rembg_tuner.base import files\n        from rembg_tuner import __version__\n"
            "    except ImportError:\n        import g as h, i\n"
        )
    )
    assert [(found.imported, found.only_types) for found in reader.imports] == [
        ("a.b", False),
        ("c", True),
        ("e", False),
        ("rembg_tuner.base.files", False),
        ("rembg_tuner", False),
        ("g", False),
        ("i", False),
    ]


def test_imports_point_up() -> None:
    """A room imports only from rows above its own, inside functions too."""
    wrong = [
        f"{found.importer}:{found.line} imports {found.imported}"
        for found, room in inner_imports()
        if row_of(room) >= row_of(room_of(found.importer))
        and (room_of(found.importer), room) not in BESIDE
    ]
    assert wrong == []
    assert sum(1 for _ in inner_imports()) > 50


def test_every_exception_to_the_rows_is_used() -> None:
    """A pair of neighbours that no longer needs its exception is taken out."""
    assert {(room_of(found.importer), room) for found, room in inner_imports()} >= BESIDE


def outside_imports() -> Iterator[tuple[Import, str]]:
    """Give the imports, not only for types, of what is neither ours nor Python's."""
    for found in all_imports():
        library = found.imported.split(".")[0]
        if library not in sys.stdlib_module_names | {PACKAGE, "app"} and not found.only_types:
            yield found, library


def test_each_outside_library_has_one_door() -> None:
    """A library is imported where its door is, and nowhere else."""
    wrong = [
        f"{found.importer}:{found.line} imports {found.imported}"
        for found, library in outside_imports()
        if not any(
            found.importer == door or found.importer.startswith(f"{door}.")
            for door in DOORS.get(library, ())
        )
    ]
    assert wrong == []
    assert {library for _, library in outside_imports()} >= {"yaml", "onnx", "pyvips", "psutil"}


def test_the_base_needs_nothing_but_python() -> None:
    """Base imports the standard library only, but for the doors to YAML and Jinja2."""
    assert [
        f"{found.importer}:{found.line}"
        for found, _ in outside_imports()
        if room_of(found.importer) == "base"
        and found.importer not in ("base.yaml_files", "base.templates")
    ] == []


def loaded_by(statement: str) -> set[str]:
    """Give the names of all modules that a fresh Python holds after a statement."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            (
                f"{statement}\nimport json, sys\nprint(json.dumps([name for name, one in"
                " sys.modules.items() if one]))"
            ),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_table_is_light() -> None:
    """The table of engines is read before a worker is launched.

    It imports itself and the specs, and nothing else.
    """
    before = loaded_by(f"import {PACKAGE}")
    loaded = loaded_by(f"import {PACKAGE}.engines.table") - before
    specs = {
        name
        for name in our_modules()
        if name.startswith(f"{PACKAGE}.engines.") and name.endswith(".spec")
    }
    packages = {name.rpartition(".")[0] for name in specs}
    table = {f"{PACKAGE}.engines.table"}
    assert {name for name in loaded if name != "__future__"} == specs | packages | table | {
        f"{PACKAGE}.engines"
    }


@pytest.mark.parametrize(
    ("statement", "needed"),
    [
        pytest.param(f"import {PACKAGE}.worker.worker", f"{PACKAGE}.worker.worker", id="worker"),
        pytest.param(
            f"from {PACKAGE}.worker.worker import _import_libraries\n_import_libraries('onnxruntime')",
            "onnxruntime",
            id="worker-onnxruntime",
        ),
        pytest.param(
            f"from {PACKAGE}.worker.worker import _import_libraries\n_import_libraries('openvino')",
            "openvino",
            id="worker-openvino",
        ),
    ],
)
def test_the_measured_worker_holds_nothing_of_its_parent(statement: str, needed: str) -> None:
    """Neither its own imports nor its engine's bring in pages, meters, YAML or the command line."""
    loaded = loaded_by(statement)
    assert needed in loaded
    assert loaded & NEVER_IN_THE_WORKER == set()


_LOAD_AND_RUN = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from rembg_tuner.worker import worker
engine, focus, folder = sys.argv[1:]
worker._import_libraries(engine)
from rembg_tuner.models.catalogue import find_model
from rembg_tuner.settings.settings import build_settings
from rembg_tuner.worker.pipeline import Job
from PIL import Image
Image.radial_gradient("L").convert("RGB").save(folder + "/picture.png")
settings = build_settings({"engine": engine, "focus": focus, "precision": "fp32"}).to_dict()
told = []
one = worker.Worker(1)
one.tell = lambda event, **more: told.append((event, more))
one._load(settings=settings, model=find_model("u2netp").to_dict(), threads=1, cache=folder, cpu={})
before = set(sys.modules)
job = asdict(Job(input=folder + "/picture.png", output=folder + "/out.png"))
one._run(job=job, settings=settings)
print(json.dumps([told[-1][0], sorted(set(sys.modules) - before)]))
"""


@pytest.mark.parametrize(("engine", "focus"), [("onnxruntime", "off"), ("openvino", "auto")])
def test_no_run_pays_for_imports(tmp_path: Path, engine: str, focus: str) -> None:
    """What a run needs of this program is imported before a model is loaded, so the first run has the others' time."""
    done = subprocess.run(
        [sys.executable, "-c", _LOAD_AND_RUN, engine, focus, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    event, imported = json.loads(done.stdout.splitlines()[-1])
    assert event == "done"
    assert imported == []


@pytest.mark.parametrize("library", ["onnxruntime", "openvino", "rembg", "pyvips", "numpy"])
def test_importing_the_worker_imports_no_library_yet(library: str) -> None:
    """Which libraries a run needs is its engine's to say; only then are they imported."""
    assert library not in loaded_by_the_worker()


@cache
def loaded_by_the_worker() -> frozenset[str]:
    """Import the worker once for several questions."""
    return frozenset(loaded_by(f"import {PACKAGE}.worker.worker"))
