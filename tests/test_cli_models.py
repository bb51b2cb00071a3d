"""`models` and `batch` as a user types them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import pyvips

from rembg_tuner.base.files import CACHE_VARIABLE
from rembg_tuner.cli.main import main
from rembg_tuner.models.agreement import agreement_with_fp32
from rembg_tuner.models.catalogue import read_catalogue, read_unfit

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def no_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set REMBG_HOME to a folder that does not exist, and return it."""
    monkeypatch.delenv("U2NET_HOME", raising=False)
    monkeypatch.setenv("REMBG_HOME", str(tmp_path / "rembg"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "rembg"


def test_every_model_is_listed(capsys: pytest.CaptureFixture[str], no_models: Path) -> None:
    """Each model has its name, state, size and licence; unsupported models have a reason."""
    assert main(["models", "list"]) == 0
    out = capsys.readouterr().out
    for name, entry in read_catalogue().items():
        assert name in out
        assert entry.licence in out
    assert all(reason in out for reason in read_unfit().values())
    assert "not for commercial use" in out
    assert main(["models", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in listed["models"]] == list(read_catalogue())
    assert [row["name"] for row in listed["models"] if row["path"]] == ["u2netp"]
    assert listed["unfit"] == read_unfit()


def test_models_on_disk_are_checked(capsys: pytest.CaptureFixture[str], no_models: Path) -> None:
    """The embedded model and its int8 forms are right.

    A wrong file is named, and the exit code is 1.
    """
    assert main(["models", "check"]) == 0
    out = capsys.readouterr().out
    assert "u2netp: right, checked by sha256" in out
    assert "u2netp int8 for openvino: right" in out
    place = no_models / "models" / "silueta"
    place.mkdir(parents=True)
    (place / "silueta.onnx").write_bytes(b"not it")
    assert main(["models", "check"]) == 1
    caught = capsys.readouterr()
    assert "u2netp: right" in caught.out
    assert "silueta.onnx (6 bytes) is not the released silueta" in caught.err


def test_a_model_is_got_by_name(
    capsys: pytest.CaptureFixture[str], no_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model on disk is reported; one that cannot be downloaded names the file and its place."""
    assert main(["models", "get", "u2netp"]) == 0
    assert "on disk already" in capsys.readouterr().out
    monkeypatch.setenv("REMBG_TUNER_MIRROR", "http://127.0.0.1:9")
    assert main(["models", "get", "silueta"]) == 1
    caught = capsys.readouterr().err
    assert f"at {no_models}/models/silueta/silueta.onnx by hand" in caught
    assert main(["models", "get", "nothing"]) == 1
    assert "model 'nothing' is not known" in capsys.readouterr().err


def test_a_model_that_cannot_be_got_does_not_keep_back_the_next(
    capsys: pytest.CaptureFixture[str], no_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models that fail are named, the others are fetched, and the exit code is 1."""
    monkeypatch.setenv("REMBG_TUNER_MIRROR", "http://127.0.0.1:9")
    names = ["nothing", "silueta", "birefnet-general-fp16", "u2net_lite"]
    assert main(["models", "get", *names]) == 1
    caught = capsys.readouterr()
    assert "u2netp: on disk already" in caught.out
    assert [line.split(";")[0].split(" cannot")[0] for line in caught.err.splitlines()] == [
        "rembg-tuner: model 'nothing' is not known",
        "rembg-tuner: http://127.0.0.1:9/silueta.onnx",
        (
            "rembg-tuner: model birefnet-general-fp16 is not available as a file: rembg makes it of"
            " birefnet-general: pip install 'rembg[fp16]', then run rembg with it once"
        ),
        "model u2net_lite is another name for u2netp",
    ]


def test_the_articles_name_is_understood_and_said(
    capsys: pytest.CaptureFixture[str], no_models: Path
) -> None:
    """u2net_lite is checked as u2netp, with its int8 forms."""
    assert main(["models", "check", "u2net_lite"]) == 0
    caught = capsys.readouterr()
    assert "u2netp: right, checked by sha256" in caught.out
    assert "u2netp int8 for openvino: right" in caught.out
    assert caught.err == "model u2net_lite is another name for u2netp\n"


def test_a_check_that_is_switched_off_is_told(
    capsys: pytest.CaptureFixture[str], no_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With rembg's variable, no file is called right; an own file has no released checksum."""
    own = no_models.parent / "own.onnx"
    own.write_bytes(b"own")
    monkeypatch.setenv("MODEL_CHECKSUM_DISABLED", "1")
    assert main(["models", "check", "u2netp", str(own)]) == 0
    out = capsys.readouterr().out
    assert (
        "u2netp: not checked: MODEL_CHECKSUM_DISABLED is set, which switches checking off; sha256"
        " 309c" in out
    )
    assert f"{own}: not checked: there is no released checksum of it; sha256 " in out
    assert "own file: right" not in out


@pytest.mark.slow
def test_agreement_is_measured_and_kept(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    astronaut: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The agreement of ncnn's bf16, which any CPU supports, is measured on one picture.

    The cache keeps it under the model's real name, u2netp.
    """
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.png").write_bytes(astronaut.read_bytes())
    words = [
        "models",
        "agreement",
        "u2net_lite",
        "--pictures",
        str(tmp_path / "one"),
        "--engine",
        "ncnn",
        "--json",
    ]
    assert main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["model"], said["engine"]) == ("u2netp", "ncnn")
    assert 0 < said["agreement"]["bf16"]["mae"] <= 0.02
    kept = agreement_with_fp32("u2netp", "ncnn", "bf16", tmp_path / "cache", int8_kind="vnni")
    assert kept is not None
    assert kept.mae == said["agreement"]["bf16"]["mae"]
    assert main([*words[:-2], "pytorch"]) == 2


def test_a_folder_is_cut_out_in_batches(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, astronaut: Path
) -> None:
    """Of five pictures in batches of two, four are done; the invalid one is named, with exit 1."""
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    whole = pyvips.Image.new_from_file(str(astronaut))
    for i in range(4):
        whole.crop(i * 20, 0, 300, 300).write_to_file(str(folder / f"{i}.png"))
    (folder / "2.5.png").write_bytes((folder / "0.png").read_bytes()[:5000])
    (folder / "notes.txt").write_text("no picture")
    words = [
        "batch",
        str(folder),
        "-o",
        str(out),
        "--engine",
        "onnxruntime",
        "--network-size",
        "128",
    ]
    assert main([*words, "--batch-size", "2", "--json"]) == 1
    caught = capsys.readouterr()
    document = json.loads(caught.out)
    runs, summary = document["runs"], document["summary"]
    counts = {"inputs": 6, "done": 4, "failed": 1, "skipped": 1, "not_run": 0, "batch_size": 2}
    assert summary.items() >= counts.items()
    [skipped] = document["skipped"]
    assert skipped["input"] == str(folder / "notes.txt")
    assert "is not a picture" in skipped["reason"]
    assert [run["input"].rsplit("/", 1)[1] for run in runs] == [
        "0.png",
        "1.png",
        "2.5.png",
        "2.png",
        "3.png",
    ]
    assert "2.5.png" in caught.err
    done = [run for run in runs if "output" in run]
    assert len(done) == 4
    assert summary["cpu_s"] == pytest.approx(sum(run["cpu_s"] for run in done))
    assert summary["peak_rss_bytes"] == max(run["peak_rss_bytes"] for run in done)
    assert summary["pictures_per_s"] == pytest.approx(4 / summary["elapsed_s"])
    for run in done:
        assert run["effective"]["batch_size"] == 2
        assert sum(run["stages_s"].values()) == pytest.approx(run["total_s"], rel=0.06, abs=0.03)
    assert sorted(path.name for path in out.iterdir()) == ["0.png", "1.png", "2.png", "3.png"]
    kept = {path.name: path.read_bytes() for path in out.iterdir()}
    assert main(words) == 1  # one picture per batch
    said = capsys.readouterr().out
    assert "4 of 6 inputs cut out (1 failed, 1 skipped) in " in said
    for name, content in kept.items():
        one = pyvips.Image.new_from_buffer(content, "")
        other = pyvips.Image.new_from_file(str(out / name))
        assert (one[3] - other[3]).abs().max() <= 1


def test_a_batch_of_nothing_is_misuse(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """An empty folder is reported before any worker starts."""
    assert main(["batch", str(tmp_path), "-o", str(tmp_path / "out")]) == 2
    assert "there are no pictures in" in capsys.readouterr().err
