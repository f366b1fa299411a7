"""Measured beside published values, whatever was measured; tolerances stand in the experiment, not here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import fmean, median
from typing import Any

from testbed.experiment.claims import Crossing, Jump, Order, Published, PublishedValue, Rise

Point = tuple[Mapping[str, Any], Mapping[str, Any]]  # what the sweep set, the summary row measured there

_OF_SEEDS: Mapping[str, Callable[[list[float]], float]] = {"mean": fmean, "median": median, "min": min, "max": max}
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")


def compare(published: Published, points: Sequence[Point]) -> dict[str, Any]:
    """The rows that reports and figures show: for each published value or shape what was measured, and the judgement.

    ``points`` are (swept values, summary row over all functions); a run without a sweep has one point with no values.
    A row is ``reproduced`` if the measured value exists and differs by at most the stated tolerance.
    """
    rows = [_value(each, points) for each in published.values]
    rows += [_jump(each, points) for each in published.jumps]
    rows += [_rise(each, points) for each in published.rises]
    rows += [_crossing(each, points) for each in published.crossings]
    rows += [_order(each, points) for each in published.orders]
    return {"source": published.source, "rows": rows, "reproduced": all(row["reproduced"] for row in rows)}


def _value(claim: PublishedValue, points: Sequence[Point]) -> dict[str, Any]:
    return _number(claim, _at(claim.metric, claim.at, points, _OF_SEEDS[claim.of_seeds]), claim.at)


def _number(claim: PublishedValue | Rise | Crossing, value: float | None, at: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a claim that is a number."""
    difference = None if value is None else value / claim.value - 1
    return {
        "name": claim.name,
        "metric": claim.metric,
        "at": at,
        "published": claim.value,
        "measured": value,
        "difference": difference,
        "tolerance": claim.tolerance,
        "reproduced": difference is not None and abs(difference) <= claim.tolerance,
    }


def _at(
    metric: str, at: Mapping[str, Any], points: Sequence[Point], take: Callable[[list[float]], float] = fmean
) -> float | None:
    """What was measured at the first point that fits; where the sweep repeats it with other seeds, their mean."""
    fitting = [(_but_seed(swept), row.get(metric)) for swept, row in points if _fits(at, swept)]
    measured = [value for place, value in fitting if place == fitting[0][0] and value is not None]
    return take(measured) if measured else None


def _but_seed(swept: Mapping[str, Any]) -> dict[str, Any]:
    return {path: value for path, value in swept.items() if path != "seed"}


def _fits(at: Mapping[str, Any], swept: Mapping[str, Any]) -> bool:
    """Whether a point has these values; a key may name the last part of a swept path (``loss`` for ``a.b.loss``)."""
    return all(
        any(path == key or path.endswith(f".{key}") for path in swept if swept[path] == value)
        for key, value in at.items()
    )


def _jump(claim: Jump, points: Sequence[Point]) -> dict[str, Any]:
    values = [(next(iter(swept.values()), None), row.get(claim.metric)) for swept, row in points]
    steps = [(b[0], a[0], b[1] / a[1]) for a, b in pairwise(values) if a[1] and b[1]]
    before, after = claim.between
    growth = next((factor for to, start, factor in steps if start == before and to == after), None)
    index = [to for to, _, _ in steps].index(after) if growth is not None else 0
    calm = all(factor < claim.factor for _, _, factor in steps[:index])
    return {
        "name": f"{claim.metric} jumps between {before} and {after}",
        "metric": claim.metric,
        "at": {},
        "published": f"at least {claim.factor:g} times",
        "measured": growth,
        "difference": None,
        "tolerance": None,
        "reproduced": growth is not None and growth >= claim.factor and calm,
    }


def _rise(claim: Rise, points: Sequence[Point]) -> dict[str, Any]:
    before, after = (_at(claim.metric, at, points) for at in claim.between)
    return _number(claim, None if before is None or after is None else after - before, {})


def _crossing(claim: Crossing, points: Sequence[Point]) -> dict[str, Any]:
    """Between the two points where the curves change places, both count as straight."""
    one, other = (dict(_curve(claim, at, points)) for at in claim.between)
    gaps = [(x, one[x] - other[x]) for x in sorted(one.keys() & other.keys())]
    changes = ((a, b) for a, b in pairwise(gaps) if a[1] * b[1] <= 0 and a[1] != b[1])
    found = (a[0] + (b[0] - a[0]) * a[1] / (a[1] - b[1]) for a, b in changes)
    return _number(claim, next(found, None), {})


def _curve(claim: Crossing, at: Mapping[str, Any], points: Sequence[Point]) -> Iterator[tuple[float, float]]:
    for swept, row in points:
        places = [x for path, x in swept.items() if path == claim.over or path.endswith(f".{claim.over}")]
        place = _amount(places[0]) if places else None
        if place is not None and _fits(at, swept) and row.get(claim.metric) is not None:
            value = _at(claim.metric, _but_seed(swept), points)
            yield place, row[claim.metric] if value is None else value


def _amount(written: object) -> float | None:
    """The number in a swept value, such as 50 in 50Mbit; None where there is none."""
    found = _NUMBER.match(str(written)) if isinstance(written, int | float | str) else None
    return float(found[0]) if found else None


def _order(claim: Order, points: Sequence[Point]) -> dict[str, Any]:
    values = [_at(claim.metric, at, points) for at in claim.rising]
    known = [value for value in values if value is not None]
    factors = [b / a for a, b in pairwise(known) if a]
    return {
        "name": claim.name,
        "metric": claim.metric,
        "at": {},
        "published": "each larger" if claim.factor == 1 else f"each more than {claim.factor:g} times as large",
        "measured": min(factors, default=None),
        "difference": None,
        "tolerance": None,
        "reproduced": len(factors) == len(values) - 1 and all(factor > claim.factor for factor in factors),
    }
