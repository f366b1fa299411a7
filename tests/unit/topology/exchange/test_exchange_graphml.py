"""GraphML of the Topology Zoo's kind: what becomes of it, what is told, and where faults are."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.errors import InputError
from testbed.topology.exchange import formats, sphere
from testbed.topology.exchange.written import topology_yaml
from testbed.topology.load import load, parse
from testbed.topology.model import Topology

SAMPLES = Path(__file__).parent / "samples"
HEAD = '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">\n'
PLACE = ('<key id="a" for="node" attr.name="Latitude" attr.type="double"/>\n'
         '<key id="o" for="node" attr.name="Longitude" attr.type="double"/>\n')


@pytest.fixture(scope="module")
def harbours() -> Topology:
    return load(SAMPLES / "harbours.graphml")


def graph(tmp_path: Path, body: str, keys: str = "", kind: str = "undirected") -> Path:
    path = tmp_path / "net.graphml"
    path.write_text(f'{HEAD}{keys}<graph edgedefault="{kind}">\n{body}\n</graph>\n</graphml>\n', encoding="utf-8")
    return path


def problems(path: Path) -> list[tuple[int, str]]:
    with pytest.raises(InputError) as caught:
        load(path)
    return [(each.line, each.found) for each in caught.value.problems]


def test_labels_become_names_that_are_valid_and_unique(harbours: Topology) -> None:
    assert list(harbours.nodes) == ["kirkoy", "santa-luz", "santa-luz-2", "n3rd-mole", "n4", "cable-ring", "east-a",
                                    "east-b"]
    assert harbours.name == "Harbours" and {node.kind for node in harbours.nodes.values()} == {"router"}


def test_a_delay_is_the_distance_at_two_thirds_of_the_speed_of_light(harbours: Topology) -> None:
    shape = harbours.links["kirkoy-santa-luz"].ends[0].shape
    assert shape.delay == pytest.approx(sphere.distance_km((60, 5), (40, -9)) / 199_861.639, abs=1e-6)
    assert harbours.links["n4-cable-ring"].ends[0].shape.delay == 0


@pytest.mark.parametrize(("a", "b", "kilometres"), [
    ((0.0, 0.0), (0.0, 90.0), 10_007.557), ((90.0, 0.0), (-90.0, 77.0), 20_015.114), ((52.0, 13.0), (52.0, 13.0), 0.0),
    ((0.0, 179.0), (0.0, -179.0), 222.390), ((51.5007, -0.1246), (40.6892, -74.0445), 5_574.8),
])  # fmt: skip
def test_distances_are_great_circles(a: tuple[float, float], b: tuple[float, float], kilometres: float) -> None:
    assert sphere.distance_km(a, b) == pytest.approx(kilometres, abs=0.1)


def test_link_speeds_become_rates(harbours: Topology) -> None:
    rates = {name: link.ends[1].shape.rate for name, link in harbours.links.items()}
    assert (rates["kirkoy-santa-luz"], rates["kirkoy-santa-luz-2"], rates["n3rd-mole-n4"]) == (1e10, 2.5e9, 155e6)
    assert rates["santa-luz-2-n3rd-mole"] is None


def test_all_that_is_left_out_is_told_with_its_line(harbours: Topology) -> None:
    told = {int(note.split(":")[1]): note for note in harbours.notes}
    words = {4: "Provenance", 8: "Country", 12: "LinkNote", 20: "no place on the earth", 22: "lonely",
             23: "2 parts; nothing outside reaches east-a, east-b", 26: "link 2 between kirkoy and santa-luz",
             28: "link speed 0.0", 32: "to itself"}  # fmt: skip
    assert [line for line, said in words.items() if said not in told[line]] == []
    assert any("hyper-edge Cable ring becomes the router cable-ring" in note for note in harbours.notes)
    assert {int(note.split(":")[1]) for note in harbours.notes} == {4, 8, 12, 20, 21, 22, 23, 26, 28, 32}


def test_opposite_edges_of_a_directed_graph_are_one_link() -> None:
    made = load(SAMPLES / "one-way.graphml")
    assert [end.shape.rate for end in made.links["north-south"].ends] == [1e8, 2e6]
    assert [note.split(": ", 1)[0].rsplit(":", 1)[1] for note in made.notes] == ["10", "12", "14"]
    assert "hyper-edge is left out" in made.notes[-1]


def test_what_only_one_direction_has_stays_in_that_direction(tmp_path: Path) -> None:
    keys = '<key id="r" for="edge" attr.name="LinkSpeedRaw" attr.type="double"/>'
    edges = '<edge source="b" target="a"><data key="r">1e6</data></edge><edge source="a" target="b"/>'
    made = load(graph(tmp_path, f'<node id="a"/><node id="b"/>{edges}', keys, "directed"))
    assert [(end.node, end.shape.rate) for end in made.links["b-a"].ends] == [("b", 1e6), ("a", None)]


def test_the_written_file_is_the_same_network_and_tells_its_source() -> None:
    sketch = formats.read(SAMPLES / "harbours.graphml")
    text = topology_yaml(sketch)
    assert parse(text, "x.yaml").digest == load(SAMPLES / "harbours.graphml").digest
    comment = text.split("name:")[0]
    assert "harbours.graphml" in comment and "2/3 of the speed of light" in comment and "# Kirkøy" in text
    assert all(note.sentence.split()[0] in comment for note in sketch.notes)
    assert max(map(len, text.splitlines())) <= 120


def test_a_file_without_places_says_so_once(tmp_path: Path) -> None:
    made = load(graph(tmp_path, '<node id="a"/><node id="b"/><edge source="a" target="b"/>'))
    assert len(made.notes) == 1 and "No node has Latitude and Longitude" in made.notes[0]


def test_values_that_a_file_gives_by_default_count(tmp_path: Path) -> None:
    keys = '<key id="r" for="edge" attr.name="LinkSpeedRaw" attr.type="double"><default>5e6</default></key>'
    made = load(graph(tmp_path, '<node id="a"/><node id="b"/><edge source="a" target="b"/>', keys))
    assert made.links["a-b"].ends[0].shape.rate == 5e6


@pytest.mark.parametrize(("body", "keys", "found"), [
    ('<node id="a"/>\n<edge source="a" target="b"/>', "", [(4, "an edge to the unknown node 'b'")]),
    ('<node id="a"/>\n<node id="a"/>', "", [(4, "a second node 'a' (first in line 3)")]),
    ('<node/>', "", [(3, "a node without id")]),
    ('<node id="a"><data key="x">1</data></node>', "", [(3, "data with the unknown key 'x'")]),
    ('<node id="a"><data key="a">up\nnorth</data></node>', PLACE, [(6, "Latitude 'up\\nnorth'")]),
    ('<node id="a"/>\n<node id="b"/>\n<edge source="a" target="b" directed="true"/>', "",
     [(5, "an edge with a direction of its own")]),
    ('<node id="a"/><node id="b"/>\n<edge id="e" source="a" target="b"/>\n<edge id="e" source="a" target="b"/>', "",
     [(5, "a second edge of this id between 'a' and 'b'")]),
    ('<node id="a"/><node id="b"/>\n<edge source="a" target="b"><data key="m">20</data></edge>',
     '<key id="m" for="edge" attr.name="mtu_bytes" attr.type="int"/>', [(4, "20")]),
])  # fmt: skip
def test_faults_are_told_with_their_lines(tmp_path: Path, body: str, keys: str, found: list[tuple[int, str]]) -> None:
    assert problems(graph(tmp_path, body, keys)) == found


@pytest.mark.parametrize(("text", "line", "words"), [
    ("", 1, "broken XML (no element found)"),
    (HEAD + '<graph>\n<node id="a">\n</graph>', 4, "broken XML (mismatched tag)"),
    ("<html>\n</html>", 1, "the element <html>"),
    ('<?xml version="1.0" encoding="none"?>\n<graphml/>', 1, "XML that cannot be read (unknown encoding: none)"),
    (HEAD + "</graphml>", 0, "what networkx cannot read"),
    ('<!DOCTYPE graphml [\n<!ENTITY a "b">]>\n<graphml><graph/></graphml>', 2, "an entity declaration"),
])
def test_files_that_are_no_graphml_are_refused(tmp_path: Path, text: str, line: int, words: str) -> None:
    path = tmp_path / "net.graphml"
    path.write_text(text)
    assert problems(path)[0][0] == line and problems(path)[0][1].startswith(words)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    assert problems(tmp_path / "none.graphml") == [(0, "nothing of this name")]
