"""Shapes as plain numbers whose keys name the unit, for other programs, and back to the words of a topology file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import inf, nextafter

from testbed import units
from testbed.topology.limits import Limits, processors_text
from testbed.topology.shape import Shape

Number = float | int | str | None


@dataclass(frozen=True, slots=True)
class Quantity:
    """A key of a shape: what it is called as a plain number, its units, and how its text is read."""

    key: str
    plain: str
    table: Mapping[str, float]
    read: Callable[[object], float]


QUANTITIES = (
    Quantity("delay", "delay_s", units.DELAYS, units.delay),
    Quantity("jitter", "jitter_s", units.DELAYS, units.delay),
    Quantity("loss", "loss_share", units.SHARES, units.share),
    Quantity("duplicate", "duplicate_share", units.SHARES, units.share),
    Quantity("reorder", "reorder_share", units.SHARES, units.share),
    Quantity("corrupt", "corrupt_share", units.SHARES, units.share),
    Quantity("rate", "rate_bit_per_s", units.RATES, units.rate),
    Quantity("burst", "burst_bytes", units.SIZES, units.size),
)
DISTRIBUTION, PACKETS, BYTES = "jitter_distribution", "queue_packets", "queue_bytes"
KEYS = (*(each.plain for each in QUANTITIES), DISTRIBUTION, PACKETS, BYTES)
"""The keys that :func:`plain` makes."""
LIMITS = {"cpu": "cpu_cores", "cpuset": "cpuset", "memory": "memory_bytes"}
"""What the limits of a host are called; ``cpuset`` is text such as 0-1,4."""


def plain(shape: Shape) -> dict[str, Number]:
    """Every key of a shape: seconds, shares from 0 to 1, bits per second, bytes, packets; None where none is given."""
    found: dict[str, Number] = {each.plain: getattr(shape, each.key) for each in QUANTITIES}
    return found | {DISTRIBUTION: shape.distribution, PACKETS: shape.queue.packets, BYTES: shape.queue.size_bytes}


def unusual(shape: Shape) -> dict[str, Number]:
    """The keys of :func:`plain` that differ from a link's that nobody shaped."""
    usual = plain(Shape())
    return {key: value for key, value in plain(shape).items() if value is not None and value != usual[key]}


def limits(given: Limits) -> dict[str, Number]:
    """The limits that are set: cores, numbers of processors, bytes."""
    values: dict[str, Number] = {"cpu": given.cpu, "cpuset": processors_text(given.cpuset), "memory": given.memory}
    return {LIMITS[key]: value for key, value in values.items() if value is not None}


def limit_entries(values: Mapping[str, object]) -> dict[str, object]:
    """What a topology file has for the ``values`` of :func:`limits`, whatever else is among them."""
    found = {key: values[name] for key, name in LIMITS.items() if name in values}
    return found | ({"memory": f"{found['memory']}B"} if "memory" in found else {})


def texts(values: Mapping[str, object]) -> dict[str, str]:
    """What a topology file has for the ``values`` of :func:`plain`; raises ValueError for what is no number."""
    found = {each.key: exact(float(str(values[each.plain])), each) for each in QUANTITIES if each.plain in values}
    found |= {"distribution": str(values[DISTRIBUTION])} if DISTRIBUTION in values else {}
    for key, unit in ((PACKETS, "p"), (BYTES, "B")):
        found |= {"queue": f"{values[key]}{unit}"} if key in values else {}
    return found


def exact(amount: float, quantity: Quantity) -> str:
    """``amount`` as text that is read back as the same number, in the unit that a person would choose if one is."""
    return next((each for each in _spellings(amount, quantity.table) if _says(each, amount, quantity)),
                units.write(amount, quantity.table))


def _spellings(amount: float, table: Mapping[str, float]) -> Iterable[str]:
    yield units.write(amount, table)
    unit, factor = min(table.items(), key=lambda each: abs(each[1] - 1))
    near = amount / factor
    for value in (near, nextafter(near, inf), nextafter(near, -inf)):
        yield f"{value!r}{unit}"


def _says(text: str, amount: float, quantity: Quantity) -> bool:
    try:
        return quantity.read(text) == amount
    except ValueError:  # an amount that no link can have: whoever reads the text says so, with its place
        return False
