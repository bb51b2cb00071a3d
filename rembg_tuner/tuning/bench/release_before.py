"""Run the previous release from its own checkout and virtual environment, for comparison."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rembg_tuner.base.child_process import ChildProcess
from rembg_tuner.base.errors import EngineError, SettingsError
from rembg_tuner.base.files import CACHE_VARIABLE
from rembg_tuner.base.messages import Message, Quoted

if TYPE_CHECKING:
    from rembg_tuner.tuning.bench.contestants import Contestant

_DRIVER = Path(__file__).with_name("release_driver.py")
_ANSWER_TIMEOUT_S = 300.0  # a first start compiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A release as named in results, without its folder.

    Attributes:
        version: its version number.
        commit: abbreviated hash; None outside a git checkout.
    """

    version: str
    commit: str | None

    @property
    def text(self) -> str:
        """The release as text."""
        return f"{self.version}, commit {self.commit}" if self.commit else self.version


class ReleaseBefore:
    """A driver process in the interpreter of another checkout. Use it with `with`."""

    def __init__(self, folder: Path, cache: Path) -> None:
        """Start the driver, and check that it runs the release of the folder.

        Args:
            folder: the checkout, which has .venv/bin/python.
            cache: a separate cache folder, so that the two releases do not share compiled models.

        Raises:
            SettingsError: the folder does not contain such a checkout.
        """
        self.python = folder / ".venv" / "bin" / "python"
        if not self.python.is_file() or not (folder / "rembg_tuner").is_dir():
            raise SettingsError(
                [
                    Message(
                        "--before needs a checkout of an earlier release with its own .venv, and"
                        " {folder} has no .venv/bin/python or no rembg_tuner/; make one: git"
                        " worktree add DIR COMMIT && make -C DIR test",
                        folder=folder,
                    )
                ]
            )
        self.environment = {
            **{name: text for name, text in os.environ.items() if name != "PYTHONPATH"},
            "PYTHONPATH": str(folder.resolve()),
            CACHE_VARIABLE: str(cache),
        }
        self._process = ChildProcess((str(self.python), "-P", str(_DRIVER)), self.environment)
        hello = self._ask({"op": "hello"})
        if Path(hello["folder"]).resolve() != folder.resolve():
            self._process.close()
            raise SettingsError(
                [
                    Message(
                        "--before {folder}: its .venv imports rembg_tuner from {other} instead",
                        folder=folder,
                        other=Path(hello["folder"]),
                    )
                ]
            )
        self.release = Release(version=hello["version"], commit=commit_of(folder))

    def __enter__(self) -> Self:
        """Return the running driver."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the driver and its workers."""
        self._process.close()

    def run(self, one: Contestant, picture: Path, output: Path) -> dict[str, Any]:
        """Run a picture in the previous release's worker for a contestant.

        Returns:
            The fields of its Result.

        Raises:
            EngineError: the run failed.
        """
        answer = self._ask(
            {
                "op": "run",
                "name": one.name,
                "settings": one.settings.changed(),
                "input": str(picture),
                "output": str(output),
            }
        )
        if "total_s" not in answer:
            raise EngineError(
                Message(
                    "{contestant} failed: {reason}",
                    contestant=one.name,
                    reason=Quoted(str(answer.get("error") or answer.get("message"))),
                )
            )
        return answer

    def restart(self, one: Contestant) -> None:
        """Stop the worker of a contestant; the next run starts another."""
        self._ask({"op": "restart", "name": one.name})

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request to the driver, and return its answer.

        Raises:
            EngineError: it has ended, or did not answer in time.
        """
        try:
            return self._process.ask(request, _ANSWER_TIMEOUT_S)
        except (OSError, ValueError) as error:
            self._process.close()
            raise EngineError(
                Message(
                    "the release before did not answer: {reason}; releases from 0.1.0 on can be"
                    " compared with",
                    reason=Quoted(str(error)),
                )
            ) from error


def commit_of(folder: Path) -> str | None:
    """Return the abbreviated commit hash of a folder; None outside a checkout."""
    asked = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    return asked.stdout.strip() or None
