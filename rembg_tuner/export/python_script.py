"""A Python script that needs its engine, numpy and Pillow, and none of this program."""

from __future__ import annotations

import json
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.cache import open_cache
from rembg_tuner.capabilities import look_at_this_machine
from rembg_tuner.errors import SettingsError
from rembg_tuner.export.scripts import ONNXRUNTIME_SCRIPT, OPENVINO_SCRIPT
from rembg_tuner.export.values import kept_notes, made_of
from rembg_tuner.messages import Message
from rembg_tuner.models.catalogue import find_model
from rembg_tuner.models.spec import name_of
from rembg_tuner.precision import choose_precision
from rembg_tuner.running.derived import prepare

if TYPE_CHECKING:
    from rembg_tuner.export.values import Export, Wanted
    from rembg_tuner.settings import Settings

# Those of ONNX Runtime's packages that hold another provider than the CPU's.
_PROVIDER_PACKAGES = {
    "cuda": "onnxruntime-gpu",
    "tensorrt": "onnxruntime-gpu",
    "openvino": "onnxruntime-openvino",
}


def write_python(wanted: Wanted) -> Export:
    """Write a script that needs none of this program.

    Raises:
        SettingsError: no script is written for the engine, or for how the model's output is taken.
        ModelError: the model is not there, or takes no other size.
    """
    settings = wanted.settings
    if settings.engine not in ("onnxruntime", "openvino"):
        raise SettingsError([Message("a script is written for engines onnxruntime and openvino, not {engine}; use --to compose or --to preset", engine=settings.engine)])  # fmt: skip
    if settings.focus != "off":
        raise SettingsError([Message("a script runs the network once on the whole picture, and focus {focus} looks at a part of it; use --to compose or --to preset, or a setting with focus off", focus=settings.focus)])  # fmt: skip
    notes: list[Message] = []
    if settings.precision == "auto":
        settings, said = choose_precision(settings, look_at_this_machine(), open_cache()[0])
        notes = [*(Message("{text}", text=one) for one in said), Message("precision auto is {precision} on this machine, and the script takes that", precision=settings.precision)]  # fmt: skip
    is_int8 = settings.precision == "int8"
    model = find_model(settings.model, int8_for=settings.engine if is_int8 else None)
    if model.post != "minmax":
        raise SettingsError([Message("a script is written for networks whose output is stretched, and {model}'s is taken by {post}; use --to compose", model=name_of(settings.model), post=model.post)])  # fmt: skip
    size = settings.network_size or model.side or 0
    graph, file_name = model.path, Path(model.path).name
    if settings.network_size not in (0, model.side):
        # Sizes are written into some graphs: the copy in the cache has them computed, as shown by running.
        graph = prepare(settings, model, open_cache()[0], is_cancelled=lambda: False, on_start=lambda: None).graph_path  # fmt: skip
        file_name = f"{Path(model.path).stem}-{size}.onnx"
    values = {
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
    dependencies, unpinned = _dependencies(settings)
    constants = f"MODEL = Path(__file__).resolve().parent / {json.dumps(file_name)}\n" + "\n".join(f"{name} = {value!r}" for name, value in values.items() if re.search(rf"\b{name}\b", script))  # fmt: skip
    text = script.replace("@CONSTANTS@", constants).replace("@DEPENDENCIES@", json.dumps(dependencies))  # fmt: skip
    return made_of(
        "python", text, *notes, *unpinned, *kept_notes(settings), beside=((file_name, graph),)
    )


def _dependencies(settings: Settings) -> tuple[list[str], list[Message]]:
    """List the packages that a script needs, as installed here, and notes on those that are not."""
    if settings.engine == "openvino":
        engine = ["openvino"]
    else:
        engine = ["onnx", _PROVIDER_PACKAGES.get(str(settings.provider), "onnxruntime")]
    needed: list[str] = []
    notes: list[Message] = []
    for name in (*engine, "numpy", "pillow"):
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
