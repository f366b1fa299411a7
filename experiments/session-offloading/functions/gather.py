"""Receives what ``reduce`` passes up the tree, and has the last value of each device.

Its answer is all of them, and how many values came: {"thermometer": "21.5", ...}. An empty value only asks.
"""

import json

from roles.session_offloading.offloadable import Offloadable, Request


class Gather(Offloadable):
    """The key ``devices`` has all values, in JSON."""

    def handle_offload(self, request: Request) -> str:
        """Keep a value."""
        devices = json.loads(self.edge_db.get("devices") or "{}")
        device, colon, value = request.body.strip().partition(":")
        if colon:
            devices[device] = value
            self.edge_db.set("devices", json.dumps(devices))
        return json.dumps(devices)


def code(ctx, payload):
    """The function."""
    return Gather(ctx).serve(payload)
