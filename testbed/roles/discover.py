"""Which systems under test there are: a system is a folder ``roles/<name>/`` with a ``system.py``. No registry."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from testbed import places
from testbed.errors import UsageError
from testbed.roles.api import System


def names(home: Path | None = None) -> tuple[str, ...]:
    """The systems in ``home/roles``, sorted; ``home`` is where the program's own folders are unless given."""
    return tuple(sorted(file.parent.name for file in ((home or places.home()) / "roles").glob("*/system.py")))


def system(name: str, home: Path | None = None) -> System:
    """The system of this name, imported now; raises UsageError with the nearest spelling if there is none."""
    home = home or places.home()
    known = names(home)
    if name not in known:
        from testbed.document import nearest  # only for the message: agents start faster without it

        hint = nearest(name, known) or f"There are: {', '.join(known) or 'none'}."
        raise UsageError(f"There is no system {name!r} in {home / 'roles'}. {hint}")
    _open(home)
    module = importlib.import_module(f"roles.{name}.system")
    found = getattr(module, "SYSTEM", None)
    if not isinstance(found, System):
        raise UsageError(f"{home / 'roles' / name / 'system.py'} does not define SYSTEM, an instance of System.")
    return found


def _open(home: Path) -> None:
    """Make ``import roles.<name>`` find the folders of ``home``, beside those of homes opened before."""
    if str(home) not in sys.path:
        sys.path.insert(0, str(home))
    package = importlib.import_module("roles")
    if str(home / "roles") not in package.__path__:  # a package with an __init__.py does not look anywhere else
        package.__path__.insert(0, str(home / "roles"))


def templates(name: str, home: Path | None = None) -> Path:
    """The folder with the Jinja2 templates of a system's roles."""
    return (home or places.home()) / "roles" / name / "templates"


def tools(home: Path | None = None) -> Mapping[str, str]:
    """The commands that systems bring, each with the name of its module: ``roles/<system>/cli/<command>.py``."""
    files = sorted(((home or places.home()) / "roles").glob("*/cli/[a-z]*.py"))
    return {file.stem: f"roles.{file.parent.parent.name}.cli.{file.stem}" for file in files}


def tool(name: str, home: Path | None = None) -> Any:
    """What the module of a command calls ``commands``, a typer app; raises KeyError where nobody brings it."""
    home = home or places.home()
    module = tools(home)[name]
    _open(home)
    return importlib.import_module(module).commands


class _Systems(Mapping[str, System]):
    """All systems by name; a system is imported when it is asked for."""

    def __init__(self, home: Path | None) -> None:
        self._home = home

    def __getitem__(self, name: str) -> System:
        if name not in names(self._home):
            raise KeyError(name)
        return system(name, self._home)

    def __iter__(self) -> Iterator[str]:
        return iter(names(self._home))

    def __len__(self) -> int:
        return len(names(self._home))


def systems(home: Path | None = None) -> Mapping[str, System]:
    """All systems by name; looking one up imports that one only."""
    return _Systems(home)
