"""Mininet's scripts: built in a process of their own, with Mininet's units, and refused where they do more."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from testbed.errors import InputError, Problem, UsageError
from testbed.topology.exchange import formats
from testbed.topology.load import from_sketch, load
from testbed.topology.model import Topology
from testbed.units import Queue

SAMPLE = Path(__file__).parent / "samples" / "campus.py"
PAIR = """\
from mininet.topo import Topo
class Pair(Topo):
    def build(self):
        self.addLink(self.addHost('h1'), self.addHost('h2'){options})
"""


def script(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "net.py"
    path.write_text(text, encoding="utf-8")
    return path


def problem(path: Path, choice: str = "") -> Problem:
    with pytest.raises(InputError) as caught:
        formats.read(path, choice)
    (only,) = caught.value.problems
    return only


@pytest.fixture(scope="module")
def campus() -> Topology:
    return from_sketch(formats.read(SAMPLE, "campus,hosts=1"))


def test_nodes_keep_their_kind_and_get_valid_names(campus: Topology) -> None:
    kinds = {node.name: node.kind for node in campus.nodes.values()}
    assert kinds == {"gate": "router", "s1": "switch", "h1-1": "host", "s2": "switch", "h2-1": "host"}


def test_options_of_links_have_mininet_s_units(campus: Topology) -> None:
    backbone = campus.links["s1-gate"].ends[0].shape
    assert (backbone.delay, backbone.jitter, backbone.rate, backbone.queue) == (0.002, 5e-4, 1e8, Queue(packets=50))
    leaving, coming = (end.shape for end in campus.links["h1-1-s1"].ends)
    assert (leaving.delay, leaving.loss, leaving.rate) == (pytest.approx(3e-4), 0.005, 5e6)
    assert (coming.delay, coming.loss, coming.rate) == (pytest.approx(3e-4), 0.02, 10.5e6)


def test_all_that_is_left_out_is_told_with_its_line(campus: Topology) -> None:
    assert [note.removeprefix(f"{SAMPLE}:") for note in campus.notes] == [
        "13: The node gate becomes a router, since its class is LinuxRouter.",
        "13: The option ip is not carried over (gate).",
        "15: The option protocols is not carried over (s1, s2).",
        "16: The option use_htb is not carried over (s1-gate, s2-gate).",
        "18: The node H1_1 is called h1-1.",
        "18: The node H2_1 is called h2-1.",
    ]


def test_switches_in_a_ring_become_routers() -> None:
    ring = from_sketch(formats.read(SAMPLE, "ring,4"))
    assert [node.kind for node in ring.nodes.values()].count("router") == 4
    assert any("s1, s2, s3, s4 form a loop" in note for note in ring.notes)
    assert any("jitter of h1-s1 is cut" in note for note in ring.notes)


def test_of_several_topologies_one_has_to_be_chosen() -> None:
    assert problem(SAMPLE).found == "several topologies (campus, ring)"
    assert "--topo campus" in problem(SAMPLE).hint
    assert problem(SAMPLE, "rin").expected == "one of campus, ring"


def test_the_only_topology_class_of_a_script_needs_no_name(tmp_path: Path) -> None:
    made = load(script(tmp_path, PAIR.format(options=", delay='1.5ms', bw=2")))
    shape = made.links["h1-h2"].ends[0].shape
    assert (shape.delay, shape.rate, made.name) == (0.0015, 2e6, "net")


def test_scripts_may_import_their_neighbours(tmp_path: Path) -> None:
    (tmp_path / "names.py").write_text("FIRST = 'alpha'\n")
    text = PAIR.format(options="").replace("'h1'", "names.FIRST")
    assert "alpha" in load(script(tmp_path, f"import names\n{text}")).nodes


@pytest.mark.parametrize(("options", "found"), [
    (", delay='soon'", "delay='soon' on the link h1-h2"),
    (", loss=150", "loss=150 on the link h1-h2"),
    (", bw=-1", "bw=-1 on the link h1-h2"),
    (", max_queue_size='x'", "max_queue_size='x' on the link h1-h2"),
])
def test_options_that_no_link_can_have_are_told_with_their_line(tmp_path: Path, options: str, found: str) -> None:
    told = problem(script(tmp_path, PAIR.format(options=options)))
    assert (told.line, told.found) == (4, found)


@pytest.mark.parametrize(("text", "line", "found"), [
    ("topos = {\n", 1, "SyntaxError: '{' was never closed"),
    ("import this_is_nowhere\n", 1, "ModuleNotFoundError: No module named 'this_is_nowhere'"),
    ("x = 1\n", 0, "no topology"),
    ("topos = {'a': dict}\n", 0, "a dict"),
    ("def f():\n    return 1 / 0\ntopos = {'a': f}\n", 2, "ZeroDivisionError: division by zero"),
    ("import sys\nsys.exit(3)\n", 2, "SystemExit: 3"),
    ("import subprocess\nsubprocess.run(['true'])\n", 2, "a script that starts a program while it is read"),
    ("import os\ntry:\n    os.system('true')\nexcept Exception:\n    pass\n", 3,
     "a script that starts a program while it is read"),
    ("open('made-by-script', 'w')\n", 1, "a script that writes a file while it is read"),
])  # fmt: skip
def test_scripts_that_fail_or_do_more_are_told_with_their_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, line: int, found: str
) -> None:
    monkeypatch.chdir(tmp_path)
    told = problem(script(tmp_path, text))
    assert (told.line, told.found) == (line, found)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["net.py"]


def test_a_script_that_builds_a_real_network_is_stopped_there(tmp_path: Path) -> None:
    text = "from mininet.net import Mininet\nnet = Mininet()\nnet.addHost('h1')\nnet.start()\n"
    assert problem(script(tmp_path, text)).line in (2, 3)  # as root at its first program, else where it wants root


def test_what_a_script_prints_is_no_part_of_its_topology(tmp_path: Path) -> None:
    assert len(load(script(tmp_path, "print('{}')\n" + PAIR.format(options=""))).nodes) == 2


def test_a_script_that_dies_is_told(tmp_path: Path) -> None:
    told = problem(script(tmp_path, "import os\nos._exit(9)\n"))
    assert "did not build its topology (exit status 9)" in told.found


def test_a_script_that_takes_too_much_memory_is_told(tmp_path: Path) -> None:
    assert problem(script(tmp_path, "x = 1\nx = bytearray(1 << 40)\n")).found.startswith("MemoryError")


def test_nothing_of_a_script_is_in_this_process(campus: Topology) -> None:
    assert "topology_script" not in sys.modules and os.fspath(SAMPLE.parent) not in sys.path
    assert campus.source == str(SAMPLE)


def test_other_formats_have_one_topology_only() -> None:
    with pytest.raises(UsageError, match="only Mininet scripts"):
        formats.read(SAMPLE.with_name("harbours.graphml"), "ring")
