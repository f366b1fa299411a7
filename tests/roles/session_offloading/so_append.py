"""Appends the number of each request to a list, once."""

from roles.session_offloading.offloadable import Offloadable, Request


class Append(Offloadable):
    """The list is called ``log``."""

    def handle_offload(self, request: Request) -> str:
        """Append."""
        self.edge_db.add_to_list("log", request.headers["x-session-request-id"])
        return str(len(self.edge_db.get_list("log")))


def code(ctx, payload):
    """The function."""
    return Append(ctx).serve(payload)
