"""Limits of hosts in a topology file."""

from __future__ import annotations

import pytest

from testbed.errors import InputError
from testbed.topology.limits import Limits, memory_text, processors, processors_text
from testbed.topology.load import parse

NETWORK = """
name: limits
defaults: {node: {cpu: 0.5, memory: 64MiB}}
nodes:
  h1: {}
  h2: {cpu: 2, cpuset: "0-1,3", memory: none}
  r1: {kind: router, cpu: none}
  s1: {kind: switch}
links: [[h1, s1], [h2, s1], [r1, s1], [xs1, s1]]
generate: [{family: star, hosts: 2, prefix: x, memory: 32MB}]
"""
BARE = "name: bare\nnodes: {a: {%s}, b: {%s}}\nlinks: [[a, b]]\n"


def test_a_host_takes_from_the_defaults_what_its_entry_does_not_say() -> None:
    nodes = parse(NETWORK, "limits.yaml").nodes
    assert nodes["h1"].limits.data() == {"cpu": 0.5, "memory": "64MiB"}
    assert nodes["h2"].limits.data() == {"cpu": 2.0, "cpuset": "0-1,3"}
    assert nodes["r1"].limits.data() == {"memory": "64MiB"}
    assert nodes["s1"].limits.kinds == nodes["xs1"].limits.kinds == ()
    assert nodes["xh2"].limits.data() == {"cpu": 0.5, "memory": "32MB"}


def test_limits_count_in_the_digest_and_networks_without_keep_theirs() -> None:
    digests = [parse(BARE % each, "bare.yaml").digest for each in
               (("", ""), ("cpu: 0.5", ""), ("", "cpu: 0.5"), ("cpu: 0.25", ""), ("memory: 64MB", ""))]
    assert len(set(digests)) == len(digests)
    assert parse(BARE % ("cpu: none", ""), "bare.yaml").digest == digests[0]
    assert digests[0] == "7fdc010c0d12eeed"  # that of the program before it knew limits


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("cpu: 50%", 'found "50%"; expected a number of cores of at least 0.01, such as 0.5, or none. Try 0.5.'),
        ("cpu: 0", "found 0; expected a number of cores"),
        ("cpu: true", "found true; expected a number of cores"),
        ("cpu: .nan", "expected a number of cores"),
        ("cpuset: 3-1", 'expected numbers of processors from 0, such as 0-1, or [0, 2], or none. Try 1-3.'),
        ("cpuset: []", "expected numbers of processors"),
        ("cpuset: [-1]", "expected numbers of processors"),
        ("cpuset: [0.5]", "expected numbers of processors"),
        ("memory: 256", "found 256; expected a size with its unit"),
        ("memory: 64kB", 'found "64kB"; expected at least 1MB of memory, such as 256MB, or none'),
        ("kind: switch, cpu: 1", "found cpu for a switch, on which no programs run; expected limits of hosts"),
    ],
)
def test_refuses_a_limit_that_cannot_be(key: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        parse(BARE % (key, ""), "bare.yaml")
    assert said in str(refused.value)


def test_the_cores_of_a_host_are_the_fewer_of_its_share_and_its_processors() -> None:
    assert Limits().cores is None
    assert Limits.model_validate({"cpu": 0.5}).cores == 0.5
    assert Limits.model_validate({"cpuset": 0}).cores == 1
    assert Limits.model_validate({"cpu": 1.5, "cpuset": "0-3"}).cores == 1.5
    assert Limits.model_validate({"cpu": 8, "cpuset": "0,2"}).cores == 2


@pytest.mark.parametrize("text", ["0", "0-3", "0,2", "0-1,3,5-7"])
def test_processors_are_written_as_the_kernel_reads_them(text: str) -> None:
    assert processors_text(processors(text)) == text


def test_no_processors_are_an_empty_text_of_the_kernel() -> None:
    assert processors("") == ()


@pytest.mark.parametrize("text", ["1MB", "256MB", "64MiB", "1GiB", "3500kB"])
def test_an_amount_of_memory_is_written_as_somebody_wrote_it(text: str) -> None:
    memory = Limits.model_validate({"memory": text}).memory
    assert memory is not None
    assert memory_text(memory).replace("3.5MB", "3500kB") == text
