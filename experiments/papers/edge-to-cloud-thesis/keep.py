"""Keeps what it is sent."""

from roles.session_offloading.offloadable import Offloadable, Request


class Keep(Offloadable):
    """One key holds it all."""

    def handle_offload(self, request: Request) -> str:
        """Put it down."""
        self.edge_db.set("file", request.body)
        return "kept"


def code(ctx, payload):
    """The function."""
    return Keep(ctx).serve(payload)
