"""The parts that compute: names, queries, keys, merging, limits, records, as tables."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from roles.openwhisk import names
from roles.openwhisk.auth import PUBLIC, Keys, header, namespace_of, read_keys
from roles.openwhisk.bodies import ActionBody, json_of, read
from roles.openwhisk.entities import Action, Code, Limits, resolved
from roles.openwhisk.errors import Refused
from roles.openwhisk.kinds import modelled
from roles.openwhisk.names import Full
from roles.openwhisk.options import NamespaceLimits, ServerOptions
from roles.openwhisk.resolving import Found, merged
from roles.openwhisk.throttle import Allowance, Throttle
from testbed.errors import TestbedError
from testbed.roles.web import WebRequest


def status(call: Any, *given: Any) -> tuple[int, str]:
    with pytest.raises(Refused) as caught:
        call(*given)
    return caught.value.status, str(caught.value)


# Names and queries.


@pytest.mark.parametrize(
    ("target", "namespace", "collection", "parts"),
    [
        ("/api/v1", "", "", ()),
        ("/api/v1/", "", "", ()),
        ("/api/v1/namespaces", "", "namespaces", ()),
        ("/api/v1/namespaces/?", "", "namespaces", ()),
        ("/api/v1/namespaces/_/actions", "_", "actions", ()),
        ("/api/v1/namespaces/_/actions/?limit=0&skip=0", "_", "actions", ()),
        ("/api/v1/namespaces/guest/actions/copy?", "guest", "actions", ("copy",)),
        ("/api/v1/namespaces/guest/actions/kit/a%20b", "guest", "actions", ("kit", "a b")),
        ("/api/v1/namespaces/a%40b.org/activations/1/logs", "a@b.org", "activations", ("1", "logs")),
        ("/api/v1/namespaces/_", "_", "", ()),
    ],
)
def test_paths_are_taken_apart(target: str, namespace: str, collection: str, parts: tuple[str, ...]) -> None:
    found = names.route(target)
    assert (found.namespace, found.collection, found.parts) == (namespace, collection, parts)


@pytest.mark.parametrize("target", ["/", "/api/v2", "/api/v1x", "/api/v1/actions", "/api/v1/namespaces/_/apis"])
def test_paths_that_lead_nowhere_are_told(target: str) -> None:
    assert status(names.route, target) == (404, "The requested resource could not be found.")


@pytest.mark.parametrize("name", ["a", "_a", "copy-2", "a b", "a@b", "a.b&c", "9", "x" * 256])
def test_names_that_may_be(name: str) -> None:
    assert names.named(name) == name


@pytest.mark.parametrize("name", ["", " a", "a ", "-a", "a/b", "a\n", "ä", "x" * 257, "a$"])
def test_names_that_may_not_be(name: str) -> None:
    assert status(names.named, name) == (400, "The name of the entity contains illegal characters.")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/_/copy", Full("me", "", "copy")),
        ("/guest/copy", Full("guest", "", "copy")),
        ("/guest/kit/copy", Full("guest", "kit", "copy")),
        ("/guest/default/copy", Full("guest", "", "copy")),
        ("copy", Full("me", "", "copy")),
        ("kit/copy", Full("me", "kit", "copy")),
    ],
)
def test_full_names_of_parts_of_sequences(text: str, found: Full) -> None:
    assert names.full_name(text, "me") == found


@pytest.mark.parametrize("text", [None, 3, "", "/", "/a/b/c/d", "/guest", "/guest/-"])
def test_full_names_that_are_none(text: object) -> None:
    assert status(names.full_name, text, "me")[0] == 400


@pytest.mark.parametrize(
    ("query", "skip", "limit"),
    [({}, 0, 30), ({"limit": "0"}, 0, 200), ({"limit": "5", "skip": "2"}, 2, 5), ({"limit": "200"}, 0, 200)],
)
def test_windows_of_lists(query: dict[str, str], skip: int, limit: int) -> None:
    assert names.window(query, "actions") == (skip, limit)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"limit": "201"}, "The value '201' is not in the range of 0 to 200 for actions."),
        ({"limit": "-1"}, "The value '-1' is not in the range of 0 to 200 for actions."),
        ({"limit": "x"}, "The value 'x' is not an integer for actions."),
        ({"limit": "9" * 30}, f"The value '{'9' * 30}' is not an integer for actions."),
        ({"skip": "-1"}, "The value '-1' is not greater than or equal to 0 for actions."),
    ],
)
def test_windows_that_cannot_be(query: dict[str, str], said: str) -> None:
    assert status(names.window, query, "actions") == (400, said)


def test_flags_are_true_false_or_refused() -> None:
    assert names.flag({"blocking": "true"}, "blocking")
    assert not names.flag({"blocking": "false"}, "blocking")
    assert names.flag({}, "code", True)
    assert status(names.flag, {"blocking": "maybe"}, "blocking")[0] == 400


def test_ids_of_activations_have_32_digits() -> None:
    assert names.activation_id("a" * 32) == "a" * 32
    assert status(names.activation_id, "abc") == (400, "Activation id length is 3 but must be 32.")
    assert status(names.activation_id, "G" * 32) == (400, "The activation id is not valid.")


# Keys.


def test_the_key_tells_the_namespace() -> None:
    keys = Keys(PUBLIC)
    assert keys.identity(header(PUBLIC["guest"])).namespace == "guest"
    assert keys.identity(header(base64.b64encode(PUBLIC["guest"].encode()).decode())).namespace == "guest"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "The resource requires authentication, which was not supplied with the request"),
        ("Bearer x", "The resource requires authentication, which was not supplied with the request"),
        ("Basic !", "The supplied authentication is invalid"),
        (header("a:b"), "The supplied authentication is invalid"),
        (header(PUBLIC["guest"] + "x"), "The supplied authentication is invalid"),
        (header(PUBLIC["guest"].partition(":")[0] + ":"), "The supplied authentication is invalid"),
    ],
)
def test_headers_that_show_no_key(given: str, said: str) -> None:
    with pytest.raises(Refused) as caught:
        Keys(PUBLIC).identity(given)
    assert (caught.value.status, str(caught.value)) == (401, said)
    assert caught.value.headers == (("www-authenticate", 'Basic realm="OpenWhisk secure realm"'),)


def test_only_the_system_may_use_every_namespace() -> None:
    keys = Keys(PUBLIC)
    guest, system = keys.identity(header(PUBLIC["guest"])), keys.identity(header(PUBLIC["whisk.system"]))
    assert namespace_of(guest, "_") == namespace_of(guest, "guest") == namespace_of(system, "guest") == "guest"
    assert status(namespace_of, guest, "other") == (
        403, "The supplied authentication is not authorized to access 'other'.")  # fmt: skip


def test_keys_come_from_a_file_that_not_everybody_may_read(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# for trying\nme a-b:secret\n\nyou c-d:other\n")
    file.chmod(0o600)
    assert read_keys(file) == {"me": "a-b:secret", "you": "c-d:other"}
    file.chmod(0o644)
    with pytest.raises(TestbedError, match="chmod 600"):
        read_keys(file)
    file.chmod(0o600)
    file.write_text("me a-b\n")
    with pytest.raises(TestbedError, match=r"keys:1: expected NAMESPACE UUID:SECRET") as caught:
        read_keys(file)
    assert "a-b" not in str(caught.value)
    with pytest.raises(TestbedError, match="cannot be read"):
        read_keys(tmp_path / "none")


# Bodies.


def test_bodies_are_objects_of_json() -> None:
    def body(data: bytes, kind: str = "application/json; charset=utf-8") -> Any:
        return json_of(data, kind)

    assert body(b"") == {}
    assert body(b'{"a": 1}') == {"a": 1}
    assert json_of(b"{}", "") == {}
    assert status(body, b"{", "application/json")[0] == 400
    assert status(body, b"[1]")[0] == 400
    assert status(body, b"[" * 100_000)[0] == 400
    assert status(body, b"a=1", "application/x-www-form-urlencoded")[0] == 415


@pytest.mark.parametrize(
    "data",
    [
        b'{"exec": 3}', b'{"exec": {"kind": 3}}', b'{"exec": {"kind": "python:3", "code": 1}}', b'{"parameters": {}}',
        b'{"parameters": [{"value": 1}]}', b'{"parameters": [1]}', b'{"limits": {"memory": "256"}}',
        b'{"limits": {"timeout": 1.5}}', b'{"publish": "yes"}', b'{"version": "new"}',
    ],
)  # fmt: skip
def test_wrong_types_are_malformed(data: bytes) -> None:
    code, said = status(read, ActionBody, WebRequest("PUT", "/", (), data))
    assert code == 400
    assert said.startswith("The request content was malformed:\n")


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("python:3", "python:3"), ("python:default", "python:3"), ("python:3.11", "python:3.11"),
        ("nodejs:default", "nodejs:20"), ("nodejs:14", "nodejs:14"), ("sequence", "sequence"), ("model:1", "model:1"),
        ("java:8", None), ("python", None), ("function:1", None), ("", None), ("blackbox", None),
    ],
)  # fmt: skip
def test_kinds_are_resolved(kind: str, found: str | None) -> None:
    assert resolved(kind) == found


def test_models_are_figures() -> None:
    assert modelled('{"service_s": 0.2}').service_s == 0.2
    for code in ("{", "[]", '{"x": 1}', '{"service_s": -1}', '{"service_s": true}', '{"operations": 1e999}'):
        with pytest.raises(ValueError):
            modelled(code)


# Parameters.

OWN = {"a": "action", "b": "action"}


@pytest.mark.parametrize(
    ("inherited", "own", "given", "found"),
    [
        ({}, {}, {"x": 1}, {"x": 1}),
        ({"a": "package", "p": 1}, OWN, {}, {"a": "action", "p": 1, "b": "action"}),
        ({"a": "package"}, OWN, {"b": "given"}, {"a": "action", "b": "given"}),
        ({}, {"deep": {"k": 1}}, {"deep": {"l": 2}}, {"deep": {"l": 2}}),
    ],
)
def test_arguments_are_the_packages_then_the_actions_then_ones_own(
    inherited: Any, own: Any, given: Any, found: Any
) -> None:
    action = Action(Full("g", "", "a"), Code("python:3", "x"), parameters=own)
    assert merged(Found(action, inherited), given) == found


def test_final_parameters_are_not_overridden() -> None:
    action = Action(Full("g", "", "a"), Code("python:3", "x"), parameters=OWN, annotations={"final": True})
    assert merged(Found(action, {}), {"x": 1}) == OWN | {"x": 1}
    assert status(merged, Found(action, {}), {"a": 1})[0] == 400


# Limits.


def test_a_minute_of_the_calendar_has_so_many_invocations_and_refused_ones_count() -> None:
    throttle = Throttle(Allowance(per_minute=2, concurrent=None))
    throttle.enter("a", 119.0)
    throttle.enter("a", 119.9)
    assert status(throttle.enter, "a", 119.99) == (
        429, "Too many requests in the last minute (count: 3, allowed: 2).")  # fmt: skip
    assert status(throttle.enter, "a", 119.99)[1].startswith("Too many requests in the last minute (count: 4")
    throttle.enter("b", 119.99)
    throttle.enter("a", 120.0)  # another minute


def test_so_many_invocations_are_in_flight_at_a_time() -> None:
    throttle = Throttle(Allowance(per_minute=None, concurrent=1), {"free": Allowance(None, None)})
    throttle.enter("a", 0.0)
    assert status(throttle.enter, "a", 0.0) == (
        429, "Too many concurrent requests in flight (count: 1, allowed: 1).")  # fmt: skip
    throttle.leave("a")
    throttle.enter("a", 0.0)
    for _ in range(1000):
        throttle.enter("free", 0.0)
    assert throttle.refused == 1


def test_the_defaults_are_the_originals() -> None:
    options = ServerOptions()
    assert options.limits == NamespaceLimits(per_minute=120, concurrent=100)
    assert options.blocking_wait == 60
    assert options.payload == 1 << 20
    assert options.code == 48 << 20
    assert Limits().data() == {"timeout": 60_000, "memory": 256, "logs": 10, "concurrency": 1}


@pytest.mark.parametrize("wrong", [{"auth": "keys"}, {"port": 0}, {"limits": {"per_minute": -1}}, {"memory": "1MB"}])
def test_options_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ServerOptions.model_validate(wrong)
