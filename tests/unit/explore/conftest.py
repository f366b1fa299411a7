"""A home with one system in it, whose planted faults are to be found."""

from __future__ import annotations

import pytest
from shop import HOME

from testbed import places


@pytest.fixture
def shop_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Systems are looked for in HOME."""
    monkeypatch.setattr(places, "home", lambda: HOME)
