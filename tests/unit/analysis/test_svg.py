"""Drawings made fit for one page."""

from __future__ import annotations

import re

import pytest

from analysis import svg

HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="10pt" height="5pt" '
    'viewBox="0 0 10 5">'
)


def inline(body: str) -> str:
    return svg.inline(f"{HEAD}{body}</svg>", "one", "A drawing")


def test_ids_and_what_refers_to_them_get_the_prefix() -> None:
    text = inline('<defs><clipPath id="c"/><path id="p"/></defs>'
                  '<use xlink:href="#p" clip-path="url(#c)" style="fill: url(#p)"/>')
    assert set(re.findall(r'\bid="([^"]*)"', text)) == {"one", "one-c", "one-p"}
    assert 'href="#one-p"' in text and "clip-path=\"url(#one-c)\"" in text and "fill: url(#one-p)" in text


@pytest.mark.parametrize("body", [
    "<script>alert(1)</script>",
    '<a href="http://example.org/"><text>x</text></a>',
    '<image href="http://example.org/a.png"/>',
    '<image href="data:image/svg+xml;base64,AAAA"/>',
    '<use xlink:href="http://example.org/a.svg#x"/>',
    '<rect onclick="alert(1)" style="fill: url(http://example.org/a)"/>',
    "<style>@import url(http://example.org/a.css); text{fill: url('http://example.org/b')}</style>",
    "<foreignObject><p>x</p></foreignObject>",
])
def test_nothing_foreign_and_nothing_active_stays(body: str) -> None:
    text = inline(body)
    assert "example.org" not in text and "alert" not in text and "foreignObject" not in text


def test_pictures_inside_the_drawing_stay() -> None:
    assert "data:image/png;base64,iVBO" in inline('<image xlink:href="data:image/png;base64,iVBO"/>')


def test_style_sheets_apply_to_their_own_drawing_alone() -> None:
    text = inline("<style>text, .link{fill: #222222} *{stroke: none}</style>")
    assert "#one text, #one .link{fill: var(--ink, #222222)}" in text
    assert "#one *{stroke: none}" in text


def test_the_colours_of_the_style_follow_the_page() -> None:
    assert 'style="stroke: var(--blue, #0072b2)"' in inline('<path style="stroke: #0072B2"/>')


def test_the_drawing_scales_and_says_what_it_shows() -> None:
    text = inline("")
    assert 'viewBox="0 0 10 5"' in text and "width=" not in text
    assert 'role="img"' in text and 'aria-label="A drawing"' in text


@pytest.mark.parametrize("text", ["", "<svg", "<html/>", "no drawing"])
def test_what_is_no_drawing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not"):
        svg.inline(text, "one", "")
