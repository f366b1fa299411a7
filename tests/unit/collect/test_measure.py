"""Numbers from datasets, by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.collect.measure import measure


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with three datasets."""
    files = {
        "invocations": "phase,node,status,queue_s\nwarmup,e,ok,9\nmeasure,e,ok,1\nmeasure,c,ok,3\nmeasure,e,error,\n",
        "moves": "to,took_s\nc,1.5\ne,2\nc,2.5\n",
        "links": "t,link,node,size_bytes\n0,wan,e,100\n0,wan,c,50\n0,lan,e,7\n4,wan,e,400\n4,wan,c,50\n4,lan,e,9\n",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.csv").write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("moves.took_s.p50", 2.0),
        ("moves[to=c].took_s.mean", 2.0),
        ("moves[to=c].took_s.max", 2.5),
        ("moves[to=nowhere].took_s.p50", None),
        ("moves[to=nowhere].took_s.count", 0.0),
        ("invocations.queue_s.sum", 4.0),
        ("moves.took_s.max/to", 2.25),
        ("invocations[status=error].node.count", 1.0),
        ("byte_km", (300 * 1000 + 2) / 3),
        ("byte_km_rate", (300 * 1000 + 2) / 4),
        ("nothing.took_s.p50", None),
        ("moves.took_s.shape", None),
        ("moves.to.mean", None),
        ("moves.to.count", 3.0),
        ("response_time", None),
    ],
)
def test_a_name_tells_what_is_measured(run: Path, name: str, value: float | None) -> None:
    assert measure(run, name, {"wan": 1000.0, "l*": 1.0, "*": 7.0}) == (None if value is None else pytest.approx(value))
