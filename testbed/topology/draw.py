"""A topology as one standalone SVG picture, with the load of its links if it is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from testbed.topology.layout import Spot, layout
from testbed.topology.model import End, Interface, Kind, Link, Node, Topology
from testbed.topology.shape import Shape
from testbed.units import DELAYS, RATES, SHARES, write

_FILL: Mapping[Kind, str] = {"host": "#dbe9f6", "router": "#fde3c8", "switch": "#e6e6e6"}
_EDGE: Mapping[Kind, str] = {"host": "#2b6ca3", "router": "#c46a11", "switch": "#6b6b6b"}
_INK, _MUTED, _LINE = "#222222", "#5f5f5f", "#9a9a9a"
_LOADS = ((0.0, (158, 188, 160)), (0.5, (240, 180, 60)), (1.0, (196, 30, 45)))
_MARGIN, _LETTER = 60.0, 5.6  # pixels around the picture; width of a letter at 11 pixels


def svg(topology: Topology, loads: Mapping[End, float] | None = None) -> str:
    """The network as SVG text: hosts square, routers round, switches flat, links with delay, rate and loss.

    ``loads`` gives for an end the share (0 to 1) of the link that is used in the direction that leaves there; each half
    of a link is then coloured by the load that enters at its side. Hovering shows every detail. Large networks are
    drawn without labels.
    """
    canvas = _canvas(topology, loads is not None)
    usual = _usual(topology)
    width, height = f"{canvas.width:.0f}", f"{canvas.bottom + 34:.0f}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="Helvetica, Arial, sans-serif" role="img">',
        f"<title>{escape(topology.name)}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    curves = list(_curves(topology, canvas))
    for link, curve in curves:
        lines += _link(link, curve, loads, canvas)
    if canvas.labels_links:
        for link, curve in curves:
            lines += _link_label(link, curve, usual)
    for node in topology.nodes.values():
        lines += _node(node, [end for _, end in topology.interfaces[node.name]], canvas)
    lines += _legend(topology, canvas, usual if canvas.labels_links else (), loads is not None)
    return "\n".join([*lines, "</svg>", ""])


@dataclass(frozen=True, slots=True)
class _Canvas:
    """Where things go, in pixels, and how much is told."""

    spots: Mapping[str, Spot]
    width: float
    bottom: float
    size: float
    labels_nodes: bool
    labels_links: bool


def _canvas(topology: Topology, has_loads: bool) -> _Canvas:
    count, labels_links = len(topology.nodes), len(topology.links) <= 45
    scale = 150.0 if labels_links else 105.0 if count <= 250 else 60.0
    spots = layout(topology)
    left, top = min(x for x, _ in spots.values()), min(y for _, y in spots.values())
    width = (max(x for x, _ in spots.values()) - left) * scale + 2 * _MARGIN
    bottom = (max(y for _, y in spots.values()) - top) * scale + 2 * _MARGIN
    wide = max(width, 620.0 if has_loads else 480.0)  # small networks stand in the middle above the legend
    inset = _MARGIN + (wide - width) / 2
    placed = {name: (inset + (x - left) * scale, _MARGIN + (y - top) * scale) for name, (x, y) in spots.items()}
    size = 15.0 if count <= 60 else 9.0 if count <= 250 else 4.0
    return _Canvas(placed, wide, bottom, size, count <= 250, labels_links)


def _usual(topology: Topology) -> tuple[str, ...]:
    """The label that most of many links have, which is told once instead of at each of them."""
    labels = Counter(_label(link, ("→", "←")) for link in topology.links.values())
    label, count = labels.most_common(1)[0]
    return label if count > 8 else ()


def _curves(topology: Topology, canvas: _Canvas) -> Iterator[tuple[Link, tuple[Spot, Spot, Spot]]]:
    """Each link from its first end through its middle to its second; parallel links stand apart."""
    groups: dict[frozenset[str], list[Link]] = {}
    for link in topology.links.values():
        groups.setdefault(frozenset(end.node for end in link.ends), []).append(link)
    for links in groups.values():
        for index, link in enumerate(links):
            (x1, y1), (x2, y2) = canvas.spots[links[0].ends[0].node], canvas.spots[links[0].ends[1].node]
            bend = (index - (len(links) - 1) / 2) * 44 / max(((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5, 1.0)
            middle = ((x1 + x2) / 2 - (y2 - y1) * bend, (y1 + y2) / 2 + (x2 - x1) * bend)
            yield link, (canvas.spots[link.ends[0].node], middle, canvas.spots[link.ends[1].node])


def _link(
    link: Link, curve: tuple[Spot, Spot, Spot], loads: Mapping[End, float] | None, canvas: _Canvas
) -> Iterator[str]:
    start, middle, goal = curve
    yield f"<g><title>{escape(_told(link))}</title>"
    for end, spot in zip(link.ends, (start, goal), strict=True):
        load = (loads or {}).get(End(link.name, end.node))
        colour, width = (_LINE, 1.6) if load is None else (_colour(load), 2.5 + 5.0 * _clamped(load))
        yield (f'<line x1="{spot[0]:.1f}" y1="{spot[1]:.1f}" x2="{middle[0]:.1f}" y2="{middle[1]:.1f}" '
               f'stroke="{colour}" stroke-width="{width if canvas.size > 4 else width / 2:.1f}"/>')
    yield "</g>"


def _link_label(link: Link, curve: tuple[Spot, Spot, Spot], usual: tuple[str, ...]) -> Iterator[str]:
    if _label(link, ("→", "←")) == usual:
        return
    start, (x, y), goal = curve
    texts = _label(link, (_arrow(start, goal), _arrow(goal, start)))
    for index, text in enumerate(texts):
        yield _text(x, y + 4 + (index - (len(texts) - 1) / 2) * 12.5, text, 10.5, _MUTED)


def _label(link: Link, arrows: tuple[str, str]) -> tuple[str, ...]:
    there, back = (_brief(end.shape) for end in link.ends)
    if there == back:
        return tuple(there)
    return tuple(f"{arrow} {' '.join(parts) or 'unshaped'}" for arrow, parts in zip(arrows, (there, back), strict=True))


def _text(x: float, y: float, text: str, size: float, colour: str, halo: float = 4, anchor: str = "middle") -> str:
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}" stroke="#ffffff" '
            f'stroke-width="{halo}" stroke-linejoin="round" paint-order="stroke">{escape(text)}</text>')


def _node(node: Node, interfaces: list[Interface], canvas: _Canvas) -> Iterator[str]:
    (x, y), size = canvas.spots[node.name], canvas.size
    tags = f" [{', '.join(node.tags)}]" if node.tags else ""
    addresses = [str(address) for end in interfaces for address in (end.ipv4, end.ipv6) if address is not None]
    fits = size > 9 and len(node.name) <= 9
    yield f"<g><title>{escape(' '.join([node.name, node.kind + tags, *addresses[:12]]))}</title>"
    yield _symbol(node.kind, x, y, size, max(size, len(node.name) * _LETTER / 2 + 5) if fits else size)
    if canvas.labels_nodes and fits:
        yield _text(x, y + 4, node.name, 11, _INK, 0)
    elif canvas.labels_nodes:
        yield _text(x, y + size + 10, node.name, 11 if size > 9 else 8.5, _INK, 3)
    yield "</g>"


def _symbol(kind: Kind, x: float, y: float, size: float, half: float) -> str:
    high = {"host": size * 0.87, "router": size * 0.93, "switch": size * 0.66}[kind]
    half = half if kind == "router" else half * 1.08
    rounding = high if kind == "router" else size / 5
    line = 1.5 if size > 4 else 0.8
    return (f'<rect x="{x - half:.1f}" y="{y - high:.1f}" width="{2 * half:.1f}" height="{2 * high:.1f}" '
            f'rx="{rounding:.1f}" fill="{_FILL[kind]}" stroke="{_EDGE[kind]}" stroke-width="{line}"/>')


def _legend(topology: Topology, canvas: _Canvas, usual: tuple[str, ...], has_loads: bool) -> Iterator[str]:
    kinds: list[Kind] = [kind for kind in ("host", "router", "switch") if topology.of_kind(kind)]
    x, y = 28.0, canvas.bottom + 12
    for kind in kinds:
        yield _symbol(kind, x, y, 8, 9)
        yield _text(x + 15, y + 4, kind, 11, _MUTED, 0, "start")
        x += 74
    if not has_loads:
        note = f"links without a label: {', '.join(usual)}; delays one-way" if usual else "delays are one-way"
        yield _text(x, y + 4, note, 11, _MUTED, 0, "start")
        return
    yield _text(x, y + 4, "load of the half at each sender:  0 %", 11, _MUTED, 0, "start")
    for step in range(20):
        left = x + 204 + step * 5
        yield f'<rect x="{left:.0f}" y="{y - 5:.0f}" width="5.5" height="10" fill="{_colour(step / 19)}"/>'
    yield _text(x + 312, y + 4, "100 %", 11, _MUTED, 0, "start")


def _arrow(start: Spot, goal: Spot) -> str:
    across, down = goal[0] - start[0], goal[1] - start[1]
    if abs(across) >= abs(down):
        return "→" if across > 0 else "←"
    return "↓" if down > 0 else "↑"


def _brief(shape: Shape) -> list[str]:
    parts = []
    if shape.delay:
        jitter = f" ± {_spaced(write(shape.jitter, DELAYS))}" if shape.jitter else ""
        parts.append(_spaced(write(shape.delay, DELAYS)) + jitter)
    if shape.rate is not None:
        parts.append(_spaced(write(shape.rate, RATES)) + "/s")
    if shape.loss:
        parts.append(f"{_spaced(write(shape.loss, SHARES))} loss")
    return parts


def _told(link: Link) -> str:
    """Every detail of a link, one line for each direction."""
    lines = [f"{link.name} (MTU {link.mtu})"]
    for end, other in (link.ends, link.ends[::-1]):
        shape = end.shape.model_dump(exclude_defaults=True)
        told = ", ".join(f"{key} {value}" for key, value in shape.items()) or "no shape"
        lines.append(f"{end.node} → {other.node}: {told}")
    return "\n".join(lines)


def _spaced(quantity: str) -> str:
    unit = quantity.lstrip("0123456789.e+-")
    return f"{quantity.removesuffix(unit)} {unit}"


def _clamped(load: float) -> float:
    return min(max(load, 0.0), 1.0)


def _colour(load: float) -> str:
    load = _clamped(load)
    for (low, dark), (high, bright) in pairwise(_LOADS):
        if load <= high:
            share = (load - low) / (high - low)
            return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(dark, bright, strict=True))
    raise AssertionError("a clamped load lies on the scale")
