"""Measured beside published values, whatever was measured; tolerances stand in the experiment, not here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from testbed.experiment.model import Jump, Published, PublishedValue

Point = tuple[Mapping[str, Any], Mapping[str, Any]]  # what the sweep set, the summary row measured there


def compare(published: Published, points: Sequence[Point]) -> dict[str, Any]:
    """The rows that reports and figures show: for each published value or jump what was measured, and the judgement.

    ``points`` are (swept values, summary row over all functions); a run without a sweep has one point with no values.
    A row is ``reproduced`` if the measured value exists and differs by at most the stated tolerance.
    """
    rows = [_value(each, points) for each in published.values]
    rows += [_jump(each, points) for each in published.jumps]
    return {"source": published.source, "rows": rows, "reproduced": all(row["reproduced"] for row in rows)}


def _value(claim: PublishedValue, points: Sequence[Point]) -> dict[str, Any]:
    measured = [row.get(claim.metric) for swept, row in points if _fits(claim.at, swept)]
    value = measured[0] if measured else None
    difference = None if value is None else value / claim.value - 1
    return {
        "name": claim.name,
        "metric": claim.metric,
        "at": claim.at,
        "published": claim.value,
        "measured": value,
        "difference": difference,
        "tolerance": claim.tolerance,
        "reproduced": difference is not None and abs(difference) <= claim.tolerance,
    }


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
