"""What requests carry in their bodies, checked; see the original's interface for the fields."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError
from pydantic_core import from_json

from roles.openwhisk.entities import Values
from roles.openwhisk.errors import Refused, malformed
from testbed.roles.web import WebRequest

_VERSION = r"^[0-9]{1,6}\.[0-9]{1,6}\.[0-9]{1,6}$"
_MAIN = re.compile(r"[A-Za-z_$][\w$.]{0,255}", re.ASCII)
Body = TypeVar("Body", bound=BaseModel)


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Pair(_Body):
    """A parameter or an annotation."""

    key: StrictStr = Field(min_length=1, max_length=1024)
    value: Any = None


class ExecBody(_Body):
    """What an action runs."""

    kind: StrictStr
    code: StrictStr | None = None
    binary: StrictBool = False
    main: StrictStr | None = None
    image: StrictStr | None = None
    components: list[StrictStr] | None = None


class LimitsBody(_Body):
    """What an invocation may take: milliseconds, MB, MB, and invocations in one container at a time."""

    timeout: StrictInt | None = None
    memory: StrictInt | None = None
    logs: StrictInt | None = None
    concurrency: StrictInt | None = None


class ActionBody(_Body):
    """An action, or what changes of it."""

    exec: ExecBody | None = None
    parameters: list[Pair] | None = None
    annotations: list[Pair] | None = None
    delAnnotations: list[StrictStr] = []  # noqa: N815 - the interface's name
    limits: LimitsBody | None = None
    version: StrictStr | None = Field(None, pattern=_VERSION)
    publish: StrictBool | None = None


class BindingBody(_Body):
    """The package that another one shows."""

    namespace: StrictStr
    name: StrictStr


class PackageBody(_Body):
    """A package, or what changes of it."""

    parameters: list[Pair] | None = None
    annotations: list[Pair] | None = None
    binding: BindingBody | dict[str, Any] | None = None
    version: StrictStr | None = Field(None, pattern=_VERSION)
    publish: StrictBool | None = None


def values(listed: list[Pair] | None) -> Values:
    """Parameters or annotations as they are kept; of several with one name the last."""
    return {each.key: each.value for each in listed or ()}


def read(kind: type[Body], request: WebRequest) -> Body:
    """The body of a request; raises Refused (400, 415)."""
    try:
        return kind.model_validate(json_of(request.body, request.header("content-type")))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise malformed(f"{where}: {first['msg']}") from None


def json_of(body: bytes, kind: str) -> dict[str, Any]:
    """The JSON object in a body of the type ``kind``, empty for none; raises Refused (400, 415)."""
    if not body:
        return {}
    if kind and "json" not in kind:
        raise Refused(415, "The request's Content-Type is not supported. Expected:\napplication/json")
    try:
        data = _quickly(body)
    except (ValueError, RecursionError) as error:
        raise malformed(str(error)[:200]) from None
    if not isinstance(data, dict):
        raise malformed(f"Object expected, not {json.dumps(data)[:80]}")
    return data


def _quickly(body: bytes) -> Any:
    """What is in the body; half a surrogate and errors, in its own words, are for the slower reader."""
    try:
        return from_json(body)
    except ValueError:
        return json.loads(body.decode())


def main_of(given: str | None) -> str:
    """The name of the function that is an action's own, or nothing; raises Refused (400)."""
    if given and _MAIN.fullmatch(given) is None:
        raise malformed("exec.main is not the name of a function")
    return given or ""


def is_zip(body: ExecBody) -> bool:
    """Whether the code is a zip file in base64, said or (as the original guesses) seen; raises Refused (400)."""
    code = body.code or ""
    if not body.binary and not code.startswith("UEsDB"):
        return False
    try:
        base64.b64decode(code, validate=True)
    except (binascii.Error, ValueError):
        if body.binary:
            raise malformed("exec.binary is true, and exec.code is not in base64") from None
        return False
    return True
