"""A content cache, the side that reads: the content called ?name=film, or ``content``.

What is not there is fetched from its origin far away, which takes ORIGIN_S, and kept unless the function is deployed
with ``reads: true``. Its origin has DEFAULT_KB, or as many as ?kb= asks for.
"""

from roles.session_offloading.offloadable import Offloadable, Request, Response

ORIGIN_S = 0.2
DEFAULT_KB = 64
MOST_KB = 10_000


class Download(Offloadable):
    """The header ``x-cache`` tells whether it was there."""

    def handle_offload(self, request: Request) -> Response:
        """Give it."""
        name = request.query.get("name", "content")
        content = self.edge_db.get(name)
        if content is not None:
            return Response(content, headers={"x-cache": "hit"})
        size = request.query.get("kb", str(DEFAULT_KB))
        if not size.isdecimal() or int(size) > MOST_KB:
            return Response(f"kb is a number up to {MOST_KB}, not {size[:20]}\n", status=400)
        self.ctx.sleep(ORIGIN_S)
        content = (f"{name} " * (int(size) * 1000 // (len(name) + 1) + 1))[: int(size) * 1000]
        self.edge_db.set(name, content)
        return Response(content, headers={"x-cache": "miss"})


def code(ctx, payload):
    """The function."""
    return Download(ctx).serve(payload)
