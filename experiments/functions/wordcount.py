"""Counts the words of a text and names the most frequent ones: real work on a real text."""

import json
import re
from collections import Counter


def code(ctx, payload):
    """The number of words of ``payload``, of different ones, and the five most frequent."""
    words = re.findall(r"[a-z']+", payload.lower())
    counts = Counter(words)
    return json.dumps({"words": len(words), "different": len(counts), "frequent": counts.most_common(5)})
