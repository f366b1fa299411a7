"""Which mechanism serves a link, as a table."""

from __future__ import annotations

import pytest

from testbed.errors import MachineLacks, ShapeNotInForce
from testbed.shaping.choose import choose, expresses
from testbed.topology.model import Interface, Link, Node, Topology
from testbed.topology.shape import Shape


class Offer:
    """A machine with these features."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def has(self, name: str) -> bool:
        assert name in ("netem", "tbf", "relay")
        return name in self._names


def shape(**keys: object) -> Shape:
    return Shape.model_validate(keys)


def two_hosts(forward: Shape, backward: Shape | None = None) -> Topology:
    shapes = (forward, forward if backward is None else backward)
    ends = tuple(Interface(name, "eth0", "02:00:00:00:00:01", None, None, each)
                 for name, each in zip("ab", shapes, strict=True))  # fmt: skip
    nodes = {name: Node(name, "host", (), ()) for name in "ab"}
    return Topology("two", nodes, {"a-b": Link("a-b", (ends[0], ends[1]))}, "")


EVERYTHING = Offer("netem", "tbf", "relay")
NO_NETEM = Offer("tbf", "relay")


@pytest.mark.parametrize(
    ("keys", "with_netem", "without"),
    [
        ({}, "none", "none"),
        ({"queue": "5p"}, "none", "none"),
        ({"rate": "10Mbit"}, "tbf", "tbf"),
        ({"rate": "1Mbit"}, "relay", "relay"),  # one frame takes 12 ms, which a token bucket would skip
        ({"delay": "5ms"}, "netem", "relay"),
        ({"delay": "5ms", "rate": "100Mbit"}, "netem", "relay"),
        ({"delay": "5ms", "rate": "1Mbit"}, "relay", "relay"),
        ({"loss": "1%"}, "netem", "relay"),
        ({"corrupt": "1%", "duplicate": "1%"}, "netem", "relay"),
        ({"delay": "5ms", "jitter": "1ms"}, "relay", "relay"),  # netem would reorder, which is not asked for
        ({"delay": "5ms", "jitter": "1ms", "reorder": "1%"}, "netem", "relay"),
    ],
)
def test_chooses_the_most_faithful_mechanism(keys: dict[str, str], with_netem: str, without: str) -> None:
    topology = two_hosts(shape(**keys))
    assert choose(topology, {}, EVERYTHING) == {"a-b": with_netem}
    assert choose(topology, {}, NO_NETEM) == {"a-b": without}


def test_either_direction_decides() -> None:
    assert choose(two_hosts(shape(), shape(delay="5ms")), {}, NO_NETEM) == {"a-b": "relay"}


def test_shapes_of_the_timeline_count_as_well() -> None:
    plain = two_hosts(shape())
    assert choose(plain, {"a-b": [shape(rate="10Mbit")]}, NO_NETEM) == {"a-b": "tbf"}
    assert choose(plain, {"a-b": [shape(rate="10Mbit"), shape(loss="1%")]}, NO_NETEM) == {"a-b": "relay"}
    assert choose(plain, {"elsewhere": [shape(loss="1%")]}, NO_NETEM) == {"a-b": "none"}


def test_a_second_best_mechanism_is_better_than_none() -> None:
    assert choose(two_hosts(shape(rate="1Mbit")), {}, Offer("tbf")) == {"a-b": "tbf"}
    assert choose(two_hosts(shape(jitter="1ms")), {}, Offer("netem")) == {"a-b": "netem"}


def test_a_machine_that_cannot_shape_says_so_before_anything_is_built() -> None:
    with pytest.raises(MachineLacks, match="link a-b"):
        choose(two_hosts(shape(delay="5ms")), {}, Offer("tbf"))


def test_one_mechanism_can_be_forced() -> None:
    assert choose(two_hosts(shape()), {}, NO_NETEM, only="relay") == {"a-b": "relay"}
    assert choose(two_hosts(shape(rate="1Mbit")), {}, NO_NETEM, only="tbf") == {"a-b": "tbf"}


def test_a_forced_mechanism_that_cannot_do_it_or_is_missing_is_refused() -> None:
    with pytest.raises(ShapeNotInForce, match="asks for delay and rate, which tbf cannot do"):
        choose(two_hosts(shape(delay="5ms", rate="1Mbit")), {}, NO_NETEM, only="tbf")
    with pytest.raises(MachineLacks, match="netem"):
        choose(two_hosts(shape(delay="5ms")), {}, NO_NETEM, only="netem")


def test_only_plain_shapes_need_nothing_and_only_rates_fit_a_token_bucket() -> None:
    assert expresses("none", shape()) and not expresses("none", shape(rate="1Mbit"))
    assert expresses("tbf", shape(rate="1Mbit")) and not expresses("tbf", shape(loss="1%"))
    assert expresses("relay", shape(delay="1ms", loss="1%")) and expresses("netem", shape(delay="1ms"))
