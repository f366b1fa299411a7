"""The suites of links and networks inside the VM, whose kernel has netem and Open vSwitch: there they are put to use.

Left out is what the VM is too slow for, not what it cannot do: a sender that fills 100 Mbit/s packet by packet.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from command import environment

from testbed.places import home

pytestmark = [pytest.mark.alone, pytest.mark.feature("uml"), pytest.mark.timeout(900)]
TOO_FAST = "100-1200"
ALIKE = "uniform or pareto or 32-68 or 10-150 or netns-6-1 or netns-6-netem"  # what others show already
NAMES = ("shaping_conformance", "shaping_changes", "network", "network_mininet")
LINKS, CHANGES, NETWORKS, MININET = (f"tests/integration/test_{name}.py" for name in NAMES)
DATAPATH = str(Path(__file__).with_name("datapath.py"))


def inside(folder: Path, *words: str) -> list[str]:
    """The names of the tests that pytest ran inside the VM with these words; none may fail or be skipped."""
    report = folder / "report.xml"
    script = Path(__file__).with_name("pytest_in_vm.py")
    told = ["-q", "--tb=short", "-o", "junit_family=xunit1", f"--junitxml={report}"]
    done = subprocess.run(
        [sys.executable, str(script), *told, *words],
        cwd=home(), env=environment(), capture_output=True, text=True, timeout=850,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    cases = list(ElementTree.parse(report).iter("testcase"))
    assert [case.get("name") for case in cases if len(case.findall("skipped"))] == []
    return [str(case.get("name")) for case in cases]


def test_links_shaped_by_netem_do_what_was_asked_for(tmp_path: Path, long: bool) -> None:
    which = "(netns or mininet)" if long else f"netns and not ({ALIKE})"
    names = inside(tmp_path, LINKS, CHANGES, "-k", f"netem and {which} and not {TOO_FAST} and not (nobody and 6)")
    assert len(names) >= 15
    assert all("netem" in name for name in names)


def test_networks_are_complete_and_come_back_after_a_cut(tmp_path: Path, long: bool) -> None:
    names = inside(tmp_path, NETWORKS, "-k", "netns" if long else "netns and (netem or nobody and reach)")
    assert any("netem" in name for name in names)


@pytest.mark.feature("ovs-vswitchd")
@pytest.mark.feature("mnexec")
def test_open_vswitch_carries_packets_in_the_kernel(tmp_path: Path, long: bool) -> None:
    which = "ovs or flows" if long else "(root-ovs and tcp) or (nobody-flows and tcp) or (cut and netem and ovs)"
    names = inside(tmp_path, NETWORKS, MININET, DATAPATH, "-k", f"{which} or datapath")
    assert any("datapath" in name for name in names)
    assert len(names) >= 4


@pytest.mark.long
def test_delays_between_machines_are_put_in_force_by_netem(tmp_path: Path) -> None:
    assert len(inside(tmp_path, "tests/integration/test_machines.py", "-k", "put_in_force_by_netem")) == 1
