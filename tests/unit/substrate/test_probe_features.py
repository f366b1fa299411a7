"""What the probe says, whatever the machine has."""

from __future__ import annotations

import pytest

from testbed.substrate.probe import probe

NAMES = [
    "root", "user-namespaces", "netns", "veth", "bridge", "netem", "tbf", "htb", "vxlan", "ifb", "relay", "tun",
    "openvswitch", "limit-cpu", "limit-cpuset", "limit-memory", "cgroup-v1", "cgroup-v2", "ping", "iperf3", "sshd",
    "chromium", "mininet", "mnexec", "ovs-vswitchd", "uml", "bird", "redis-server", "node",
    "slirp4netns", "sudo",
]  # fmt: skip


def test_names_every_feature_that_the_program_asks_for() -> None:
    assert list(probe().features) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_feature_has_a_fallback_and_a_remedy_and_a_found_one_has_neither(name: str) -> None:
    feature = probe().features[name]
    assert feature.name == name
    assert feature.detail
    assert bool(feature.fallback) == bool(feature.remedy) == (not feature.available)


def test_each_feature_is_tried_once() -> None:
    assert probe().features["tbf"] is probe().features["tbf"]


def test_refuses_a_name_that_no_probe_knows() -> None:
    with pytest.raises(KeyError):
        probe().has("telepathy")
