"""The list of living arenas, without any arena."""

from __future__ import annotations

import os

import pytest

from testbed.errors import UsageError
from testbed.substrate import registry


def test_a_name_is_known_for_exactly_as_long_as_somebody_listens() -> None:
    name = f"unit-{os.getpid()}"
    with registry.listen(name):
        assert name in registry.names()
        with pytest.raises(UsageError, match="up already"):
            registry.listen(name)
    assert name not in registry.names()


def test_attaching_to_and_ending_what_does_not_exist_are_errors_of_use() -> None:
    for action in (lambda: registry.attach("no-such-network", "h1"), lambda: registry.end("no-such-network")):
        with pytest.raises(UsageError, match="no network called 'no-such-network'"):
            action()


@pytest.mark.parametrize(("name", "known", "said"), [
    ("h11", ("h1", "r1"), "There is no host called 'h11'. Did you mean 'h1'?"),
    ("x", ("h1", "r1"), "There is no host called 'x'. There are: h1, r1."),
    ("x", (), "There is no host called 'x'. None."),
])  # fmt: skip
def test_an_unknown_name_gets_the_nearest_or_all(name: str, known: tuple[str, ...], said: str) -> None:
    assert registry.unknown("host", name, known, "None.") == said
