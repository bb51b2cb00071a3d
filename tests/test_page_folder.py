"""The page's own folder: private, with unguessable names, cleaned and removed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rembg_tuner.web.pages.page_folder import (
    MAX_AGE_S,
    MIN_AGE_S,
    PageFolder,
)

NOW_S = 2_000_000_000.0


def put(folder: Path, name: str, *, age_s: float, size: int = 10) -> Path:
    """Write a file with an age."""
    path = folder / name
    path.write_bytes(bytes(size))
    os.utime(path, (NOW_S - age_s, NOW_S - age_s))
    return path


def test_it_is_private_and_goes_with_the_server(tmp_path: Path) -> None:
    """The folder has mode 0700 and is removed with its content when the server stops."""
    with PageFolder(tmp_path) as folder:
        job = folder.new_job()
        assert [path.stat().st_mode & 0o777 for path in (folder.path, job)] == [0o700, 0o700]
        assert len(job.name) == 32
        put(job, "out.png", age_s=0)
        folder.start_sweeping()
    assert list(tmp_path.iterdir()) == []


def test_jobs_cannot_be_guessed(tmp_path: Path) -> None:
    """The names of 100 job folders differ."""
    with PageFolder(tmp_path) as folder:
        assert len({folder.new_job().name for _ in range(100)}) == 100


def test_what_is_older_than_an_hour_goes(tmp_path: Path) -> None:
    """An old file is removed, and its folder when it is empty and as old."""
    with PageFolder(tmp_path) as folder:
        old, new = folder.new_job(), folder.new_job()
        gone = put(old, "a.png", age_s=MAX_AGE_S + 1)
        kept = put(new, "b.png", age_s=MAX_AGE_S - 1)
        os.utime(old, (NOW_S - MAX_AGE_S - 1,) * 2)
        folder.sweep(NOW_S)
        assert (gone.exists(), kept.exists()) == (False, True)
        folder.sweep(NOW_S + 2**31)
        assert [path for path in folder.path.rglob("*") if path.is_file()] == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 5000)), min_size=1, max_size=12))
def test_the_oldest_go_until_the_rest_fits(tmp_path: Path, files: list[tuple[int, int]]) -> None:
    """Above the limit, only files younger than two minutes remain.

    The oldest files are removed first.
    """
    with PageFolder(tmp_path, max_bytes=6000) as folder:
        made = [
            put(folder.path, f"{i}.png", age_s=age, size=size)
            for i, (age, size) in enumerate(files)
        ]
        folder.sweep(NOW_S)
        kept = [i for i, path in enumerate(made) if path.exists()]
        total = sum(files[i][1] for i in kept)
        assert total <= 6000 or all(files[i][0] <= MIN_AGE_S for i in kept)
        gone_ages = [files[i][0] for i in range(len(files)) if i not in kept]
        assert all(age >= max((files[i][0] for i in kept), default=0) for age in gone_ages)


def test_links_are_not_followed(tmp_path: Path) -> None:
    """A link out of the folder is removed like a file, and its target remains."""
    outside = tmp_path / "outside"
    outside.mkdir()
    precious = put(outside, "precious", age_s=10 * MAX_AGE_S)
    with PageFolder(tmp_path) as folder:
        (folder.path / "link").symlink_to(outside)
        folder.sweep(NOW_S)
        assert precious.exists()
    assert precious.exists()


def test_a_dead_servers_folder_is_removed_at_the_next_start(tmp_path: Path) -> None:
    """The folder of a process that has exited is removed; other folders remain."""
    done = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        text=True,
        check=True,
    )
    dead = tmp_path / f"rembg-tuner-page-{done.stdout.strip()}-{'0' * 16}"
    alive = tmp_path / f"rembg-tuner-page-{os.getppid()}-{'0' * 16}"
    other = tmp_path / "rembg-tuner-page-notes"
    for path in (dead, alive, other):
        path.mkdir()
    put(dead, "left.png", age_s=1)
    with PageFolder(tmp_path):
        assert [path.exists() for path in (dead, alive, other)] == [False, True, True]


def test_a_folder_of_this_number_from_before_is_removed(tmp_path: Path) -> None:
    """A folder with this process ID that is older than the process is removed.

    In a container every server has process ID 1, so the ID alone does not identify the owner.
    """
    earlier = tmp_path / f"rembg-tuner-page-{os.getpid()}-{'0' * 16}"
    earlier.mkdir()
    os.utime(earlier, (1.0, 1.0))
    with PageFolder(tmp_path) as first, PageFolder(tmp_path) as second:
        assert not earlier.exists()
        assert first.path.is_dir()  # this process's own folder, younger than the process
        assert second.path.is_dir()
