"""Where programs of the machine are."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def find(name: str) -> str | None:
    """The path of a program: on PATH, beside this Python, or where Debian keeps what administrators use."""
    places = [os.environ.get("PATH", ""), str(Path(sys.executable).parent), "/usr/local/sbin", "/usr/sbin", "/sbin"]
    return shutil.which(name, path=os.pathsep.join(places))
