"""Build and remove a star with munet; run by instantiate.py with the interpreter of a scratch environment that has it.

    munet_network.py HOSTS FOLDER

Prints the seconds to build, the seconds to remove, and what memory that took, as instantiate.py's Times. munet unshares
in its own process and makes no PID namespace of its own, since its defaults do not work in namespaces like these.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from pathlib import Path

from memory import Memory
from munet.parser import async_build_topology  # type: ignore[import-not-found,unused-ignore]


def config(hosts: int, folder: Path) -> dict[str, object]:
    """A network with so many hosts, as munet's own file would have it."""
    nodes = [{"name": f"h{number}", "connections": ["net0"]} for number in range(hosts)]
    return {"topology": {"networks": [{"name": "net0"}], "nodes": nodes}, "config_pathname": str(folder / "munet.yaml")}


async def measure(hosts: int, folder: Path) -> list[float]:
    """Seconds up and down, and memory in kB for each host: of the machine, of processes."""
    memory, begun = Memory(), time.perf_counter()
    network = await async_build_topology(
        config(hosts, folder), rundir=str(folder), unshare_inline=True, top_level_pidns=False
    )
    await network.run()
    built = time.perf_counter()
    figures = [each / hosts for each in memory.taken()]
    ending = time.perf_counter()
    await network.async_delete()
    return [built - begun, time.perf_counter() - ending, *figures]


def main() -> None:
    logging.disable(logging.CRITICAL)
    print(*asyncio.run(measure(int(sys.argv[1]), Path(sys.argv[2]))))


main()
