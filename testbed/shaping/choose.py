"""Who serves which link: decided once, before the network is built, from all shapes that the link will ever have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from testbed.errors import MachineLacks, ShapeNotInForce
from testbed.shaping.base import Mechanism
from testbed.topology.model import Link, Topology
from testbed.topology.shape import Shape

# A token bucket lets the first frame after a pause through at once, so a link with this mechanism is too fast by up to
# the time that one frame takes at its rate. Where that is more than this, the relay, which is exact, serves the link.
TBF_ERROR_S = 0.002

_ETHERNET_BYTES = 14


class Offer(Protocol):
    """What this machine offers: the substrate's Capabilities, asked for ``netem``, ``tbf`` and ``relay``."""

    def has(self, name: str) -> bool:
        """Whether the feature is available here."""


def choose(
    topology: Topology, later: Mapping[str, Sequence[Shape]], offer: Offer, only: Mechanism | None = None
) -> dict[str, Mechanism]:
    """The mechanism of each link. ``later`` holds the shapes that the timeline will ask for; any mechanism can cut.

    ``only`` forces one mechanism (plain links included), for tests and comparisons. Raises ShapeNotInForce if that one
    cannot express a shape of a link, and MachineLacks if nothing here can.
    """
    chosen: dict[str, Mechanism] = {}
    for name, link in topology.links.items():
        shapes = [*(end.shape for end in link.ends), *later.get(name, ())]
        chosen[name] = _choose(link, shapes, offer) if only is None else _forced(link, shapes, offer, only)
    return chosen


def expresses(mechanism: Mechanism, shape: Shape) -> bool:
    """Whether ``mechanism`` can put ``shape`` in force at all."""
    if mechanism == "none":
        return shape.is_plain
    return mechanism != "tbf" or not shape.touches_packets


def _choose(link: Link, shapes: Sequence[Shape], offer: Offer) -> Mechanism:
    for mechanism in _preferred(link, shapes):
        if mechanism == "none" or offer.has(mechanism):
            return mechanism
    raise _lacking(link, "a way to shape")


def _preferred(link: Link, shapes: Sequence[Shape]) -> tuple[Mechanism, ...]:
    """The mechanisms that can serve the link, the most faithful first."""
    if all(shape.is_plain for shape in shapes):
        return ("none",)
    exact_in_kernel = _bucket_error_s(link, shapes) <= TBF_ERROR_S
    if not any(shape.touches_packets for shape in shapes):
        return ("tbf", "relay", "netem") if exact_in_kernel else ("relay", "tbf", "netem")
    # netem lets packets overtake each other as soon as there is jitter; a link keeps their order unless told otherwise.
    keeps_order = not any(shape.jitter and not shape.reorder for shape in shapes)
    return ("netem", "relay") if keeps_order and exact_in_kernel else ("relay", "netem")


def _forced(link: Link, shapes: Sequence[Shape], offer: Offer, only: Mechanism) -> Mechanism:
    if not all(expresses(only, shape) for shape in shapes):
        raise ShapeNotInForce(
            f"Link {link.name} asks for {_wishes(shapes)}, which {only} cannot do. "
            "Let the program choose the mechanism, or ask for the relay."
        )
    if only != "none" and not offer.has(only):
        raise _lacking(link, only)
    return only


def _bucket_error_s(link: Link, shapes: Iterable[Shape]) -> float:
    """By how much a token bucket is too fast at the lowest rate, in seconds; a burst that is asked for is no error."""
    bits = (link.mtu + _ETHERNET_BYTES) * 8
    return max((bits / shape.rate for shape in shapes if shape.rate is not None and not shape.burst), default=0.0)


def _wishes(shapes: Iterable[Shape]) -> str:
    names = ("delay", "jitter", "loss", "duplicate", "reorder", "corrupt", "rate")
    return " and ".join(name for name in names if any(getattr(shape, name) for shape in shapes))


def _lacking(link: Link, what: str) -> MachineLacks:
    return MachineLacks(
        f"{what} for link {link.name}",
        "Packet sockets (CONFIG_PACKET) are enough for the relay, and sch_netem and sch_tbf for shaping in the kernel; "
        "`testbed doctor` says what is here.",
    )
