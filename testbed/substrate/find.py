"""Finding a substrate by its name: the module ``testbed/substrate/<name>.py`` with the class that has this ``name``.

Some have options: ``mininet:ovs`` is the substrate ``mininet`` made with its option ``ovs``. Where the option is the
name of a file (``machines:lab.yaml``), the class says so: ``option_is_file = True``.
"""

from __future__ import annotations

import ast
import difflib
import importlib
from collections.abc import Sequence
from pathlib import Path

from testbed.errors import UsageError
from testbed.substrate.base import Substrate


def names() -> tuple[str, ...]:
    """The substrates there are, found by reading the modules of this folder; nothing is imported."""
    return tuple(name for path in sorted(Path(__file__).parent.glob("*.py")) for name in _named_in(path))


def _named_in(path: Path) -> list[str]:
    """The value of ``name = "…"`` in each class of a module whose name ends in Substrate."""
    classes = [
        node
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name.endswith("Substrate") and path.stem != "base"
    ]
    values = [
        item.value
        for each in classes
        for item in each.body
        if isinstance(item, ast.Assign) and getattr(item.targets[0], "id", "") == "name"
    ]
    return [str(value.value) for value in values if isinstance(value, ast.Constant)]


def named(name: str) -> Substrate:
    """The substrate called ``name`` (or ``name:option``); UsageError with the nearest spelling if there is none."""
    plain, _, option = name.partition(":")
    _refuse_unknown(plain, names())
    module = importlib.import_module(f"testbed.substrate.{plain}")
    kind = next(each for each in vars(module).values() if getattr(each, "name", None) == plain)
    if option and not getattr(kind, "option_is_file", False):
        _refuse_unknown(name, [f"{plain}:{each}" for each in getattr(kind, "options", ())])
    made: Substrate = kind(option) if option else kind()
    return made


def _refuse_unknown(name: str, known: Sequence[str]) -> None:
    if name in known:
        return
    near = difflib.get_close_matches(name, known, 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UsageError(f"There is no substrate called {name!r}; there are: {', '.join(known) or 'none'}.{hint}")
