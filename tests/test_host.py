"""The resources that a process may use, read from recorded trees of /proc and /sys."""

from __future__ import annotations

import os
import platform
import sys
from typing import TYPE_CHECKING

import pytest

from rembg_tuner.settings.host import Host, oom_kill_count, read_host

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GIB = 2**30
CGROUP = "sys/fs/cgroup"
SELF = "proc/self/cgroup"
V1_NO_LIMIT = "9223372036854771712\n"  # the value in cgroup v1 if no limit is set

Tree = dict[str, str]

X86_CPUINFO = """\
processor\t: 0
vendor_id\t: AuthenticAMD
model name\t: AMD EPYC 9R14
flags\t\t: fpu sse2 avx2 avx512f {features}
bugs\t\t: sysret_ss_attrs

processor\t: 1
model name\t: another
flags\t\t: fpu sse2
"""
ARM_CPUINFO = """\
processor\t: 0
BogoMIPS\t: 2100.00
Features\t: fp asimd evtstrm aes atomics {features}
CPU implementer\t: 0x41
CPU part\t: 0xd40
"""
MEMINFO: Tree = {"proc/meminfo": "MemTotal:       16384000 kB\nMemFree:         1000000 kB\n"}
MEMINFO_BYTES = 16_384_000 * 1024

BARE_METAL: Tree = {
    SELF: "0::/user.slice/user-1000.slice/session-2.scope\n",
    f"{CGROUP}/cgroup.controllers": "cpuset cpu io memory pids\n",
    f"{CGROUP}/user.slice/memory.max": "max\n",
    f"{CGROUP}/user.slice/cpu.max": "max 100000\n",
    f"{CGROUP}/user.slice/user-1000.slice/session-2.scope/memory.max": "max\n",
}
DOCKER_V2: Tree = {
    SELF: "0::/\n",
    f"{CGROUP}/cpu.max": "150000 100000\n",
    f"{CGROUP}/memory.max": "2147483648\n",
    f"{CGROUP}/memory.events": "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n",
}
NESTED_V2: Tree = {
    SELF: "0::/pod/box\n",
    f"{CGROUP}/pod/cpu.max": "100000 100000\n",
    f"{CGROUP}/pod/memory.max": f"{GIB}\n",
    f"{CGROUP}/pod/memory.events": "oom 9\noom_kill 9\n",
    f"{CGROUP}/pod/box/cpu.max": "400000 100000\n",
    f"{CGROUP}/pod/box/memory.max": f"{4 * GIB}\n",
    f"{CGROUP}/pod/box/memory.events": "oom 1\noom_kill 1\n",
    f"{CGROUP}/pod/sibling/memory.max": "1\n",
    f"{CGROUP}/pod/sibling/cpu.max": "1000 100000\n",
}
UNLIMITED_V2: Tree = {
    SELF: "0::/\n",
    f"{CGROUP}/cpu.max": "max 100000\n",
    f"{CGROUP}/memory.max": "max\n",
    f"{CGROUP}/memory.events": "oom 0\noom_kill 0\n",
}
LIMITED_V1: Tree = {
    SELF: "11:memory:/app\n4:cpu,cpuacct:/app\n1:name=systemd:/app\n",
    f"{CGROUP}/memory/memory.limit_in_bytes": V1_NO_LIMIT,
    f"{CGROUP}/memory/app/memory.limit_in_bytes": f"{3 * GIB}\n",
    f"{CGROUP}/memory/app/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n",
    f"{CGROUP}/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
    f"{CGROUP}/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    f"{CGROUP}/cpu,cpuacct/app/cpu.cfs_quota_us": "250000\n",
    f"{CGROUP}/cpu,cpuacct/app/cpu.cfs_period_us": "100000\n",
    f"{CGROUP}/systemd/app/cgroup.procs": "1\n",
}
# CentOS 7 names "cpuacct,cpu" and mounts "cpu,cpuacct", with a link for each of the two.
SWAPPED_V1: Tree = {
    SELF: "4:cpuacct,cpu:/app\n",
    f"{CGROUP}/cpu,cpuacct/app/cpu.cfs_quota_us": "250000\n",
    f"{CGROUP}/cpu/app/cpu.cfs_quota_us": "250000\n",
    f"{CGROUP}/cpu/app/cpu.cfs_period_us": "100000\n",
}
UNLIMITED_V1: Tree = {
    SELF: "11:memory:/\n4:cpu,cpuacct:/\n",
    f"{CGROUP}/memory/memory.limit_in_bytes": V1_NO_LIMIT,
    f"{CGROUP}/memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\n",
    f"{CGROUP}/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
    f"{CGROUP}/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
}
# Docker without a cgroup namespace: the path is the host's, the mount is the container's own.
DOCKER_V1: Tree = {
    SELF: "11:memory:/docker/4f1c\n4:cpu,cpuacct:/docker/4f1c\n0::/docker/4f1c\n",
    f"{CGROUP}/memory/memory.limit_in_bytes": f"{GIB}\n",
    f"{CGROUP}/memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n",
    f"{CGROUP}/cpu,cpuacct/cpu.cfs_quota_us": "50000\n",
    f"{CGROUP}/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
}
HOSTS_PATH_V2: Tree = {
    SELF: "0::/system.slice/docker-4f1c.scope\n",
    f"{CGROUP}/cpu.max": "200000 100000\n",
    f"{CGROUP}/memory.max": f"{GIB}\n",
    f"{CGROUP}/memory.events": "oom_kill 5\n",
    # systemd in the container has a slice of the same name, without this process
    f"{CGROUP}/system.slice/cpu.max": "1000 100000\n",
    f"{CGROUP}/system.slice/memory.max": "1048576\n",
    f"{CGROUP}/system.slice/memory.events": "oom_kill 99\n",
}
HOSTS_PATH_BELOW_V2: Tree = {
    SELF: "0::/system.slice/docker-4f1c.scope/jobs/one\n",
    f"{CGROUP}/cpu.max": "400000 100000\n",
    f"{CGROUP}/memory.max": f"{4 * GIB}\n",
    f"{CGROUP}/jobs/cpu.max": "300000 100000\n",
    f"{CGROUP}/jobs/one/memory.max": f"{2 * GIB}\n",
    f"{CGROUP}/jobs/one/memory.events": "oom_kill 6\n",
}
HYBRID: Tree = {
    SELF: "9:memory:/user.slice\n3:cpu,cpuacct:/user.slice\n0::/user.slice/run.scope\n",
    f"{CGROUP}/memory/user.slice/memory.limit_in_bytes": f"{2 * GIB}\n",
    f"{CGROUP}/memory/user.slice/memory.oom_control": "oom_kill_disable 0\noom_kill 3\n",
    f"{CGROUP}/cpu,cpuacct/user.slice/cpu.cfs_quota_us": "300000\n",
    f"{CGROUP}/cpu,cpuacct/user.slice/cpu.cfs_period_us": "100000\n",
    f"{CGROUP}/unified/user.slice/run.scope/cgroup.procs": "1\n",
    f"{CGROUP}/unified/cgroup.controllers": "\n",
}
# A controller that v1 does not use can be limited in the unified tree.
HYBRID_UNIFIED_LIMITS: Tree = {
    SELF: "3:cpu,cpuacct:/\n0::/run.scope\n",
    f"{CGROUP}/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
    f"{CGROUP}/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    f"{CGROUP}/unified/run.scope/memory.max": f"{GIB}\n",
    f"{CGROUP}/unified/run.scope/memory.events": "oom 1\noom_kill 8\n",
}
# Entered with nsenter: the process's cgroup is outside the namespace that shows its path.
OUT_OF_NAMESPACE: Tree = {
    SELF: "0::/../../elsewhere\n",
    f"{CGROUP}/memory.max": f"{2 * GIB}\n",
    "sys/elsewhere/memory.max": "1\n",
    "sys/elsewhere/cpu.max": "1000 100000\n",
}
NO_FILES: Tree = {}
NO_MOUNT: Tree = {SELF: "0::/\n"}
ODD_FILES: Tree = {
    SELF: "0::/\nrubbish\n\n",
    f"{CGROUP}/cpu.max": "",
    f"{CGROUP}/memory.max": "a lot\n",
    f"{CGROUP}/memory.events": "oom_kill many\n",
    f"{CGROUP}/cpu.cfs_quota_us": "100000\n",
    f"{CGROUP}/cpu.cfs_period_us": "0\n",
}


@pytest.fixture
def grow(tmp_path: Path) -> Callable[[Tree], Path]:
    """Return a function that writes a recorded tree below a temporary folder."""

    def write(tree: Tree) -> Path:
        for name, content in tree.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("tree", "quota_cpus", "limit_bytes", "oom_kills"),
    [
        pytest.param(BARE_METAL, None, None, None, id="bare-metal"),
        pytest.param(DOCKER_V2, 1.5, 2 * GIB, 2, id="docker-v2"),
        pytest.param(NESTED_V2, 1.0, GIB, 1, id="v2-below-a-tighter-parent"),
        pytest.param(UNLIMITED_V2, None, None, 0, id="v2-max"),
        pytest.param(LIMITED_V1, 2.5, 3 * GIB, 4, id="v1"),
        pytest.param(SWAPPED_V1, 2.5, None, None, id="v1-names-swapped"),
        pytest.param(UNLIMITED_V1, None, None, None, id="v1-no-limits-old-kernel"),
        pytest.param(DOCKER_V1, 0.5, GIB, 7, id="v1-the-hosts-path"),
        pytest.param(HOSTS_PATH_V2, 2.0, GIB, 5, id="v2-the-hosts-path"),
        pytest.param(HOSTS_PATH_BELOW_V2, 3.0, 2 * GIB, 6, id="v2-the-hosts-path-and-below"),
        pytest.param(HYBRID, 3.0, 2 * GIB, 3, id="hybrid-limits-in-v1"),
        pytest.param(HYBRID_UNIFIED_LIMITS, None, GIB, 8, id="hybrid-limits-in-unified"),
        pytest.param(OUT_OF_NAMESPACE, None, 2 * GIB, None, id="out-of-the-namespace"),
        pytest.param(NO_FILES, None, None, None, id="no-files"),
        pytest.param(NO_MOUNT, None, None, None, id="nothing-mounted"),
        pytest.param(ODD_FILES, None, None, None, id="files-that-do-not-read"),
    ],
)
def test_quota_limit_and_kills_are_this_processs_own(
    grow: Callable[[Tree], Path],
    tree: Tree,
    quota_cpus: float | None,
    limit_bytes: int | None,
    oom_kills: int | None,
) -> None:
    """The limit is the lowest of the process's cgroup and its parents, in every layout."""
    root = grow(tree)
    host = read_host(root)
    assert host.quota_cpus == quota_cpus
    assert host.memory_limit_bytes == limit_bytes
    assert oom_kill_count(root) == oom_kills


@pytest.mark.parametrize(
    ("tree", "cgroup"),
    [
        pytest.param(BARE_METAL, None, id="no-limit"),
        pytest.param(DOCKER_V2, "/", id="docker-v2"),
        pytest.param(NESTED_V2, "/pod", id="v2-the-parents"),
        pytest.param(LIMITED_V1, "/app", id="v1"),
        pytest.param(DOCKER_V1, "/docker/4f1c", id="v1-the-hosts-path"),
        pytest.param(HOSTS_PATH_V2, "/system.slice/docker-4f1c.scope", id="v2-the-hosts-path"),
        pytest.param(
            HOSTS_PATH_BELOW_V2,
            "/system.slice/docker-4f1c.scope/jobs/one",
            id="v2-the-hosts-path-and-below",
        ),
        pytest.param(HYBRID, "/user.slice", id="hybrid"),
        pytest.param(OUT_OF_NAMESPACE, "/", id="out-of-the-namespace"),
    ],
)
def test_the_cgroup_with_the_limit_is_named(
    grow: Callable[[Tree], Path], tree: Tree, cgroup: str | None
) -> None:
    """The cgroup is found by /proc/self/cgroup, also if only the end of its path is mounted."""
    host = read_host(grow(tree))
    found = host.memory_cgroup
    assert (None if found is None else str(found)) == cgroup
    assert host.limited_by == found


def test_a_cgroup_with_more_than_the_machine_has_limits_nothing(
    grow: Callable[[Tree], Path],
) -> None:
    """The machine's memory is the limit, so the message does not advise a higher cgroup limit."""
    small = {"proc/meminfo": "MemTotal:       1000000 kB\n"}
    assert read_host(grow({**DOCKER_V2, **small})).limited_by is None
    assert str(read_host(grow({**DOCKER_V2, **MEMINFO})).limited_by) == "/"


@pytest.mark.parametrize(
    ("cpuinfo", "has_bf16"),
    [
        pytest.param(X86_CPUINFO.format(features="avx512_bf16"), True, id="x86-avx512"),
        pytest.param(X86_CPUINFO.format(features="amx_bf16 amx_tile"), True, id="x86-amx"),
        pytest.param(X86_CPUINFO.format(features="avx512_vnni"), False, id="x86-without"),
        pytest.param(X86_CPUINFO.format(features="bf16"), False, id="x86-other-word"),
        pytest.param(ARM_CPUINFO.format(features="svebf16 i8mm bf16"), True, id="arm64"),
        pytest.param(ARM_CPUINFO.format(features="asimddp"), False, id="arm64-without"),
        pytest.param("", False, id="unknown"),
    ],
)
def test_bf16_is_told_where_the_cpu_has_it(
    grow: Callable[[Tree], Path], cpuinfo: str, has_bf16: bool
) -> None:
    """The kernel's flag names on x86 and arm64 are recognised."""
    assert read_host(grow({"proc/cpuinfo": cpuinfo})).has_bf16 is has_bf16


@pytest.mark.parametrize(
    ("cpuinfo", "kind", "formats"),
    [
        pytest.param(X86_CPUINFO.format(features=""), "avx2", (), id="x86-avx2-only"),
        pytest.param(X86_CPUINFO.format(features="avx512_bf16"), "avx2", ("bf16",), id="x86-bf16"),
        pytest.param(X86_CPUINFO.format(features="avx_vnni"), "vnni", ("VNNI",), id="x86-vnni"),
        pytest.param(X86_CPUINFO.format(features="amx_int8"), "vnni", ("AMX",), id="x86-amx"),
        pytest.param(ARM_CPUINFO.format(features="asimddp"), "vnni", ("dot product",), id="arm64"),
        pytest.param(ARM_CPUINFO.format(features=""), "vnni", (), id="arm64-without"),
    ],
)
def test_every_cpu_runs_int8(
    grow: Callable[[Tree], Path], cpuinfo: str, kind: str, formats: tuple[str, ...]
) -> None:
    """The kind of int8 arithmetic is recorded; every CPU has int8."""
    host = read_host(grow({"proc/cpuinfo": cpuinfo}))
    assert "int8" in host.precisions
    assert (host.int8_kind, host.fast_formats) == (kind, formats)


def test_the_first_cpu_names_them_all(grow: Callable[[Tree], Path]) -> None:
    """The first processor's name and features are used."""
    host = read_host(grow({"proc/cpuinfo": X86_CPUINFO.format(features="amx_bf16")}))
    assert host.cpu == "AMD EPYC 9R14"
    assert host.features == {"fpu", "sse2", "avx2", "avx512f", "amx_bf16"}


def test_an_arm_cpu_is_named_by_the_platform(
    grow: Callable[[Tree], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a model name in cpuinfo, the platform's name is used."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    host = read_host(grow({"proc/cpuinfo": ARM_CPUINFO.format(features="bf16")}))
    assert host.cpu == "aarch64"
    assert {"asimd", "bf16"} <= host.features


def test_a_machine_without_proc_is_read_as_far_as_it_can_be(
    grow: Callable[[Tree], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without /proc and cgroups the host has a name, but no quota, limit or features."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    host = read_host(grow(NO_FILES))
    assert (host.quota_cpus, host.memory_limit_bytes, host.total_memory_bytes) == (None, None, None)
    assert host.usable_memory_bytes is None
    assert host.features == frozenset()
    assert host.cpu == "arm"
    assert host.usable_cpus == host.affinity_cpus >= 1


def test_a_system_without_affinity_counts_its_cpus(
    grow: Callable[[Tree], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without sched_getaffinity, as on macOS, all CPUs count; if their number is unknown, one."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 10)
    assert read_host(grow(NO_FILES)).usable_cpus == 10
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert read_host(grow(NO_FILES)).usable_cpus == 1


def test_affinity_counts_and_not_the_machines_size(
    grow: Callable[[Tree], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process bound to three CPUs of sixty-four may use three."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 5, 9}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert read_host(grow(UNLIMITED_V2)).usable_cpus == 3


def test_the_machines_memory_is_read_in_kib(grow: Callable[[Tree], Path]) -> None:
    """MemTotal is read in KiB."""
    host = read_host(grow(MEMINFO))
    assert host.total_memory_bytes == host.usable_memory_bytes == MEMINFO_BYTES


def make_host(
    *,
    affinity: int = 8,
    quota: float | None = None,
    total_bytes: int | None = None,
    limit_bytes: int | None = None,
) -> Host:
    """Return a host with given numbers."""
    return Host(
        cpu="",
        affinity_cpus=affinity,
        quota_cpus=quota,
        total_memory_bytes=total_bytes,
        memory_limit_bytes=limit_bytes,
        features=frozenset(),
    )


@pytest.mark.parametrize(
    ("affinity", "quota", "usable"),
    [
        pytest.param(8, None, 8, id="no-quota"),
        pytest.param(8, 1.5, 2, id="a-part-counts-as-one"),
        pytest.param(8, 2.0, 2, id="whole"),
        pytest.param(8, 0.01, 1, id="at-least-one"),
        pytest.param(2, 16.0, 2, id="affinity-is-tighter"),
    ],
)
def test_usable_cpus_are_the_tighter_of_affinity_and_quota(
    affinity: int, quota: float | None, usable: int
) -> None:
    """The result is at most either limit and at least 1."""
    assert make_host(affinity=affinity, quota=quota).usable_cpus == usable


@pytest.mark.parametrize(
    ("total_bytes", "limit_bytes", "usable"),
    [
        pytest.param(16 * GIB, 2 * GIB, 2 * GIB, id="limit-is-tighter"),
        pytest.param(GIB, 2 * GIB, GIB, id="machine-is-smaller"),
        pytest.param(GIB, None, GIB, id="no-limit"),
        pytest.param(None, GIB, GIB, id="machine-unknown"),
        pytest.param(None, None, None, id="unknown"),
    ],
)
def test_usable_memory_is_the_tighter_of_machine_and_limit(
    total_bytes: int | None, limit_bytes: int | None, usable: int | None
) -> None:
    """Unknown limits are ignored."""
    assert make_host(total_bytes=total_bytes, limit_bytes=limit_bytes).usable_memory_bytes == usable


def test_this_machine_is_read() -> None:
    """The machine that runs the tests has a name, and at least one usable CPU."""
    host = read_host()
    assert host.cpu
    assert 1 <= host.usable_cpus <= (os.cpu_count() or 1)
    assert host.usable_memory_bytes is None or host.usable_memory_bytes > 64 * 2**20
