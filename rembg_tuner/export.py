"""What runs a setting elsewhere: compose.yaml, Dockerfile, rembg's command, a Python script, env file, preset.

Each text stands by itself; what it cannot carry is said beside it, never dropped in silence.
"""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rembg_tuner.cache import open_cache
from rembg_tuner.capabilities import look_at_this_machine
from rembg_tuner.derived import prepare
from rembg_tuner.errors import SettingsError
from rembg_tuner.export_scripts import ONNXRUNTIME_SCRIPT, OPENVINO_SCRIPT
from rembg_tuner.models.catalogue import EMBEDDED_FOLDER, find_model, int8_file, read_catalogue
from rembg_tuner.precision import choose_precision
from rembg_tuner.settings import DEFAULT_MODEL, STOCK_ENGINE, Settings
from rembg_tuner.units import MIB, format_bytes
from rembg_tuner.yaml_files import format_mapping

if TYPE_CHECKING:
    from collections.abc import Callable

TARGETS = ("compose", "dockerfile", "rembg", "python", "env", "preset")
FILE_NAMES = {
    "compose": "compose.yaml",
    "dockerfile": "Dockerfile",
    "rembg": "rembg.sh",
    "python": "cutout.py",
    "env": "tuned.env",
    "preset": "presets.yaml",
}
IDLE_BYTES = 160 * MIB  # the web process after a day's work: benchmarks/page.py
MARGIN = 0.25  # above what was measured: larger pictures, another allocator's day
_STEP = 32 * MIB
# What rembg's own command can carry: the model, and the threads by the variable that its session reads.
_IN_REMBG = {"model", "intra_op_threads", "engine", "timeout_s", "memory_limit_bytes"}
_HEALTH = ("python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/healthz', timeout=4)")  # fmt: skip
_SERVE = ("python", "app.py", "--host", "0.0.0.0", "--port", "7860", "--preset")
_KEPT_BY_US = ("timeout_s", "memory_limit_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured of a setting: bytes, seconds, how many runs, when, on what.

    Attributes:
        picture: what was cut out.
        precision: the number format that it ran in; empty: not told.
    """

    peak_bytes: int
    time_s: float
    n: int
    date: str
    cpu: str
    cores: int
    picture: str = "own pictures"
    precision: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """A text that runs a setting.

    Attributes:
        target: of `TARGETS`.
        file_name: what it is usually called.
        text: the file.
        notes: what it does not carry, and what to know, each a sentence.
        files: the paths of this machine that the text names.
    """

    target: str
    file_name: str
    text: str
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What is to be exported."""

    settings: Settings
    measured: Measured | None
    name: str


def export(
    settings: Settings, target: str, *, measured: Measured | None, name: str = "tuned"
) -> Export:
    """Write what runs a setting.

    Args:
        settings: to run.
        target: of `TARGETS`.
        measured: peak and time of the setting on the machine at hand; None: not measured.
        name: of the preset that carries the setting.

    Raises:
        SettingsError: the target is none, cannot carry the setting, or wants a measurement.
    """
    writers: dict[str, Callable[[_Wanted], Export]] = {
        "compose": _compose,
        "dockerfile": _dockerfile,
        "rembg": _rembg,
        "python": _python,
        "env": _env,
        "preset": _preset,
    }
    if target not in writers:
        raise SettingsError([f"--to must be one of {', '.join(TARGETS)}, got {target!r}"])
    return writers[target](_Wanted(settings=settings, measured=measured, name=name))


def _made(target: str, text: str, *notes: str, files: tuple[str, ...] = ()) -> Export:
    """Make an export of a text."""
    return Export(target=target, file_name=FILE_NAMES[target], text=text, notes=notes, files=files)


def preset_entry(wanted_settings: Settings, measured: Measured | None) -> dict[str, object]:
    """Give a preset as it stands in presets.yaml."""
    figures: dict[str, object] | None = None
    if measured is not None:
        figures = {
            "date": measured.date,
            "cpu": measured.cpu,
            "cores": measured.cores,
            "picture": measured.picture,
            "n": measured.n,
            "latency_p50_s": round(measured.time_s, 3),
            "peak_rss_mib": round(measured.peak_bytes / MIB),
            "engine": wanted_settings.engine,
        }
        if wanted_settings.precision == "auto" and measured.precision:
            figures["precision"] = measured.precision
    values = {"model": wanted_settings.model, "engine": wanted_settings.engine, **wanted_settings.changed()}  # fmt: skip
    entry: dict[str, object] = {"for": "found by rembg tuner", "settings": values, "measured": figures}  # fmt: skip
    if figures is None:
        entry["why_not_measured"] = "exported before it was measured"
    return entry


def _preset(wanted: _Wanted) -> Export:
    """Write an entry for presets.yaml."""
    text = format_mapping({wanted.name: preset_entry(wanted.settings, wanted.measured)})
    note = "append it to presets.yaml, or name the file in REMBG_TUNER_PRESETS"
    model = wanted.settings.model
    return _made("preset", text, note, files=() if model in read_catalogue() else (model,))


def limits_of(measured: Measured) -> tuple[int, int]:
    """Give what a container needs, bytes: reserved, and at most.

    Reserved is the idle web process and the setting's peak; the limit is a quarter more, rounded up to
    32 MiB.
    """
    reserved = IDLE_BYTES + measured.peak_bytes
    limit = math.ceil(reserved * (1 + MARGIN) / _STEP) * _STEP
    return reserved, limit


def _compose(wanted: _Wanted) -> Export:
    """Write compose.yaml: the page, or /cut for programs, with this setting and its limits."""
    measured = wanted.measured
    if measured is None:
        raise SettingsError(["compose.yaml takes its limits from what was measured; run the setting first: `sweep`, `bench --presets`, or once on the page"])  # fmt: skip
    reserved, limit = limits_of(measured)
    threads = wanted.settings.intra_op_threads or measured.cores
    dockerfile, extra_notes = _dockerfile_text(wanted)
    service = {
        # Compose fills in what stands behind a $, in a Dockerfile too; $$ is one.
        "build": {"context": ".", "dockerfile_inline": dockerfile.replace("$", "$$")},
        "ports": ["127.0.0.1:7860:7860"],
        "user": "1000",
        "read_only": True,
        # What engines compile outlives the container; /tmp is no tmpfs, whose files would count as memory.
        "volumes": ["cache:/home/user/.cache", "scratch:/tmp"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "restart": "unless-stopped",
        "healthcheck": {
            "test": ["CMD", *_HEALTH],
            "interval": "30s",
            "timeout": "5s",
            "start_period": "30s",
            "retries": 3,
        },
        "deploy": {
            "resources": {
                "limits": {"cpus": str(threads), "memory": f"{limit // MIB}M", "pids": 512},
                "reservations": {"memory": f"{math.ceil(reserved / MIB)}M"},
            }
        },
    }  # fmt: skip
    content = {
        "services": {"rembg-tuner": service},
        "volumes": {"cache": {}, "scratch": {}},
    }
    head = (
        f"# In rembg tuner's own folder: docker compose -f compose.yaml up --build\n"
        f"# Memory: {format_bytes(measured.peak_bytes)} peak measured ({measured.date}, {measured.cpu}, n = {measured.n}) + {format_bytes(IDLE_BYTES)} for the web process\n"
        f"# = {format_bytes(reserved)} reserved; the limit is {MARGIN:.0%} more, rounded up to {format_bytes(_STEP)}. CPUs: one a thread.\n"
        f"# /tmp is a volume and no tmpfs, whose files would count as memory.\n"
    )
    notes = ["pictures much larger than those that were measured take more: sweep with your own"]
    return _made("compose", head + format_mapping(content), *notes, *extra_notes)


def _dockerfile(wanted: _Wanted) -> Export:
    """Write a Dockerfile that holds this model only."""
    text, notes = _dockerfile_text(wanted)
    text += f"HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \\\n    CMD {json.dumps(_HEALTH)}\n"
    head = "# In rembg tuner's own folder: docker build -f Dockerfile -t tuned . && docker run --rm -p 7860:7860 tuned\n"
    return _made("dockerfile", head + text, *notes)


def _dockerfile_text(wanted: _Wanted) -> tuple[str, list[str]]:
    """Write the instructions of an image with this model and preset, and what to know of it.

    Raises:
        SettingsError: the model is a file of the user's, or wants more than a CPU.
    """
    model, provider = wanted.settings.model, wanted.settings.provider
    if provider != "cpu":
        raise SettingsError([f"an image is written for the CPU's ONNX Runtime, and provider {provider} wants another; use --to python or --to preset"])  # fmt: skip
    if (own := _own_file(wanted.settings)) is not None:
        raise SettingsError([f"an image gets models of the catalogue, and {own} is a file of your own; copy it into the image yourself"])  # fmt: skip
    # JSON is YAML, and one line needs no heredoc
    one_line = json.dumps({wanted.name: preset_entry(wanted.settings, wanted.measured)})
    write = f"printf '%s\\n' {shlex.quote(one_line)} > /home/user/tuned.yaml"
    get = "" if model == DEFAULT_MODEL else f"RUN python -m rembg_tuner models get {model}\n"
    extra = " ncnn && pip install --user --no-deps pnnx" if wanted.settings.engine == "ncnn" else ""
    text = f"""FROM python:3.11-slim
RUN useradd --create-home --uid 1000 user
USER user
ENV HOME=/home/user PATH=/home/user/.local/bin:$PATH PYTHONUNBUFFERED=1 \\
    PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 REMBG_TUNER_PRESETS=/home/user/tuned.yaml
WORKDIR /home/user/app
COPY --chown=user . .
# The versions that were measured.
RUN pip install --user -r requirements.txt{extra}
{get}RUN {write}
# One run leaves in the image what its first start compiles.
RUN python -m rembg_tuner cut examples/astronaut.png --preset {shlex.quote(wanted.name)} -o /tmp/warm.png && rm /tmp/warm.png
EXPOSE 7860
CMD {json.dumps([*_SERVE, wanted.name])}
"""
    return text, [
        "the image holds the program's own u2netp (7 MiB), and no other model"
        if model == DEFAULT_MODEL
        else f"the image holds {model} and the program's own u2netp (7 MiB), and no other model",
        "no Docker engine was at hand where this was written: the image was not built there",
    ]


def _own_file(settings: Settings) -> str | None:
    """Name the file of a setting's model that no image can get; None: it can get all."""
    entry = read_catalogue().get(settings.model)
    if entry is None:
        return settings.model
    file = int8_file(entry.file, settings.engine)
    is_own = settings.precision == "int8" and not (EMBEDDED_FOLDER / file).is_file()
    return file if is_own else None


def _rembg(wanted: _Wanted) -> Export:
    """Write the command of rembg itself."""
    settings = wanted.settings
    words = ["rembg", "i", "-m", settings.model, "in.jpg", "out.png"]
    threads = f"OMP_NUM_THREADS={settings.intra_op_threads} " if settings.intra_op_threads else ""
    changed = settings.changed()
    lost = [
        f"{name} {value}"
        for name, value in changed.items()
        if name not in _IN_REMBG
    ]  # fmt: skip
    notes = []
    if settings.engine != STOCK_ENGINE:
        notes.append(f"rembg runs ONNX Runtime in its own pipeline, not engine {settings.engine}: what was measured does not hold for it")  # fmt: skip
    if lost:
        notes.append(f"rembg's command cannot carry {', '.join(lost)}")
    notes += _kept_notes(settings)
    if settings.model not in read_catalogue():
        raise SettingsError([f"rembg's command takes models by name, and {settings.model} is a file; use --to python"])  # fmt: skip
    return _made("rembg", f"#!/bin/sh\n{threads}{' '.join(words)}\n", *notes)


def _kept_notes(settings: Settings) -> list[str]:
    """Say which of a setting's knobs are limits that a command or a script does not keep."""
    kept = [name for name in _KEPT_BY_US if name in settings.changed()]
    return [f"only rembg tuner's runner keeps {' and '.join(kept)}, nothing does here"] if kept else []  # fmt: skip


def _env(wanted: _Wanted) -> Export:
    """Write an env file for rembg tuner, and for rembg."""
    settings = wanted.settings
    lines = [
        "# For rembg tuner: the presets file that `export --to preset` writes, with this setting in it",
        "REMBG_TUNER_PRESETS=presets.yaml",
    ]
    if settings.intra_op_threads:
        lines += [
            "# For rembg: it gives this to ONNX Runtime as intra-op and inter-op threads",
            f"OMP_NUM_THREADS={settings.intra_op_threads}",
        ]
    lines += [
        "# ONNX Runtime reports to its maker unless told not to",
        "ORT_DISABLE_TELEMETRY=1",
    ]
    lost = [name for name in settings.changed() if name not in ("intra_op_threads", "model", "engine")]  # fmt: skip
    note = f"no variable carries {', '.join(lost)}; the preset does" if lost else "the preset carries the setting"  # fmt: skip
    return _made("env", "\n".join(lines) + "\n", note)


def _python(wanted: _Wanted) -> Export:
    """Write a script that needs none of this program."""
    settings = wanted.settings
    if settings.engine not in ("onnxruntime", "openvino"):
        raise SettingsError([f"a script is written for engines onnxruntime and openvino, not {settings.engine}; use --to compose or --to preset"])  # fmt: skip
    notes: list[str] = []
    if settings.precision == "auto":
        settings, said = choose_precision(settings, look_at_this_machine(), open_cache()[0])
        notes = [*said, f"precision auto is {settings.precision} on this machine, and the script takes that"]  # fmt: skip
    is_int8 = settings.precision == "int8"
    model = find_model(settings.model, int8_for=settings.engine if is_int8 else None)
    size = settings.network_size or model.side or 0
    graph = model.path
    if settings.network_size not in (0, model.side):
        # Sizes are written into some graphs: the copy in the cache has them computed, as shown by running.
        graph = prepare(settings, model, open_cache()[0], is_cancelled=lambda: False, on_start=lambda: None).graph_path  # fmt: skip
    if model.post != "minmax":
        raise SettingsError([f"a script is written for networks whose output is stretched, and {settings.model}'s is taken by {model.post}; use --to compose"])  # fmt: skip
    values = {
        "MODEL": graph,
        "SIDE": size,
        "MEAN": tuple(model.mean),
        "STD": tuple(model.std),
        "MAX_SIDE": settings.max_side,
        "THREADS": settings.intra_op_threads,
        "INTER_OP_THREADS": settings.inter_op_threads,
        "IS_PARALLEL": settings.execution_mode == "parallel",
        "CPU_MEM_ARENA": settings.cpu_mem_arena,
        "MEM_PATTERN": settings.mem_pattern,
        "ARENA_SHRINK": settings.arena_shrink,
        "SPINNING": settings.spinning,
        "PROVIDER": settings.provider,
        "PRECISION": settings.precision,
    }
    script = OPENVINO_SCRIPT if settings.engine == "openvino" else ONNXRUNTIME_SCRIPT
    constants = "\n".join(f"{name} = {value!r}" for name, value in values.items() if f"{name}" in script)  # fmt: skip
    notes = [*notes, f"copy {graph} with it, and write its place into MODEL", *_kept_notes(settings)]  # fmt: skip
    return _made("python", script.replace("@CONSTANTS@", constants), *notes, files=(graph,))
