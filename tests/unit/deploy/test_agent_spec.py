"""What is put into an agent's folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from echo_agents import HOME, site

from testbed.deploy.agent import PLAN
from testbed.deploy.spec import AgentSpec, contents, rendered
from testbed.errors import TestbedError
from testbed.roles import discover
from testbed.roles.api import Function, Parameters, Role, Site

FOLDER = Path("/far/away/n1/server")


def spec(**more: object) -> AgentSpec:
    return replace(AgentSpec("n1", "server", "echo", site("server")), **more)  # type: ignore[arg-type]


def test_the_plan_is_read_back_as_it_was_written() -> None:
    texts = contents(spec(parameters={"port": 7100}, clock_offset=0.25), FOLDER, HOME)
    plan = PLAN.validate_json(texts["agent.json"])
    assert (plan.system, plan.role, plan.site) == ("echo", "server", site("server"))
    assert (plan.parameters, plan.clock_offset, plan.home) == ({"port": 7100}, 0.25, str(HOME))


def test_parameters_may_be_given_as_the_role_s_own_model() -> None:
    given = discover.system("echo", HOME).roles["server"].parameters_model.model_validate({"port": 7200})
    texts = contents(spec(parameters=given), FOLDER, HOME)
    assert json.loads(texts["agent.json"])["parameters"]["port"] == 7200


def test_templates_are_rendered_with_the_site_and_the_parameters() -> None:
    texts = contents(spec(parameters={"greeting": "Grüß Gott & <hello>"}), FOLDER, HOME)
    expected = 'listen 127.0.0.1:7000\nsay "Grüß Gott & <hello>"\npeer n1 127.0.0.1\n'
    assert texts["echo.conf"] == expected


def test_the_source_of_a_real_function_travels_with_the_agent(tmp_path: Path) -> None:
    source = tmp_path / "count.py"
    source.write_text("def code(ctx, payload):\n    return payload\n")
    functions = {"words": Function(name="words", code=str(source)), "model": Function(name="model", service_s=0.1)}
    texts = contents(spec(site=site("server", functions=functions)), FOLDER, HOME)
    moved = PLAN.validate_json(texts["agent.json"]).site.functions
    assert texts["functions/words.py"] == source.read_text()
    assert moved["words"].code == str(FOLDER / "functions" / "words.py")
    assert moved["model"].code is None


@pytest.mark.parametrize("name", ["/guest/copy", "../x", "..", "a b", "é"])
def test_the_source_of_a_function_stays_in_the_folder_whatever_its_name(name: str, tmp_path: Path) -> None:
    source = tmp_path / "code.py"
    source.write_text("def code(ctx, payload): ...\n")
    functions = {name: Function(name=name, code=str(source))}
    texts = contents(spec(site=site("server", functions=functions)), FOLDER, HOME)
    (where,) = (each for each in texts if each.startswith("functions/"))
    assert (FOLDER / where).resolve().parent == FOLDER / "functions"
    plan = PLAN.validate_json(str(texts["agent.json"]))
    assert plan.site.functions[name].code == str(FOLDER / where)


def test_files_of_the_caller_are_added() -> None:
    assert contents(spec(files={"schedule.csv": "a,b\n"}), FOLDER, HOME)["schedule.csv"] == "a,b\n"


class Curious(Role):
    templates = ("curious.j2",)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("a\n{{ site.colour }}\n", "curious.j2:2: cannot be rendered for server on n1: 'testbed.roles.site.Site"),
        ("{{ colour }}", "curious.j2:1: cannot be rendered for server on n1: 'colour' is undefined."),
        ("a\nb\n{% if %}", "curious.j2:3: cannot be rendered for server on n1"),
    ],
)
def test_a_template_that_asks_for_what_there_is_not_is_refused(tmp_path: Path, template: str, said: str) -> None:
    (tmp_path / "curious.j2").write_text(template)
    with pytest.raises(TestbedError) as error:
        rendered(Curious, tmp_path, site("server"), Parameters())
    assert str(error.value).startswith(f"{tmp_path}/{said}")


def test_a_site_survives_the_way_to_the_host() -> None:
    far = Site("b", "x", 2**60, {"a": "fd00::1", "b": "10.0.0.2"}, {"server": ("b", "a")}, {}, {"a": 3})
    texts = contents(spec(site=far), FOLDER, HOME)
    assert PLAN.validate_json(texts["agent.json"]).site == far
