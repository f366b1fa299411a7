"""containerlab files: kinds, links, what is left out, and where faults are."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.errors import InputError
from testbed.topology.exchange import formats
from testbed.topology.load import load
from testbed.topology.model import Topology

SAMPLE = Path(__file__).parent / "samples" / "fabric.clab.yml"


@pytest.fixture(scope="module")
def fabric() -> Topology:
    return load(SAMPLE)


def lab(tmp_path: Path, text: str, name: str = "net.clab.yml") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_kinds_become_hosts_routers_and_switches(fabric: Topology) -> None:
    kinds = {node.name: node.kind for node in fabric.nodes.values()}
    assert kinds == {"spine-1": "router", "leaf1": "router", "fw": "router", "br-lab": "switch", "client": "host",
                     "server": "host"}  # fmt: skip
    assert fabric.nodes["leaf1"].tags == ("leaves",) and fabric.name == "fabric"


def test_links_keep_their_ends_and_mtu(fabric: Topology) -> None:
    assert list(fabric.links) == ["spine-1-leaf1", "leaf1-br-lab", "client-br-lab", "br-lab-fw", "fw-server"]
    assert [link.mtu for link in fabric.links.values()] == [9000, 1500, 1500, 1500, 1500]


def test_all_that_is_left_out_is_told_with_its_line(fabric: Topology) -> None:
    told = [note.removeprefix(f"{SAMPLE}:") for note in fabric.notes]
    assert told == [
        "2: mgmt is not carried over.",
        "11: image is not carried over (Spine_1, leaf1, fw, client, server, spare).",
        "13: The node Spine_1 is called spine-1.",
        "13: startup-config is not carried over (Spine_1).",
        "13: The kind nokia_srlinux becomes a router, without its software (Spine_1, leaf1).",
        "17: The node fw becomes a router, since its image frrouting/frr:v9.1 is one.",
        "20: binds is not carried over (client).",
        "22: exec is not carried over (client).",
        "24: The node spare is left out, since it has no link.",
        "33: mac of endpoints is not carried over.",
        "35: The link to host, outside of the network, is left out.",
        "36: The link of type macvlan is left out; links join two nodes.",
    ]


def test_bridges_in_a_loop_become_routers(tmp_path: Path) -> None:
    made = load(lab(tmp_path, """
topology:
  nodes: {a: {kind: bridge}, b: {kind: ovs-bridge}, lone: {kind: bridge}, h: {kind: linux}}
  links:
    - endpoints: ["a:p1", "b:p1"]
    - endpoints: ["a:p2", "b:p2"]
    - endpoints: ["h:eth1", "a:p3"]
    - endpoints: ["h:eth2", "lone:p1"]
"""))
    assert {name: node.kind for name, node in made.nodes.items()} == {"a": "router", "b": "router", "lone": "switch",
                                                                      "h": "host"}
    assert any("switches a, b form a loop" in note for note in made.notes)


def test_a_node_with_two_links_to_a_bridge_makes_it_a_router(tmp_path: Path) -> None:
    links = '[{endpoints: ["h:eth1", "a:p1"]}, {endpoints: ["a:p2", "h:eth2"]}]'
    made = load(lab(tmp_path, f"topology: {{nodes: {{a: {{kind: bridge}}, h: {{kind: linux}}}}, links: {links}}}\n"))
    assert made.nodes["a"].kind == "router" and any("The switch a forms a loop" in note for note in made.notes)


def test_any_yaml_file_can_be_imported_as_containerlab(tmp_path: Path) -> None:
    path = lab(tmp_path, SAMPLE.read_text(), "any.yaml")
    assert not formats.is_foreign(path) and formats.is_foreign(SAMPLE)
    assert len(formats.read(path).links) == 5


@pytest.mark.parametrize(("text", "found"), [
    ("name: x\nnodes: {}\n", [(1, "no topology.nodes")]),
    ("name: x\ntopology:\n  links: []\n", [(2, "no topology.nodes")]),
    ('topology:\n  nodes:\n    a: {kind: linux}\n  links:\n    - endpoints: ["a:e1", "c:e1"]\n',
     [(5, 'the unknown node "c"')]),
    ("topology:\n  nodes:\n    a:\n    b:\n  links:\n    - endpoints: [a:e1]\n    - endpoints: [7, b:e1]\n",
     [(6, "1 endpoints"), (7, "7")]),
    ("topology:\n  nodes:\n    a: linux\n  links: a to b\n", [(3, '"linux"'), (4, '"a to b"')]),
    ("topology:\n  nodes: {a: , b: }\n  links:\n    - endpoints: [a:e1, b:e1]\n      mtu: big\n", [(5, '"big"')]),
    ("topology:\n  nodes: {a: , b: }\n  links:\n    - endpoints: [a:e1, b:e1]\n      mtu: 1\n", [(4, "1")]),
    ("topology:\n  nodes: {a: !!python/object:os.system x}\n", [(2, "the YAML tag !!python/object:os.system")]),
])  # fmt: skip
def test_faults_are_told_with_their_lines(tmp_path: Path, text: str, found: list[tuple[int, str]]) -> None:
    with pytest.raises(InputError) as caught:
        load(lab(tmp_path, text))
    assert [(each.line, each.found) for each in caught.value.problems] == found
