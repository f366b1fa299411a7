"""The conversation with the kernel: what is written is read back, and a refusal speaks for itself."""

from __future__ import annotations

from testbed import netlink
from testbed.errors import MachineLacks
from testbed.netlink import KernelRefused


def test_a_refusal_says_what_was_refused_and_why() -> None:
    refused = netlink._refusal(17, "link a-b", "name taken")
    assert isinstance(refused, KernelRefused)
    assert refused.number == 17
    assert str(refused) == "The kernel refused link a-b: File exists (EEXIST: name taken)."
    assert isinstance(netlink._refusal(95, "link a-b", ""), MachineLacks)


def test_attributes_are_read_back_as_they_were_written() -> None:
    data = netlink.text(3, "eth0") + netlink.number(4, 1500) + netlink.attribute(0x8000 | 18, b"abc")
    assert list(netlink.attributes(data)) == [(3, b"eth0\0"), (4, b"\xdc\x05\0\0"), (18, b"abc")]


def test_the_loopback_interface_is_counted() -> None:
    with netlink.Netlink() as here:
        counted = here.statistics()
    assert len(counted[1]) == 8
