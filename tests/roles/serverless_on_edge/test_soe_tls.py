"""TLS on the data path: keys of a run, keys of a user, who is trusted, and what stays in the clear."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest

from roles.serverless_on_edge import keys
from roles.serverless_on_edge.messages import GET_TABLE, OK, RUN_LAMBDA, LambdaRequest, LambdaResponse
from roles.serverless_on_edge.options import Options, RouterOptions, TlsConf
from roles.serverless_on_edge.system import SYSTEM
from roles.serverless_on_edge.wire import GrpcWire
from testbed.errors import TestbedError
from testbed.roles.api import CallFailed, Site

HOST = "127.72.6.1"


def site(node: str, address: str, role: str = "router") -> Site:
    return Site(node, role, 1, {node: address}, {role: (node,)}, {})


def written(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(text)
    return folder


def wire(folder: Path) -> GrpcWire:
    return GrpcWire(True, lambda: keys.own(TlsConf(), folder))


@pytest.fixture
def run(tmp_path: Path) -> tuple[Path, Path]:
    """The folders of two agents of one run."""
    made = keys.made([site("a", HOST), site("b", "127.72.6.2", "client")])
    return written(tmp_path / "a", made["a", "router"]), written(tmp_path / "b", made["b", "client"])


async def echo(request: LambdaRequest) -> LambdaResponse:
    return LambdaResponse(OK, request.input, "me")


def told(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 60))


def test_agents_of_a_run_trust_each_other(run: tuple[Path, Path]) -> None:
    async def story() -> None:
        server, client = wire(run[0]), wire(run[1])
        await server.serve(HOST, 7201, {RUN_LAMBDA: echo})
        assert (await client.call(f"{HOST}:7201", RUN_LAMBDA, LambdaRequest("f", "hi"), 10)).output == "hi"
        await client.close()
        await server.close()

    told(story())


def test_another_run_and_a_caller_in_the_clear_are_strangers(run: tuple[Path, Path], tmp_path: Path) -> None:
    other = keys.made([site("b", "127.72.6.2", "client")])

    async def story() -> None:
        server = wire(run[0])
        await server.serve(HOST, 7202, {RUN_LAMBDA: echo})
        for client in (wire(written(tmp_path / "other", other["b", "client"])), GrpcWire()):
            with pytest.raises(CallFailed) as failed:
                await client.call(f"{HOST}:7202", RUN_LAMBDA, LambdaRequest("f"), 10)
            assert failed.value.kind == "unreachable"
            await client.close()
        await server.close()

    told(story())


def test_a_server_at_an_address_that_is_not_its_own_is_not_believed(run: tuple[Path, Path]) -> None:
    async def story() -> None:
        server, client = wire(run[0]), wire(run[1])
        await server.serve("127.72.6.9", 7203, {RUN_LAMBDA: echo})
        with pytest.raises(CallFailed):
            await client.call("127.72.6.9:7203", RUN_LAMBDA, LambdaRequest("f"), 10)
        await client.close()
        await server.close()

    told(story())


def test_a_standard_client_needs_the_authority_alone(run: tuple[Path, Path]) -> None:
    def ask() -> bytes:
        credentials = grpc.ssl_channel_credentials((run[1] / keys.AUTHORITY).read_bytes())
        with grpc.secure_channel(f"{HOST}:7204", credentials) as channel:
            return bytes(channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=10))

    async def story() -> None:
        server = wire(run[0])
        await server.serve(HOST, 7204, {RUN_LAMBDA: echo})
        assert await asyncio.to_thread(ask) == b"\x08\x01"
        await server.close()

    told(story())


def test_tables_and_announcements_stay_in_the_clear(run: tuple[Path, Path]) -> None:
    async def table(_: Any) -> Any:
        return GET_TABLE.reply()

    async def story() -> None:
        server, client = wire(run[0]), GrpcWire()
        await server.serve(HOST, 7205, {GET_TABLE: table})
        assert (await client.call(f"{HOST}:7205", GET_TABLE, GET_TABLE.request(), 10)).entries == ()
        await client.close()
        await server.close()

    told(story())


def test_a_message_carries_a_record_more_where_it_is_sealed() -> None:
    plain, secure = GrpcWire(), GrpcWire(secure=True)
    for reply in (False, True):
        assert secure.framing(RUN_LAMBDA, reply=reply) - plain.framing(RUN_LAMBDA, reply=reply) == 22
        assert secure.framing(GET_TABLE, reply=reply) == plain.framing(GET_TABLE, reply=reply)


def test_only_those_get_keys_who_need_them_and_have_none() -> None:
    mine = {"authority": "a", "certificate": "c", "key": "k"}
    agents = [
        (site("a", HOST), RouterOptions(secure=True)),
        (site("b", HOST), RouterOptions()),
        (site("c", HOST), RouterOptions.model_validate({"secure": True, "tls-conf": mine})),
    ]
    found = SYSTEM.private_files(agents)
    assert list(found) == [("a", "router")] and set(found["a", "router"]) == {
        keys.AUTHORITY, keys.CERTIFICATE, keys.KEY}  # fmt: skip
    assert found["a", "router"][keys.KEY] != SYSTEM.private_files(agents)["a", "router"][keys.KEY], "new for each run"
    assert SYSTEM.private_files(agents[1:]) == {}


def test_a_users_own_keys_are_taken_and_may_not_be_open_to_others(run: tuple[Path, Path]) -> None:
    conf = TlsConf(**{name: str(run[0] / path) for name, path in (
        ("authority", keys.AUTHORITY), ("certificate", keys.CERTIFICATE), ("key", keys.KEY))})  # fmt: skip
    assert keys.own(conf, Path("/nowhere")).key == (run[0] / keys.KEY).read_bytes()
    assert "PRIVATE" not in repr(keys.own(conf, Path("/nowhere")))
    (run[0] / keys.KEY).chmod(0o640)
    with pytest.raises(TestbedError, match=r"can be read by others.*chmod 600"):
        keys.own(conf, Path("/nowhere"))
    with pytest.raises(TestbedError, match=r"TLS needs /nowhere/tls/key.pem: No such file"):
        keys.own(TlsConf(), Path("/nowhere"))


def test_half_of_the_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="all of authority, certificate and key"):
        Options.model_validate({"tls-conf": "key=a"})
