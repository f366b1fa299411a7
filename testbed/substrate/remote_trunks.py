"""How machines agree on the trunks between them: of which kind, and how long the way is that links have to get back."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from testbed.errors import MachineLacks, TestbedError, UsageError
from testbed.substrate.parts import Cut, Parts
from testbed.substrate.remote import Sessions
from testbed.substrate.trunk import VXLAN_BYTES, Trip

Kind = Literal["vxlan", "udp"]
_FEW = 8  # links that a note names


@dataclass(frozen=True)
class Agreed:
    """The trunks of a network. ``base`` is what VXLAN network identifiers count from.

    ``taken_s`` is, for each cut link, what the way between its machines takes one way, ``trips`` how that was measured.
    """

    kind: Kind
    reason: str
    base: int
    taken_s: Mapping[str, float]
    trips: Mapping[tuple[str, str], Trip]

    def notes(self, parts: Parts, is_taken_off: bool) -> dict[str, str]:
        """For the record of a run."""
        if not parts.cuts:
            return {}
        ways = ", ".join(f"{one} to {two} {trip.one_way_s(self.kind) * 1e3:.3f} ms"
                         for (one, two), trip in self.trips.items())  # fmt: skip
        done = "taken off the delays of links between machines" if is_taken_off else "added to the delays of links"
        found = {"trunks": f"{self.kind} for {len(parts.cuts)} links{self.reason}", "trunks one way": f"{ways}; {done}"}
        short = self._short(parts)
        if short and is_taken_off:
            named = ", ".join(short[:_FEW]) + (f" and {len(short) - _FEW} more" if len(short) > _FEW else "")
            found["trunks too slow for"] = f"{named}: the way between the machines alone takes longer than their delay"
        return found

    def _short(self, parts: Parts) -> list[str]:
        ends = {link: parts.whole.links[link].ends for link in self.taken_s}
        return [link for link, both in ends.items() if min(each.shape.delay for each in both) < self.taken_s[link]]


def agree(sessions: Sessions, parts: Parts) -> Agreed:
    """Have all machines get to know each other, choose the kind of trunk, and measure the ways."""
    told = dict(zip(sessions.by_name, sessions.each(lambda each: each.ask("part.facts")), strict=True))
    if len({each["order"] for each in told.values()}) > 1:
        raise UsageError("The machines do not all store numbers in the same order of bytes; parts need that they do.")
    pairs = sorted({cut.machines for cut in parts.cuts.values()} | {cut.machines[::-1] for cut in parts.cuts.values()})
    secret = secrets.token_hex(16)
    mtus: dict[tuple[str, str], int] = {}
    for session in sessions.by_name.values():
        others = [two for one, two in pairs if one == session.name]
        peers = [(other, told[other]["address"], told[other]["port"]) for other in others]
        found = session.ask("part.ways", secret=secret, peers=peers)["mtus"]
        mtus |= {(session.name, other): mtu for other, mtu in found.items()}
    without = {name: each["without_vxlan"] for name, each in told.items() if each["without_vxlan"]}
    kind, reason = choose(sessions.inventory.file.tunnel, parts.cuts.values(), without, mtus)
    trips = {(one, two): _trip(sessions, one, two) for one, two in pairs if one < two}
    taken = {cut.link: trips[_sorted(cut.machines)].one_way_s(kind) for cut in parts.cuts.values()}
    return Agreed(kind, reason, secrets.randbits(24), taken, trips)


def _trip(sessions: Sessions, one: str, two: str) -> Trip:
    told = sessions[one].ask("part.measure", peer=two)
    return Trip(told["way_s"], told["turn_s"])


def _sorted(machines: tuple[str, str]) -> tuple[str, str]:
    one, two = sorted(machines)
    return one, two


def choose(
    wanted: str, cuts: Iterable[Cut], without: Mapping[str, str], mtus: Mapping[tuple[str, str], int]
) -> tuple[Kind, str]:
    """The kind of all trunks, and why it is not VXLAN where that was not asked for.

    ``without``: machines that cannot have VXLAN devices, and why; ``mtus``: the largest packet from one to another.
    """
    if wanted == "udp":
        return "udp", ""
    for machine, why in without.items():
        if wanted == "vxlan":
            remedy = "Log in there as root, or put `tunnel: udp` into the inventory."
            raise MachineLacks(f"the right or the kernel module for VXLAN ({why.rstrip('.')})", remedy, machine)
        return "udp", f", since {machine} has no right or no kernel module for VXLAN"
    for cut in cuts:
        room = min(mtus[cut.machines], mtus[cut.machines[::-1]]) - VXLAN_BYTES
        if cut.mtu > room:
            if wanted == "vxlan":
                raise TestbedError(_too_narrow(cut, room))
            return "udp", f", since VXLAN would leave packets of {cut.link} only {room} bytes of its {cut.mtu}"
    return "vxlan", ""


def _too_narrow(cut: Cut, room: int) -> str:
    one, two = cut.machines
    return (
        f"The link {cut.link} carries packets of {cut.mtu} bytes; VXLAN between {one} and {two} leaves only {room}. "
        f"Raise the MTU between the machines to {cut.mtu + VXLAN_BYTES}, give the links of this LAN `mtu: {room}`, or "
        "put `tunnel: udp` into the inventory, which cuts frames up."
    )
