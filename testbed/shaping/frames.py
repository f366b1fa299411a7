"""Frames as packet sockets with PACKET_VNET_HDR know them: ten bytes of offload notes, then the Ethernet frame.

Layout: ``struct virtio_net_hdr`` of the virtio specification, section 5.1.6, in the machine's byte order.
"""

from __future__ import annotations

from random import Random
from struct import Struct

HEADER = Struct("=BBHHHH")  # flags, type of segmentation, header length, segment size, checksum start, checksum offset
HEADER_BYTES = HEADER.size
_NEEDS_CHECKSUM = 1
_UDP_SEGMENTS = 5


def on_the_wire(frame: bytes) -> tuple[int, int]:
    """Bytes and packets that ``frame`` stands for on a wire, which has no segmentation offload."""
    size = len(frame) - HEADER_BYTES
    if not frame[1]:
        return size, 1
    _, kind, _, segment, transport, _ = HEADER.unpack_from(frame)
    if not segment:
        return size, 1
    is_udp = kind & 0x7F == _UDP_SEGMENTS
    headers = transport + (8 if is_udp else (frame[HEADER_BYTES + transport + 12] >> 4) * 4)
    segments = max(1, -(-(size - headers) // segment))
    return size + (segments - 1) * headers, segments


def checksummed(frame: bytes) -> bytearray:
    """A copy of ``frame`` whose transport checksum, which offload leaves to the last device, is written out."""
    whole = bytearray(frame)
    flags, kind, length, segment, start, offset = HEADER.unpack_from(frame)
    if not flags & _NEEDS_CHECKSUM:
        return whole
    start += HEADER_BYTES
    data = bytes(whole[start:]) + b"\0" * (len(whole) - start & 1)
    # The one's complement sum of 16-bit words (RFC 1071) is the number that they form, modulo 65535.
    checksum = 0xFFFF - int.from_bytes(data, "big") % 0xFFFF
    whole[start + offset : start + offset + 2] = checksum.to_bytes(2, "big")
    HEADER.pack_into(whole, 0, flags & ~_NEEDS_CHECKSUM, kind, length, segment, 0, 0)
    return whole


def corrupted(frame: bytes, rng: Random) -> bytes | None:
    """``frame`` with one random bit flipped; None (lost) for a buffer of several segments, whose checksums come later.

    The checksum is written out before, as otherwise the receiver would take the damage for what was sent.
    """
    if frame[1]:
        return None
    whole = checksummed(frame)
    bit = rng.randrange(HEADER_BYTES * 8, len(whole) * 8)
    whole[bit >> 3] ^= 1 << (bit & 7)
    return bytes(whole)
