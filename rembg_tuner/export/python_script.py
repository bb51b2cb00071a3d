"""A Python script that needs its engine, numpy and Pillow, and none of this program."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.files import open_cache
from rembg_tuner.base.messages import Message, Term, join_parts
from rembg_tuner.engines.table import ENGINES
from rembg_tuner.export.scripts import script_with
from rembg_tuner.export.values import kept_notes, make_export
from rembg_tuner.models.catalogue import find_model
from rembg_tuner.models.spec import name_of
from rembg_tuner.runtime.derived import prepare
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.resolve import resolve

if TYPE_CHECKING:
    from rembg_tuner.engines.spec import Script
    from rembg_tuner.export.values import Export, ExportRequest
    from rembg_tuner.settings.settings import Settings

# Constants of a script that do not have their knob's name.
_CONSTANTS = {
    "network_size": "SIDE",
    "intra_op_threads": "THREADS",
    "execution_mode": "IS_PARALLEL",
}
# Knobs that are no constants: what is exported, and what notes of their own tell of.
_TOLD_OTHERWISE = {"model", "engine", "precision", "timeout_s", "memory_limit_bytes"}


def write_python(request: ExportRequest) -> Export:
    """Write a script that needs none of this program.

    Raises:
        SettingsError: no script is written for the engine, or for how the model's output is taken.
        ModelError: the model is not there, or takes no other size.
    """
    settings = request.settings
    part = settings.engine_spec.script
    if part is None:
        able = join_parts((name for name, spec in ENGINES.items() if spec.script), " and ")
        raise SettingsError(
            [
                Message(
                    "a script is written for engines {engines}, not {engine}; use --to compose or"
                    " --to preset",
                    engines=able,
                    engine=settings.engine,
                )
            ]
        )
    if settings.focus != "off":
        raise SettingsError(
            [
                Message(
                    "a script runs the network once on the whole picture, and focus {focus} looks"
                    " at a part of it; use --to compose or --to preset, or a setting with"
                    " focus off",
                    focus=settings.focus,
                )
            ]
        )
    notes: list[Message] = []
    if settings.precision == "auto":
        resolved = resolve(settings, read_machine())
        settings = replace(settings, precision=resolved.precision)
        notes = [
            *resolved.notes,
            Message(
                "precision auto is {precision} on this machine, and the script takes that",
                precision=settings.precision,
            ),
        ]
    is_int8 = settings.precision == "int8"
    model = find_model(settings.model, int8_for=settings.engine if is_int8 else None)
    if model.post != "minmax":
        raise SettingsError(
            [
                Message(
                    "a script is written for networks whose output is stretched, and {model}'s is"
                    " taken by {post}; use --to compose",
                    model=name_of(settings.model),
                    post=model.post,
                )
            ]
        )
    size = settings.network_size or model.side or 0
    graph, file_name = model.path, Path(model.path).name
    if settings.network_size not in (0, model.side):
        # Sizes are written into some graphs: the copy in the cache has them computed, as shown by
        # running.
        graph = prepare(
            settings, model, open_cache()[0], is_cancelled=lambda: False, on_start=lambda: None
        ).graph_path
        file_name = f"{Path(model.path).stem}-{size}.onnx"
    values = {
        "SIDE": size,
        "MEAN": tuple(model.mean),
        "STD": tuple(model.std),
        "MAX_SIDE": settings.max_side,
        "THREADS": settings.intra_op_threads,
        "IS_PARALLEL": settings.execution_mode == "parallel",
        **{
            name.upper(): value
            for name, value in settings.to_dict().items()
            if name not in (*_CONSTANTS, "model", "max_side")
        },
    }
    script = script_with(part())
    used = {name: value for name, value in values.items() if re.search(rf"\b{name}\b", script)}
    lost = [
        name
        for name in settings.changed()
        if name not in _TOLD_OTHERWISE and _CONSTANTS.get(name, name.upper()) not in used
    ]
    if lost:
        notes.append(
            Message(
                "a script cannot carry {lost}", lost=join_parts(Term(name, "knob") for name in lost)
            )
        )
    dependencies, unpinned = _dependencies(settings, part())
    constants = f"MODEL = Path(__file__).resolve().parent / {json.dumps(file_name)}\n" + "\n".join(
        f"{name} = {value!r}" for name, value in used.items()
    )
    text = script.replace("@CONSTANTS@", constants).replace(
        "@DEPENDENCIES@", json.dumps(dependencies)
    )
    return make_export(
        "python", text, *notes, *unpinned, *kept_notes(settings), beside=((file_name, graph),)
    )


def _dependencies(settings: Settings, part: Script) -> tuple[list[str], list[Message]]:
    """List the packages that a script needs, as installed here, and notes on those that are not."""
    needed: list[str] = []
    notes: list[Message] = []
    for name in (*part.packages[settings.provider], "numpy", "pillow"):
        try:
            needed.append(f"{name}=={version(name)}")
        except PackageNotFoundError:
            needed.append(name)
            notes.append(
                Message(
                    "{package} is not installed here, so the script takes its newest version",
                    package=name,
                )
            )
    return needed, notes
