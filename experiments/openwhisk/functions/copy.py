"""Gives back what it gets as ``input``."""

import json


def code(ctx, payload):
    return json.loads(payload).get("input", "")
