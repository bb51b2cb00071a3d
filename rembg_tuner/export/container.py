"""Containers: compose.yaml and Dockerfile, with limits from measured figures."""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import replace
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import MIB, format_bytes
from rembg_tuner.base.yaml_files import format_mapping
from rembg_tuner.export.commands import preset_entry
from rembg_tuner.export.values import make_export
from rembg_tuner.models.catalogue import EMBEDDED_FOLDER, int8_file, read_catalogue
from rembg_tuner.models.spec import DEFAULT_MODEL

if TYPE_CHECKING:
    from rembg_tuner.export.values import Export, ExportRequest, Measured

IDLE_BYTES = 160 * MIB  # the web process after a day of use: benchmarks/page.py
MEMORY_MARGIN = 0.25  # above the reservation, for larger pictures and the allocator's variation
_STEP = 32 * MIB
_HEALTH = (
    "python",
    "-c",
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/healthz', timeout=4)",
)
_SERVICE = {
    "ports": ["127.0.0.1:7860:7860"],
    "user": "1000",
    "read_only": True,
    # The cache keeps what engines compile. Files in a tmpfs would count as memory.
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
}
_SERVE = ("python", "app.py", "--host", "0.0.0.0", "--port", "7860", "--preset")
_DOCKERFILE = Template("""FROM python:3.11-slim
RUN useradd --create-home --uid 1000 user
USER user
ENV HOME=/home/user PATH=/home/user/.local/bin:$$PATH PYTHONUNBUFFERED=1 \\
    PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 REMBG_TUNER_PRESETS=/home/user/tuned.yaml
WORKDIR /home/user/app
COPY --chown=user . .
# The measured versions.
RUN pip install --user -r requirements.txt$extra
${get}RUN printf '%s\\n' $preset > /home/user/tuned.yaml
# One run stores in the image what the first start compiles.
RUN python -m rembg_tuner cut examples/astronaut.png --preset $name -o /tmp/warm.png && \\
    rm /tmp/warm.png
EXPOSE 7860
CMD $command
""")


def limits_of(measured: Measured) -> tuple[int, int]:
    """Return a container's memory in bytes: the reservation and the limit.

    The reservation is the idle web process and the setting's peak. The limit is 25 % higher,
    rounded up to 32 MiB.
    """
    reserved = IDLE_BYTES + measured.peak_bytes
    limit = math.ceil(reserved * (1 + MEMORY_MARGIN) / _STEP) * _STEP
    return reserved, limit


def write_compose(request: ExportRequest) -> Export:
    """Write compose.yaml: the page and its API with this setting and its limits.

    Raises:
        SettingsError: the setting was not measured, or an image cannot contain its model.
    """
    measured = request.measured
    if measured is None:
        raise SettingsError(
            Message(
                "compose.yaml needs measured figures for its limits; measure the setting first with"
                " `sweep`, or one run on the page"
            )
        )
    reserved, limit = limits_of(measured)
    dockerfile, notes = _dockerfile_text(request)
    service = {
        # Compose substitutes variables after a $, in a Dockerfile too; $$ is a literal $.
        "build": {"context": ".", "dockerfile_inline": dockerfile.replace("$", "$$")},
        **_SERVICE,
        "deploy": {
            "resources": {
                "limits": {
                    "cpus": str(request.settings.intra_op_threads or measured.cores),
                    "memory": f"{limit // MIB}M",
                    "pids": 512,
                },
                "reservations": {"memory": f"{math.ceil(reserved / MIB)}M"},
            }
        },
    }
    head = (
        "# In rembg tuner's folder: docker compose -f compose.yaml up --build\n"
        f"# Memory: {format_bytes(measured.peak_bytes)} measured peak"
        f" ({measured.date}, {measured.cpu}, n = {measured.n})"
        f" + {format_bytes(IDLE_BYTES)} for the web process\n"
        f"# = {format_bytes(reserved)} reserved; the limit is {MEMORY_MARGIN:.0%} higher, rounded"
        f" up to {format_bytes(_STEP)}. CPUs: one per thread.\n"
        "# /tmp is a volume and not a tmpfs, whose files would count as memory.\n"
    )
    note = Message(
        "pictures much larger than the measured ones need more memory: run a sweep with your own"
        " pictures"
    )
    content = {"services": {"rembg-tuner": service}, "volumes": {"cache": {}, "scratch": {}}}
    return make_export("compose", head + format_mapping(content), note, *notes)


def write_dockerfile(request: ExportRequest) -> Export:
    """Write a Dockerfile that contains only this model.

    Raises:
        SettingsError: an image cannot contain the model, or the provider is not the CPU.
    """
    text, notes = _dockerfile_text(request)
    head = (
        "# In rembg tuner's folder: docker build -f Dockerfile -t tuned . && docker run --rm"
        " -p 7860:7860 tuned\n"
    )
    health = (
        "HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \\\n"
        f"    CMD {json.dumps(_HEALTH)}\n"
    )
    return make_export("dockerfile", head + text + health, *notes)


def _dockerfile_text(request: ExportRequest) -> tuple[str, list[Message]]:
    """Return the instructions of an image with this model and preset, and notes on it.

    Raises:
        SettingsError: the model is the user's own file, or the provider is not the CPU.
    """
    settings = request.settings
    if settings.provider != "cpu":
        raise SettingsError(
            Message(
                "a container image uses ONNX Runtime for the CPU, got provider {provider}; use --to"
                " python or --to preset",
                provider=settings.provider,
            )
        )
    if (own := _own_file(request)) is not None:
        raise SettingsError(
            Message(
                "a container image downloads models of the catalogue only, and {file} is your own"
                " file; copy it into the image yourself",
                file=Path(own),
            )
        )
    measured = request.measured and replace(request.measured, pictures=())  # not in an image
    preset = json.dumps({request.name: preset_entry(settings, measured)})  # valid YAML, on one line
    model = settings.model
    text = _DOCKERFILE.substitute(
        extra=settings.engine_spec.image_install,
        get="" if model == DEFAULT_MODEL else f"RUN python -m rembg_tuner models get {model}\n",
        preset=shlex.quote(preset),
        name=shlex.quote(request.name),
        command=json.dumps([*_SERVE, request.name]),
    )
    content = (
        Message("the image contains only the model u2netp (7 MiB), which comes with the program")
        if model == DEFAULT_MODEL
        else Message(
            "the image contains only the models {model} and u2netp (7 MiB), which comes with the"
            " program",
            model=model,
        )
    )
    untested = Message(
        "the image was not built where this program was developed: no Docker engine was available"
    )
    return text, [content, untested]


def _own_file(request: ExportRequest) -> str | None:
    """Return the model's file if an image cannot download it; None: an image can."""
    settings, measured = request.settings, request.measured
    entry = read_catalogue().get(settings.model)
    if entry is None:
        return settings.model
    ran = measured.precision if measured and settings.precision == "auto" else settings.precision
    if ran != "int8":
        return None
    file = int8_file(entry.file, settings.engine)
    return None if (EMBEDDED_FOLDER / file).is_file() else file
