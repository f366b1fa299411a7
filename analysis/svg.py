"""Making drawings fit to stand inside one HTML page: no shared ids, nothing foreign, colours that follow the page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree

from analysis import style

COLOURS: Mapping[str, str] = {
    style.INK: "ink", style.FAINT: "faint", style.GRID: "grid", style.PAPER: "paper", style.BLUE: "blue",
    style.ORANGE: "orange", style.GREEN: "green", style.RED: "red", style.PURPLE: "purple", style.SKY: "sky",
}
"""The colours of the style and the names of the CSS variables that stand for them in the report."""

_UNWANTED = {"script", "foreignObject", "metadata", "iframe", "a", "animate", "set"}
_COLOUR = re.compile("|".join(COLOURS), re.IGNORECASE)
_OWN_LINK = re.compile(r"#[\w.:-]+$")
_PICTURE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=\s]+$")
_ANY_URL = re.compile(r"url\(\s*['\"]?([^)'\"]*)['\"]?\s*\)")
_SELECTOR = re.compile(r"(^|[{}])([^{}@]+)(?=\{)")


def inline(text: str, prefix: str, label: str) -> str:
    """The SVG document ``text`` as an element for an HTML page; raises ValueError where it is not SVG.

    Ids begin with ``prefix`` afterwards, so that no two drawings of a page collide; style sheets apply inside this
    drawing alone; scripts, links to elsewhere and event handlers are gone. ``label`` tells what it shows to those who
    do not see it.
    """
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"not readable as SVG: {error}") from error
    if _local(root.tag) != "svg":
        raise ValueError(f"not SVG but {_local(root.tag)}")
    _clean(root, prefix)
    root.attrib.pop("width", None)
    root.attrib.pop("height", None)
    root.attrib |= {"role": "img", "aria-label": label, "id": prefix}
    return ElementTree.tostring(root, encoding="unicode")


def _local(name: object) -> str:
    return str(name).rpartition("}")[2]


def _clean(element: ElementTree.Element, prefix: str) -> None:
    element.tag = _local(element.tag)
    element.tail = (element.tail or "").strip() or None
    attributes = [(_local(name), value) for name, value in element.attrib.items()]
    element.attrib.clear()
    for name, value in attributes:
        kept = _attribute(name, value, prefix)
        if kept is not None:
            element.set(name, kept)
    if element.tag == "style":
        element.text = _scoped(element.text or "", prefix)
    for child in list(element):
        if isinstance(child.tag, str) and _allowed(child):
            _clean(child, prefix)
        else:
            element.remove(child)


def _allowed(element: ElementTree.Element) -> bool:
    """Whether an element may stay; pictures and reuse only where they refer to nothing outside the drawing."""
    tag = _local(element.tag)
    if tag not in ("image", "use"):
        return tag not in _UNWANTED
    links = [value for name, value in element.attrib.items() if _local(name) == "href"]
    return all(_OWN_LINK.match(link) or (tag == "image" and _PICTURE.match(link)) for link in links)


def _attribute(name: str, value: str, prefix: str) -> str | None:
    if name.lower().startswith("on"):
        return None
    if name == "id":
        return f"{prefix}-{value}"
    if name == "href":
        return f"#{prefix}-{value[1:]}" if _OWN_LINK.match(value) else value if _PICTURE.match(value) else None
    return _COLOUR.sub(_variable, _ANY_URL.sub(lambda found: _own_url(found[1], prefix), value))


def _own_url(target: str, prefix: str) -> str:
    return f"url(#{prefix}-{target[1:]})" if _OWN_LINK.match(target) else "none"


def _variable(found: re.Match[str]) -> str:
    colour = found[0].lower()
    return f"var(--{COLOURS[colour]}, {colour})"


def _scoped(css: str, prefix: str) -> str:
    """The rules of a drawing's own style sheet, limited to that drawing."""
    css = re.sub(r"/\*.*?\*/|@import[^;]*;", "", css, flags=re.DOTALL)
    css = _ANY_URL.sub(lambda found: _own_url(found[1], prefix), css)

    def scope(found: re.Match[str]) -> str:
        selectors = (f"#{prefix} {each.strip()}" for each in found[2].split(",") if each.strip())
        return found[1] + ", ".join(selectors)

    return _COLOUR.sub(_variable, _SELECTOR.sub(scope, css))
