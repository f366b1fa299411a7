"""Commands that systems under test bring: ``roles/<system>/cli/<command>.py`` with a typer app ``commands``.

They are found by their files' names, and imported when they are run or help is asked for.
"""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup
from typer.main import get_command

from testbed.roles import discover


class WithTools(TyperGroup):
    """The program's own commands, and after them those of the systems."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of all commands."""
        return [*super().list_commands(ctx), *discover.tools()]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name, or None."""
        own = super().get_command(ctx, cmd_name)
        if own is not None or cmd_name not in discover.tools():
            return own
        return get_command(discover.tool(cmd_name))
