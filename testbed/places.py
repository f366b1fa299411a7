"""Where the folders beside the package are: in a checkout next to it, in an installed wheel inside it."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


@cache
def home() -> Path:
    """The folder that holds ``roles/``, ``analysis/``, ``topologies/`` and ``experiments/``."""
    bundled = PACKAGE / "share"
    return bundled if bundled.is_dir() else PACKAGE.parent


def open_home() -> None:
    """Make ``import roles.…`` and ``import analysis.…`` find the folders of :func:`home`; repeat at will."""
    if str(home()) not in sys.path:
        sys.path.insert(0, str(home()))


def find(name: Path) -> Path:
    """``name`` if it exists, else the file of that name that came with the program, else ``name`` unchanged."""
    bundled = home() / name
    return bundled if not name.exists() and not name.is_absolute() and bundled.exists() else name
