"""Inventories that are in order; faulty ones and their messages are in tests/golden."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.errors import InputError, UsageError
from testbed.substrate.find import named, names
from testbed.substrate.inventory import door, load
from testbed.topology.load import parse

TEXT = """\
machines:
  lab1: &lab {address: 192.0.2.11, user: me, key: id, known_hosts: known, jump: "you@gate:2222"}
  lab2: {<<: *lab, address: lab2.example.org, python: /opt/python, inside: 10.0.0.2, interface: eth1, sudo: true}
  spare: {address: 192.0.2.13}
hosts: {h1: lab1, h2: lab2}
"""
NETWORK = parse("lans: {s1: {members: [h1, h2, h3]}}\nnodes: {h1: {}, h2: {}, h3: {}}\n", "net.yaml")


def written(folder: Path, text: str = TEXT) -> Path:
    for name in ("id", "known"):
        (folder / name).touch()
    (folder / "inventory.yaml").write_text(text)
    return folder / "inventory.yaml"


def test_files_are_relative_to_the_inventory_and_only_used_machines_have_to_be_in_order(tmp_path: Path) -> None:
    inventory = load(written(tmp_path))
    assert inventory.used == ("lab1", "lab2")
    assert inventory.is_direct
    assert inventory.path(inventory.machine("lab1").key) == tmp_path / "id"
    assert inventory.machine("lab2").inside == "10.0.0.2"
    assert inventory.machine("lab2").user == "me"


@pytest.mark.parametrize(("jump", "found"), [
    ("gate", ("gate", 22, "")), ("me@gate", ("gate", 22, "me")), ("me@10.0.0.1:22", ("10.0.0.1", 22, "me")),
    ("gate.example.org:2222", ("gate.example.org", 2222, "")),
])  # fmt: skip
def test_a_jump_host_is_written_as_ssh_does(jump: str, found: tuple[str, int, str]) -> None:
    assert (door(jump).host, door(jump).port, door(jump).user) == found


def test_what_does_not_fit_the_network_is_told_with_its_line(tmp_path: Path) -> None:
    inventory = load(written(tmp_path, TEXT.replace("h2: lab2", "s1: lab2")))
    with pytest.raises(InputError) as told:
        inventory.refuse_misfits(NETWORK, ["h1", "h2", "h3"])
    assert [(each.line, each.path) for each in told.value.problems] == [(5, "hosts.s1"), (5, "hosts")]
    assert "a switch, which runs nothing" in str(told.value)
    assert "no machine for h2, h3; expected a machine for each node that has an agent. Add h2: sp" in str(told.value)
    load(written(tmp_path)).refuse_misfits(NETWORK, ["h1", "h2"])


def test_the_option_of_the_substrate_is_the_file(tmp_path: Path) -> None:
    assert "machines" in names()
    assert named(f"machines:{written(tmp_path)}").name == "machines"
    with pytest.raises(UsageError, match=r"no substrate called 'machine'.*Did you mean 'machines'"):
        named("machine:x")
