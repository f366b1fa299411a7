"""Segmentation offload of an interface, switched through the kernel's ethtool interface (linux/ethtool.h).

With offload on, one buffer of up to 64 KiB crosses a link as if it were one packet. That is fast and harmless where
there is only a delay; where packets are counted, lost or serialised, each must be as large as the link allows.
"""

from __future__ import annotations

import ctypes
import re
import socket
from fcntl import ioctl
from struct import pack_into, unpack_from

from testbed.linux import entered
from testbed.shaping.base import Port
from testbed.topology.shape import Shape

_SIOCETHTOOL = 0x8946
_GET_STRINGS, _GET_SETS, _SET_FEATURES = 0x1B, 0x37, 0x3B
_FEATURE_NAMES = 4  # ETH_SS_FEATURES
_NAME_BYTES = 32
SEGMENTATION = re.compile("tx-.*-segmentation")
CHECKSUMS = re.compile("tx-checksum-.*")


def allowed(shape: Shape) -> bool:
    """Whether 64 KiB buffers may cross an end with this shape: nothing there depends on single packets."""
    return shape.model_copy(update={"delay": 0.0}).is_plain


def switch(port: Port, on: bool, features: re.Pattern[str] = SEGMENTATION) -> None:
    """Let the interface take buffers of many segments (the default of veth), or make the kernel cut them before it.

    With CHECKSUMS as ``features``: let it take packets whose sums nobody has computed yet, or none.
    """
    with entered(port.netns):
        control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with control:
        names = _feature_names(control, port.name)
        meant = sum(1 << number for number, name in enumerate(names) if features.fullmatch(name))
        blocks = -(-len(names) // 32)
        request = bytearray(8 + 8 * blocks)
        pack_into("=II", request, 0, _SET_FEATURES, blocks)
        for block in range(blocks):
            word = meant >> 32 * block & 0xFFFFFFFF
            pack_into("=II", request, 8 + 8 * block, word, word if on else 0)  # which are meant, which of them are on
        _ethtool(control, port.name, request)


def _feature_names(control: socket.socket, interface: str) -> list[str]:
    """The names of the features that this kernel numbers from 0."""
    sizes = bytearray(20)
    pack_into("=IIQ", sizes, 0, _GET_SETS, 0, 1 << _FEATURE_NAMES)
    _ethtool(control, interface, sizes)
    (count,) = unpack_from("=I", sizes, 16)
    names = bytearray(12 + count * _NAME_BYTES)
    pack_into("=III", names, 0, _GET_STRINGS, _FEATURE_NAMES, count)
    _ethtool(control, interface, names)
    slots = (names[start : start + _NAME_BYTES] for start in range(12, len(names), _NAME_BYTES))
    return [bytes(slot).split(b"\0", 1)[0].decode() for slot in slots]


def _ethtool(control: socket.socket, interface: str, request: bytearray) -> None:
    """Run one command; the kernel writes its answer into ``request``."""
    memory = (ctypes.c_char * len(request)).from_buffer(request)
    argument = bytearray(40)
    pack_into("=16sQ", argument, 0, interface.encode(), ctypes.addressof(memory))
    ioctl(control, _SIOCETHTOOL, argument)
