"""Delays from places on the earth."""

from __future__ import annotations

from collections.abc import Mapping
from math import asin, cos, radians, sin, sqrt

from testbed.topology.exchange.sketch import Texts
from testbed.units import DELAYS, write

RADIUS_KM = 6371.0088
"""The mean radius of the earth."""
SPEED_KM_PER_S = 299_792.458 * 2 / 3
"""Of light in glass fibre, about two thirds of that in a vacuum."""
FACT = (
    "A delay is the great-circle distance of the two nodes at 2/3 of the speed of light (200 km in 1 ms), to the "
    "microsecond; real cables are longer."
)


def place(data: Mapping[str, object]) -> tuple[float, float] | None:
    """Latitude and longitude in degrees of a node of the Topology Zoo; None if it has none, or none on earth."""
    try:
        latitude, longitude = float(str(data["Latitude"])), float(str(data["Longitude"]))
    except (KeyError, ValueError):
        return None
    return (latitude, longitude) if -90 <= latitude <= 90 and -180 <= longitude <= 180 else None


def distance_km(a: tuple[float, float], b: tuple[float, float]) -> float:
    """The great-circle distance of two places, given in degrees."""
    (north, east), (other_north, other_east) = (tuple(map(radians, each)) for each in (a, b))
    height, width = sin((other_north - north) / 2), sin((other_east - east) / 2)
    chord = height * height + cos(north) * cos(other_north) * width * width
    return 2 * RADIUS_KM * asin(sqrt(min(1.0, chord)))


def delay(a: Mapping[str, object], b: Mapping[str, object]) -> Texts:
    """The delay of a link between two nodes; nothing where one has no place."""
    ends = place(a), place(b)
    if ends[0] is None or ends[1] is None:
        return {}
    seconds = round(distance_km(ends[0], ends[1]) / SPEED_KM_PER_S, 6)
    return {"delay": write(seconds, DELAYS)} if seconds else {}
