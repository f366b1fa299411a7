"""The parts of the relay that need no network."""

from __future__ import annotations

import pytest

from testbed.shaping import offload
from testbed.shaping.relay import _quantile
from testbed.shaping.serving import BUCKET_S, BUCKETS
from testbed.topology.shape import Shape


@pytest.mark.parametrize(
    ("counted", "share", "expected_s"),
    [
        ({}, 0.5, 0.0),
        ({0: 1}, 0.5, BUCKET_S),
        ({0: 50, 10: 50}, 0.5, BUCKET_S),
        ({0: 49, 10: 51}, 0.5, 11 * BUCKET_S),
        ({0: 99, 10: 1}, 0.99, BUCKET_S),
        ({0: 98, 10: 2}, 0.99, 11 * BUCKET_S),
        ({BUCKETS - 1: 5}, 0.5, 7.0),  # the last bucket is open: its packets were as late as the latest, at most
    ],
)
def test_quantiles_of_lateness_are_upper_edges_of_their_bucket(
    counted: dict[int, int], share: float, expected_s: float
) -> None:
    assert _quantile(counted, share, 7.0) == pytest.approx(expected_s)


def test_a_quantile_is_never_above_the_latest() -> None:
    assert _quantile({3: 10}, 0.99, 3.5 * BUCKET_S) == pytest.approx(3.5 * BUCKET_S)


@pytest.mark.parametrize(
    ("keys", "large_buffers"),
    [({}, True), ({"delay": "5ms"}, True), ({"delay": "5ms", "jitter": "1ms"}, False), ({"loss": "1%"}, False),
     ({"rate": "10Mbit"}, False), ({"corrupt": "1%"}, False), ({"duplicate": "1%"}, False), ({"reorder": "1%"}, False)],
)  # fmt: skip
def test_large_buffers_cross_only_where_nothing_depends_on_single_packets(
    keys: dict[str, str], large_buffers: bool
) -> None:
    assert offload.allowed(Shape.model_validate(keys)) is large_buffers
