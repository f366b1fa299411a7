"""The command line with a home of its own, in which there is a system with planted faults.

    python shop.py explore ARGUMENTS
"""

from __future__ import annotations

import sys
from pathlib import Path

from testbed import places
from testbed.cli.app import main
from testbed.experiment.load import load
from testbed.explore.exploring import Search
from testbed.explore.faults import KINDS, Chances

HOME = Path(__file__).resolve().parent / "home"
EXPERIMENT = HOME / "shop.yaml"


def search(*sets: str, kinds: tuple[str, ...] = tuple(KINDS), lasting_s: float = 20.0) -> Search:
    """A search in the shop; ``places.home`` has to be HOME."""
    return Search(load(EXPERIMENT, sets), Chances(kinds, 1.0), lasting_s, settle_s=5.0)


if __name__ == "__main__":
    places.home = lambda: HOME  # type: ignore[assignment]
    sys.exit(main(sys.argv[1:]))
