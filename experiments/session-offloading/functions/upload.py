"""A content cache, the side that writes: the body is kept under the name in the query (?name=film), or ``content``."""

from roles.session_offloading.offloadable import Offloadable, Request


class Upload(Offloadable):
    """Each content is one value of the session."""

    def handle_offload(self, request: Request) -> str:
        """Keep it."""
        name = request.query.get("name", "content")
        self.edge_db.set(name, request.body)
        return f"{name}: {len(request.body.encode('utf-8', 'surrogatepass'))} bytes\n"


def code(ctx, payload):
    """The function."""
    return Upload(ctx).serve(payload)
