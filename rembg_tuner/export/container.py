"""Containers: compose.yaml and Dockerfile, with limits from what was measured."""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import MIB, format_bytes
from rembg_tuner.base.yaml_files import format_mapping
from rembg_tuner.export.preset import preset_entry
from rembg_tuner.export.values import make_export
from rembg_tuner.models.catalogue import EMBEDDED_FOLDER, int8_file, read_catalogue
from rembg_tuner.models.spec import DEFAULT_MODEL

if TYPE_CHECKING:
    from rembg_tuner.export.values import Export, ExportRequest, Measured

IDLE_BYTES = 160 * MIB  # the web process after a day's work: benchmarks/page.py
MEMORY_MARGIN = 0.25  # above what was measured: larger pictures, another allocator's day
_STEP = 32 * MIB
_HEALTH = (
    "python",
    "-c",
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/healthz', timeout=4)",
)
_SERVE = ("python", "app.py", "--host", "0.0.0.0", "--port", "7860", "--preset")


def limits_of(measured: Measured) -> tuple[int, int]:
    """Give what a container needs, bytes: reserved, and at most.

    Reserved is the idle web process and the setting's peak; the limit is a quarter more, rounded up
    to 32 MiB.
    """
    reserved = IDLE_BYTES + measured.peak_bytes
    limit = math.ceil(reserved * (1 + MEMORY_MARGIN) / _STEP) * _STEP
    return reserved, limit


def write_compose(request: ExportRequest) -> Export:
    """Write compose.yaml: the page, or /cut for programs, with this setting and its limits.

    Raises:
        SettingsError: nothing was measured of the setting, or no image can hold its model.
    """
    measured = request.measured
    if measured is None:
        raise SettingsError(
            [
                Message(
                    "compose.yaml takes its limits from what was measured; run the setting first"
                    " with `sweep`, or once on the page"
                )
            ]
        )
    reserved, limit = limits_of(measured)
    threads = request.settings.intra_op_threads or measured.cores
    dockerfile, extra_notes = _dockerfile_text(request)
    service = {
        # Compose fills in what stands behind a $, in a Dockerfile too; $$ is one.
        "build": {"context": ".", "dockerfile_inline": dockerfile.replace("$", "$$")},
        "ports": ["127.0.0.1:7860:7860"],
        "user": "1000",
        "read_only": True,
        # What engines compile outlives the container; /tmp is no tmpfs, whose files would count as
        # memory.
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
    }
    content = {
        "services": {"rembg-tuner": service},
        "volumes": {"cache": {}, "scratch": {}},
    }
    head = (
        "# In rembg tuner's own folder: docker compose -f compose.yaml up --build\n# Memory:"
        f" {format_bytes(measured.peak_bytes)} peak measured ({measured.date}, {measured.cpu}, n ="
        f" {measured.n}) + {format_bytes(IDLE_BYTES)} for the web process\n# ="
        f" {format_bytes(reserved)} reserved; the limit is {MEMORY_MARGIN:.0%} more, rounded up to"
        f" {format_bytes(_STEP)}. CPUs: one a thread.\n# /tmp is a volume and no tmpfs, whose files"
        " would count as memory.\n"
    )
    notes = [
        Message("pictures much larger than those that were measured take more: sweep with your own")
    ]
    return make_export("compose", head + format_mapping(content), *notes, *extra_notes)


def write_dockerfile(request: ExportRequest) -> Export:
    """Write a Dockerfile that holds this model only.

    Raises:
        SettingsError: no image can hold the model, or it wants more than a CPU.
    """
    text, notes = _dockerfile_text(request)
    text += (
        "HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \\\n    CMD"
        f" {json.dumps(_HEALTH)}\n"
    )
    head = (
        "# In rembg tuner's own folder: docker build -f Dockerfile -t tuned . && docker run --rm -p"
        " 7860:7860 tuned\n"
    )
    return make_export("dockerfile", head + text, *notes)


def _dockerfile_text(request: ExportRequest) -> tuple[str, list[Message]]:
    """Write the instructions of an image with this model and preset, and what to know of it.

    Raises:
        SettingsError: the model is a file of the user's, or wants more than a CPU.
    """
    model, provider = request.settings.model, request.settings.provider
    if provider != "cpu":
        raise SettingsError(
            [
                Message(
                    "an image is written for the CPU's ONNX Runtime, and provider {provider} wants"
                    " another; use --to python or --to preset",
                    provider=provider,
                )
            ]
        )
    if (own := _own_file(request)) is not None:
        raise SettingsError(
            [
                Message(
                    "an image gets models of the catalogue, and {file} is a file of your own; copy"
                    " it into the image yourself",
                    file=Path(own),
                )
            ]
        )
    # JSON is YAML, and one line needs no heredoc
    measured = request.measured and replace(request.measured, pictures=())  # an image holds none
    one_line = json.dumps({request.name: preset_entry(request.settings, measured)})
    write = f"printf '%s\\n' {shlex.quote(one_line)} > /home/user/tuned.yaml"
    get = "" if model == DEFAULT_MODEL else f"RUN python -m rembg_tuner models get {model}\n"
    extra = request.settings.engine_spec.image_install
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
RUN python -m rembg_tuner cut examples/astronaut.png --preset {shlex.quote(request.name)} -o /tmp/warm.png && rm /tmp/warm.png
EXPOSE 7860
CMD {json.dumps([*_SERVE, request.name])}
"""
    return text, [
        (
            Message("the image holds the program's own u2netp (7 MiB), and no other model")
            if model == DEFAULT_MODEL
            else Message(
                "the image holds {model} and the program's own u2netp (7 MiB), and no other model",
                model=model,
            )
        ),
        Message(
            "no Docker engine was at hand where this was written: the image was not built there"
        ),
    ]


def _own_file(request: ExportRequest) -> str | None:
    """Name the file of a setting's model that no image can get; None: it can get all."""
    settings, measured = request.settings, request.measured
    entry = read_catalogue().get(settings.model)
    if entry is None:
        return settings.model
    ran = measured.precision if measured and settings.precision == "auto" else settings.precision
    if ran != "int8":
        return None
    file = int8_file(entry.file, settings.engine)
    return None if (EMBEDDED_FOLDER / file).is_file() else file
