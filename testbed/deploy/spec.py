"""What is put onto a host for an agent: a folder of files, made on the driving machine."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment as Templates
from jinja2 import FileSystemLoader, StrictUndefined, TemplateError, TemplateSyntaxError

from testbed.deploy.agent import PLAN, Plan
from testbed.errors import TestbedError
from testbed.roles import discover
from testbed.roles.api import Function, Parameters, Role, Site

CODE = "functions"  # subfolder of the agent's folder with the source of real functions


@dataclass(frozen=True)
class AgentSpec:
    """One agent to be: ``role`` of ``system`` on ``node``.

    ``files`` are further texts, or local files, by their path below the agent's folder: a client's ``schedule.csv``
    among them; ``private`` ones are readable by the account that runs the agent alone.
    ``clock_offset`` is what the node's monotonic clock lacks to the reference clock, in seconds; who deploys sets it.
    """

    node: str
    role: str
    system: str
    site: Site
    parameters: Parameters | Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str | Path] = field(default_factory=dict)
    private: Mapping[str, str] = field(default_factory=dict)
    clock_offset: float = 0.0

    @property
    def name(self) -> tuple[str, str]:
        """Node and role: no two agents share both."""
        return self.node, self.role


def contents(spec: AgentSpec, folder: Path, home: Path, there: Path | None = None) -> dict[str, str | Path]:
    """The text, or the local file, of each file of the agent's folder ``folder`` (on the host), by its path below it.

    ``home`` is the folder that holds ``roles/`` here, ``there`` on the host, if it is another one. Raises OSError for
    the source of a function that cannot be read, and TestbedError for a template that asks for what there is not.
    """
    kind = discover.system(spec.system, home).roles[spec.role]
    given = dict(spec.parameters)
    if isinstance(spec.parameters, Parameters):
        given = spec.parameters.model_dump(mode="json")
    sources = [(each, Path(each.code)) for each in spec.site.functions.values() if each.code]
    functions = {name: _moved(each, folder) for name, each in spec.site.functions.items()}
    site = replace(spec.site, functions=functions, hops=dict(spec.site.hops))
    plan = Plan(spec.system, spec.role, site, str(there or home), given, spec.clock_offset)
    texts = {_source_of(each): source.read_text(encoding="utf-8") for each, source in sources}
    texts |= rendered(kind, discover.templates(spec.system, home), site, kind.parameters_model.model_validate(given))
    return {**texts, **spec.files, "agent.json": PLAN.dump_json(plan).decode()}


def _moved(function: Function, folder: Path) -> Function:
    if not function.code:
        return function
    return function.model_copy(update={"code": str(folder / _source_of(function))})


def _source_of(function: Function) -> str:
    """Where the source of a function is in the agent's folder."""
    return f"{CODE}/{function.file_name}.py"


def rendered(kind: type[Role], templates: Path, site: Site, parameters: Parameters) -> dict[str, str]:
    """The role's templates with ``site`` and ``parameters`` put in, by their name without ``.j2``."""
    if not kind.templates:
        return {}
    engine = Templates(
        loader=FileSystemLoader(templates), undefined=StrictUndefined, autoescape=False,
        keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True,
    )
    texts = {}
    for name in kind.templates:
        try:
            texts[name.removesuffix(".j2")] = engine.get_template(name).render(site=site, parameters=parameters)
        except TemplateError as error:
            where = f"{templates / name}:{_line(error)}"
            raise TestbedError(f"{where}: cannot be rendered for {site.role} on {site.node}: {error}.") from error
    return texts


def _line(error: TemplateError) -> int:
    """The line of the template: a syntax error knows it, any other has the template's frame as its last."""
    if isinstance(error, TemplateSyntaxError):
        return error.lineno
    return traceback.extract_tb(error.__traceback__)[-1].lineno or 0
