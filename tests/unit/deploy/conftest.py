"""Fixtures of the tests of deployment."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from echo_agents import HOME

from testbed.deploy.forks import ForkServer, fork_server


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """A fork server that knows the echo system."""
    with fork_server(["echo"], tmp_path_factory.mktemp("forks") / "log", HOME) as server:
        yield server


@pytest.fixture
def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody used a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
