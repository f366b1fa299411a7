"""YAML to models: lines, places, hints, all problems at once; and what --set does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from testbed.document import Document, dotted, load, parse, parse_document, read, set_path
from testbed.errors import InputError
from testbed.units import Delay, Frequency


class Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Poisson(Strict):
    kind: Literal["poisson"]
    rate: Frequency


class Closed(Strict):
    kind: Literal["closed"]
    clients: int = Field(ge=1)


class Step(Strict):
    at: Delay
    change: Mapping[str, Delay] = {}


class Plan(Strict):
    topology: str | Mapping[str, int]
    arrivals: Annotated[Poisson | Closed, Field(discriminator="kind")]
    steps: tuple[Step, ...] = ()
    seed: int = Field(1, description="Seeds every stream.")
    either: Step | Poisson | None = None


GOOD = """topology: x.yaml
arrivals: {kind: poisson, rate: 20/s}
steps:
  - {at: 1s}
  - at: 2s
    change: {delay: 5ms}
"""


def complaints(text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        parse(text, "plan.yaml", Plan)
    return [str(problem) for problem in caught.value.problems]


def test_reads_a_file_into_a_frozen_model(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(GOOD)
    plan = load(tmp_path / "plan.yaml", Plan)
    assert plan.steps[1].change == {"delay": 0.005}
    assert isinstance(plan.arrivals, Poisson) and plan.arrivals.rate == 20


def test_knows_the_line_of_every_place() -> None:
    document = parse_document(GOOD, "plan.yaml")
    assert document.line(("arrivals", "rate")) == 2
    assert document.line(("steps", 1)) == 5
    assert document.line(("steps", 1, "change", "delay")) == 6
    assert document.line(("steps", 1, "change", "no such key")) == 6
    assert document.line(("nothing",)) == 1


def test_places_a_problem_of_a_caller() -> None:
    problem = parse_document(GOOD, "plan.yaml").problem(("steps", 1, "at"), "2s", "less than 1s", "Try 500ms.")
    assert str(problem) == "plan.yaml:5 steps[1].at: found 2s; expected less than 1s. Try 500ms."


def test_reports_all_problems_in_the_order_of_the_file() -> None:
    told = complaints("topology: x\narrivals: {kind: poisson, rate: 20}\nsteps: [{at: 3}]\nsed: 4\n")
    assert [each.split(":")[1].split()[0] for each in told] == ["2", "3", "4"]
    assert told[2].endswith("Try seed.")


def test_tells_a_union_in_one_message() -> None:
    (told,) = complaints("topology: [a]\narrivals: {kind: closed, clients: 1}\n")
    assert told == "plan.yaml:1 topology: found a list of 1; expected text or a mapping (key: value)."


def test_tells_only_the_branch_of_a_union_that_was_meant() -> None:
    told = complaints(GOOD + "either: {at: 5}\n")
    assert len(told) == 1 and "either.at: found 5; expected a time" in told[0]


def test_tells_an_inner_problem_of_a_union_with_text() -> None:
    (told,) = complaints("topology: {h1: one}\narrivals: {kind: closed, clients: 1}\n")
    assert told == 'plan.yaml:1 topology.h1: found "one"; expected a whole number.'


def test_names_the_tags_of_a_tagged_union() -> None:
    assert complaints("topology: x\narrivals: {kind: poison, rate: 1/s}\n") == [
        'plan.yaml:2 arrivals.kind: found "poison"; expected poisson or closed. Try poisson.'
    ]
    assert "no key kind" in complaints("topology: x\narrivals: {rate: 1/s}\n")[0]
    assert complaints("topology: x\narrivals: [poisson]\n") == [
        "plan.yaml:2 arrivals: found a list of 1; expected a mapping (key: value)."
    ]


def test_suggests_only_keys_of_the_branch_that_was_chosen() -> None:
    (told,) = complaints("topology: x\narrivals: {kind: closed, clients: 2, client: 3}\n")
    assert told.endswith("expected one of kind, clients. Try clients.")


def test_problems_of_yaml_and_of_the_model_come_together() -> None:
    told = complaints("topology: x\nseed: 1\nseed: 2\narrivals: {kind: poisson, rate: fast}\n")
    assert len(told) == 2 and "a second time (first in line 2)" in told[0] and "arrivals.rate" in told[1]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("no", "no"),
        ("1_000", 1000),
        ("0x1F", 31),
        ("010", 10),
        ("1e3", 1000.0),
        ("~", None),
        ("true", True),
        ("2024-05-01", "2024-05-01"),
        ("12:30:45", "12:30:45"),
        ('"5"', "5"),
        ("10ms", "10ms"),
        ("fd00::1/64", "fd00::1/64"),
    ],
)
def test_reads_scalars_as_yaml_1_2_has_them(text: str, value: object) -> None:
    document = parse_document(f"- {text}\n- {{a: {text}}}\n", "x")
    assert document.data == [value, {"a": value}]
    assert not document.flaws


def test_an_anchor_may_be_used_again_and_merged() -> None:
    document = parse_document("a: &a {x: 1, y: 2}\nb: *a\nc: {<<: *a, y: 3}\nd: {<<: [*a, {z: 4}]}\n", "x")
    assert document.data == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 2},
        "c": {"x": 1, "y": 3},
        "d": {"x": 1, "y": 2, "z": 4},
    }


def test_a_missing_file_is_named_with_its_nearest_neighbour(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text("a: 1\n")
    with pytest.raises(InputError, match=r"found nothing of this name; expected a YAML file. Try quickstart.yaml"):
        read(tmp_path / "quikstart.yaml")


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xef\xbb\xbfseed: 3\n")
    assert read(tmp_path / "x.yaml").data == {"seed": 3}


def test_a_model_can_be_read_from_inside_a_document() -> None:
    document = parse_document("inner:\n  topology: x\n  arrivals: {kind: closed, clients: 0}\n", "x.yaml")
    with pytest.raises(InputError, match=r"x.yaml:3 inner.arrivals.clients: found 0; expected at least 1"):
        document.into(Plan, ("inner",))


def test_what_is_left_of_a_faulty_file_keeps_its_places() -> None:
    text = "topology: x\narrivals: {kind: closed, clients: 1}\nsteps:\n  - {at: 5}\n  - 3\n  - {at: 7s}\n"
    made, document, problems = parse_document(text, "x").attempt(Plan)
    assert made is not None and len(problems) == 2
    assert [step.at for step in made.steps] == [7.0]
    assert str(document.problem(("steps", 0, "at"), "a", "b")).startswith("x:6 steps[2].at")


def test_set_changes_a_value_and_leaves_the_original() -> None:
    document = parse_document(GOOD, "plan.yaml")
    changed = set_path(set_path(document, "arrivals.rate=5/s"), "steps[0].at=3s")
    plan = changed.into(Plan)
    assert isinstance(plan.arrivals, Poisson) and plan.arrivals.rate == 5 and plan.steps[0].at == 3
    assert document.at(("arrivals", "rate")) == "20/s"


def test_set_reads_its_value_as_yaml_and_makes_what_is_missing() -> None:
    changed = set_path(parse_document(GOOD, "x"), "seed=7")
    changed = set_path(changed, "either.change={delay: 1ms}")
    expected = Step.model_validate({"at": "1s", "change": {"delay": "1ms"}})
    assert set_path(changed, "either.at=1s").into(Plan).either == expected
    assert changed.at(("seed",)) == 7


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("sead=7", "--set sead=7 sead: found an unknown key; expected one of .* Try seed."),
        ("arrivals.rate=5", "--set arrivals.rate=5 arrivals.rate: found 5; expected a frequency .* Add the unit: 5/s."),
        ("steps[7].at=1s", r"--set steps\[7\].at=1s steps: found a list of 2; expected a list of at least 8"),
        ("topology.links=1", '--set topology.links=1 topology: found "x.yaml"; expected a mapping'),
        ("arrivals[0]=1", r"arrivals: found a mapping with kind, rate; expected a list"),
        ("seed", "expected path=value"),
        ("=7", "expected path=value"),
        ("a..b=1", "expected path=value"),
        ("a[x]=1", "expected path=value"),
        ("seed=[1", "--set seed=.*broken YAML"),
        ("seed={a: 1, a: 2}", "a second time"),
    ],
)
def test_set_names_what_is_wrong_with_it(assignment: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        set_path(parse_document(GOOD, "plan.yaml"), assignment).into(Plan)


def test_set_on_an_empty_file_starts_one() -> None:
    assert set_path(parse_document("", "x"), "a.b=1").data == {"a": {"b": 1}}


def test_a_place_is_written_as_a_person_would() -> None:
    assert dotted(("links", 2, "delay")) == "links[2].delay"
    assert dotted(("nodes", "3com", "tags")) == 'nodes["3com"].tags'
    assert dotted(()) == ""


WORDS = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcdefg", min_size=1), inner, max_size=4),
    max_leaves=12,
)


def _places(data: object, place: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [place, *(each for key, value in items for each in _places(value, (*place, key)))]


@given(PLAIN)
def test_all_that_json_can_say_is_read_back_with_a_line_for_each_place(data: object) -> None:
    document: Document = parse_document(json.dumps(data, indent=1), "x")
    assert document.data == data and not document.flaws
    assert all(document.lines[place] >= 1 for place in _places(data))
    lines = [document.lines[place] for place in _places(data)]
    assert lines == sorted(lines)
