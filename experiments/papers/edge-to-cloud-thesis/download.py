"""A content network's download: it works for 20 ms and answers with 300 kB."""

from roles.session_offloading.offloadable import Offloadable, Request

CONTENT = "x" * 300_000


class Download(Offloadable):
    """Serves content."""

    def handle_offload(self, request: Request) -> str:
        """Work, and answer."""
        self.ctx.sleep(0.02)
        return CONTENT


def code(ctx, payload):
    """The function."""
    return Download(ctx).serve(payload)
