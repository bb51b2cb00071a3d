"""Read which CPUs, memory and CPU features this process may use.

In a container, its quota and limit apply, not the size of the host. On Linux, files are read
(/proc, cgroup v1 and v2), below a root that tests replace by a recorded tree.
"""

from __future__ import annotations

import math
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from rembg_tuner.base.messages import Message, Term, join_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Int8Kind = Literal["vnni", "avx2"]
_UNLIMITED_BYTES = 2**60  # cgroup v1 writes a number near 2**63 for no limit
_X86_BF16 = frozenset({"avx512_bf16", "amx_bf16"})
_AMX = "amx_int8"
_VNNI = frozenset({"avx512_vnni", "avx_vnni", _AMX})  # products of 8-bit numbers summed in 32 bits
_ARM_DOT = frozenset({"asimddp", "i8mm"})
_FP16 = frozenset({"avx512_fp16", "amx_fp16", "asimdhp"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The machine as this process may use it.

    Attributes:
        cpu: the processor's name.
        affinity_cpus: number of CPUs on which the scheduler may run this process.
        quota_cpus: CPU seconds per second that the cgroup allows; None: no quota.
        total_memory_bytes: the machine's memory; None: unknown.
        memory_limit_bytes: the lowest cgroup limit; None: no limit.
        memory_cgroup: the cgroup with that limit, named as in /proc/self/cgroup; None: no limit.
        features: the CPU's features, by the kernel's names.
    """

    cpu: str
    affinity_cpus: int
    quota_cpus: float | None
    total_memory_bytes: int | None
    memory_limit_bytes: int | None
    features: frozenset[str]
    memory_cgroup: Path | None = None

    @property
    def usable_cpus(self) -> int:
        """The number of CPUs that this process may use, at least 1; a fraction is rounded up."""
        if self.quota_cpus is None:
            return self.affinity_cpus
        return max(1, min(self.affinity_cpus, math.ceil(self.quota_cpus)))

    @property
    def usable_memory_bytes(self) -> int | None:
        """Memory that this process may use: the lower of the cgroup's limit and the machine's.

        None: both are unknown.
        """
        known = [
            size for size in (self.memory_limit_bytes, self.total_memory_bytes) if size is not None
        ]
        return min(known) if known else None

    @property
    def limited_by(self) -> Path | None:
        """The cgroup that sets `usable_memory_bytes`.

        None: the machine's memory sets it, or it is unknown.
        """
        limit, total = self.memory_limit_bytes, self.total_memory_bytes
        return (
            None
            if limit is not None and total is not None and total < limit
            else self.memory_cgroup
        )

    @property
    def has_bf16(self) -> bool:
        """Whether the CPU computes in bfloat16 natively."""
        return "bf16" in self.fast_formats

    @property
    def has_fp16(self) -> bool:
        """Whether the CPU computes in half precision natively."""
        return bool(self.features & _FP16)

    @property
    def cpu_identity(self) -> dict[str, object]:
        """The identity of the processor, as JSON; part of the names of files compiled for it."""
        return {"cpu": self.cpu, "features": sorted(self.features)}

    @property
    def int8_kind(self) -> Int8Kind:
        """The way in which the CPU adds products of 8-bit numbers.

        `avx2` on x86 without VNNI or AMX, else `vnni`.

        The two produce slightly different mattes, so their agreement with fp32 is recorded
        separately. AVX2 adds pairs of products in 16 bits, which can saturate; VNNI, AMX and Arm's
        instructions add in 32 bits.
        """
        is_x86 = "sse2" in self.features
        return "avx2" if is_x86 and not self.features & _VNNI else "vnni"

    @property
    def precisions(self) -> frozenset[str]:
        """The number formats that the engines compute in on this CPU; int8 runs on every CPU."""
        able = {"bf16": self.has_bf16, "fp16": self.has_fp16}
        return frozenset({"fp32", "int8", *(word for word, is_native in able.items() if is_native)})

    @property
    def fast_formats(self) -> tuple[str, ...]:
        """The number formats for which the CPU has special instructions.

        Figures name their CPU with them. Two CPUs with the same name and formats are of one kind:
        see `records.measured_elsewhere_text`.
        """
        return fast_formats_of(self.features)


def fast_formats_of(features: Iterable[str]) -> tuple[str, ...]:
    """Return the number formats for which CPU features provide instructions.

    >>> fast_formats_of(["avx2", "avx512_vnni", "avx512_bf16"]), fast_formats_of(["avx2"])
    (('bf16', 'VNNI'), ())
    """
    had = set(features)
    able = {
        "bf16": bool(had & _X86_BF16) or {"bf16", "asimd"} <= had,
        "VNNI": bool(had & _VNNI - {_AMX}),
        "AMX": _AMX in had,
        "dot product": bool(had & _ARM_DOT),
    }
    return tuple(name for name, has in able.items() if has)


def formats_text(formats: Iterable[str]) -> Message:
    """Return the number formats of a CPU, as text that follows its name.

    >>> print(formats_text(["bf16", "VNNI", "AMX"]), formats_text([]), sep="; ")
    with bf16, VNNI and AMX; without bf16 and VNNI
    """
    named = list(formats)
    if not named:
        return Message("without bf16 and VNNI")
    *most, last = named
    together = join_parts((join_parts(_terms(most)), last), " and ") if most else last
    return Message("with {formats}", formats=together)


def _terms(formats: Iterable[str]) -> Iterator[Term]:
    """Return formats as terms, which each language joins in its own way."""
    return (Term(one, "choice") for one in formats)


def read_host(root: Path = Path("/")) -> Host:
    """Read the host from its files.

    Args:
        root: the folder that contains proc and sys.
    """
    proc = root / "proc"
    cpu, features = _read_cpuinfo(proc / "cpuinfo")
    groups = _cgroup_folders(root)
    limits = [
        (limit, name) for folder, name in groups.items() if (limit := _limit(folder)) is not None
    ]
    limit, cgroup = min(limits, key=lambda one: one[0], default=(None, None))
    return Host(
        cpu=cpu or _cpu_name_of_platform(),
        affinity_cpus=_affinity_cpus(),
        quota_cpus=min(
            (quota for folder in groups if (quota := _quota(folder)) is not None), default=None
        ),
        total_memory_bytes=_total_memory(proc / "meminfo"),
        memory_limit_bytes=limit,
        memory_cgroup=cgroup,
        features=features,
    )


def oom_kill_count(root: Path = Path("/")) -> int | None:
    """Count the processes that the kernel killed for memory in this cgroup; None: unknown."""
    for folder in _cgroup_folders(root):
        for name in ("memory.events", "memory.oom_control"):
            for line in _read(folder / name).splitlines():
                key, _, value = line.partition(" ")
                if key == "oom_kill" and value.isdigit():
                    return int(value)
    return None


def _affinity_cpus() -> int:
    """Count the CPUs that the scheduler may use for this process."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read(path: Path) -> str:
    """Read a small file; empty: it is missing or not readable."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _cgroup_folders(root: Path) -> dict[Path, Path]:
    """List the folders that may contain this process's limits: its cgroup and all parents.

    Returns:
        The name of each folder's cgroup, as in /proc/self/cgroup.
    """
    folders: dict[Path, Path] = {}
    base = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        names = [controllers] if controllers else ["", "unified"]
        names += controllers.split(",") if "," in controllers else []
        for name in names:
            top = base / name if name else base
            own = _own_folder(top, path)
            for folder in (own, *own.parents):
                if folder.is_relative_to(top) and folder.is_dir():
                    folders.setdefault(folder, _group_name(folder, own, path))
    return folders


def _group_name(folder: Path, own: Path, path: str) -> Path:
    """Return the name of this process's cgroup or of one of its parents.

    Only the end of the path may be mounted.
    """
    whole = Path("/", *PurePosixPath(path).parts[1:])
    if ".." in whole.parts:  # outside the namespace: unknown
        return Path("/", *folder.parts[len(own.parts) :])
    above = len(own.parts) - len(folder.parts)
    return Path(*whole.parts[: max(1, len(whole.parts) - above)])


def _own_folder(top: Path, path: str) -> Path:
    """Find this process's cgroup below a mount point.

    Inside a container the path is often the host's, and only its end or nothing of it is mounted.
    The longest end that exists is used, else the mount point. A path outside the namespace
    (`/../x`) is not followed.
    """
    names = [name for name in path.split("/") if name]
    if ".." in names:
        return top
    ends = (top.joinpath(*names[start:]) for start in range(len(names)))
    return next((end for end in ends if end.is_dir()), top)


def _quota(folder: Path) -> float | None:
    """Read a folder's CPU quota in CPUs: cgroup v2's cpu.max, else v1's cfs files; None: none."""
    words = _read(folder / "cpu.max").split()
    if len(words) != 2:
        words = (
            _read(folder / "cpu.cfs_quota_us").split() + _read(folder / "cpu.cfs_period_us").split()
        )
    if len(words) != 2 or not words[0].isdigit() or not words[1].isdigit() or int(words[1]) == 0:
        return None
    return int(words[0]) / int(words[1]) or None


def _limit(folder: Path) -> int | None:
    """Read a folder's memory limit in bytes; None: no limit."""
    for name in ("memory.max", "memory.limit_in_bytes"):
        text = _read(folder / name).strip()
        if text.isdigit() and int(text) < _UNLIMITED_BYTES:
            return int(text)
    return None


def _total_memory(meminfo: Path) -> int | None:
    """Read the machine's memory in bytes; None: unknown."""
    for line in _read(meminfo).splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    if sys.platform == "darwin":
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _read_cpuinfo(path: Path) -> tuple[str, frozenset[str]]:
    """Read the first CPU's name and features."""
    fields: dict[str, str] = {}
    for line in _read(path).splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    features = fields.get("flags") or fields.get("Features") or ""
    return fields.get("model name", ""), frozenset(features.split())


def _cpu_name_of_platform() -> str:
    """Return the platform's name of the CPU, for kernels that do not report one."""
    if sys.platform == "darwin":
        asked = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"],
            capture_output=True,
            text=True,
            check=False,
        )
        return asked.stdout.strip() or platform.machine()
    return platform.processor() or platform.machine()
