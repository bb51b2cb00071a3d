"""The command line's grammar; every knob's flag is derived from its declaration."""

from __future__ import annotations

import argparse
from typing import NoReturn

from rembg_tuner import __version__
from rembg_tuner.base.escapes import escape_text
from rembg_tuner.base.units import parse_seconds
from rembg_tuner.cli.history import add_ignore_history
from rembg_tuner.cli.readers import (
    list_reader_of,
    named,
    read_agreement_budget,
    read_count,
    read_count_or_none,
    read_memory_budget,
    read_overlap,
    read_seed,
    read_share,
    read_time_budget,
    reader_of,
)
from rembg_tuner.cli.streams import STREAM_FORMATS
from rembg_tuner.models.catalogue import INT8_ENDINGS
from rembg_tuner.settings.presets import DEFAULT_PRESET
from rembg_tuner.settings.settings import KNOBS, default_text, flag_of, type_of
from rembg_tuner.tuning.budgets import LOOKS_RIGHT
from rembg_tuner.tuning.stats import CONFIRMING, MIN_VERDICT_RUNS, VERIFY_ROUNDS


class _Parser(argparse.ArgumentParser):
    """Writes a misuse with the words of the command line escaped."""

    def error(self, message: str) -> NoReturn:
        """Write usage and message, and exit with 2."""
        super().error(escape_text(message))


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """Make the parser of all commands, or of one of them, which takes a fifth of the time.

    Args:
        command: the command line's first word; where it is no command, all are made, as its help
            and errors need.
    """
    parser: argparse.ArgumentParser = _Parser(
        prog="rembg-tuner",
        description="Find the cheapest background removal that still looks right.",
        epilog=(
            "exit codes: 0 done, 1 failed, 2 misuse, 124 timed out, 129 hung up, 130 interrupted,"
            " 143 terminated"
        ),
    )
    parser.add_argument("--version", action="version", version=f"rembg-tuner {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add = {
        "cut": _add_cut,
        "presets": _add_presets,
        "doctor": _add_doctor,
        "batch": _add_batch,
        "models": _add_models,
        "bench": _add_bench,
        "compare": _add_compare,
        "sweep": _add_sweep,
        "recommend": _add_recommend,
        "export": _add_export,
        "article": _add_article,
        "soak": _add_soak,
        "verify": _add_verify,
    }
    for name in [command] if command in add else add:
        add[name](commands)
    return parser


def _add_presets(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `presets`."""
    presets = commands.add_parser("presets", help="list the presets and what was measured of them")
    presets.add_argument("--json", action="store_true", help="print one JSON document")


def _add_doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `doctor`."""
    doctor = commands.add_parser("doctor", help="tell what this machine has and what is installed")
    doctor.add_argument(
        "--time",
        nargs="?",
        const="",
        metavar="MODEL",
        help=(
            "time the number formats of a model here, for precision auto; default: of those on"
            " disk; some seconds each for u2netp"
        ),
    )
    doctor.add_argument("--json", action="store_true", help="print one JSON document")


def _add_cut(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `cut`."""
    cut = commands.add_parser(
        "cut",
        help="cut pictures out, and tell what it took",
        description="Cut pictures out of their background, one at a time, each measured.",
    )
    cut.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="JPEG, PNG, WebP, AVIF, TIFF, BMP or GIF; -: standard input, for one picture",
    )
    cut.add_argument(
        "-o",
        "--output",
        metavar="FILE|DIR",
        help=(
            "where to write: a file (.png, .webp, .jpg), a folder for <stem>.png, or - for standard"
            " output; default: <stem>.cutout.png beside each picture, and standard output for"
            " standard input"
        ),
    )
    cut.add_argument(
        "--format",
        choices=STREAM_FORMATS,
        help=f"of standard output; default: {STREAM_FORMATS[0]}",
    )
    cut.add_argument(
        "--repeat",
        type=read_count,
        default=1,
        metavar="N",
        help="run each picture N times; default: 1",
    )
    _add_common(cut)
    add_knobs(cut)


def _add_batch(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `batch`."""
    batch = commands.add_parser(
        "batch",
        help="cut out a folder of pictures, several at once through the network",
        description=(
            "Cut out every picture of a folder, --batch-size of them at once through the network."
        ),
    )
    batch.add_argument("images", nargs="+", metavar="DIR|FILE", help="folders, or pictures")
    batch.add_argument(
        "-o", "--output", metavar="DIR", required=True, help="the folder for <stem>.png"
    )
    _add_common(batch)
    add_knobs(batch)


def _add_common(command: argparse.ArgumentParser) -> None:
    """Declare what commands that cut pictures out share."""
    command.add_argument(
        "--preset", metavar="NAME", help=f"start from a preset; default: {DEFAULT_PRESET}"
    )
    command.add_argument(
        "--background",
        metavar="COLOUR",
        help="put it on a colour: white, #rrggbb; default: transparent",
    )
    add_ignore_history(command)
    command.add_argument("--json", action="store_true", help="print one JSON document")


def _add_compare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `compare`."""
    compare = commands.add_parser(
        "compare",
        help="two to six presets on one picture: time, peak, agreement, and where they differ",
        description=(
            "Measure presets on one picture, each in a worker of its own, and compare their mattes."
        ),
    )
    compare.add_argument("image", metavar="IMAGE", help="the picture")
    compare.add_argument(
        "--presets", required=True, metavar="A,B,...", help="two to six presets' names"
    )
    compare.add_argument(
        "--reference",
        default="",
        metavar="PRESET|MODEL|MASK|DIR",
        help=(
            "what agreement is measured against; of a folder the mask named as the picture;"
            " default: the first preset"
        ),
    )
    compare.add_argument(
        "--rounds",
        type=read_count,
        default=3,
        metavar="N",
        help="timed runs of each, after a warm-up; default: 3",
    )
    compare.add_argument(
        "-o", "--output", metavar="DIR", help="keep cut-outs, maps of differences and compare.json"
    )
    add_ignore_history(compare)
    compare.add_argument("--json", action="store_true", help="print one JSON document")


def _add_sweep(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `sweep`."""
    sweep = commands.add_parser(
        "sweep",
        help="measure many settings on your pictures, and recommend one",
        description=(
            "Measure every setting that the axes make, each in a worker of its own, and recommend"
            " one. An axis is a knob with several values: --engine onnxruntime,openvino"
            " --network-size 192,256,320."
        ),
    )
    sweep.add_argument(
        "images",
        nargs="*",
        metavar="IMAGE",
        help="pictures of your kind, or folders of them; with --resume the sweep's own",
    )
    sweep.add_argument(
        "--preset", metavar="NAME", help="gives the knobs that are no axis; default: the knobs' own"
    )
    sweep.add_argument(
        "--trials",
        type=read_count,
        metavar="N",
        help="measure N of them, chosen by a guided search (Optuna's TPE); default: all",
    )
    sweep.add_argument(
        "--rounds",
        type=read_count,
        metavar="N",
        help="timed runs of each picture in a trial, after a warm-up; default: 3",
    )
    sweep.add_argument(
        "--confirm",
        type=read_count_or_none,
        metavar="N",
        help=(
            "workers in which the best are measured again at the end, the recommended one first;"
            f" 0: none; default: {CONFIRMING}"
        ),
    )
    sweep.add_argument(
        "--reference",
        metavar="PRESET|MODEL|MASK|DIR",
        help=(
            "what agreement is measured against; of a folder the masks named as the pictures;"
            " default: the model in fp32 at its own size"
        ),
    )
    sweep.add_argument(
        "--seed", type=read_seed, metavar="N", help="of the order of trials; default: 0"
    )
    sweep.add_argument(
        "--again", action="store_true", help="measure anew what was measured on this machine before"
    )
    sweep.add_argument(
        "--resume",
        action="store_true",
        help=(
            "go on with the sweep in -o, with all settings of its plan.json; budgets, --confirm and"
            " more --trials may be given anew"
        ),
    )
    sweep.add_argument(
        "-o",
        "--output",
        default="sweep",
        metavar="DIR",
        help="where trials and report go; default: sweep",
    )
    add_ignore_history(sweep)
    sweep.add_argument("--json", action="store_true", help="print one JSON document")
    _add_budgets(sweep)
    axes = sweep.add_argument_group("axes", "each a list of values, by commas")
    for name, knob in KNOBS.items():
        axes.add_argument(
            flag_of(name),
            dest=f"knob_{name}",
            type=named(list_reader_of(name), "list"),  # type: ignore[arg-type]  # as every reader here
            metavar="V,V,...",
            help=f"{knob.summary}".replace("%", "%%"),
        )


def _add_recommend(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `recommend`."""
    recommend = commands.add_parser(
        "recommend", help="choose of a sweep's trials under other budgets; measures nothing"
    )
    recommend.add_argument("folder", metavar="DIR", help="a sweep's folder")
    recommend.add_argument("--json", action="store_true", help="print one JSON document")
    _add_budgets(recommend)


def _add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `export`."""
    from rembg_tuner.export.values import TARGETS

    export = commands.add_parser(
        "export", help="write what runs a preset, or what a sweep recommends, elsewhere"
    )
    export.add_argument("preset", metavar="PRESET|DIR", help="a preset's name, or a sweep's folder")
    export.add_argument("--to", required=True, choices=TARGETS, help="what is to run it")
    export.add_argument("-o", "--output", metavar="FILE|DIR", help="default: standard output")
    export.add_argument(
        "--setting",
        metavar="N|LABEL",
        help=(
            "of a sweep's folder, take this trial, by its number or its label as `recommend DIR`"
            " prints them, whatever it misses"
        ),
    )
    export.add_argument(
        "--allow-misses",
        action="store_true",
        help=(
            "where nothing fits the budgets, take the setting that is nearest to them; without"
            " this, or --setting, nothing is written then"
        ),
    )
    _add_budgets(export, "choose of a sweep's trials under other budgets than the sweep's own")


def _add_article(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `article`."""
    article = commands.add_parser(
        "article",
        help="measure the article's tuning table here: u2net as rembg ships it, then ours",
    )
    article.add_argument("image", nargs="?", metavar="IMAGE", help="default: a 1080p product shot")
    article.add_argument(
        "--rounds",
        type=read_count,
        default=7,
        metavar="N",
        help="timed runs of each row; default: %(default)s",
    )
    article.add_argument(
        "--stand-in",
        action="store_true",
        help=(
            "u2net's file is a stand-in of its size and speed: its row is composed with u2netp's"
            " matte, and the article's claim is not judged"
        ),
    )
    article.add_argument("-o", "--output", metavar="DIR", help="write article.md and article.json")
    article.add_argument("--json", action="store_true", help="print one JSON document")


def _add_soak(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `soak`."""
    soak = commands.add_parser(
        "soak", help="many runs in one worker: does memory grow, how many pictures a day"
    )
    soak.add_argument("images", nargs="+", metavar="IMAGE", help="pictures, run in turn")
    soak.add_argument(
        "--runs",
        type=read_count,
        default=MIN_VERDICT_RUNS,
        metavar="N",
        help="default: %(default)s, below which there is no verdict on growth",
    )
    soak.add_argument(
        "--idle",
        type=named(parse_seconds, "duration"),  # type: ignore[arg-type]
        default=2.0,
        metavar="TIME",
        help="waited at the end, before what stays is read; default: 2s",
    )
    soak.add_argument("--preset", metavar="NAME", help=f"default: {DEFAULT_PRESET}")
    soak.add_argument("-o", "--output", metavar="DIR", help="write soak.json and soak.svg")
    add_ignore_history(soak)
    soak.add_argument("--json", action="store_true", help="print one JSON document")
    add_knobs(soak)


def _add_verify(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `verify`."""
    verify = commands.add_parser(
        "verify",
        help="measure a saved preset again and compare it with its record; 1 outside the range",
        description=(
            "Measure a saved preset again in a new worker, a warm-up left out, and compare time,"
            " peak and matte with its record: after an upgrade of an engine, or on another machine."
            " Exits with 1 where one is outside its range."
        ),
    )
    verify.add_argument(
        "preset",
        metavar="PRESET|FILE",
        help="a preset's name, or a file of presets as export --to preset writes it",
    )
    verify.add_argument(
        "images",
        nargs="*",
        metavar="IMAGE",
        help=(
            "the pictures that it was measured on, or their folder; default: those beside FILE; the"
            " presets of presets.yaml need none"
        ),
    )
    verify.add_argument(
        "--rounds",
        type=read_count,
        default=VERIFY_ROUNDS,
        metavar="N",
        help="timed runs of each picture, after a warm-up; default: %(default)s",
    )
    verify.add_argument(
        "--time-range",
        type=named(read_share, "share"),  # type: ignore[arg-type]
        metavar="PERCENT",
        help=(
            "a run may be slower than recorded by so much; given, it is compared on another kind of"
            " CPU too; default: 25%%"
        ),
    )
    verify.add_argument(
        "--peak-range",
        type=named(read_share, "share"),  # type: ignore[arg-type]
        metavar="PERCENT",
        help="the same of the peak; default: 10%%",
    )
    verify.add_argument(
        "--matte-range",
        type=named(read_overlap, "overlap"),  # type: ignore[arg-type]
        default=0.99,
        metavar="IOU",
        help="minimum overlap of each matte with the recorded one, 0 to 1; default: %(default)s",
    )
    verify.add_argument("--json", action="store_true", help="print one JSON document")


def _add_budgets(command: argparse.ArgumentParser, description: str | None = None) -> None:
    """Declare what a setting may cost."""
    budgets = command.add_argument_group("budgets", description)
    budgets.add_argument(
        "--max-memory",
        type=named(read_memory_budget, "size"),  # type: ignore[arg-type]
        metavar="SIZE",
        help="peak, such as 520MiB or 545MB; any lifts it; default: any",
    )
    budgets.add_argument(
        "--max-latency",
        type=named(read_time_budget, "duration"),  # type: ignore[arg-type]
        metavar="TIME",
        help="median of a run, such as 300ms; any lifts it; default: any",
    )
    budgets.add_argument(
        "--min-agreement",
        type=read_agreement_budget,
        metavar="IOU",
        help=f"with the reference, 0 to 1; any lifts it; default: {LOOKS_RIGHT}",
    )
    budgets.add_argument(
        "--commercial",
        action=argparse.BooleanOptionalAction,
        default=None,
        help=(
            "only models whose licence allows commercial use; --no-commercial lifts it; default:"
            " any licence"
        ),
    )


def _add_models(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `models` and what it does."""
    models = commands.add_parser("models", help="list, get, check and quantise models")
    actions = models.add_subparsers(dest="action", required=True, metavar="ACTION")
    every = actions.add_parser("list", help="which there are, which are on disk, their licences")
    every.add_argument("--json", action="store_true", help="print one JSON document")
    get = actions.add_parser("get", help="download models to where rembg keeps them, checked")
    get.add_argument("names", nargs="+", metavar="NAME")
    check = actions.add_parser("check", help="hold the files on disk against their checksums")
    check.add_argument("names", nargs="*", metavar="NAME", help="default: all that are on disk")
    quantize = actions.add_parser(
        "quantize",
        help="make a model's int8 form, calibrated on your pictures",
        description=(
            "Make NAME-int8.onnx and the record of how it was made; finds by itself what must stay"
            " in fp32. Takes minutes at 320 px, and can take hours at 1024 px."
        ),
    )
    quantize.add_argument("name", metavar="NAME", help="a model, or a path to an .onnx file")
    quantize.add_argument("--pictures", required=True, metavar="DIR", help="pictures of your kind")
    quantize.add_argument(
        "--engine",
        choices=list(INT8_ENDINGS),
        default=next(iter(INT8_ENDINGS)),
        help="whose fusions it is made for; default: %(default)s",
    )
    quantize.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        help="default: where rembg keeps the model, or beside an own file",
    )
    quantize.add_argument(
        "--least-iou",
        type=float,
        default=0.97,
        metavar="IOU",
        help="the search ends when agreement with fp32 is this high; default: %(default)s",
    )
    quantize.add_argument(
        "--most-difference",
        type=float,
        default=0.02,
        metavar="MAE",
        help="and the mean difference this low; default: %(default)s",
    )
    quantize.add_argument("--json", action="store_true", help="print one JSON document")
    agreement = actions.add_parser(
        "agreement",
        help="measure how a model's number formats agree with fp32, for precision auto",
    )
    agreement.add_argument("name", metavar="NAME", help="a model, or a path to an .onnx file")
    agreement.add_argument("--pictures", required=True, metavar="DIR", help="pictures of your kind")
    agreement.add_argument("--engine", metavar="NAME", help="default: the best installed")
    agreement.add_argument("--json", action="store_true", help="print one JSON document")


def _add_bench(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `bench`."""
    bench = commands.add_parser(
        "bench",
        help="measure ours against stock rembg, in turn, on pictures that it makes",
        description=(
            "Measure stock rembg and ours in turn (A B A B) at 1080p, 12 and 48 MP. Takes about ten"
            " minutes; wants a quiet machine."
        ),
    )
    bench.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        default="benchmarks/results",
        help="where the JSON goes; default: benchmarks/results",
    )
    bench.add_argument(
        "--rounds",
        type=read_count,
        default=7,
        metavar="N",
        help="warm runs of each setting on each picture, at 48 MP at most 5; default: %(default)s",
    )
    bench.add_argument(
        "--before",
        metavar="DIR",
        help="a checkout of an earlier release with its own .venv: its runs go in turn with ours",
    )
    bench.add_argument(
        "--avx2",
        action="store_true",
        help=(
            "hold OpenVINO to AVX2, for figures near those of a CPU without VNNI, bf16 and AMX;"
            " stock's ONNX Runtime cannot be held"
        ),
    )
    bench.add_argument("--quick", action="store_true", help="1080p only, three rounds")
    bench.add_argument(
        "--presets",
        action="store_true",
        help="measure the presets and write them to presets.yaml instead",
    )
    bench.add_argument("--json", action="store_true", help="print the JSON document too")


def add_knobs(parser: argparse.ArgumentParser) -> None:
    """Give a parser one flag for each knob."""
    groups: dict[str, argparse._ArgumentGroup] = {}
    for name, knob in KNOBS.items():
        if knob.group not in groups:
            groups[knob.group] = parser.add_argument_group(knob.group)
        default = default_text(name)
        allowed = "" if type_of(name) is bool else f" ({knob.allowed_text()})"
        options: dict[str, object] = {
            "dest": f"knob_{name}",
            "default": None,
            "help": f"{knob.summary}{allowed}; default: {default}".replace("%", "%%"),
        }
        if type_of(name) is bool:
            options["action"] = argparse.BooleanOptionalAction
        else:
            options["type"] = reader_of(name)
            options["metavar"] = knob.unit.upper() or name.upper()
        groups[knob.group].add_argument(flag_of(name), **options)  # type: ignore[arg-type]  # a table of keyword arguments
