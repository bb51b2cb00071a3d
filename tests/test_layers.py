"""Imports of a measured worker, and rules that import-linter's contracts cannot express."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from dataclasses import asdict
from functools import cache
from pathlib import Path

import grimp
import pytest
from PIL import Image

from rembg_tuner.models.catalogue import find_model
from rembg_tuner.runtime.derived import prepare
from rembg_tuner.settings.building import build_settings
from rembg_tuner.worker.pipeline import Job

ROOT = Path(__file__).parent.parent
PACKAGE = "rembg_tuner"

NEVER_IN_THE_WORKER = {
    "pi_heif",  # except for a HEIC picture
    "gradio",
    "pydantic",
    "pandas",
    "yaml",
    "babel",
    "jinja2",
    "psutil",
    "sqlite3",
    "onnx",
    "argparse",
    "tqdm",
    "openvino.tools.ovc",  # half of the time to import openvino
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


def test_each_outside_library_has_one_door() -> None:
    """A library that the package imports is in a `protected` contract, which names its door."""
    graph = grimp.build_graph(
        PACKAGE, include_external_packages=True, exclude_type_checking_imports=True
    )
    outside = {name for name in graph.modules if graph.is_module_squashed(name)}
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = configuration["tool"]["importlinter"]["contracts"]
    guarded = {
        name for one in contracts if one["type"] == "protected" for name in one["protected_modules"]
    }
    libraries = outside - set(sys.stdlib_module_names)
    assert libraries <= guarded, f"without a door: {sorted(libraries - guarded)}"
    assert libraries >= {"yaml", "onnx", "pyvips", "psutil"}


def test_no_module_imports_relatively() -> None:
    """Every import names the whole module, so that a search finds it."""
    relative = [
        f"{path}:{node.lineno}"
        for path in sorted((ROOT / PACKAGE).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


def loaded_by(statement: str) -> set[str]:
    """Return the names of all modules that a new Python has imported after a statement."""
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
    """The table of engines, read before a worker is launched, imports only the class of specs."""
    before = loaded_by(f"import {PACKAGE}")
    loaded = loaded_by(f"import {PACKAGE}.engines.table") - before
    engines = f"{PACKAGE}.engines"
    assert loaded - {"__future__"} == {engines, f"{engines}.table", f"{engines}.spec"}


_LOAD_AND_RUN = """
import json, sys
engine, folder, load, job = json.loads(sys.argv[1])
from rembg_tuner.worker import worker
worker._import_libraries(engine)
told = []
one = worker.Worker(1)
one.tell = lambda event, **more: told.append((event, more))
one._load(**load)
before = set(sys.modules)
one._run(job=job, settings=load["settings"])
after = {name for name, module in sys.modules.items() if module}
print(json.dumps([told[-1][0], sorted(after), sorted(after - before)]))
"""


@cache
def run_in_a_worker(engine: str, focus: str, folder: Path) -> tuple[set[str], set[str]]:
    """Cut a picture out as a worker does; return all imported modules, and those of the run."""
    small = {"network_size": 64} if engine == "ncnn" else {}  # halves the time to convert
    settings = build_settings({"engine": engine, "focus": focus, "precision": "fp32", **small})
    model = prepare(
        settings,
        find_model("u2netp"),
        folder,
        is_cancelled=lambda: False,
        on_start=lambda: None,
    )
    Image.radial_gradient("L").convert("RGB").save(folder / "picture.png")
    job = asdict(Job(input=str(folder / "picture.png"), output=str(folder / "out.png")))
    load = {"settings": settings.to_dict(), "model": model.to_dict(), "cpu": {}}
    load |= {"threads": 1, "cache": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", _LOAD_AND_RUN, json.dumps([engine, str(folder), load, job])],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    event, loaded, own = json.loads(done.stdout.splitlines()[-1])
    assert event == "done"
    return set(loaded), set(own)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return one folder for the workers' files."""
    return tmp_path_factory.mktemp("worker")


@pytest.mark.parametrize(
    ("engine", "focus"),
    [("onnxruntime", "off"), ("openvino", "auto"), ("ncnn", "off"), ("rembg", "off")],
)
def test_the_measured_worker_holds_nothing_of_its_parent(
    folder: Path, engine: str, focus: str
) -> None:
    """After a run, a worker of any engine has not imported the page, meter, YAML or CLI.

    The engine rembg may have rembg's own imports, since stock rembg is measured with them.
    """
    pytest.importorskip(engine)
    loaded, _ = run_in_a_worker(engine, focus, folder)
    allowed = loaded_by("import rembg") if engine == "rembg" else set()
    assert f"{PACKAGE}.worker.pipeline" in loaded
    assert engine in loaded
    assert (loaded & NEVER_IN_THE_WORKER) - allowed == set()


@pytest.mark.parametrize(
    ("engine", "focus"), [("onnxruntime", "off"), ("openvino", "auto"), ("ncnn", "off")]
)
def test_no_run_pays_for_imports(folder: Path, engine: str, focus: str) -> None:
    """A run imports nothing, so that the first run takes as long as the others."""
    pytest.importorskip(engine)
    _, own = run_in_a_worker(engine, focus, folder)
    assert own == set()


@pytest.mark.parametrize("library", ["onnxruntime", "openvino", "rembg", "pyvips", "numpy"])
def test_importing_the_worker_imports_no_library_yet(library: str) -> None:
    """The engine decides which libraries are imported, after the worker has started."""
    assert library not in loaded_by_the_worker()


@cache
def loaded_by_the_worker() -> frozenset[str]:
    """Import the worker once for several tests."""
    return frozenset(loaded_by(f"import {PACKAGE}.worker.worker"))
