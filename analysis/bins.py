"""Cutting a run into intervals of a round length."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pandas as pd

Array = npt.NDArray[np.float64]


def width(span: float, most: int = 60) -> float:
    """The shortest of 0.1, 0.2, 0.5, 1, 2, 5, ... seconds that cuts ``span`` seconds into at most ``most`` parts."""
    if span <= 0.1 * most:
        return 0.1
    power = 10.0 ** math.floor(math.log10(span / most))
    fitting = next(step * power for step in (1, 2, 5, 10) if step * power * most >= span * (1 - 1e-9))
    return fitting


def edges(times: pd.Series, most: int = 60) -> Array:
    """The borders of round intervals that cover ``times``, in ascending order; at least two."""
    known = times.dropna()
    if known.empty:
        return np.array([0.0, 1.0])
    step = width(float(known.max() - known.min()), most)
    first = math.floor(float(known.min()) / step)
    last = math.floor(float(known.max()) / step) + 1
    return np.arange(first, last + 1, dtype=np.float64) * np.float64(step)


def rates(times: pd.Series, borders: Array) -> Array:
    """How many of ``times`` fall in each interval, per second."""
    counts, _ = np.histogram(times.dropna().to_numpy(dtype=float), borders)
    return np.asarray(counts / np.diff(borders), dtype=np.float64)


def increments(samples: pd.DataFrame, by: list[str], counter: str) -> pd.DataFrame:
    """Growth of a running counter from sample to sample: the rows after the first with ``grown`` and ``dt``.

    A counter that went back (its agent was started anew) counts from zero.
    """
    rows = samples.dropna(subset=["t", counter]).sort_values([*by, "t"])
    value = rows[counter].astype("float64")
    grown = value.groupby([rows[name] for name in by]).diff()
    dt = rows.groupby(by)["t"].diff()
    rows = rows.assign(grown=grown.where(grown >= 0, value), dt=dt)
    return rows[rows["dt"] > 0]
