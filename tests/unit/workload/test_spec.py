"""The section `workload:` as a person writes it, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from testbed.workload.arrivals import models
from testbed.workload.spec import Traffic, Workload, generated

POISSON = {"model": "poisson", "rate": "20/s"}


def workload(**traffic: Any) -> Workload:
    return Workload.model_validate({"duration": "30s", "traffic": [{"arrivals": POISSON} | traffic]})


def test_every_arrival_model_is_found_by_listing_the_folder() -> None:
    names = [model.model_fields["model"].annotation.__args__[0] for model in models()]  # type: ignore[union-attr]
    assert sorted(names) == ["azure2019", "azure2021", "batches", "closed", "deterministic", "gamma", "lognormal",
                             "mmpp", "onoff", "poisson", "ramp", "sine", "step", "trace", "uniform", "weibull"]


def fields(model: type[BaseModel]) -> list[tuple[str, str | None]]:
    return [(f"{model.__name__}.{name}", field.description) for name, field in model.model_fields.items()]


def test_every_key_says_what_it_means() -> None:
    silent = [name for model in (Workload, Traffic, *models()) for name, told in fields(model) if not told]
    assert silent == []


@pytest.mark.parametrize("traffic", [
    {"functions": {}}, {"functions": {"f": 0}}, {"functions": {"f": -1}}, {"functions": 3}, {"functions": []},
    {"functions": {"zipf": "x", "of": ["f"]}}, {"functions": {"zipf": 1, "of": []}},
    {"payload": {}}, {"payload": {"size": "1kB", "text": "x"}}, {"payload": {"sizes": []}},
    {"payload": {"size": 1000}}, {"arrivals": {"model": "posson", "rate": "1/s"}},
    {"payload": {"size": "1kB", "style": "xml"}}, {"sessions": {"count": 0}}, {"clients": []}, {"colour": "red"},
    {"arrivals": {"model": "poisson"}}, {"arrivals": {"rate": "20/s"}},
    {"arrivals": {"model": "poisson", "rate": "0/s"}}, {"arrivals": {"model": "poisson", "rate": 20}},
    {"arrivals": POISSON | {"speed": 2}}, {"arrivals": {"model": "uniform", "mean": "1s", "cv": 0.6}},
    {"arrivals": {"model": "gamma", "mean": "0s"}}, {"arrivals": {"model": "gamma", "mean": "1s", "cv": "nan"}},
    {"arrivals": {"model": "step", "steps": [{"at": "2s", "rate": "1/s"}, {"at": "1s", "rate": "1/s"}]}},
    {"arrivals": {"model": "sine", "rate": "1/s", "amplitude": "2/s", "period": "1s"}},
    {"arrivals": {"model": "closed"}}, {"arrivals": {"model": "closed", "pace": "1s", "think": "1s"}},
    {"arrivals": {"model": "closed", "pace": "0s"}}, {"arrivals": {"model": "mmpp", "states": []}},
])
def test_refuses(traffic: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        workload(**traffic)


def test_survives_being_written_and_read() -> None:
    original = workload(functions={"zipf": 1.2, "of": ["a", "b"]}, payload={"sizes": ["1500B", "64KiB"]},
                        sessions={"count": 3}, start="1500ms", clients=["c1"])
    assert Workload.model_validate_json(original.model_dump_json(exclude_none=True)) == original
    assert Workload.model_validate(original.model_dump(mode="json")) == original


@pytest.mark.parametrize("size", [0, 1, 12, 100, 4096])
@pytest.mark.parametrize("style", ["letters", "words", "json"])
def test_generated_text_has_its_size_and_is_the_same_each_time(style: Any, size: int) -> None:
    text = generated(style, size)
    assert len(text.encode()) == (max(12, size) if style == "json" else size)
    generated.cache_clear()
    assert generated(style, size) == text
