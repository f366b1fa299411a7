"""Where control groups are found, what is written into them, and whose they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.errors import MachineLacks
from testbed.substrate import cgroups, cgroups_owner
from testbed.substrate.cgroups import Hierarchy, hierarchies
from testbed.substrate.cgroups_hosts import modest, programs, settings
from testbed.topology.limits import Limits

GROUP = "/user.slice/run.scope"


def mounts(folder: Path, *lines: str) -> str:
    """A mountinfo: each line is ``mount root kind options``."""
    found = []
    for line in lines:
        mount, root, kind, options = line.split()
        found.append(f"30 23 0:26 {root} {folder / mount} rw,nosuid - {kind} none rw,{options}")
    return "\n".join(found)


def made(folder: Path, name: str, offered: str | None = None) -> Path:
    """A folder that looks like a group."""
    group = folder / name
    group.mkdir(parents=True)
    if offered is not None:
        (group / cgroups.OFFERED).write_text(offered)
    return group


def test_both_versions_are_found_side_by_side_with_the_group_of_this_process(tmp_path: Path) -> None:
    made(tmp_path, "unified", "memory pids")
    inside = made(tmp_path, f"cpu{GROUP}")
    found = hierarchies(
        mounts(tmp_path, "cpu / cgroup cpu,cpuacct", "freezer / cgroup freezer", "unified / cgroup2 nsdelegate"),
        f"3:freezer:/\n2:cpu,cpuacct:{GROUP}\n0::/gone\n",
    )
    assert found == [
        Hierarchy(1, tmp_path / "cpu", inside, frozenset({"cpu"})),
        Hierarchy(2, tmp_path / "unified", tmp_path / "unified", frozenset({"memory"})),
    ]
    assert cgroups.of_controller(found, "memory").version == 2
    with pytest.raises(MachineLacks, match=r"the controller cpuset of .* built with CONFIG_CPUSETS"):
        cgroups.of_controller(found, "cpuset")


def test_a_mount_that_shows_a_part_of_the_hierarchy_is_looked_at_from_there(tmp_path: Path) -> None:
    inside = made(tmp_path, "memory/inner")
    (found,) = hierarchies(mounts(tmp_path, "memory /docker/abc cgroup memory"), "4:memory:/docker/abc/inner\n")
    assert found.own == inside


def test_what_this_program_made_is_not_what_it_goes_on_from(tmp_path: Path) -> None:
    above = made(tmp_path, "a/b")
    leaf = made(above, f"{cgroups.PREFIX}1-2-3{cgroups.ASIDE}")
    assert list(Hierarchy(1, tmp_path, leaf, frozenset()).bases) == [above]
    assert list(Hierarchy(2, tmp_path, leaf, frozenset()).bases) == [above, above.parent, tmp_path]


@pytest.mark.parametrize(
    ("limits", "version", "written"),
    [
        (Limits(cpu=0.25), 1, [("cpu.cfs_period_us", "20000"), ("cpu.cfs_quota_us", "5000")]),
        (Limits(cpu=0.25), 2, [("cpu.max", "5000 20000")]),
        (Limits(cpu=3), 2, [("cpu.max", "60000 20000")]),
        (Limits(cpu=0.02), 2, [("cpu.max", "1000 50000")]),
        (Limits.model_validate({"cpuset": [2, 0, 1]}), 1, [("cpuset.cpus", "0-2")]),
        (Limits.model_validate({"memory": "64MB"}), 2, [("memory.max", "64000000"), ("memory.swap.max?", "0")]),
        (Limits.model_validate({"memory": "64MB"}), 1,
         [("memory.limit_in_bytes", "64000000"), ("memory.memsw.limit_in_bytes?", "64000000")]),
    ],
)  # fmt: skip
def test_a_limit_becomes_what_each_version_understands(
    limits: Limits, version: int, written: list[tuple[str, str]]
) -> None:
    assert settings(limits.kinds[0], version, limits) == written


@pytest.mark.parametrize(("version", "file"), [(1, "cpuset.effective_cpus"), (2, "cpuset.cpus.effective")])
def test_a_cpuset_is_tried_with_the_processors_that_there_are(tmp_path: Path, version: int, file: str) -> None:
    (tmp_path / file).write_text("0-1,3\n")
    assert settings("cpuset", version, modest("cpuset", version, tmp_path)) == [("cpuset.cpus", "0-1,3")]


def test_whether_the_owner_of_a_group_is_dead_can_be_told_from_its_name() -> None:
    living = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = cgroups_owner.name_of(living.pid)
    assert not cgroups_owner.is_dead(f"{name}-1")
    living.kill()
    living.wait()
    assert cgroups_owner.is_dead(f"{name}-1")
    assert cgroups_owner.is_dead(f"{name}{cgroups.ASIDE}")
    with pytest.raises(ProcessLookupError):
        cgroups_owner.name_of(living.pid)


def test_a_number_that_another_process_has_now_is_a_dead_owner() -> None:
    name = cgroups_owner.name_of(os.getpid())
    earlier = f"{name.rpartition('-')[0]}-1"
    assert not cgroups_owner.is_dead(f"{name}-1")
    assert cgroups_owner.is_dead(f"{earlier}-1")


@pytest.mark.parametrize("name", ["testbed-1-2-3-1", "testbed-mine", "user.slice"])
def test_nobody_judges_what_is_of_another_namespace_or_of_somebody_else(name: str) -> None:
    assert not cgroups_owner.is_dead(name)


def test_the_parents_of_a_process_lead_to_its_command() -> None:
    child = subprocess.Popen(["sleep", "100"])
    try:
        assert cgroups_owner.parent(child.pid) == os.getpid()
    finally:
        child.kill()
        child.wait()
    assert cgroups_owner.parent(child.pid) == 0


def test_programs_are_counted_in_words() -> None:
    assert (programs(1), programs(2)) == ("1 program", "2 programs")
