"""The memory that a process may use is the least of all limits on it."""

import os
from pathlib import Path

from ernest.device import memory_limit

HOST = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_control_groups_it_is_the_machines(tmp_path: Path) -> None:
    assert memory_limit(tmp_path) == HOST
    assert 0 < memory_limit() <= HOST


def test_the_second_version_limits_groups_and_those_above(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "0::/user.slice/job\n")
    write(tmp_path / "sys/fs/cgroup/user.slice/job/memory.max", "max\n")
    assert memory_limit(tmp_path) == HOST
    write(tmp_path / "sys/fs/cgroup/user.slice/memory.max", "3000000\n")
    assert memory_limit(tmp_path) == 3_000_000
    write(tmp_path / "sys/fs/cgroup/user.slice/job/memory.max", "2000000\n")
    assert memory_limit(tmp_path) == 2_000_000


def test_a_container_sees_its_own_limit_at_the_top(tmp_path: Path) -> None:
    """The path of the group is the host's and is not there inside."""
    write(tmp_path / "proc/self/cgroup", "0::/docker/0123\n")
    write(tmp_path / "sys/fs/cgroup/memory.max", "5000000\n")
    assert memory_limit(tmp_path) == 5_000_000


def test_the_first_version_limits_too(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "12:cpu,cpuacct:/x\n7:memory:/docker/0123\n")
    write(tmp_path / "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert memory_limit(tmp_path) == HOST
    write(tmp_path / "sys/fs/cgroup/memory/docker/0123/memory.limit_in_bytes", "7000000\n")
    assert memory_limit(tmp_path) == 7_000_000
