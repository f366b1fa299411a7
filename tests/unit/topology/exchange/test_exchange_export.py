"""Networks for other programs: GraphML that comes back the same, JSON with plain numbers, DOT with labels."""

from __future__ import annotations

import json
import re
from pathlib import Path

import networkx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.errors import UsageError
from testbed.places import home
from testbed.topology.exchange import formats
from testbed.topology.exchange.written import topology_yaml
from testbed.topology.load import from_sketch, load, parse
from testbed.topology.model import Topology

SHIPPED = sorted(path for path in (home() / "topologies").glob("*.yaml") if path.stem != "star-1000")

delays = st.sampled_from(["0", "1ms", "0.0123s", "12.3ms", "333us", "1.7ns", "2min", "0.30000000000000004s"])
shapes = st.fixed_dictionaries({}, optional={
    "delay": delays, "loss": st.sampled_from(["0.1%", "33.3%", "100%", "0.07%"]),
    "duplicate": st.sampled_from(["1%"]), "corrupt": st.sampled_from(["0.3%"]),
    "rate": st.sampled_from(["10Mbit", "9.6kbit", "123456789bit", "1Gbit"]), "burst": st.sampled_from(["16kB", "1KiB"]),
    "queue": st.sampled_from(["1p", "50p", "64KiB"]), "distribution": st.sampled_from(["uniform", "pareto"]),
})  # fmt: skip
families = st.one_of(
    st.builds(lambda n, h, kind: {"family": "line", "nodes": n, "hosts": h, "kind": kind}, st.integers(2, 5),
              st.integers(1, 2), st.sampled_from(["router", "switch"])),
    st.builds(lambda n: {"family": "ring", "nodes": n}, st.integers(3, 6)),
    st.builds(lambda n, kind: {"family": "star", "hosts": n, "kind": kind}, st.integers(2, 8),
              st.sampled_from(["router", "switch"])),
    st.builds(lambda d, kind: {"family": "tree", "depth": d, "kind": kind}, st.integers(1, 3),
              st.sampled_from(["router", "switch"])),
    st.builds(lambda r, c: {"family": "grid", "rows": r, "columns": c}, st.integers(2, 3), st.integers(1, 3)),
    st.just({"family": "fat-tree", "k": 2}),
    st.builds(lambda seed: {"family": "random-geometric", "nodes": 5, "radius": 1.5, "seed": seed}, st.integers(0, 99)),
)  # fmt: skip
pools = st.sampled_from([{}, {"ipv6": "none"}, {"ipv4": "none"}, {"ipv4": "172.16.0.0/16"}])


def there_and_back(topology: Topology, folder: Path) -> Topology:
    path = folder / "net.graphml"
    path.write_text(formats.write(topology, "graphml"), encoding="utf-8")
    sketch = formats.read(path)
    again = from_sketch(sketch)
    assert again.notes == ()
    assert parse(topology_yaml(sketch), "net.yaml").digest == again.digest
    return again


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_topology_comes_back_from_graphml_as_it_was(path: Path, tmp_path: Path) -> None:
    topology = load(path)
    again = there_and_back(topology, tmp_path)
    assert (again.digest, again.routing, list(again.nodes)) == (topology.digest, topology.routing, list(topology.nodes))


@given(st.lists(families, min_size=1, max_size=2), shapes, shapes, shapes, pools, st.sampled_from(["hops", "delay"]))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_generated_networks_come_back_from_graphml_as_they_were(
    tmp_path: Path, made: list[dict[str, object]], link: dict[str, str], there: dict[str, str], back: dict[str, str],
    addressing: dict[str, str], metric: str,
) -> None:  # fmt: skip
    entries = [{**family, "prefix": f"{'ab'[index]}-", "tags": ["x y", "ü"], "link": link}
               for index, family in enumerate(made)]
    extra = {"ends": ["one", "other"], "name": "a.link_1", "mtu": 1400, "forward": there, "backward": back}
    text = json.dumps({"name": "Große Welt & <co>", "generate": entries, "addressing": addressing,
                       "routing": {"metric": metric}, "nodes": {"one": {}, "other": {"tags": ["z"]}}, "links": [extra]})
    topology = parse(text, "net.yaml")
    again = there_and_back(topology, tmp_path)
    assert (again.digest, again.routing.metric) == (topology.digest, metric)


def test_parallel_links_and_given_addresses_come_back(tmp_path: Path) -> None:
    topology = parse("""
nodes: {b: {kind: router}, a: {}, s: {kind: switch}, c: {}}
links:
  - {ends: [b, a], addresses: {a: [192.168.7.9/29]}}
  - [a, b]
  - {ends: [a, b], name: a-b-9, delay: 3ms}
  - {ends: [c, s], addresses: {c: [fd00:9::7/64]}}
  - [s, b]
addressing: {ipv6: none}
""", "net.yaml")
    assert there_and_back(topology, tmp_path).digest == topology.digest


def test_limits_of_hosts_come_back(tmp_path: Path) -> None:
    topology = parse("""
nodes: {a: {cpu: 0.3, cpuset: "0-1,4", memory: 123456789B}, b: {memory: 256MB, tags: [x]}, c: {}}
links: [[a, b], [b, c]]
""", "net.yaml")
    assert there_and_back(topology, tmp_path).digest == topology.digest
    said = json.loads(formats.write(topology, "json"))["nodes"]
    assert [each.get(key) for each in said for key in ("cpu_cores", "cpuset", "memory_bytes")] == [
        0.3, "0-1,4", 123456789, None, None, 256000000, None, None, None,
    ]  # fmt: skip


def test_other_programs_read_the_graphml(tmp_path: Path) -> None:
    path = tmp_path / "net.graphml"
    topology = load(home() / "topologies" / "quickstart.yaml")
    path.write_text(formats.write(topology, "graphml"), encoding="utf-8")
    graph = networkx.read_graphml(path)
    assert set(graph) == set(topology.nodes) and graph.nodes["e1"]["kind"] == "router"
    assert graph.edges["c1", "a1"]["forward_delay_s"] == 0.005
    assert graph.edges["c1", "a1"]["backward_rate_bit_per_s"] == 20e6


def test_json_has_plain_numbers_whose_keys_name_the_unit() -> None:
    data = json.loads(formats.write(load(home() / "topologies" / "office.yaml"), "json"))
    isp = next(link for link in data["links"] if link["name"] == "isp")
    leaving = isp["ends"][0]["leaving"]
    assert leaving["delay_s"] == 0.008 and leaving["rate_bit_per_s"] == 20e6 and leaving["loss_share"] == 0
    assert leaving["queue_packets"] == 1000 and leaving["queue_bytes"] is None and isp["mtu_bytes"] == 1500
    nas = next(end for link in data["links"] for end in link["ends"] if end["node"] == "nas")
    assert (nas["ipv4"], nas["interface"]) == ("192.168.10.20/24", "eth0")
    assert data["nodes"][0]["routes"][0]["destination"] == "0.0.0.0/0"


def test_dot_has_every_node_and_link_with_its_labels() -> None:
    topology = parse('name: \'a "b" \\ c\'\nnodes: {h1: {tags: [edge]}, r1: {kind: router}}\n'
                     "links: [{ends: [h1, r1], delay: 10ms, jitter: 1ms, loss: 1%, backward: {rate: 5Mbit}}]\n", "x")
    text = formats.write(topology, "dot")
    assert text.startswith('graph "a \\"b\\" \\\\ c" {') and text.endswith("}\n")
    assert re.findall(r'^  "(\w+)" \[', text, re.MULTILINE) == ["h1", "r1"]
    assert '"h1" -- "r1"' in text
    assert 'label="h1 to r1: 10ms ± 1ms, 1% loss\\nr1 to h1: 10ms ± 1ms, 1% loss, 5Mbit/s"' in text


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(UsageError, match="graphml, dot, json"):
        formats.write(load(home() / "topologies" / "two-hosts.yaml"), "png")
