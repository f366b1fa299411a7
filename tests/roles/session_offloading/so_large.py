"""A large session goes up and down: ``python so_large.py MEGABYTES`` on the client's machine; uses ``so_emulated``.

``seconds`` of the moves are printed; what is lost, or takes part of the data twice, fails.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time

from so_asking import Checked
from so_emulated import Http

PIECE = 1_000_000


def text(number: int) -> str:
    """A piece of a session: a megabyte that is like no other."""
    return hashlib.sha256(str(number).encode()).hexdigest() * (PIECE // 64)


async def main(addresses: dict[str, str], pieces: int) -> None:
    """Fill a session, move it up and down again, look at all of it."""
    way = Http(addresses)
    c = Checked(way, "large")
    try:
        for number in range(pieces):
            await c.note("p3", ["set", f"k{number}", text(number)])
        for move, location in ((c.offload, "p3"), (c.onload, "p3")):
            begun = time.monotonic()
            await move(location)
            print(f"{time.monotonic() - begun:.3f}")
            holder = "p2" if move == c.offload else "p3"
            assert (await c.details(holder))["here"]
            for number in range(0, pieces, 7):
                assert await c.note(holder, ["get", f"k{number}"]) == [text(number)]
    finally:
        await way.close()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1]), int(sys.argv[2])))
