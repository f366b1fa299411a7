"""Types of parameters that several systems have: ports, names, files on a role's host, a policy of the user's own."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo

from testbed import units
from testbed.errors import TestbedError


def _port(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 65536:
        raise units.refuse("a port from 1 to 65535")
    return value


def _absolute(value: object) -> object:
    if value is None or (isinstance(value, str) and Path(value).is_absolute()):
        return value
    raise units.refuse("the absolute path of a file with keys, on the role's host")


Port = Annotated[int, BeforeValidator(_port)]
KeyFile = Annotated[str | None, BeforeValidator(_absolute)]


class OwnPolicy(BaseModel):
    """A policy of the user's own: the text of a Python file, so that it can travel, and the function that decides."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    function: str
    source: str

    def load(self) -> Callable[..., Any]:
        """The function; raises TestbedError where the file cannot be executed."""
        names: dict[str, Any] = {"__name__": "policy", "__file__": self.file}
        try:
            exec(compile(self.source, self.file, "exec"), names)  # noqa: S102 - the experimenter's own code
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            raise TestbedError(f"The policy in {self.file} cannot be loaded: {said}.") from error
        found: Callable[..., Any] = names[self.function]
        return found


def policy_among(built_in: Collection[str]) -> BeforeValidator:
    """Reads a built-in policy's name as it is, and ``FILE.py:FUNCTION`` as an :class:`OwnPolicy`."""

    def read(value: object, info: ValidationInfo) -> object:
        if not isinstance(value, str) or value in built_in:
            return value
        name, colon, function = value.rpartition(":")
        if not colon or not name.endswith(".py") or not function.isidentifier():
            raise units.refuse(f"{', '.join(built_in)}, or FILE.py:FUNCTION with a policy of your own")
        source = _source(name, function, Path((info.context or {}).get("folder", ".")))
        return OwnPolicy(file=name, function=function, source=source)

    return BeforeValidator(read)


def _source(name: str, function: str, folder: Path) -> str:
    path = folder / name
    try:
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source, name)
    except OSError as error:
        raise units.refuse("a Python file, its path relative to the experiment", f"{path}: {error.strerror}.") from None
    except (SyntaxError, ValueError) as error:
        line = f" in line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise units.refuse("Python that compiles", f"Mend {name}{line}: {getattr(error, 'msg', error)}.") from None
    defined = [each.name for each in tree.body if isinstance(each, ast.FunctionDef)]
    if function not in defined:
        raise units.refuse(f"a function that {name} defines ({', '.join(defined) or 'it defines none'})")
    return source
