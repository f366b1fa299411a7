"""Where programs of the machine are, and how those that were started are ended."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path


def find(name: str) -> str | None:
    """The path of a program: on PATH, beside this Python, or where Debian keeps what administrators use."""
    places = [os.environ.get("PATH", ""), str(Path(sys.executable).parent), "/usr/local/sbin", "/usr/sbin", "/sbin"]
    return shutil.which(name, path=os.pathsep.join(places))


def end(process: subprocess.Popen[bytes], patience_s: float) -> None:
    """Ask a program to end, and kill it if it has not after this time; nothing happens to one that has ended."""
    process.terminate()
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
