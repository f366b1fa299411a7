"""Which libraries another machine needs for deputies and agents, as distributions with the versions of this side."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from testbed import places

ALWAYS = ("networkx", "pydantic")  # what deputies and agents import, whatever the system
_OWN = ("testbed", "roles", "analysis")


def needed(system: str, home: Path | None = None) -> dict[str, str]:
    """The distributions that agents of a system import, read from its sources, with the versions installed here."""
    folder = (home or places.home()) / "roles" / system
    owners = metadata.packages_distributions()
    names = {*ALWAYS, *imported(folder.rglob("*.py"))}
    found = {owner for name in names for owner in owners.get(name, ())[:1]}
    return {name: metadata.version(name) for name in sorted(found)}


def imported(sources: Iterable[Path]) -> set[str]:
    """The top-level packages that these files import and that are neither Python's nor this program's."""
    found: set[str] = set()
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                found.add(node.module.partition(".")[0])
            elif isinstance(node, ast.Import):
                found.update(alias.name.partition(".")[0] for alias in node.names)
    return found - set(sys.stdlib_module_names) - set(_OWN)
