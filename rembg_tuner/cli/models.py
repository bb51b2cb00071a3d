"""`models`: list, download, check and quantise models, and measure their number formats."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import ModelError, TunerError
from rembg_tuner.base.files import open_cache
from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import format_bytes
from rembg_tuner.cli.console import emit, emit_json, is_terminal, log, show_progress
from rembg_tuner.cli.exits import DONE, FAILED
from rembg_tuner.cli.flags import add_json
from rembg_tuner.models.agreement import AgreementWithFp32, remember_agreement
from rembg_tuner.models.catalogue import (
    INT8_ENDINGS,
    UNCHECKED_VARIABLE,
    CatalogueEntry,
    find_entry,
    find_model,
    int8_file,
    int8_place,
    read_catalogue,
    read_unfit,
    refuse_no_home,
)
from rembg_tuner.models.spec import MODEL_ALIASES, verify
from rembg_tuner.runtime.download import get_model
from rembg_tuner.runtime.http_download import DownloadProgress
from rembg_tuner.runtime.this_machine import read_machine

if TYPE_CHECKING:
    import argparse

    from rembg_tuner.models.spec import ModelSpec
    from rembg_tuner.quantization.make import QuantizedModel


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the actions of `models` and their flags."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    one = actions.add_parser("list", help="which there are, which are on disk, their licences")
    add_json(one)
    one = actions.add_parser("get", help="download models to rembg's folder, verified")
    one.add_argument("names", nargs="+", metavar="NAME")
    one = actions.add_parser("check", help="compare the files on disk with their checksums")
    one.add_argument("names", nargs="*", metavar="NAME", help="default: all that are on disk")
    one = actions.add_parser(
        "quantize", help="make a model's int8 form, calibrated on your pictures"
    )
    _add_quantize_flags(one)
    one = actions.add_parser(
        "agreement",
        help="measure how a model's number formats agree with fp32, for precision auto",
    )
    _add_model_and_pictures(one)
    one.add_argument("--engine", metavar="NAME", help="default: the best installed")
    add_json(one)


def _add_model_and_pictures(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments for the model and the user's pictures."""
    parser.add_argument("name", metavar="NAME", help="a model, or a path to an .onnx file")
    parser.add_argument("--pictures", required=True, metavar="DIR", help="pictures of your kind")


def _add_quantize_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `models quantize`."""
    parser.description = (
        "Make NAME-int8.onnx and the record of how it was made; finds by itself what must stay in"
        " fp32. Takes minutes at 320 px, and can take hours at 1024 px."
    )
    _add_model_and_pictures(parser)
    parser.add_argument(
        "--engine",
        choices=list(INT8_ENDINGS),
        default=next(iter(INT8_ENDINGS)),
        help="whose fusions it is made for; default: %(default)s",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        help="default: where rembg keeps the model, or beside an own file",
    )
    for flag, default, metavar, what in (
        ("--least-iou", 0.97, "IOU", "the search ends when agreement with fp32 is this high"),
        ("--most-difference", 0.02, "MAE", "and the mean difference this low"),
    ):
        parser.add_argument(
            flag, type=float, default=default, metavar=metavar, help=f"{what}; default: %(default)s"
        )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the action."""
    actions = {
        "list": _list,
        "get": _get,
        "check": _check,
        "quantize": _quantize,
        "agreement": _agreement,
    }
    return actions[arguments.action](arguments)


def _list(arguments: argparse.Namespace) -> int:
    """List all models."""
    rows = [
        {
            "name": entry.name,
            "path": str(path) if (path := entry.find()) else None,
            "size": str(entry.size_text()),
            "side": entry.side,
            "licence": entry.licence,
            "commercial": entry.commercial,
            "good_for": entry.good_for,
            "int8": [e for e in INT8_ENDINGS if entry.find(int8_file(entry.file, e))],
        }
        for entry in read_catalogue().values()
    ]
    if arguments.json:
        emit_json({"models": rows, "unfit": read_unfit()})
        return DONE
    for row in rows:
        state = "on disk" if row["path"] else f"not here, {row['size'] or 'made by rembg'}"
        commercial = {
            "yes": "free for commercial use",
            "no": "not for commercial use",
            "ask": "ask before commercial use",
        }[str(row["commercial"])]
        # row["int8"] is a list of names.
        int8 = f", int8 for {' and '.join(row['int8'])}" if row["int8"] else ""  # type: ignore[arg-type]
        emit(f"{row['name']:22} {state}{int8} · {row['side']} px · {row['licence']}, {commercial}")
        emit(f"{'':22} {row['good_for']}")
    emit("rembg's others, which do not run here")
    for name, reason in read_unfit().items():
        emit(f"{name:22} {reason}")
    emit("next: python -m rembg_tuner models get NAME")
    return DONE


def _get(arguments: argparse.Namespace) -> int:
    """Download models one after another; after a failure, continue with the next."""
    is_whole = True
    for name in arguments.names:
        try:
            _get_one(find_entry(_own_name(name)))
        except TunerError as error:
            is_whole = False
            log(f"rembg-tuner: {error}")
    return DONE if is_whole else FAILED


def _get_one(entry: CatalogueEntry) -> None:
    """Download a model, and print its path."""
    present = entry.find()
    if present is not None:
        emit(f"{entry.name}: on disk already, {present}")
        return
    logged: set[str] = set()
    with show_progress(None, "B", entry.name) as advance:

        def show(progress: DownloadProgress) -> None:
            if progress.is_waiting:
                log_once(f"{entry.name}: another process is downloading it, waiting")
                return
            advance(progress.done_bytes, progress.total_bytes)
            if not is_terminal() and progress.total_bytes:
                log_once(f"{entry.name}: downloading {format_bytes(progress.total_bytes)}")

        def log_once(line: str) -> None:
            if line not in logged:
                logged.add(line)
                log(line)

        path = get_model(entry, on_progress=show)
    emit(f"{entry.name}: {path} ({format_bytes(path.stat().st_size)}), checked")


def _own_name(name: str) -> str:
    """Return the main name of a model, and log an alias."""
    own = MODEL_ALIASES.get(name, name)
    if own != name:
        log(f"model {name} is another name for {own}")
    return own


def _check(arguments: argparse.Namespace) -> int:
    """Compare every model on disk with its checksum, and int8 forms with their records."""
    names = [_own_name(name) for name in arguments.names]
    names = names or [name for name, entry in read_catalogue().items() if entry.find()]
    forms = [(name, form) for name in names for form in (None, *_int8_forms(name))]
    results = [_check_file(name, int8_for) for name, int8_for in forms]
    return DONE if all(results) else FAILED


def _int8_forms(name: str) -> list[str]:
    """Return the engines for which a model has an int8 form on disk."""
    return [engine for engine in INT8_ENDINGS if read_machine().has_int8(name, engine)]


def _check_file(name: str, int8_for: str | None) -> bool:
    """Check one file, print the result, and return whether the file is valid."""
    called = name if int8_for is None else f"{name} int8 for {int8_for}"
    try:
        spec = find_model(name, int8_for=int8_for)
        digest = verify(spec)
    except ModelError as error:
        log(f"rembg-tuner: {called}: {error}")
        return False
    emit(f"{called}: {_checked_text(spec)}; sha256 {digest}")
    return True


def _checked_text(spec: ModelSpec) -> Message:
    """Return which checksum a file matches, or why it was not checked."""
    if spec.checksums:
        return Message("right, checked by {algorithm}", algorithm=next(iter(spec.checksums)))
    entry = read_catalogue().get(spec.name)
    if entry is not None and entry.checksums:
        return Message(
            "not checked: {variable} is set, which switches checking off",
            variable=UNCHECKED_VARIABLE,
        )
    return Message("not checked: there is no released checksum of it")


def _quantize(arguments: argparse.Namespace) -> int:
    """Make the int8 form of a model."""
    from rembg_tuner.quantization.make import quantize_model
    from rembg_tuner.quantization.search import Target

    target = Target(iou=arguments.least_iou, mae=arguments.most_difference)
    model = find_model(_own_name(arguments.name))
    place = int8_place(model, arguments.engine)
    folder = Path(arguments.output) if arguments.output else place.parent
    refuse_no_home(folder)
    made = quantize_model(
        model,
        Path(arguments.pictures),
        engine=arguments.engine,
        folder=folder,
        target=target,
        tell=log,
    )
    is_used = _is_used(model, made, arguments.engine)
    if is_used:
        agreement = AgreementWithFp32(
            mae=round(made.agreement.mae, 5),
            iou=round(made.agreement.iou, 5),
            pictures=made.judged,
        )
        kind = read_machine().int8_kind
        remember_agreement(
            model.name, arguments.engine, "int8", agreement, open_cache()[0], int8_kind=kind
        )
    if arguments.json:
        emit_json({"path": str(made.path), "is_used": is_used, **made.record})
        return DONE
    _print_made(made, arguments.engine)
    if is_used:
        emit(
            f"next: python -m rembg_tuner cut PICTURE --model {shlex.quote(model.name)} --engine"
            f" {arguments.engine} --precision int8"
        )
        return DONE
    files = shlex.join(str(path) for path in (made.path, made.path.with_suffix(".json")))
    used_from = shlex.quote(str(place.parent))
    emit("  it is not used from there, so its agreement is not kept for precision auto")
    emit(
        f"next: mkdir -p {used_from} && cp {files} {used_from} && python -m rembg_tuner models"
        f" agreement {shlex.quote(model.name)} --engine {arguments.engine} --pictures"
        f" {shlex.quote(arguments.pictures)}"
    )
    return DONE


def _is_used(model: ModelSpec, made: QuantizedModel, engine: str) -> bool:
    """Return whether `--precision int8` uses the new form."""
    try:
        found = find_model(model.name, int8_for=engine)
    except ModelError:
        return False
    return Path(found.path).samefile(made.path)


def _print_made(made: QuantizedModel, engine: str) -> None:
    """Print the agreement of an int8 form, and the cost of each part."""
    emit(f"{made.path} ({format_bytes(made.path.stat().st_size)}), for engine {engine}")
    emit(
        f"  agreement with fp32: IoU {made.agreement.iou:.3f}, mean difference"
        f" {made.agreement.mae:.4f} ({made.judged} judged)"
    )
    emit(
        f"  all convolutions in int8: IoU {made.found.everything.iou:.3f}, mean difference"
        f" {made.found.everything.mae:.4f}"
    )
    for one in made.found.left_out:
        emit(
            f"  left in fp32: {one.node}, which alone in int8 costs {one.costs_iou:.3f} of IoU and"
            f" {one.costs_mae:.4f} of difference"
        )


def _agreement(arguments: argparse.Namespace) -> int:
    """Measure the agreement of a model's formats with fp32, and store it for precision auto."""
    from rembg_tuner.quantization.formats import measure_formats

    model = _own_name(arguments.name)
    machine, (cache, _) = read_machine(), open_cache()
    engine = arguments.engine or machine.best_engine
    found = measure_formats(
        model, engine, Path(arguments.pictures), machine=machine, cache=cache, tell=log
    )
    for precision, agreement in found.items():
        remember_agreement(model, engine, precision, agreement, cache, int8_kind=machine.int8_kind)
        if not arguments.json:
            emit(
                f"{model} {engine} {precision}: mean difference {agreement.mae:.4f} from fp32, IoU"
                f" {agreement.iou:.3f} ({agreement.pictures} judged)"
            )
    if arguments.json:
        rows = {precision: asdict(agreement) for precision, agreement in found.items()}
        emit_json({"model": model, "engine": engine, "agreement": rows})
    return DONE
