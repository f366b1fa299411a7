"""Quantities with their unit, as a person writes them: ``10ms``, ``50Mbit``, ``0.1%``, ``64KiB``, ``100p``, ``20/s``.

Inside the program a delay is a float in seconds, a rate a float in bits per second, a share a float from 0 to 1, a size
an int in bytes, a frequency a float in 1/seconds, and a queue limit a :class:`Queue`; what a clock is ahead and what it
gains are floats, in seconds and in seconds per second, and may be negative. A bare number is refused (zero excepted),
since a missing unit has spoilt experiments of others without a word. The pydantic types at the end of this file
(``Delay``, ``Rate``, ...) are what models use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer
from pydantic_core import PydanticCustomError

_QUANTITY = re.compile(r"\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-zµ%/]*)\s*$")

DELAYS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
RATES = {"bit": 1.0, "kbit": 1e3, "Mbit": 1e6, "Gbit": 1e9}
SHARES = {"%": 0.01}
SIZES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
FREQUENCIES = {"/s": 1.0, "/min": 1 / 60, "/h": 1 / 3600}
DRIFTS = {"ppm": 1e-6}
_ALSO = {"bps": "bit", "kbps": "kbit", "mbps": "Mbit", "gbps": "Gbit",
         "mbit/s": "Mbit", "gbit/s": "Gbit", "kbit/s": "kbit", "sec": "s", "seconds": "s", "msec": "ms",
         "milliseconds": "ms", "usec": "us", "minutes": "min", "hz": "/s",
         "kb": "kB", "mb": "MB", "gb": "GB", "kib": "KiB", "mib": "MiB", "gib": "GiB", "percent": "%"}


@dataclass(frozen=True, slots=True)
class Queue:
    """How much may wait at the sending end of a link: a number of packets or of bytes (drop-tail beyond it)."""

    packets: int | None = None
    size_bytes: int | None = None

    def __str__(self) -> str:
        return f"{self.packets}p" if self.packets is not None else f"{self.size_bytes}B"


def refuse(expected: str, hint: str = "") -> PydanticCustomError:
    """The error of a value that does not fit: what would have, and an imperative hint for the user."""
    return PydanticCustomError("refused", "expected {expected}", {"expected": expected, "hint": hint})


def _nearest(unit: str, units: Mapping[str, float], number: str) -> str:
    by_lower = {name.lower(): name for name in units} | {k: v for k, v in _ALSO.items() if v in units}
    return f"Try {number}{by_lower[unit.lower()]}." if unit.lower() in by_lower else ""


def parse(
    value: object, units: Mapping[str, float], expected: str, example_unit: str, *, signed: bool = False
) -> float:
    """The number of base units that ``value`` names; refuses bare numbers, unknown units and amounts that cannot be.

    Negative ones can be where they are ``signed``.
    """
    if value == 0 and not isinstance(value, bool):
        return 0.0
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise refuse(expected, f"Add the unit: {value:g}{example_unit}." if isfinite(value) else "")
    match = _QUANTITY.match(value) if isinstance(value, str) else None
    if match is None:
        raise refuse(expected)
    number, unit = match.groups()
    if float(number) == 0 and unit in ("", *units):
        return 0.0
    if unit not in units:
        raise refuse(expected, _nearest(unit, units, number) if unit else f"Add the unit: {number}{example_unit}.")
    amount = float(number) * units[unit]
    if not (amount >= 0 or signed) or abs(amount) >= 1e18:
        raise refuse(expected, f"Give an amount that {'' if signed else 'is not negative and '}can exist.")
    return amount


def delay(value: object) -> float:
    """Seconds from ``10ms``, ``1.5s``, ``2min``."""
    return parse(value, DELAYS, "a time with its unit, such as 10ms (ns, us, ms, s, min, h)", "ms")


def rate(value: object) -> float:
    """Bits per second from ``10Mbit`` (decimal multiples, per second)."""
    amount = parse(value, RATES, "a rate with its unit, such as 10Mbit (bit, kbit, Mbit, Gbit; per second)", "Mbit")
    if amount == 0:
        raise refuse("a rate above zero", "To cut a link, use a timeline event; to leave it unshaped, drop the key.")
    return amount


def share(value: object) -> float:
    """A share from 0 to 1 from ``0.1%``."""
    if isinstance(value, float) and 0 < value < 1:  # per cent or a part of 1: a person must say
        hint = f"Write {value:g}%, or {100 * value:g}% if a part of 1 was meant."
        raise refuse("a share with its sign, such as 0.1%", hint)
    amount = parse(value, SHARES, "a share with its sign, such as 0.1%", "%")
    if amount > 1:
        raise refuse("a share of at most 100%")
    return amount


def size(value: object) -> int:
    """Bytes from ``64KiB`` or ``1MB``."""
    return round(parse(value, SIZES, "a size with its unit, such as 64KiB (B, kB, MB, GB, KiB, MiB, GiB)", "B"))


def frequency(value: object) -> float:
    """Events per second from ``20/s``."""
    return parse(value, FREQUENCIES, "a frequency with its unit, such as 20/s (/s, /min, /h)", "/s")


def offset(value: object) -> float:
    """Seconds from ``300ms``, ``-2s``: how far a clock is ahead, or behind; 28 years at most."""
    expected = "a time with its unit, such as 300ms or -300ms (ns, us, ms, s, min, h)"
    amount = parse(value, DELAYS, expected, "ms", signed=True)
    if abs(amount) > 9e8:
        raise refuse("a time of at most 250000h, ahead or behind")
    return amount


def drift(value: object) -> float:
    """Seconds per second from ``200ppm``, ``-50ppm``: what a clock gains, or loses."""
    amount = parse(value, DRIFTS, "a drift with its unit, such as 200ppm or -200ppm", "ppm", signed=True)
    if abs(amount) >= 1:
        raise refuse("a drift of less than 1000000ppm, ahead or behind")
    return amount


def queue(value: object) -> Queue:
    """A queue limit from ``100p`` (packets) or ``64KiB`` (bytes)."""
    if isinstance(value, Queue):
        return value
    amount = parse(value, {"p": 1, **SIZES}, "a queue limit such as 100p (packets) or 64KiB (bytes)", "p")
    if amount < 1:
        raise refuse("a queue that holds at least one packet, such as 100p")
    counts_packets = isinstance(value, str) and value.strip().endswith("p")
    return Queue(packets=round(amount)) if counts_packets else Queue(size_bytes=round(amount))


def write(amount: float, units: Mapping[str, float]) -> str:
    """``amount`` (in base units) as text that :func:`parse` reads back, in the largest unit that leaves at least 1."""
    if amount == 0:
        return "0"
    fitting = [name for name, factor in units.items() if abs(amount) >= factor and name != "µs"]
    name = max(fitting, key=lambda each: units[each]) if fitting else min(units, key=lambda each: units[each])
    return f"{amount / units[name]:.12g}{name}"


@dataclass(frozen=True, slots=True)
class Unit:
    """Marks a field's type with what it measures; the generated reference prints it."""

    name: str


def _kept(read: Callable[[object], Any]) -> BeforeValidator:
    """Runs ``read`` on what stands in a file; a default given in code is in base units already and is not read."""
    return BeforeValidator(read)


Delay = Annotated[float, _kept(delay), PlainSerializer(lambda v: write(v, DELAYS)), Unit("time")]
Rate = Annotated[float, _kept(rate), PlainSerializer(lambda v: write(v, RATES)), Unit("rate")]
Share = Annotated[float, _kept(share), PlainSerializer(lambda v: write(v, SHARES)), Unit("share")]
Size = Annotated[int, _kept(size), PlainSerializer(lambda v: write(v, SIZES)), Unit("size")]
QueueLimit = Annotated[Queue, _kept(queue), PlainSerializer(str), Unit("queue")]
Frequency = Annotated[float, _kept(frequency), PlainSerializer(lambda v: write(v, FREQUENCIES)), Unit("frequency")]
Offset = Annotated[float, _kept(offset), PlainSerializer(lambda v: write(v, DELAYS)), Unit("offset")]
Drift = Annotated[float, _kept(drift), PlainSerializer(lambda v: write(v, DRIFTS)), Unit("drift")]
