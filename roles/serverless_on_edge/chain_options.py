"""Chains and DAGs as a client's parameters give them: in place, as a file of the original's, or to be drawn."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from roles.serverless_on_edge.chains import Composition, contended, drawn, wrong_with
from roles.serverless_on_edge.options import Conf, listed, pairs_of
from testbed.errors import TestbedError
from testbed.roles.api import Site
from testbed.units import Size, refuse

Names = Annotated[tuple[str, ...], BeforeValidator(listed)]


class InlineChain(Conf):
    """A chain, or with ``successors`` a DAG, in place."""

    type: Literal["inline"] = "inline"
    functions: Names = Field(description="Its functions in order; a DAG has its first one first and its last one last.")
    successors: tuple[tuple[int, ...], ...] | None = Field(
        None, description="Makes it a DAG: for each function but the last, the places of those that follow, from 0."
    )
    dependencies: dict[str, Names | None] = Field({}, description="State -> the functions that use it.")
    state_sizes: dict[str, Size] = Field({}, description="State -> its size.")

    @model_validator(mode="after")
    def _runs(self) -> Self:
        if problem := wrong_with(self.functions, self.successors):
            raise refuse(f"a chain or DAG that can run; this one {problem}")
        if unsized := self.dependencies.keys() - self.state_sizes.keys():
            raise refuse(f"a size in state-sizes for each state; {', '.join(sorted(unsized))} has none")
        if problem := contended(self.composition()):
            raise refuse(f"states that are used one after the other; here {problem}")
        return self

    def composition(self) -> Composition:
        """What it runs."""
        users = {state: names or () for state, names in self.dependencies.items()}
        return Composition(self.functions, self.successors, users, self.state_sizes)

    def draw(self, _: Site, __: Random) -> Composition:
        """The same each time."""
        return self.composition()


class FileChain(Conf):
    """A chain or DAG in a JSON file of the original's."""

    type: Literal["file"]
    filename: Path = Field(description="The file, on the machine that carries the node.")

    def draw(self, _: Site, __: Random) -> Composition:
        """The same each time; raises TestbedError for a file that says nothing."""
        return _read(self.filename)


@cache
def _read(path: Path) -> Composition:
    try:
        return chain_of_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TestbedError(f"The chain in {path} cannot be read: {error}") from error


class RandomChain(Conf):
    """A chain that is drawn anew for each invocation, as in the original's experiment 400."""

    type: Literal["random"]
    functions: Names = Field((), description="What is drawn from, with replacement. By default all functions.")
    length: int = Field(ge=1, le=1000, description="Functions of a chain.")
    states: int = Field(0, ge=0, le=1000, description="Its states; each is used by a random part of its functions.")
    state_step: Size = Field(10_000, description="Size of the first state; the second has twice as much, and so on.")

    def draw(self, site: Site, rng: Random) -> Composition:
        """Another one each time."""
        return drawn(rng, self.functions or tuple(site.functions), self.length, self.states, self.state_step)


def _in_place(value: Any) -> Any:
    pairs = pairs_of(value)
    return {"type": "inline", **pairs} if isinstance(pairs, dict) else pairs


ChainConf = Annotated[InlineChain | FileChain | RandomChain, Field(discriminator="type"), BeforeValidator(_in_place)]


def chain_of_json(text: str) -> Composition:
    """A chain or DAG in the original's JSON; raises ValueError."""
    data = json.loads(text)
    if not isinstance(data, dict):
        raise ValueError("it is no JSON object")
    data["functions"] = data.pop("functionNames", data.get("functions", ()))
    sizes = data.get("state-sizes") or {}
    data["state-sizes"] = {state: f"{size}B" for state, size in sizes.items()}
    try:
        return InlineChain.model_validate(data).composition()
    except ValidationError as error:
        raise ValueError("; ".join(each["msg"] for each in error.errors())) from error


def json_of(what: Composition) -> str:
    """A chain or DAG as the original's JSON."""
    data: dict[str, Any] = {"functions": what.functions}
    if what.successors is not None:
        data = {"functionNames": what.functions, "successors": what.successors}
    data["dependencies"] = {state: list(what.dependencies.get(state, ())) or None for state in what.sizes}
    return json.dumps({**data, "state-sizes": dict(what.sizes)}, indent=2)
