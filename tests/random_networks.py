"""Random networks as YAML, for property tests."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

DELAYS = ["0s", "1ms", "3ms", "10ms"]


@st.composite
def networks(draw: st.DrawFn, metric: str | None = None) -> str:
    """A connected network of routers, switch islands (trees) and hosts, with delays that may differ by direction."""
    count = draw(st.integers(2, 7))
    switches = draw(st.integers(0, 3))
    nodes: dict[str, Any] = {f"r{number}": {"kind": "router"} for number in range(count)}
    nodes |= {f"s{number}": {"kind": "switch"} for number in range(switches)}
    pairs = [(f"r{number}", f"r{draw(st.integers(0, number - 1))}") for number in range(1, count)]
    for _ in range(draw(st.integers(0, 5))):
        a, b = draw(st.integers(0, count - 1)), draw(st.integers(0, count - 1))
        pairs += [(f"r{a}", f"r{b}")] if a != b else []
    for number in range(switches):
        above = draw(st.sampled_from([None, *(f"s{each}" for each in range(number))]))
        pairs += [(f"s{number}", above)] if above else []
    lans = _lans(pairs, switches)
    for lan in sorted(set(lans.values())):
        inside = [name for name, of in sorted(lans.items()) if of == lan]
        members = draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=3))
        pairs += [(f"r{member}", draw(st.sampled_from(inside))) for member in sorted(members)]
    for number in range(draw(st.integers(2, 6))):
        nodes[f"h{number}"] = {}
        homes = [f"r{each}" for each in range(count)] + [f"s{each}" for each in range(switches)]
        pairs.append((f"h{number}", draw(st.sampled_from(homes))))
        if draw(st.booleans()):
            pairs.append((f"h{number}", f"r{draw(st.integers(0, count - 1))}"))
    links = [
        {
            "ends": pair,
            "forward": {"delay": draw(st.sampled_from(DELAYS))},
            "backward": {"delay": draw(st.sampled_from(DELAYS))},
        }
        for pair in pairs
    ]
    chosen = metric or draw(st.sampled_from(["hops", "delay"]))
    return json.dumps({"nodes": nodes, "links": links, "routing": {"metric": chosen}}, indent=1)


def _lans(pairs: list[tuple[str, str]], switches: int) -> dict[str, str]:
    """Each switch with the first switch of its LAN; a switch is linked upwards to one of lower number at most."""
    above = {a: b for a, b in pairs if a.startswith("s")}
    lans = {}
    for number in range(switches):
        name = f"s{number}"
        while name in above:
            name = above[name]
        lans[f"s{number}"] = name
    return lans
