"""Write a Python script that needs its engine, numpy and Pillow, but not this program."""

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
from rembg_tuner.export.values import limit_notes, make_export
from rembg_tuner.models.catalogue import find_model
from rembg_tuner.models.spec import name_of
from rembg_tuner.runtime.derived import prepare
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.resolve import resolve

if TYPE_CHECKING:
    from rembg_tuner.engines.spec import Script
    from rembg_tuner.export.values import Export, ExportRequest
    from rembg_tuner.models.spec import ModelSpec
    from rembg_tuner.settings.settings import Settings

# Constants of the script whose name is not the knob's name in upper case.
_CONSTANTS = {
    "network_size": "SIDE",
    "intra_op_threads": "THREADS",
    "execution_mode": "IS_PARALLEL",
}
# Knobs without a constant: the model's file, and those reported in other notes.
_WITHOUT_CONSTANT = {"model", "engine", "precision", "timeout_s", "memory_limit_bytes"}

_HEAD = '''# /// script
# requires-python = ">=3.11"
# dependencies = @DEPENDENCIES@
# ///
"""Remove a picture's background: python cutout.py in.jpg out.png. Written by rembg tuner.

`uv run cutout.py in.jpg out.png` installs the dependencies first. The model's file must be in the
folder of this script.
"""

@BLOCK@

import numpy as np
@IMPORT@
from PIL import Image, ImageOps

@CONSTANTS@


'''

_TAIL = '''

def cut_out(network, picture):
    """Return an RGBA picture: the picture's own colours, with the network's matte as alpha."""
    picture = ImageOps.exif_transpose(picture).convert("RGB")
    if MAX_SIDE and max(picture.size) > MAX_SIDE:
        picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    small = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), np.float32)
    small = small / max(float(small.max()), 1e-6)
    tensor = ((small - np.float32(MEAN)) / np.float32(STD)).transpose(2, 0, 1)[np.newaxis]
    raw = predict(network, tensor.astype(np.float32))[0, 0]
    low, high = float(raw.min()), float(raw.max())
    matte = (raw - low) / (high - low) if high > low else np.zeros_like(raw)
    mask = Image.fromarray((matte * 255).astype(np.uint8))
    picture.putalpha(mask.resize(picture.size, Image.Resampling.LANCZOS))
    return picture


if __name__ == "__main__":
    if len(sys.argv) != 3 or not sys.argv[2].lower().endswith((".png", ".webp", ".tif", ".tiff")):
        sys.exit("usage: python cutout.py in.jpg out.png (.webp and .tif work, JPEG does not)")
    source, target = sys.argv[1:]
    if not MODEL.is_file():
        sys.exit(f"{MODEL} is missing: copy the model's file there")
    try:
        picture = Image.open(source)
    except OSError as error:
        sys.exit(f"{source} cannot be read: {error}")
    cut_out(load(), picture).save(target)
'''


def write_python(request: ExportRequest) -> Export:
    """Write a script that runs without this program.

    Raises:
        SettingsError: the script does not support the engine, focus, or the model's output.
        ModelError: the model's file is missing, or the model supports no other size.
    """
    part = _engine_part(request.settings)
    settings, notes = _with_concrete_precision(request.settings)
    int8_for = settings.engine if settings.precision == "int8" else None
    model = find_model(settings.model, int8_for=int8_for)
    if model.post != "minmax":
        raise SettingsError(
            Message(
                "--to python supports models whose output is stretched to [0, 1] (minmax), and"
                " {model} uses {post}; use --to compose",
                model=name_of(settings.model),
                post=model.post,
            )
        )
    graph, file_name = _graph_of(settings, model)
    script = (
        (_HEAD + part.body + _TAIL).replace("@BLOCK@", part.block).replace("@IMPORT@", part.imports)
    )
    constants = {
        name: value
        for name, value in _constants(settings, model).items()
        if re.search(rf"\b{name}\b", script)
    }
    lost = [
        Term(name, "knob")
        for name in settings.changed()
        if name not in _WITHOUT_CONSTANT and _CONSTANTS.get(name, name.upper()) not in constants
    ]
    if lost:
        notes.append(Message("the script does not apply {lost}", lost=join_parts(lost)))
    dependencies, unpinned = _dependencies(settings, part)
    lines = [f"MODEL = Path(__file__).resolve().parent / {json.dumps(file_name)}"]
    lines += [f"{name} = {value!r}" for name, value in constants.items()]
    text = script.replace("@CONSTANTS@", "\n".join(lines))
    text = text.replace("@DEPENDENCIES@", json.dumps(dependencies))
    notes += [*unpinned, *limit_notes(settings)]
    return make_export("python", text, *notes, beside=((file_name, graph),))


def _engine_part(settings: Settings) -> Script:
    """Return the engine's part of the script.

    Raises:
        SettingsError: the engine has none, or the script does not support focus.
    """
    if settings.engine_spec.script is None:
        able = join_parts((name for name, spec in ENGINES.items() if spec.script), " and ")
        raise SettingsError(
            Message(
                "--to python supports engines {engines}, got {engine}; use --to compose or --to"
                " preset",
                engines=able,
                engine=settings.engine,
            )
        )
    if settings.focus != "off":
        raise SettingsError(
            Message(
                "--to python supports focus off only, got focus {focus}: the script runs the"
                " network once on the whole picture; use --to compose or --to preset",
                focus=settings.focus,
            )
        )
    return settings.engine_spec.script()


def _with_concrete_precision(settings: Settings) -> tuple[Settings, list[Message]]:
    """Replace precision auto with the format that it selects on this machine, and add a note."""
    if settings.precision != "auto":
        return settings, []
    resolved = resolve(settings, read_machine())
    note = Message(
        "precision auto is {precision} on this machine, and the script uses {precision}",
        precision=resolved.precision,
    )
    return replace(settings, precision=resolved.precision), [*resolved.notes, note]


def _graph_of(settings: Settings, model: ModelSpec) -> tuple[str, str]:
    """Return the path of the graph that the script loads, and its name beside the script."""
    path = Path(model.path)
    if settings.network_size in (0, model.side):
        return model.path, path.name
    # Some graphs contain fixed sizes. The copy in the cache has the new size and was tested.
    ready = prepare(
        settings, model, open_cache()[0], is_cancelled=lambda: False, on_start=lambda: None
    )
    return ready.graph_path, f"{path.stem}-{settings.network_size}.onnx"


def _constants(settings: Settings, model: ModelSpec) -> dict[str, object]:
    """Return the constants that a script may use, by name."""
    knobs = {
        name.upper(): value
        for name, value in settings.to_dict().items()
        if name not in (*_CONSTANTS, "model", "max_side")
    }
    return {
        "SIDE": settings.network_size or model.side or 0,
        "MEAN": tuple(model.mean),
        "STD": tuple(model.std),
        "MAX_SIDE": settings.max_side,
        "THREADS": settings.intra_op_threads,
        "IS_PARALLEL": settings.execution_mode == "parallel",
        **knobs,
    }


def _dependencies(settings: Settings, part: Script) -> tuple[list[str], list[Message]]:
    """Return the script's requirements, and a note on each package that is not installed.

    Installed packages are required in the installed version.
    """
    requirements: list[str] = []
    notes: list[Message] = []
    for name in (*part.packages[settings.provider], "numpy", "pillow"):
        try:
            requirements.append(f"{name}=={version(name)}")
        except PackageNotFoundError:
            requirements.append(name)
            notes.append(
                Message(
                    "{package} is not installed here, so the script does not require a specific"
                    " version of it",
                    package=name,
                )
            )
    return requirements, notes
