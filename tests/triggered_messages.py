# ruff: noqa: ARG005  # every trigger takes a folder
"""Triggers of the program's messages.

Used by the table of recorded messages and by tests of every language.
"""

from __future__ import annotations

import errno
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np
from made_machines import make_machine
from made_trials import make_trial
from PIL import Image

from rembg_tuner.base import files as cache
from rembg_tuner.base.child_process import ChildProcess
from rembg_tuner.base.colours import parse_colour
from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import MIB
from rembg_tuner.engines.onnxruntime import providers
from rembg_tuner.export.targets import export
from rembg_tuner.imaging import complaints, formats, matte
from rembg_tuner.imaging.header import read_header
from rembg_tuner.models import catalogue, spec
from rembg_tuner.runtime import download, http_download, limits, meter, runner
from rembg_tuner.runtime.limits import MemoryLimit
from rembg_tuner.runtime.measurements import Peak
from rembg_tuner.runtime.slots import PictureRun, open_slots, runs_of, submit_run
from rembg_tuner.settings import address_space
from rembg_tuner.settings import results as measurement
from rembg_tuner.settings.check import checked_settings
from rembg_tuner.settings.host import Host
from rembg_tuner.settings.machine import Machine
from rembg_tuner.settings.presets import find_preset
from rembg_tuner.settings.records import measured_elsewhere_text
from rembg_tuner.settings.requested import requested_settings
from rembg_tuner.settings.settings import Settings
from rembg_tuner.tuning import grid, reference
from rembg_tuner.tuning.budgets import Budgets
from rembg_tuner.tuning.recommend import recommend
from rembg_tuner.web.pages import (
    choices,
    downloads,
    failures,
    long_tasks,
    page,
    page_folder,
)
from rembg_tuner.web.pages.sweep_tab.layout import read_budgets
from rembg_tuner.worker.pipeline import Job

if TYPE_CHECKING:
    from collections.abc import Callable

Said = object  # a Message, an error that carries one, or several of them
ONNXRUNTIME = make_machine(engines=("onnxruntime",), precisions=frozenset({"fp32"}))
OPENVINO = make_machine(engines=("openvino",), precisions=frozenset({"fp32"}))
TRIALS = [
    make_trial(0, 161, 0.088, 0.972, intra_op_threads=1),
    make_trial(1, 300, 0.2, 0.99, intra_op_threads=0),
]
ELSEWHERE = Host(
    cpu="A CPU",
    affinity_cpus=2,
    quota_cpus=None,
    features=frozenset({"avx2"}),
    total_memory_bytes=8 * 2**30,
    memory_limit_bytes=None,
)


def raised(act: Callable[[], object]) -> Exception:
    """Return the error that a call raises."""
    try:
        found = act()
    except Exception as error:  # noqa: BLE001  # the caller checks it
        return error
    raise AssertionError(f"nothing was raised, but returned: {found!r}")


def written(folder: Path, name: str, content: bytes) -> Path:
    """Write a file."""
    path = folder / name
    path.write_bytes(content)
    return path


def picture(folder: Path, name: str, **options: object) -> Path:
    """Write a small picture."""
    path = folder / name
    Image.new("RGB", (60, 40), (200, 30, 30)).save(path, **options)  # type: ignore[arg-type]
    return path


def made(folder: Path) -> Path:
    """Create a folder and return it."""
    folder.mkdir()
    return folder


def cut(path: Path, length: int) -> Path:
    """Truncate a file."""
    path.write_bytes(path.read_bytes()[:length])
    return path


def model_entry(name: str = "u2net") -> catalogue.CatalogueEntry:
    """Return the catalogue entry of a model that is not installed."""
    return catalogue.read_catalogue()[name]


def settings_error(**values: object) -> Exception:
    """Return the error of invalid settings."""
    return raised(lambda: checked_settings(values))


def resolved(preset: str | None, able: Machine, **given: object) -> Said:
    """Return the warnings of the settings that a preset and other values resolve to."""
    found = requested_settings(find_preset(preset) if preset else None, given, able)
    return found[1]


def exit_reason(code: int, log: bytes) -> Said:
    """Return the exit reason of a worker with this exit code and log."""
    with tempfile.TemporaryFile() as kept:
        kept.write(log)
        kept.flush()
        worker = ChildProcess(("worker",))
        worker.exit_code, worker._open = code, (kept.fileno(),)
        return worker.exit_reason()


def busy() -> Message:
    """Return the warning that other programs ran."""
    with (
        mock.patch.object(meter, "load_average", return_value=9.5),
        mock.patch.object(meter, "read_host", return_value=ELSEWHERE),
        mock.patch.object(os, "cpu_count", return_value=2),
    ):
        found = meter.busy_warning(meter.OwnLoad())
    assert found is not None
    return found


def full_lane(*, is_closed: bool = False) -> Said:
    """Return the message for a full or closed lane."""
    lane = open_slots(max_waiting=-1)  # full without a task
    try:
        if is_closed:
            lane.close()
        job = Job(input="cup.png", output="out.png")
        return runs_of(
            submit_run(lane, PictureRun(job=job, settings=Settings(engine="onnxruntime")))
        )[-1]
    finally:
        lane.close()


def unwritable_cache(folder: Path) -> Said:
    """Return the warning of a cache that cannot be written."""
    file = written(folder, "a-file", b"")
    with mock.patch.dict(os.environ, {cache.CACHE_VARIABLE: str(file / "cache")}):
        return cache.open_cache()[1]


def low_limit() -> Said:
    """Return the message for a low limit of the address space."""
    with mock.patch.object(address_space, "read_limit", return_value=100 * MIB):
        return address_space.refusal(address_space.WORKER_MIN_BYTES)


def remembered(*sizes_mib: int) -> Said:
    """Return why the last of these settings does not start with a limit of 200 MiB.

    `sizes_mib` are the known peaks.
    """
    sides = {64 + 32 * i: size * MIB for i, size in enumerate(sizes_mib)}
    known = [
        Peak(settings=Settings(engine="onnxruntime", network_size=side), run_bytes=size, runs=3)
        for side, size in sides.items()
    ]
    limit = MemoryLimit(size_bytes=200 * MIB, is_asked=True)
    return limits.why_not_fit(known[-1].settings, limit, known[-1], known)


def downloaded(folder: Path, act: Callable[[], object]) -> Said:
    """Return the error of a download whose mirror refuses the connection."""
    changes = {"REMBG_HOME": str(folder), http_download.MIRROR_VARIABLE: "http://127.0.0.1:9"}
    with mock.patch.dict(os.environ, changes), mock.patch.object(download, "WAIT_BETWEEN_S", 0.0):
        os.environ.pop("U2NET_HOME", None)
        return raised(act)


def in_home(folder: Path, act: Callable[[], object]) -> Said:
    """Call a function while rembg's model folder is `folder`, which is empty."""
    with mock.patch.dict(os.environ, {"REMBG_HOME": str(folder)}):
        os.environ.pop("U2NET_HOME", None)
        return act()


def not_released(folder: Path) -> Said:
    """Return the error of a model file with another checksum."""
    path = str(written(folder, "u2netp.onnx", b"x"))
    model = replace(catalogue.find_model("u2netp"), path=path)
    return raised(lambda: spec.verify(model))


def left_out() -> Said:
    """Return the settings that a grid leaves out on this machine."""
    axes = {"engine": ("onnxruntime",), "precision": ("fp32", "bf16"), "cpu_mem_arena": (True,)}
    return grid.make_grid(axes, Settings(engine="onnxruntime"), ONNXRUNTIME).left_out


def exported(to: str, **knobs: object) -> Said:
    """Return the notes of an export."""
    return export(Settings(**knobs), to, measured=None).notes  # type: ignore[arg-type]  # knobs by name


def foreground() -> Said:
    """Return the warning for a matte that is almost 0 everywhere."""
    return matte.foreground_warning(np.full((4, 4), 0.02, np.float32))


def budget_error(**budgets: object) -> Said:
    """Return the error of a visitor's invalid budgets."""
    values = {"memory": None, "time": None, "agreement": None, "commercial": False}
    return raised(lambda: read_budgets(**{**values, **budgets}))  # type: ignore[arg-type]


def preset_elsewhere() -> Said:
    """Return the note that a preset was measured on another CPU."""
    return measured_elsewhere_text(find_preset("article-light"), ELSEWHERE)


def no_space() -> OSError:
    """Return the error of a full disk."""
    return OSError(errno.ENOSPC, "No space left on device")


MISSES = recommend(TRIALS, Budgets(max_memory_bytes=50 * MIB, max_time_s=0.01))
FITS = recommend(TRIALS, Budgets(max_memory_bytes=200 * MIB))
TRIGGERS: dict[str, Callable[[Path], Said]] = {
    # pictures
    "picture, other file": lambda f: raised(
        lambda: formats.sniff(written(f, "notes.txt", b"some text"))
    ),
    "picture, empty": lambda f: raised(lambda: formats.sniff(written(f, "cut.png", b""))),
    "picture, folder": lambda f: raised(lambda: formats.sniff(made(f / "shots"))),
    "picture, absent": lambda f: raised(lambda: formats.sniff(f / "gone.png")),
    "picture, raw": lambda f: raised(
        lambda: formats.sniff(written(f, "a.rw2", b"IIU\0" + bytes(60)))
    ),
    "picture, cut header": lambda f: raised(lambda: read_header(cut(picture(f, "cup.jpg"), 30))),
    "picture, cut PNG": lambda f: raised(lambda: read_header(cut(picture(f, "cup.png"), 20))),
    "picture, TIFF of odd samples": lambda f: raised(lambda: read_header(odd_tiff(f))),
    "picture, too large": lambda f: raised(
        lambda: formats.check_pixels(f / "wall.png", 20000, 20000, 100_000_000)
    ),
    "picture, too large for the page": lambda f: raised(
        lambda: read_header(picture(f, "cup.png"), max_pixels=1000)
    ),
    "output, JPEG": lambda f: raised(lambda: formats.check_output(f / "out.jpg", None)),
    "output, ending": lambda f: raised(lambda: formats.check_output(f / "out.gif", None)),
    "output, no right": lambda f: complaints.unwritable_text(
        f / "out.png", OSError(errno.EACCES, "no")
    ),
    "output, full": lambda f: complaints.unwritable_text(f / "out.png", no_space()),
    "warning, progressive": lambda f: read_header(picture(f, "cup.jpg", progressive=True)).warnings,
    "warning, no foreground": lambda f: foreground(),
    # settings
    "settings, range": lambda f: settings_error(intra_op_threads=-1),
    "settings, multiple": lambda f: settings_error(network_size=100),
    "settings, several": lambda f: settings_error(model=3, spinning=1, engine="x"),
    "settings, unhonoured": lambda f: settings_error(light_mode=False, engine="onnxruntime"),
    "settings, format": lambda f: settings_error(precision="bf16", engine="onnxruntime"),
    "settings, unknown": lambda f: settings_error(colour=1),
    "settings, arena": lambda f: settings_error(
        engine="onnxruntime", arena_shrink=True, cpu_mem_arena=False
    ),
    "settings, threads across": lambda f: settings_error(engine="onnxruntime", inter_op_threads=2),
    "settings, focus box missing": lambda f: settings_error(engine="onnxruntime", focus="box"),
    "settings, focus unused": lambda f: settings_error(engine="onnxruntime", focus_box="1,2,30,40"),
    "settings, focus box odd": lambda f: settings_error(
        engine="onnxruntime", focus="box", focus_box="left"
    ),
    "settings, deadline": lambda f: settings_error(timeout_s=0.0),
    "colour": lambda f: raised(lambda: parse_colour("mauve-ish")),
    # presets
    "preset, unknown": lambda f: raised(lambda: find_preset("cheapest")),
    "preset, dropped int8": lambda f: resolved("fastest", OPENVINO),
    "preset, dropped switch": lambda f: resolved("edge", OPENVINO, engine="openvino"),
    "preset, engine absent": lambda f: resolved("article-light", OPENVINO),
    "preset, elsewhere": lambda f: preset_elsewhere(),
    "preset, alias": lambda f: resolved(None, OPENVINO, model="u2net_lite", engine="openvino"),
    "given, bf16 not native": lambda f: raised(
        lambda: resolved(None, OPENVINO, precision="bf16", engine="openvino")
    ),
    "given, engine absent": lambda f: raised(lambda: resolved(None, OPENVINO, engine="rembg")),
    # models
    "model, unknown": lambda f: raised(lambda: catalogue.find_model("nothing")),
    "model, absent": lambda f: in_home(f, lambda: raised(lambda: catalogue.find_model("u2net"))),
    "model, unfit": lambda f: raised(lambda: catalogue.find_model("sam")),
    "model, other file": not_released,
    "model, own file absent": lambda f: raised(lambda: catalogue.find_model(str(f / "own.onnx"))),
    "download, mirror silent": lambda f: downloaded(
        f, lambda: download.get_model(model_entry(), on_progress=lambda _: None)
    ),
    "download, stopped": lambda f: downloaded(
        f,
        lambda: download.get_model(
            model_entry(), on_progress=lambda _: None, is_cancelled=lambda: True
        ),
    ),
    "download, made by rembg": lambda f: downloaded(
        f, lambda: download.get_model(made_entry(), on_progress=lambda _: None)
    ),
    "download, not allowed": lambda f: raised(
        lambda: downloads.Downloads(are_allowed=False).start("u2net")
    ),
    # runs
    "run, deadline": lambda f: runner._deadline_text(30.0, 1),
    "run, deadline of several": lambda f: runner._deadline_text(30.0, 4),
    "worker, killed": lambda f: exit_reason(-9, b""),
    "worker, last log line": lambda f: exit_reason(-11, b"one\nterminate called\n"),
    "worker, exit code": lambda f: exit_reason(3, b""),
    "memory, known too large": lambda f: remembered(150, 190, 300),
    "memory, nothing fits": lambda f: remembered(300),
    "address space": lambda f: low_limit(),
    "warning, busy machine": lambda f: busy(),
    "warning, company": lambda f: measurement.CONCURRENT_RUN,
    "warning, cache": unwritable_cache,
    "lane, full": lambda f: full_lane(),
    "lane, closed": lambda f: full_lane(is_closed=True),
    "provider, absent": lambda f: providers.provider_problem("openvino"),
    # budgets, recommendations, sweeps
    "recommendation, fits": lambda f: FITS.why,
    "recommendation, misses": lambda f: MISSES.why,
    "recommendation, step": lambda f: [step.text for step in recommend(TRIALS, Budgets()).steps],
    "recommendation, nothing measured": lambda f: recommend([], Budgets()).why,
    "budget, misses": lambda f: MISSES.misses,
    "budget, odd": lambda f: budget_error(memory=-1.0, agreement=2.0),
    "sweep, left out": lambda f: left_out(),
    "sweep, nothing left": lambda f: raised(
        lambda: grid.make_grid(
            {"precision": ("fp16",)}, Settings(engine="onnxruntime"), ONNXRUNTIME
        )
    ),
    "sweep, reference unknown": lambda f: raised(lambda: reference.find_reference("nobody")),
    "export, script": lambda f: exported("rembg", engine="openvino", network_size=256),
    "export, compose unmeasured": lambda f: raised(
        lambda: exported("compose", engine="onnxruntime")
    ),
    # the page and its endpoint
    "page, other model": lambda f: raised(
        lambda: choices.visitor_settings("balanced", {"model": "/etc/own.onnx"})
    ),
    "page, caps": lambda f: raised(
        lambda: choices.visitor_settings("balanced", {"network_size": 2048, "timeout_s": 600.0})
    ),
    "page, disk full": lambda f: failures.disk_text(no_space()),
    "page, disk broken": lambda f: failures.disk_text(OSError(errno.EIO, "Input/output error")),
    "page, no upload": lambda f: raised(lambda: folder_of(f).check_upload(Path("/etc/hosts"))),
    "page, field": lambda f: page._refusal_of(mock.Mock(elem_id="knob-engine")),
    "page, long task busy": lambda f: long_tasks._busy_text(long_tasks.LongTask(folder=f)),
    "page, preset absent": lambda f: in_home(f, lambda: absent_preset("studio")),
}


def odd_tiff(folder: Path) -> Path:
    """Write a TIFF file with 24 bits per sample."""
    path = folder / "odd.tif"
    Image.new("L", (8, 8)).save(path)
    content = path.read_bytes()
    at = content.find(b"\x02\x01\x03\x00\x01\x00\x00\x00")
    path.write_bytes(content[: at + 8] + b"\x18\x00" + content[at + 10 :])
    return path


def made_entry() -> catalogue.CatalogueEntry:
    """Return the first model that rembg converts from another model."""
    return next(one for one in catalogue.read_catalogue().values() if one.url is None)


def folder_of(parent: Path) -> page_folder.PageFolder:
    """Create the page's folder."""
    return page_folder.PageFolder(parent)


def absent_preset(name: str) -> Said:
    """Return why a preset cannot run."""
    absence = choices.absence_of(name)
    assert absence is not None
    return absence.text
