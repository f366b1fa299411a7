"""A function that does what it is told: the body is a JSON list of operations, the answer what each gave."""

from __future__ import annotations

import json
from typing import Any

from roles.session_offloading.offloadable import Offloadable, Request, Response


class Note(Offloadable):
    """Operations of the EdgeDB by name, and a few of its own."""

    def handle_offload(self, request: Request) -> Response:
        """Carry the operations out, one by one."""
        self.request, given = request, []
        for word, *words in json.loads(request.body or "[]"):
            given.append(getattr(self, f"do_{word}", getattr(self.edge_db, word, None))(*words))
        return Response(json.dumps(given))

    def do_request(self) -> Any:
        """Tell what was asked."""
        return {name: getattr(self.request, name) for name in ("verb", "query", "headers", "session", "location")}

    def do_sleep(self, seconds: float) -> None:
        """Take time."""
        self.ctx.sleep(seconds)

    def do_fail(self) -> None:
        """Go wrong."""
        raise RuntimeError("as asked")


def code(ctx: Any, payload: str) -> str:
    """The function."""
    return Note(ctx).serve(payload)
