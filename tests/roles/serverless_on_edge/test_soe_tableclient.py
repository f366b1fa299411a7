"""The command line that shows and changes the tables of a running router."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from soe_live import loopback

from roles.serverless_on_edge.tableclient import main


def test_tables_are_changed_and_shown_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def people() -> list[int]:
        router = ["--server-endpoint", "127.71.9.2:6474"]
        entry = ["--lambda", "f", "--destination", "h2:10000"]
        return [main([*router, "--action", *words]) for words in (
            ["change", *entry, "--weight", "0.5", "--final"], ["change", *entry, "--weight", "0"], ["dump"],
            ["remove", *entry], ["flush"], ["dump"])]  # fmt: skip

    async def story() -> list[int]:
        async with loopback(tmp_path, "127.71.9", {}) as net:
            await net.start("router", "h1")
            return await asyncio.to_thread(people)

    assert asyncio.run(story()) == [0, 1, 0, 0, 0, 0]
    assert capsys.readouterr().out == (
        "OK\nError: the weight of 'h2:10000' is 0; it must be above zero\n"
        "Table#0\nf [0.5] h2:10000 (F)\nTable#1\nf [0.5] h2:10000 (F)\nOK\nOK\nTable#0\nTable#1\n"
    )


def test_a_router_that_does_not_answer_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--server-endpoint", "127.71.9.7:6474"]) == 1
    assert "The router at 127.71.9.7:6474 does not answer: unreachable" in capsys.readouterr().err
