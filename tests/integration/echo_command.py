"""The command line with the home of the echo system, whose servers note each call by both of their clocks.

    python echo_command.py run ARGUMENTS
"""

from __future__ import annotations

import sys
from pathlib import Path

from testbed import places
from testbed.cli.app import main

HOME = Path(__file__).parents[1] / "unit" / "deploy" / "home"

if __name__ == "__main__":
    places.home = lambda: HOME  # type: ignore[assignment]
    sys.exit(main(sys.argv[1:]))
