"""Programs beside a role: ready by asking, ended in order or by force, told of with their last words."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from testbed.errors import MachineLacks, TestbedError
from testbed.roles.programs import Program, ProgramFailed, folder_of
from testbed.twin.environment import TwinEnvironment


def shell(script: str, folder: Path) -> Program:
    """A program that does what a shell script says."""
    return Program(["sh", "-c", script], folder / "log", "install a shell")


def there(path: Path) -> Callable[[], Awaitable[str]]:
    """Asks whether a file is there."""

    async def ask() -> str:
        return "" if path.exists() else f"no {path.name} yet"

    return ask


def test_a_program_is_ready_when_it_says_so_and_ends_when_told(tmp_path: Path) -> None:
    async def story() -> None:
        program = shell(f"touch {tmp_path}/ready; exec sleep 60", tmp_path)
        await program.ready(there(tmp_path / "ready"), 20)
        assert program.alive
        await program.end(patience_s=20)
        assert not program.alive
        assert "status -15" in program.how()

    asyncio.run(story())


def test_who_does_not_end_when_told_is_ended_by_force(tmp_path: Path) -> None:
    async def story() -> None:
        script = f"trap '' TERM; touch {tmp_path}/ready; while :; do sleep 0.1; done"
        program = shell(script, tmp_path)
        await program.ready(there(tmp_path / "ready"), 20)
        await program.end(patience_s=0.2)
        assert "status -9" in program.how()
        await program.end()  # once more does no harm

    asyncio.run(story())


def test_a_program_that_ends_before_it_is_ready_is_told_of_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("of an earlier life\n")

    async def story() -> None:
        program = shell("echo no room; exit 3", tmp_path)
        with pytest.raises(ProgramFailed, match=r"sh ended with status 3: no room$"):
            await program.ready(there(tmp_path / "never"), 20)
        await program.gone()

    asyncio.run(story())


def test_a_program_that_is_not_ready_in_time_is_told_of_with_what_was_seen_last(tmp_path: Path) -> None:
    async def story() -> None:
        program = shell("exec sleep 60", tmp_path)
        with pytest.raises(ProgramFailed, match=r"not ready within 0\.3 s: no never yet"):
            await program.ready(there(tmp_path / "never"), 0.3)
        assert program.alive
        await program.end()

    asyncio.run(story())


def test_a_program_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        async def story() -> None:
            program = shell(f"touch {tmp_path}/ready; exec sleep 60", tmp_path)
            await program.ready(there(tmp_path / "ready"), 20)
            (tmp_path / "pid").write_text(str(program.pid))
            os.kill(os.getpid(), signal.SIGKILL)

        asyncio.run(story())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    state = Path(f"/proc/{(tmp_path / 'pid').read_text()}/stat")

    async def gone() -> None:
        while state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z":
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(gone(), 20))


def test_a_program_that_nobody_has_is_named_with_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MachineLacks, match=r"lacks the program no-such-thing\. Get it: ask around\."):
        Program(["no-such-thing"], tmp_path / "log", "ask around")


def test_the_twin_has_no_programs() -> None:
    twin = TwinEnvironment.__new__(TwinEnvironment)
    with pytest.raises(TestbedError, match="a database needs a real program, and the twin has none"):
        folder_of(twin, "a database")
