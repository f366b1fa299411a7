"""The interface over real HTTP: statuses and texts, bad input, many beyond the limits, curl."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from wsk_live import GUEST, Live, clean_environment, live, run

from roles.openwhisk.auth import PUBLIC
from testbed.roles.api import Function

CODE = {"exec": {"kind": "python:3", "code": "def main(p): return p"}}
FUNCTIONS = {"model": Function(name="model", service_s=0.3, concurrency=100)}
NEITHER = "The resource requires authentication, which was not supplied with the request"
# verb, path, body, status, text of the error (or a part)
REFUSED: list[tuple[str, str, Any, int, str]] = [
    ("GET", "_/actions/none", None, 404, "The requested resource does not exist."),
    ("GET", "_/actions/kit/none", None, 404, "The requested resource does not exist."),
    ("GET", "_/actions/none/", None, 404, "The requested resource does not exist."),
    ("GET", "_/actions/kit", None, 409, "Resource by this name exists but is not in this collection."),
    ("GET", "_/packages/copy", None, 409, "Resource by this name exists but is not in this collection."),
    ("PUT", "_/actions/kit", CODE, 409, "Resource by this name exists but is not in this collection."),
    ("PUT", "_/packages/copy", {}, 409, "Resource by this name exists but is not in this collection."),
    ("PUT", "_/actions/copy", CODE, 409, "resource already exists"),
    ("PUT", "_/actions/new", {}, 400, "exec undefined"),
    ("PUT", "_/actions/-new", CODE, 400, "The name of the entity contains illegal characters."),
    ("PUT", "_/actions/a/b/c", CODE, 404, "The requested resource could not be found."),
    ("PUT", "_/actions/nokit/new", CODE, 404, "The requested resource does not exist."),
    ("PUT", "_/actions/bound/new", CODE, 400, "Operation not permitted on package binding."),
    ("PUT", "_/actions/new", {"exec": {"kind": "java:8", "code": "x"}}, 400, "The specified runtime 'java:8' is not"),
    ("PUT", "_/actions/new", {"exec": {"kind": "python:3"}}, 400, "'code' must be a string"),
    ("PUT", "_/actions/new", {"exec": {"kind": "python:3", "code": "!", "binary": True}}, 400, "not in base64"),
    ("PUT", "_/actions/new", {"exec": {"kind": "sequence", "components": ["/_/new"]}}, 400, "Sequence may not refer"),
    ("PUT", "_/actions/new", CODE | {"limits": {"memory": 64}}, 400, "requirement failed: memory 64"),
    ("PUT", "_/actions/new", CODE | {"limits": {"timeout": 300_001}}, 400, "requirement failed: time limit 300001"),
    ("PUT", "_/actions/new", CODE | {"limits": {"concurrency": 2}}, 400, "requirement failed: concurrency 2"),
    ("PUT", "_/actions/new", CODE | {"parameters": [{"key": "a", "value": "x" * 2**20}]}, 413, "Parameters larger"),
    ("PUT", "_/packages/default", {}, 400, "reserved"),
    ("PUT", "_/packages/new", {"binding": {"namespace": "_", "name": "none"}}, 400, "Binding references a package"),
    ("PUT", "_/packages/new", {"binding": {"namespace": "_", "name": "bound"}}, 400, "Cannot bind to another"),
    ("DELETE", "_/packages/kit", None, 409, "Package not empty (contains 1 entities)."),
    ("DELETE", "_/actions/none", None, 404, "The requested resource does not exist."),
    ("DELETE", "_/actions", None, 405, "HTTP method not allowed"),
    ("PATCH", "_/actions/copy", None, 405, "HTTP method not allowed"),
    ("POST", "_/activations", {}, 405, "HTTP method not allowed"),
    ("POST", "_/actions/none", {}, 404, "The requested resource does not exist."),
    ("POST", "_/actions/copy?blocking=perhaps", {}, 400, "is not a valid Boolean value"),
    ("POST", "_/actions/copy?blocking=true&timeout=60001", {}, 400, "The timeout must be from 1 to 60000"),
    ("POST", "_/actions/copy?blocking=true&timeout=x", {}, 400, "is not an integer"),
    ("POST", "_/actions/copy", {"a": "x" * 2**20}, 413, "Request larger than allowed: 1048585 > 1048576 bytes."),
    ("GET", "_/actions?limit=201", None, 400, "The value '201' is not in the range of 0 to 200 for actions."),
    ("GET", "_/activations?docs=true&count=true", None, 400, "cannot be used together"),
    ("GET", "_/activations/abc", None, 400, "Activation id length is 3 but must be 32."),
    ("GET", "_/activations/" + "a" * 32, None, 404, "The requested resource does not exist."),
    ("GET", "other/actions", None, 403, "The supplied authentication is not authorized to access 'other'."),
    ("PUT", "other/actions/new", CODE, 403, "The supplied authentication is not authorized to access 'other'."),
    ("GET", "-/actions", None, 400, "The namespace contains illegal characters."),
    ("GET", "_/nothing", None, 404, "The requested resource could not be found."),
    ("PUT", "_/triggers/new", {}, 501, "This server has no triggers."),
    ("GET", "_/rules/new", None, 404, "The requested resource does not exist."),
    ("GET", "/api/v2/namespaces", None, 404, "The requested resource could not be found."),
]  # fmt: skip


async def furnished(server: Live) -> None:
    """An action, a package with an action, and a binding to it."""
    for path, body in (("actions/copy", CODE), ("packages/kit", {"parameters": [{"key": "a", "value": 1}]}),
                       ("actions/kit/copy", CODE), ("packages/bound", {"binding": {"namespace": "_", "name": "kit"}})):
        assert (await server.ask("PUT", f"_/{path}", body)).status == 200  # fmt: skip


def test_what_cannot_be_is_refused_with_error_and_code(tmp_path: Path) -> None:
    async def story() -> None:
        async with live(tmp_path, "127.7.93.1") as server:
            await furnished(server)
            for verb, path, body, status, text in REFUSED:
                found = await server.ask(verb, path, body)
                assert found.status == status, (verb, path, found)
                assert text in found.data["error"], (verb, path, found)
                assert set(found.data) == {"error", "code"}
                assert found.headers["x-request-id"] == found.data["code"]

    run(story())


def test_who_shows_no_key_or_a_wrong_one_is_asked_for_one(tmp_path: Path) -> None:
    async def story() -> None:
        async with live(tmp_path, "127.7.93.2") as server:
            for key, said in ((None, NEITHER), ("a:b", "The supplied authentication is invalid")):
                found = await server.ask("GET", "_/actions", key=key)
                assert (found.status, found.data["error"]) == (401, said)
                assert found.headers["www-authenticate"] == 'Basic realm="OpenWhisk secure realm"'
            assert (await server.ask("GET", "/api/v1", key=None)).data["api_version"] == "1.0.0"

    run(story())


def test_answers_carry_the_request_id_the_activation_id_and_leave_for_browsers(tmp_path: Path) -> None:
    async def story() -> None:
        async with live(tmp_path, "127.7.93.3") as server:
            await furnished(server)
            found = await server.ask("POST", "_/actions/copy?blocking=true", {}, headers={"x-request-id": "mine"})
            assert found.headers["x-request-id"] == "mine"
            assert found.headers["access-control-allow-origin"] == "*"
            assert found.headers["x-openwhisk-activation-id"] == found.data["activationId"]
            assert (await server.ask("OPTIONS", "_/actions", key=None)).status == 200

    run(story())


def test_lists_packages_bindings_limits_and_whole_namespaces(tmp_path: Path) -> None:
    async def story() -> None:
        async with live(tmp_path, "127.7.93.4") as server:
            await furnished(server)
            listed = (await server.ask("GET", "_/actions/")).data
            assert {each["namespace"] for each in listed} == {"guest", "guest/kit"}
            assert [each["name"] for each in (await server.ask("GET", "_/actions/kit/")).data] == ["copy"]
            assert (await server.ask("GET", "_/packages?count=true")).data == {"packages": 2}
            bound = (await server.ask("GET", "_/packages/bound")).data
            assert bound["binding"] == {"namespace": "guest", "name": "kit"}
            assert bound["parameters"] == [{"key": "a", "value": 1}]
            assert [each["name"] for each in bound["actions"]] == ["copy"]
            record = (await server.ask("POST", "_/actions/bound/copy?blocking=true", {"b": 2})).data
            assert record["response"]["result"] == {"a": 1, "b": 2}
            noted = {each["key"]: each["value"] for each in record["annotations"]}
            assert (noted["path"], noted["binding"]) == ("guest/kit/copy", "guest/bound")
            limits = (await server.ask("GET", "_/limits")).data
            assert (limits["invocationsPerMinute"], limits["concurrentInvocations"]) == (120, 100)
            assert (limits["maxActionMemory"], limits["maxActionTimeout"]) == (512, 300_000)
            whole = (await server.ask("GET", "_")).data
            assert [len(whole[each]) for each in ("actions", "packages", "triggers", "rules")] == [2, 2, 0, 0]
            assert (await server.ask("DELETE", "_/packages/kit?force=true")).status == 200
            assert (await server.ask("POST", "_/actions/bound/copy", {})).status == 404

    run(story())


def test_a_package_that_is_public_can_be_used_by_others_and_no_other(tmp_path: Path) -> None:
    auth = {"me": "a-1:x", "you": "a-2:y", "whisk.system": PUBLIC["whisk.system"]}

    async def story() -> None:
        async with live(tmp_path, "127.7.93.5", auth=auth) as server:
            for name, public in (("open", True), ("shut", False)):
                await server.ask("PUT", f"_/packages/{name}", {"publish": public}, key="a-1:x")
                await server.ask("PUT", f"_/actions/{name}/copy", CODE, key="a-1:x")
            found = [(await server.ask("POST", f"me/actions/{name}/copy?blocking=true", {}, key="a-2:y")).status
                     for name in ("open", "shut")]  # fmt: skip
            assert found == [200, 403]
            assert (await server.ask("PUT", "me/actions/open/new", CODE, key="a-2:y")).status == 403
            assert (await server.ask("GET", "_/activations", key="a-2:y")).data[0]["namespace"] == "you"
            assert (await server.ask("GET", "_/activations", key="a-1:x")).data == []
            assert (await server.ask("GET", "me/actions", key=PUBLIC["whisk.system"])).status == 200
            assert (await server.ask("GET", "_/actions", key=GUEST)).status == 401

    run(story())


def test_malformed_requests_are_refused_and_the_server_goes_on(tmp_path: Path) -> None:
    nested = b'{"a":' * 5_000 + b"1" + b"}" * 5_000

    async def story() -> None:
        async with live(tmp_path, "127.7.93.6") as server:
            await furnished(server)
            for raw in (b"{", b"[]", b"3", b"\xff\xfe", b'{"a": 1} {}', b"[" * 100_000, b"null"):
                for verb, path in (("POST", "_/actions/copy"), ("PUT", "_/actions/copy?overwrite=true"),
                                   ("PUT", "_/packages/kit?overwrite=true")):  # fmt: skip
                    found = await server.ask(verb, path, raw=raw)
                    assert found.status == 400, (verb, raw[:20], found)
                    assert found.data["error"].startswith("The request content was malformed:\n")
            found = await server.ask("POST", "_/actions/copy", raw=b"a=1", headers={"content-type": "text/plain"})
            assert found.status == 415
            assert (await server.ask("POST", "_/actions/copy?blocking=true", raw=nested)).status in (200, 400, 502)
            assert (await server.ask("POST", "_/actions/copy?blocking=true&result=true")).data == {}

    run(story())


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 999999999999\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a: " + b"x" * 100_000 + b"\r\n\r\n", 431),
        (b"nonsense\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_gets_an_error_that_clients_can_read(sent: bytes, status: int, tmp_path: Path) -> None:
    async def story() -> bytes:
        async with live(tmp_path, "127.7.93.7") as server:
            reader, writer = await asyncio.open_connection(server.host, 3233)
            writer.write(sent)
            found = await asyncio.wait_for(reader.read(), 30)
            writer.close()
            return found

    head, _, body = run(story()).partition(b"\r\n\r\n")
    assert f" {status} ".encode() in head.split(b"\r\n")[0]
    assert set(json.loads(body)) == {"error", "code"}


def test_ten_thousand_beyond_the_limits_are_refused_and_memory_stays_bounded(tmp_path: Path) -> None:
    async def story() -> None:
        async with live(tmp_path, "127.7.93.8", FUNCTIONS) as server:
            await server.ask("POST", "_/actions/model", {})

            async def loop() -> list[int]:
                return [(await server.ask("POST", "_/actions/model", {"x": "y" * 1000})).status for _ in range(200)]

            await loop()
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            found = [status for each in await asyncio.gather(*(loop() for _ in range(50))) for status in each]
            after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            assert len(found) == 10_000
            assert set(found) <= {202, 429}
            assert found.count(202) <= 120 * 3  # it took two minutes at most
            assert after - before < 50_000  # kB
            assert server.role.throttle.in_flight("guest") <= 100

    run(story())


def test_slow_clients_hold_up_nobody(tmp_path: Path) -> None:
    async def story() -> None:
        async with live(tmp_path, "127.7.93.9") as server:
            await furnished(server)
            slow = [socket.create_connection((server.host, 3233)) for _ in range(50)]
            for each in slow:
                each.sendall(b"POST /api/v1/namespaces/_/actions/copy HTTP/1.1\r\nhost: x\r\n")
            assert (await server.invoke("copy")).status == 200
            for each in slow:
                each.close()

    run(story())


def curl(*words: str) -> tuple[int, Any]:
    """Status and data of what curl gets."""
    done = subprocess.run(["curl", "-sS", "-w", "\n%{http_code}", "-u", GUEST, *words], capture_output=True, text=True,
                          env=clean_environment(), timeout=60, check=True)  # fmt: skip
    body, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(body)


def test_curl_makes_invokes_and_removes_an_action(tmp_path: Path) -> None:
    async def story() -> None:
        async with live(tmp_path, "127.7.93.10") as server:
            url = f"http://{server.address}/api/v1/namespaces/_/actions/copy"

            def talk() -> None:
                json_ = ("-H", "Content-Type: application/json", "-d")
                assert curl("-X", "PUT", url, *json_, json.dumps(CODE))[0] == 200
                assert curl(f"{url}?blocking=true&result=true", *json_, '{"a": 1}') == (200, {"a": 1})
                assert curl("-X", "POST", f"{url}?blocking=true&result=true", "-H", "Content-Length: 0") == (200, {})
                assert curl("-X", "DELETE", url)[0] == 200
                assert curl(url)[0] == 404

            await asyncio.to_thread(talk)

    run(story())


def test_neither_logs_nor_tables_of_the_server_have_keys_in_them(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("me id-1:very-secret\n")
    keys.chmod(0o600)
    folder = tmp_path / "agent"
    folder.mkdir()

    async def story() -> None:
        async with live(folder, "127.7.93.11", auth=str(keys)) as server:
            await server.ask("PUT", "_/actions/copy", CODE, key="id-1:very-secret")
            assert (await server.ask("POST", "_/actions/copy?blocking=true", {}, key="id-1:very-secret")).status == 200
            assert (await server.ask("GET", "_/actions", key="id-1:nearly-secret")).status == 401

    run(story())
    texts = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert any(texts)
    assert not any(b"very-secret" in text or b"id-1" in text for text in texts)
