"""Actions and packages, and how they are written in JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from roles.openwhisk.names import Full

SEQUENCE = "sequence"
MODEL = "model:1"
CODE = "function:1"  # an experiment's function with code of its own: code(ctx, payload)
PYTHON = "python:3"
NODE = "nodejs:20"
KINDS = (NODE, PYTHON, MODEL, SEQUENCE)
_SAME = (("python:default", PYTHON), ("nodejs:default", NODE), ("model:default", MODEL))
_VERSIONED = re.compile(r"(python:3\.[0-9]{1,2}|nodejs:[0-9]{1,2})")
Values = dict[str, Any]


def resolved(kind: str) -> str | None:
    """The kind itself, without ``default``; None for one that is not known. Versions are taken as they come."""
    kind = dict(_SAME).get(kind, kind)
    return kind if kind in KINDS or _VERSIONED.fullmatch(kind) else None


def family(kind: str) -> str:
    """``python``, ``nodejs``, ``model``, ``function`` or ``sequence``."""
    return kind.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one invocation of an action may take."""

    timeout_ms: int = 60_000
    memory_mb: int = 256
    logs_mb: int = 10
    concurrency: int = 1

    def data(self) -> dict[str, int]:
        """As the interface writes it."""
        return {"timeout": self.timeout_ms, "memory": self.memory_mb, "logs": self.logs_mb,
                "concurrency": self.concurrency}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Code:
    """What an action runs: code of a kind, or other actions one after the other."""

    kind: str
    code: str = ""
    binary: bool = False
    main: str = ""
    components: tuple[Full, ...] = ()

    def data(self, *, code: bool = True) -> dict[str, Any]:
        """As the interface writes it."""
        if self.kind == SEQUENCE:
            return {"kind": SEQUENCE, "components": ["/" + each.path for each in self.components]}
        data: dict[str, Any] = {"kind": self.kind, "binary": self.binary}
        if code:
            data["code"] = self.code
        return data | ({"main": self.main} if self.main else {})


@dataclass(frozen=True)
class Action:
    """An action. ``function`` is the experiment's function that it is, if any; ``updated`` milliseconds since 1970."""

    name: Full
    code: Code
    version: str = "0.0.1"
    publish: bool = False
    parameters: Values = field(default_factory=dict)
    annotations: Values = field(default_factory=dict)
    limits: Limits = Limits()
    updated: int = 0
    function: str = ""

    @cached_property
    def path(self) -> str:
        """Its full name."""
        return self.name.path

    @cached_property
    def key(self) -> str:
        """Tells this revision of the action from every other."""
        return f"{self.name.path}@{self.version}/{self.updated}"

    def data(self, *, code: bool = True) -> dict[str, Any]:
        """The whole action."""
        return {
            "namespace": self.name.holder, "name": self.name.name, "version": self.version, "publish": self.publish,
            "exec": self.code.data(code=code), "annotations": pairs(self.annotations),
            "parameters": pairs(self.parameters), "limits": self.limits.data(), "updated": self.updated,
        }  # fmt: skip

    def summary(self) -> dict[str, Any]:
        """As a list has it."""
        return {
            "namespace": self.name.holder, "name": self.name.name, "version": self.version, "publish": self.publish,
            "annotations": pairs(self.annotations), "updated": self.updated, "limits": self.limits.data(),
            "exec": {"binary": self.code.binary},
        }  # fmt: skip


@dataclass(frozen=True)
class Package:
    """A package; one with a ``binding`` (namespace, package) shows another one's actions with its own parameters."""

    namespace: str
    name: str
    version: str = "0.0.1"
    publish: bool = False
    parameters: Values = field(default_factory=dict)
    annotations: Values = field(default_factory=dict)
    binding: tuple[str, str] | None = None
    updated: int = 0

    def data(self) -> dict[str, Any]:
        """As the interface writes it, without its actions."""
        binding = {"namespace": self.binding[0], "name": self.binding[1]} if self.binding else {}
        return {
            "namespace": self.namespace, "name": self.name, "version": self.version, "publish": self.publish,
            "annotations": pairs(self.annotations), "parameters": pairs(self.parameters), "binding": binding,
            "updated": self.updated,
        }  # fmt: skip

    def summary(self) -> dict[str, Any]:
        """As a list has it."""
        return {key: value for key, value in self.data().items() if key != "parameters"}


def pairs(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Parameters or annotations as the interface writes them."""
    return [{"key": key, "value": value} for key, value in values.items()]


def values_of(listed: list[dict[str, Any]]) -> Values:
    """Parameters or annotations as they are kept; of several with one name the last."""
    return {each["key"]: each["value"] for each in listed}


def next_version(version: str) -> str:
    """The version after an update."""
    major, minor, patch = (int(part) for part in version.split("."))
    return f"{major}.{minor}.{patch + 1}"


# As the journal has them.


def stored(entity: Action | Package) -> dict[str, Any]:
    """All of an action or a package."""
    if isinstance(entity, Action):
        return {"what": "action", **entity.data(), "package": entity.name.package, "namespace": entity.name.namespace,
                "function": entity.function}  # fmt: skip
    return {"what": "package", **entity.data()}


def restored(data: dict[str, Any]) -> Action | Package:
    """What :func:`stored` gave."""
    common: Any = {
        "version": data["version"], "publish": data["publish"], "parameters": values_of(data["parameters"]),
        "annotations": values_of(data["annotations"]), "updated": data["updated"],
    }
    if data["what"] == "package":
        binding = data["binding"]
        bound = (binding["namespace"], binding["name"]) if binding else None
        return Package(data["namespace"], data["name"], binding=bound, **common)
    given, limits = data["exec"], data["limits"]
    code = Code(given["kind"])
    if code.kind == SEQUENCE:
        code = replace(code, components=tuple(_component(each) for each in given["components"]))
    else:
        code = replace(code, code=given["code"], binary=given["binary"], main=given.get("main", ""))
    return Action(
        Full(data["namespace"], data["package"], data["name"]), code, function=data["function"],
        limits=Limits(limits["timeout"], limits["memory"], limits["logs"], limits["concurrency"]), **common,
    )  # fmt: skip


def _component(path: str) -> Full:
    parts = path.strip("/").split("/")
    return Full(parts[0], parts[1] if len(parts) == 3 else "", parts[-1])
