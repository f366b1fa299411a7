"""Data reduction at the edge: a sensor's value is passed up the tree only when it has changed.

The body is ``DEVICE VALUE``; ``gather`` gets ``DEVICE:VALUE`` at each location from the level ?level= (by default
``cloudlet``) down to here.
"""

from roles.session_offloading.offloadable import Offloadable, Request, Response


class Reduce(Offloadable):
    """Each device is a key of the session, its last value the text."""

    def handle_offload(self, request: Request) -> Response:
        """Compare, and pass up what is new."""
        device, _, value = request.body.strip().partition(" ")
        if not device or not value:
            return Response("Send a device and its value, such as: thermometer 21.5\n", status=400)
        if self.edge_db.get(device) == value:
            return Response("as before\n")
        self.edge_db.set(device, value)
        level = request.query.get("level", "cloudlet")
        self.edge_db.propagate(f"{device}:{value}", level, "gather")
        return Response(f"passed up to {level}\n")


def code(ctx, payload):
    """The function."""
    return Reduce(ctx).serve(payload)
