"""Run a command in a fresh home folder, and list what it contacts and which files it writes.

Two observers work together: an audit hook in every Python of the command, and strace where it is
installed, which also sees native libraries. `.ci/run` installs strace.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Python imports this file at its start, since its folder is on PYTHONPATH.
_HOOK = """
import os, sys

_log = os.open(os.environ["WATCHED_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
_sockets = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.connect", "socket.sendto"}

def _hook(event, arguments):
    if event in _sockets:
        os.write(_log, f"{event}\\t{arguments[-1] if event in ('socket.connect', 'socket.sendto') else arguments[0]}\\n".encode())
    elif event == "open" and isinstance(arguments[0], (str, bytes)) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        os.write(_log, b"open\\t" + os.path.abspath(os.fsencode(arguments[0])) + b"\\n")

sys.addaudithook(_hook)
"""
_STRACE = (
    "strace",
    "-ff",
    "-qq",
    "-y",
    "-s",
    "256",
    "--seccomp-bpf",
    "-e",
    "trace=connect,sendto,sendmsg,sendmmsg,openat,creat",
)
_ADDRESS = re.compile(r'inet_(?:addr\("|pton\(AF_INET6, ")([^"]+)"')
_OPENED = re.compile(r"^(?:openat|creat)\(.* = \d+<(.+)>$")
_LOOKS_UP = re.compile(r'^openat\(.*"(/etc/resolv\.conf|/etc/hosts)"')
# Also a semaphore, which is deleted at once, and files that libraries write in their own folder:
# compiled code.
_SYSTEM = (
    "/dev/null",
    "/dev/tty",
    "/dev/shm/sem.",
    "/proc/",
    "pipe:",
    "socket:",
    "anon_inode:",
    sys.prefix,
)


@dataclass(frozen=True, slots=True)
class Watched:
    """The folders of a command, and what was observed of it.

    Attributes:
        home: the home folder, empty at the start.
        scratch: the folder for temporary files.
        work: the working folder, where the output is written.
        logs: the audit hook and the observers' logs.
    """

    home: Path
    scratch: Path
    work: Path
    logs: Path

    @classmethod
    def under(cls, folder: Path) -> Watched:
        """Create the folders inside `folder`."""
        made = cls(*(folder / name for name in ("home", "scratch", "work", "logs")))
        for path in (made.home, made.scratch, made.work, made.logs):
            path.mkdir()
        return made

    def environment(self) -> dict[str, str]:
        """Return an environment without the settings of this machine's user."""
        hook = self.logs / "hook"
        hook.mkdir(exist_ok=True)
        (hook / "sitecustomize.py").write_text(_HOOK, encoding="utf-8")
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(self.home),
            "TMPDIR": str(self.scratch),
            "PYTHONPATH": str(hook),
            "PYTHONDONTWRITEBYTECODE": "1",
            "WATCHED_LOG": str(self.logs / "audit"),
        }

    def command(self, words: Sequence[str]) -> list[str]:
        """Return the command line of `words`, run under strace if it works."""
        traced = [*_STRACE, "-o", str(self.logs / "strace")] if has_strace() else []
        return [*traced, *words]

    def run(self, *words: str, timeout_s: float = 100) -> subprocess.CompletedProcess[str]:
        """Run a command until it exits."""
        return subprocess.run(
            self.command(words),
            cwd=self.work,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command; `end` ends it."""
        return subprocess.Popen(
            self.command(words),
            cwd=self.work,
            env=self.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """End a command with SIGTERM; strace ignores it, and exits with its processes."""
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)

    def contacts(self) -> list[str]:
        """List the name look-ups, and the contacted addresses outside this machine."""
        return sorted({*self._python_contacts(), *self._native_contacts()})

    def _python_contacts(self) -> Iterator[str]:
        for event, told in self._audited():
            if event == "open":
                continue
            host = told.removeprefix("(").split(",")[0].strip("'\"b ")
            if not host.startswith("/") and not _is_loopback(host):
                yield f"{event} {told}"

    def _native_contacts(self) -> Iterator[str]:
        for line in self._traced():
            if _LOOKS_UP.match(line):
                yield line
            elif line.startswith(("connect", "send")):
                yield from (line for address in _ADDRESS.findall(line) if not _is_loopback(address))

    def written(self) -> list[Path]:
        """List the files opened for writing, except those of the system."""
        paths = [told for event, told in self._audited() if event == "open"]
        for line in self._traced():
            opened = _OPENED.match(line)
            if opened and ("O_WRONLY" in line or "O_RDWR" in line or line.startswith("creat")):
                paths.append(opened[1].removesuffix(" (deleted)").removesuffix("(deleted)"))
        return sorted({Path(path) for path in paths if not path.startswith(_SYSTEM)})

    def outside(self, *allowed: Path) -> list[Path]:
        """List the files written outside some folders, and the remaining temporary files."""
        inside = (self.scratch, self.logs, *allowed)
        left = [path for folder in (self.home, self.scratch) for path in folder.rglob("*")]
        return [
            *(path for path in self.written() if not _is_below(path, inside)),
            *(path for path in left if path.is_file() and not _is_below(path, allowed)),
        ]

    def _audited(self) -> Iterator[tuple[str, str]]:
        file = self.logs / "audit"
        assert file.is_file(), "no Python of the command loaded the audit hook"
        for line in file.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            event, _, told = line.partition("\t")
            yield event, told

    def _traced(self) -> Iterator[str]:
        for file in self.logs.glob("strace.*"):
            yield from file.read_text(encoding="utf-8", errors="replace").splitlines()


def _is_below(path: Path, folders: Sequence[Path]) -> bool:
    """Return whether a path is in one of some folders."""
    return any(path.is_relative_to(folder) for folder in folders)


def _is_loopback(host: str) -> bool:
    """Return whether a numeric address is this machine's own; False for a name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


@cache
def has_strace() -> bool:
    """Return whether strace is installed and permitted to trace."""
    return (
        bool(shutil.which("strace"))
        and subprocess.run(
            [*_STRACE, "-o", "/dev/null", "true"], capture_output=True, check=False
        ).returncode
        == 0
    )
