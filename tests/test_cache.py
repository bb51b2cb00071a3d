"""The cache folder, and files that replace others in one step."""

from __future__ import annotations

import errno
import os
import pwd
import stat
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rembg_tuner.base.files import (
    CACHE_VARIABLE,
    has_its_sum,
    making_folder,
    open_cache,
    replacing,
    user_cache_folder,
    write_sum,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rembg_tuner.base.messages import Message


def mode_of(path: Path) -> int:
    """Return a file's permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def open_umask() -> Iterator[None]:
    """Set the umask to 0 during a test."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_the_cache_is_the_folder_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """$REMBG_TUNER_CACHE overrides the user's cache folder; missing folders are created."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "a" / "b"))
    assert open_cache() == (tmp_path / "a" / "b", ())
    assert (tmp_path / "a" / "b").is_dir()
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.usefixtures("open_umask")
def test_the_cache_is_its_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new cache folder has mode 0700, whatever the umask."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    folder, _ = open_cache()
    assert mode_of(folder) == 0o700


def test_a_cache_that_is_there_is_used_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An existing cache folder keeps its files."""
    (tmp_path / "kept.blob").write_bytes(b"1")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    assert open_cache() == (tmp_path, ())
    assert [path.name for path in tmp_path.iterdir()] == ["kept.blob"]


@pytest.mark.parametrize(
    ("system", "environment", "folder"),
    [
        pytest.param("linux", {"XDG_CACHE_HOME": "/x"}, "/x/rembg-tuner", id="xdg"),
        pytest.param("linux", {}, "/home/ann/.cache/rembg-tuner", id="linux"),
        pytest.param("linux", {"XDG_CACHE_HOME": ""}, "/home/ann/.cache/rembg-tuner", id="empty"),
        pytest.param("darwin", {}, "/home/ann/Library/Caches/rembg-tuner", id="macos"),
        pytest.param("linux", {CACHE_VARIABLE: "/c", "XDG_CACHE_HOME": "/x"}, "/c", id="named"),
        pytest.param("linux", {CACHE_VARIABLE: "~/c"}, "/home/ann/c", id="home-sign"),
    ],
)
def test_where_the_cache_is_follows_the_system(
    monkeypatch: pytest.MonkeyPatch, system: str, environment: dict[str, str], folder: str
) -> None:
    """The environment variables come first, then the system's usual place for caches."""
    for name in (CACHE_VARIABLE, "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/ann")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", system)
    assert user_cache_folder() == Path(folder)


def assert_scratch(folder: Path, warnings: tuple[Message, ...], reason: str) -> None:
    """Check that a temporary cache is writable and private, and that a warning names it."""
    assert folder.is_relative_to(tempfile.gettempdir())
    assert mode_of(folder) == 0o700
    (folder / "probe").write_bytes(b"1")
    (folder / "probe").unlink()
    assert len(warnings) == 1
    assert reason in str(warnings[0])
    assert f"set {CACHE_VARIABLE} to a folder that can" in str(warnings[0])
    assert warnings[0].code == "cache_unavailable"


@pytest.mark.parametrize(
    ("below", "reason"),
    [
        pytest.param("file", "File exists", id="a-file-in-its-place"),
        pytest.param("file/cache", "Not a directory", id="a-file-above-it"),
    ],
)
def test_a_cache_that_cannot_be_made_is_a_warning_and_a_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str, reason: str
) -> None:
    """The run continues in a temporary folder.

    The warning names the folder, the reason and the remedy.
    """
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / below))
    folder, warnings = open_cache()
    assert_scratch(folder, warnings, f"{tmp_path / below} cannot be written ({reason})")


def test_a_cache_on_a_read_only_disk_is_a_warning_and_a_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An existing folder that cannot be written is detected when the cache is opened."""

    def refuse(dir: Path) -> None:  # noqa: A002  # tempfile's own name for it
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(dir))

    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    folder, warnings = open_cache()
    assert_scratch(folder, warnings, f"{tmp_path} cannot be written (Read-only file system)")


def test_a_user_without_a_home_is_a_warning_and_a_stand_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A container's user without an entry in passwd has no home, and the run still works."""

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    for name in (CACHE_VARIABLE, "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    folder, warnings = open_cache()
    assert_scratch(folder, warnings, "the user has no home folder")


def test_the_stand_in_is_one_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process gets the same temporary folder at each call, so its files are found again."""
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    assert open_cache()[0] == open_cache()[0]


def test_a_file_takes_the_others_place_only_at_the_end(tmp_path: Path) -> None:
    """Readers see the old file until the block ends, then the new one; no other file is left."""
    path = tmp_path / "cutout.png"
    path.write_bytes(b"old")
    with replacing(path) as file:
        file.write(b"new, " * 100_000)
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new, " * 100_000
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_keeps_the_file_it_opened(tmp_path: Path) -> None:
    """The file is replaced by rename, so a reader that has it open still reads the old content."""
    path = tmp_path / "cutout.png"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        with replacing(path) as file:
            file.write(b"new")
        assert reader.read() == b"old"


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
def test_an_error_leaves_all_as_it_was(tmp_path: Path, error: type[BaseException]) -> None:
    """The old file stays, the partial file is deleted, and the error is raised."""
    path = tmp_path / "cutout.png"
    path.write_bytes(b"old")

    def write_half() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_no_new_file(tmp_path: Path) -> None:
    """No file is created if an error occurs."""
    with pytest.raises(ValueError, match="stop"), replacing(tmp_path / "a.png"):
        raise ValueError("stop")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_regular_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root's `-o /dev/stdout` or `-o /dev/full` must not replace the device for every process."""
    pipe, link = tmp_path / "pipe", tmp_path / "null"
    os.mkfifo(pipe)
    link.symlink_to("/dev/null")
    (tmp_path / "devices").mkdir()
    stream = tmp_path / "devices" / "stdout"
    (tmp_path / "redirected").write_text("before")
    stream.symlink_to(tmp_path / "redirected")
    monkeypatch.setattr("rembg_tuner.base.files._DEVICES", tmp_path / "devices")
    for path in (pipe, link, stream):
        with pytest.raises(OSError, match="device, a pipe or a socket"), replacing(path) as file:
            file.write(b"new")
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert link.is_symlink()
    assert stream.is_symlink()
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".part"]


def test_a_folder_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    """The rename fails, the folder stays, and no other file is left."""
    (tmp_path / "out").mkdir()
    with pytest.raises(IsADirectoryError), replacing(tmp_path / "out") as file:
        file.write(b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out").is_dir()


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """A missing folder is not created."""
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "absent" / "a.png"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("umask", "mode"),
    [pytest.param(0o022, 0o644, id="022"), pytest.param(0o077, 0o600, id="077")],
)
def test_a_files_permissions_follow_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    """A cut-out has the permissions of any new file of the user."""
    before = os.umask(umask)
    try:
        with replacing(tmp_path / "a.png") as file:
            file.write(b"1")
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "a.png") == mode


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("a" * 251 + ".png", id="255-letters"),
        pytest.param("抠" * 83 + ".png", id="253-bytes-of-chinese"),
        pytest.param("🐈" * 62 + ".png", id="252-bytes-of-cats"),
    ],
)
def test_the_longest_names_can_be_written(tmp_path: Path, name: str) -> None:
    """Every file name that the file system accepts has a temporary name that it accepts."""
    with replacing(tmp_path / name) as file:
        file.write(b"1")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    """Each writer has its own temporary name; the last to finish wins with a complete file."""
    path = tmp_path / "a.png"
    with replacing(path) as one:
        one.write(b"one")
        with replacing(path) as other:
            other.write(b"other")
        assert path.read_bytes() == b"other"
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_has_its_sum_until_it_is_damaged(tmp_path: Path) -> None:
    """A checksum fails for a changed, short or missing file, and a missing or invalid checksum."""
    path, content = tmp_path / "graph.onnx", bytes(range(256)) * 2000
    path.write_bytes(content)
    assert not has_its_sum(path)
    write_sum(path)
    assert has_its_sum(path)
    for damaged in (content[:300_000] + b"\x00" + content[300_001:], content[:-1], b""):
        path.write_bytes(damaged)
        assert not has_its_sum(path)
    path.unlink()
    assert not has_its_sum(path)
    path.write_bytes(content)
    assert has_its_sum(path)
    for rubbish in (b"", b"\xff\xfe", b"0 0 0"):
        (tmp_path / "graph.onnx.crc32").write_bytes(rubbish)
        assert not has_its_sum(path)


def test_what_a_killed_process_left_is_swept_out_once_it_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old temporary files and folders are deleted; new ones and finished files stay."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    old = tmp_path / f".onnxruntime-1.{'0' * 16}.part"
    new = tmp_path / f".onnxruntime-1.{'1' * 16}.part"
    kept = tmp_path / "onnxruntime-1.onnx"
    for path in (old, new, kept):
        path.write_bytes(b"graph")
    with making_folder(tmp_path) as made:
        old_folder = made.with_name(".making-killed")
    new_folder = tmp_path / ".making-now"
    for folder in (old_folder, new_folder):
        folder.mkdir()
        (folder / "halved.xml").write_bytes(b"graph")
    for path in (old, kept, old_folder):
        os.utime(path, (1e9, 1e9))
    open_cache()
    assert sorted(tmp_path.iterdir()) == sorted([new, kept, new_folder])
