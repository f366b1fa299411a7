"""What every host promises, wherever it is: commands with their status, files, processes with their records."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import CommandFailed

SOON_S = 60.0


def keeps_the_host_contract(host: Any) -> None:
    """Assert it; leaves the files ``deep/er/text`` and ``large`` in the host's folder."""
    assert host.run(["printf", "%s|", "a b", "$HOME", "it's"]).stdout == "a b|$HOME|it's|"
    assert host.run(["pwd"]).stdout == f"{host.folder}\n"
    with pytest.raises(CommandFailed, match=f"On host {host.name}, the command 'sh -c echo no >&2; exit 4' exited"):
        host.run(["sh", "-c", "echo no >&2; exit 4"])
    with pytest.raises(TimeoutError, match=rf"On host {host.name}, 'sleep 60' did not end within 0\.5 s"):
        host.run(["sleep", "60"], timeout=0.5)
    assert host.run(["no-such-program"], check=False).status == 127
    host.put("Grüße\n", Path("deep/er/text"))
    assert host.get(host.folder / "deep" / "er" / "text") == "Grüße\n"
    with pytest.raises(FileNotFoundError):
        host.get(Path("nothing"))
    host.put("x" * 3_000_000, Path("large"))
    process = host.start(["sh", "-c", 'echo "$WORD"; exec sleep 60'], host.folder / "job", env={"WORD": "so it is"})
    assert process.wait(0.1) is None
    process.signal(signal.SIGTERM)
    assert process.wait(SOON_S) == -signal.SIGTERM
    assert host.get(Path("job/stdout")) == "so it is\n"
