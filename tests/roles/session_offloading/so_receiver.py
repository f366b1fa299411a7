"""A function that keeps what it is told, and tells all of it."""

from __future__ import annotations

import json
from typing import Any

from roles.session_offloading.offloadable import Offloadable, Request


class Receiver(Offloadable):
    """The list is called ``told``."""

    def handle_offload(self, request: Request) -> str:
        """Append."""
        self.edge_db.add_to_list("told", request.body)
        return json.dumps(self.edge_db.get_list("told"))


def code(ctx: Any, payload: str) -> str:
    """The function."""
    return Receiver(ctx).serve(payload)
