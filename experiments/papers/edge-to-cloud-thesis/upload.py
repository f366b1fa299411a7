"""A content network's upload: it works for 20 ms and keeps that something came. What came is not kept."""

from roles.session_offloading.offloadable import Offloadable, Request


class Upload(Offloadable):
    """Counts what it gets."""

    def handle_offload(self, request: Request) -> str:
        """Work, and write a little."""
        self.ctx.sleep(0.02)
        self.edge_db.set("bytes", str(len(request.body)))
        return "kept"


def code(ctx, payload):
    """The function."""
    return Upload(ctx).serve(payload)
