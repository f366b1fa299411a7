"""Experiments that replay the synthetic excerpts, from their text to what each client fires."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from testbed.document import parse_document
from testbed.errors import InputError
from testbed.experiment.load import from_text
from testbed.experiment.model import Experiment
from testbed.places import home
from testbed.plan import specs
from testbed.roles.api import Invocation
from testbed.roles.modelled import stated_service_s
from testbed.workload.schedule import schedule

TRACES = home() / "experiments" / "traces"
DAY, CALLS = TRACES / "synthetic2019", TRACES / "synthetic2021" / "invocations.txt"
FILES = {"invocations": "invocations_per_function_md", "durations": "function_durations_percentiles",
         "memory": "app_memory_percentiles"}  # fmt: skip
OF_2019 = {"model": "azure2019", "like": "azure", "gaps": "exponential", "minutes": [601, 605],
           **{key: str(DAY / f"{name}.anon.d01.csv") for key, name in FILES.items()}}  # fmt: skip
OF_2021 = {"model": "azure2021", "like": "late", "file": str(CALLS), "window": ["5min", "10min"]}


def experiment(*traffic: dict[str, Any], **keys: Any) -> Experiment:
    data = {
        "name": "replay", "topology": "topologies/quickstart.yaml", "system": "serverless_on_edge", "seed": 3,
        "place": {"control": "ctl", "worker": "w1", "client": ["c1", "w2"]},
        "functions": {"azure": {"service": "100ms", "memory": "64MB", "concurrency": 4, "time_limit": "7s"},
                      "late": {"operations": 1e6}},
        "workload": {"duration": "5min", "traffic": [{"arrivals": each} for each in traffic]},
    }  # fmt: skip
    return from_text(parse_document(json.dumps(data | keys), "experiments/replay.yaml"))


def scheduled(of: Experiment) -> list[Invocation]:
    plans = schedule(of.workload, of.clients, tuple(of.file.functions), of.seed, of.folder)
    return sorted((each for plan in plans.values() for each in plan.invocations), key=lambda each: each.invocation_id)


def rows(path: Path | str) -> Iterator[dict[str, str]]:
    with Path(path).open(encoding="utf-8") as file:
        yield from csv.DictReader(file)


def name_of(row: dict[str, str]) -> str:
    return f"azure-{row['HashApp'][:6]}-{row['HashFunction'][:6]}"


def test_every_minute_of_the_day_has_the_calls_of_the_file() -> None:
    expected = Counter({(name_of(row), minute): calls for row in rows(OF_2019["invocations"])
                        for minute in range(5) if (calls := int(row[str(601 + minute)]))})  # fmt: skip
    found = scheduled(experiment(OF_2019))
    assert Counter((each.function, int(each.t_scheduled // 60)) for each in found) == expected
    assert {each.client for each in found} == set(experiment(OF_2019).clients)


def test_each_function_of_the_trace_is_a_copy_with_its_part_of_the_memory_of_its_app() -> None:
    functions = experiment(OF_2019).functions
    members = Counter(row["HashApp"] for row in rows(OF_2019["invocations"]))
    memory = {row["HashApp"][:6]: int(row["AverageAllocatedMb"]) * 1_000_000 / members[row["HashApp"]]
              for row in rows(OF_2019["memory"])}  # fmt: skip
    brought = {name: each for name, each in functions.items() if name not in ("azure", "late")}
    assert brought and list(functions)[:2] == ["azure", "late"]
    for name, each in brought.items():
        assert each.memory_bytes == pytest.approx(memory.get(name.split("-")[1], 64_000_000), abs=1)
        like = functions["azure"].model_copy(update={"name": name, "memory_bytes": each.memory_bytes})
        assert each == like


def test_durations_are_inside_those_of_the_function_and_absent_where_the_file_has_none() -> None:
    limits = {name_of(row): (float(row["percentile_Average_0"]) / 1000, float(row["percentile_Average_100"]) / 1000)
              for row in rows(OF_2019["durations"])}  # fmt: skip
    for each in scheduled(experiment(OF_2019 | {"minutes": [1, 1440], "speed": 60})):
        stated = stated_service_s(each.payload)
        low, high = limits.get(each.function, (0, 0))
        assert (stated is None) == (each.function not in limits)
        assert stated is None or low - 1e-6 <= stated <= max(high, 0.0005) + 1e-6


def test_a_replay_of_2021_has_the_arrivals_and_durations_of_the_file() -> None:
    expected = sorted(
        (round(float(row["end_timestamp"]) - float(row["duration"]) - 300, 9),
         f"late-{row['app'][:6]}-{row['func'][:6]}", float(row["duration"])) for row in rows(CALLS))  # fmt: skip
    found = [(each.t_scheduled, each.function, stated_service_s(each.payload))
             for each in scheduled(experiment(OF_2021))]  # fmt: skip
    assert len(found) > 100
    assert sorted(found) == [(pytest.approx(t, abs=1e-8), name, s) for t, name, s in expected if 0 <= t < 300]


def test_agents_know_all_functions_and_other_traffic_invokes_those_of_the_file(tmp_path: Path) -> None:
    made = experiment(OF_2019 | {"functions": 4}, OF_2021 | {"keep": "50%"}, {"model": "poisson", "rate": "5/s"})
    assert {tuple(agent.site.functions) for agent in specs(made, tmp_path)} == {tuple(made.functions)}
    names = Counter(each.function for each in scheduled(made) if stated_service_s(each.payload) is None)
    assert {"azure", "late"} <= set(names)
    assert {each.function for each in scheduled(made)} <= made.functions.keys()
    assert sum(name.startswith("azure-") for name in made.functions) == 4


def test_one_function_with_two_memories_is_refused_and_with_two_names_is_not() -> None:
    experiment(OF_2019, OF_2019 | {"minutes": [1, 2]})
    with pytest.raises(InputError, match=r"arrivals: found a second function .*; expected functions that differ"):
        experiment(OF_2019, {key: value for key, value in OF_2019.items() if key != "memory"})
    experiment(OF_2019, {key: value for key, value in OF_2019.items() if key != "memory"} | {"like": "late"})


def test_the_schedule_does_not_depend_on_the_order_of_hashes() -> None:
    code = "import test_azure_experiment as t; print(t.scheduled(t.experiment(t.OF_2019, t.OF_2021 | {'keep': '60%'})))"
    paths = os.pathsep.join([str(home()), str(Path(__file__).parent)])
    told = {subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": paths},
                           cwd=home(), capture_output=True, text=True, check=True).stdout
            for seed in ("1", "2")}  # fmt: skip
    assert len(told) == 1 and "Invocation(" in told.pop()


def test_an_experiment_finds_the_excerpts_that_came_with_the_program(tmp_path: Path) -> None:
    page = (home() / "docs" / "experiments.md").read_text(encoding="utf-8")
    text = page.split("`replay.yaml`:\n\n```yaml\n")[1].split("```")[0]
    made = from_text(parse_document(text, str(tmp_path / "replay.yaml")))
    found = scheduled(made)
    assert len(made.functions) == 11 and found
    assert YAML(typ="safe").load(text)["workload"]["traffic"][0]["arrivals"]["speed"] == 6
    lone = [int(row["601"]) for row in rows(OF_2019["invocations"]) if name_of(row) in made.functions]
    assert len([each for each in found if each.t_scheduled < 10]) == sum(lone)


def test_the_excerpts_are_what_their_script_makes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(TRACES / "make.py"), str(tmp_path)], check=True)
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    kept = {path.relative_to(TRACES): path.read_bytes() for folder in (DAY, CALLS.parent) for path in folder.iterdir()}
    assert made == kept
