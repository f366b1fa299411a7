"""The reference pages say what the models say, and the committed ones are the generated ones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from testbed.collect.schema import TABLES
from testbed.fidelity.limits import LIMITS
from testbed.places import home
from testbed.reference import PAGES, write
from testbed.reference.models import document
from testbed.units import Delay, Queue, QueueLimit, Rate, Share, Size


class Cat(BaseModel):
    """A cat, written in <b>."""

    kind: Literal["cat"] = Field(description="cat")
    lives: int = Field(9, ge=1, le=9, description="How many are left.")


class Dog(BaseModel):
    """A dog."""

    kind: Literal["dog"] = Field(description="dog")


class House(BaseModel):
    """A ``house``
    of two lines."""

    wait: Delay = Field(0.25, description="A | B.")
    rate: Rate | None = Field(None, description="Rate.")
    rooms: list[Size] = Field([], description="Rooms.")
    queue: QueueLimit = Field(Queue(packets=100), description="Queue.")
    loss: Share = Field(description="Loss.")
    pets: tuple[Annotated[Cat | Dog, Field(discriminator="kind")], ...] = Field((), description="Pets.")
    garden: dict[str, Cat] = Field({}, description="Garden.")


@pytest.fixture(scope="module")
def text() -> str:
    return document(House, "House file")


def row(text: str, key: str) -> list[str]:
    line = next(line for line in text.splitlines() if f"</a>`{key}` |" in line)
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[2:-1]]


@pytest.mark.parametrize(("key", "cells"), [
    ("wait", ["time (`10ms`)", "`250ms`", "A \\| B."]),
    ("rate", ["rate (`10Mbit`)", "none", "Rate."]),
    ("rooms", ["list of size (`64KiB`)", "`[]`", "Rooms."]),
    ("queue", ["queue limit (`100p`)", "`100p`", "Queue."]),
    ("loss", ["share (`0.1%`)", "**required**", "Loss."]),
    ("pets", ["list of [`cat`](#pets-kind-cat) or [`dog`](#pets-kind-dog)", "`[]`", "Pets."]),
    ("garden", ["mapping: text → [`cat`](#pets-kind-cat)", "`{}`", "Garden."]),
    ("lives", ["whole number, at least 1, at most 9", "`9`", "How many are left."]),
])
def test_a_key_has_its_type_unit_default_and_meaning(key: str, cells: list[str], text: str) -> None:
    assert row(text, key) == cells


def test_each_model_has_one_section_with_its_own_words(text: str) -> None:
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings == ["House file", "`pets[] (kind: cat)`", "`pets[] (kind: dog)`"]
    assert "A `house` of two lines." in text and "A cat, written in &lt;b>." in text


@pytest.mark.parametrize("name", PAGES)
def test_links_inside_a_page_lead_somewhere(name: str) -> None:
    page = PAGES[name]()
    ids = re.findall(r'<a id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= set(ids)


def test_every_column_and_every_limit_is_told() -> None:
    datasets, limits = PAGES["reference-datasets.md"](), PAGES["reference-limits.md"]()
    assert all(f"| `{column.name}` |" in datasets for table in TABLES for column in table.columns)
    assert all(f"`{limit.check}`" in limits and limit.advice in limits for limit in LIMITS)


@pytest.mark.parametrize("name", PAGES)
def test_the_committed_page_is_up_to_date(name: str, tmp_path: Path) -> None:
    committed = home() / "docs" / name
    if not committed.parent.is_dir():
        pytest.skip("the documentation is not part of an installed package")
    write(tmp_path)
    assert committed.read_text(encoding="utf-8") == (tmp_path / name).read_text(encoding="utf-8"), (
        "run `python -m testbed.reference docs/`"
    )
