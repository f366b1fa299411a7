"""A computer in front of an OpenWhisk server, over real HTTPS and gRPC in one process."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from soe_live import until

from roles.serverless_on_edge import keys
from roles.serverless_on_edge.edge_wire import EdgeWire
from roles.serverless_on_edge.messages import OK, RUN_LAMBDA, LambdaRequest, LambdaResponse
from roles.serverless_on_edge.system import SYSTEM
from testbed.roles.api import Function, Invocation, Outcome, Site
from testbed.roles.live import LiveEnvironment
from testbed.roles.web_wire import WebWire

PLACES = {"openwhisk": ("ow",), "edgecomputerwsk": ("k",), "client": ("c",)}
FUNCTIONS = {"f": Function(name="f", service_s=0.01)}


class Net:
    """A server that speaks HTTPS alone, a computer in front of it, and a client's environment."""

    def __init__(self, folder: Path, net: str) -> None:
        self.folder = folder
        self.addresses = {"ow": f"{net}.1", "k": f"{net}.2", "c": f"{net}.3"}
        self.live: list[LiveEnvironment] = []
        own = keys.made([self._site("ow", "openwhisk")])["ow", "openwhisk"]
        for name, text in own.items():
            (folder / Path(name).name).write_text(text)

    def _site(self, node: str, role: str) -> Site:
        return Site(node, role, 1, self.addresses, PLACES, FUNCTIONS)

    def env(self, node: str, role: str, wire: Any) -> LiveEnvironment:
        """An agent's environment."""
        folder = self.folder / f"{node}-{len(self.live)}"
        folder.mkdir()
        made = LiveEnvironment(self._site(node, role), wire, folder, SYSTEM.tables)
        self.live.append(made)
        return made

    async def server(self) -> None:
        """Start the server."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.folder / "certificate.pem", self.folder / "key.pem")
        kind = SYSTEM.roles["openwhisk"]
        role = kind(self._site("ow", "openwhisk"), kind.parameters_model())
        await role.start(self.env("ow", "openwhisk", EdgeWire(web=WebWire(server_context=context))))

    async def computer(self, **options: Any) -> Any:
        """Start the computer."""
        kind = SYSTEM.roles["edgecomputerwsk"]
        given = {"wsk-api-root": "https://ow:3233", **{name.replace("_", "-"): each for name, each in options.items()}}
        role = kind(self._site("k", "edgecomputerwsk"), kind.parameters_model.model_validate(given))
        await role.start(self.env("k", "edgecomputerwsk", SYSTEM.wire_of(role, self.folder)))
        return role

    async def invoke(self, options: dict[str, Any]) -> Outcome:
        """An invocation by a client with these parameters."""
        kind = SYSTEM.roles["client"]
        role: Any = kind(self._site("c", "client"), kind.parameters_model.model_validate(options))
        env = self.env("c", "client", SYSTEM.wire_of(role, self.folder))
        outcome: Outcome = await role.invoke(env, Invocation(0, 0.0, "c", "f", "x"), 20)
        return outcome

    async def call(self, text: str) -> LambdaResponse:
        """A call at the computer."""
        env = self.env("c", "client", SYSTEM.wire())
        return await env.call(f"{self.addresses['k']}:10000", RUN_LAMBDA, LambdaRequest("/guest/f", text), 20)


@asynccontextmanager
async def running(folder: Path, net: str) -> AsyncIterator[Net]:
    """A net that is closed at the end."""
    made = Net(folder, net)
    try:
        yield made
    finally:
        for env in made.live:
            await env.close()
            if env.failed.done() and not env.failed.cancelled():
                env.failed.result()


@pytest.mark.parametrize("whom", ["authority.pem", "any"])
def test_a_server_behind_https_is_asked_if_it_is_trusted(whom: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, "127.71.31" if whom == "any" else "127.71.32") as net:
            await net.server()
            computer = await net.computer(wsk_authority=whom if whom == "any" else str(tmp_path / whom))
            assert computer.actions.names == ("/guest/f",)
            reply = await net.call('{"x": 1}')
            assert (reply.retcode, reply.hops, reply.exec_us > 0) == (OK, 1, True), reply
            assert reply.responder == f"https://{net.addresses['ow']}:3233"

    asyncio.run(story())


def test_a_server_whose_certificate_nobody_vouches_for_gets_no_key(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, "127.71.33") as net:
            await net.server()
            computer = await net.computer()
            assert computer.actions.names == ()
            reply = await net.call("{}")
            assert "does not answer" in reply.retcode and "ertificate" in reply.retcode, reply

    asyncio.run(story())


def test_a_client_of_openwhisk_calls_over_https(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, "127.71.35") as net:
            await net.server()
            (tmp_path / "key.pem").chmod(0o600)
            own = {name: str(tmp_path / f"{name}.pem") for name in ("authority", "certificate", "key")}
            done = await net.invoke({"client-conf": "type=wsk,https=true", "tls-conf": own})
            assert (done.status, done.error, done.node) == ("ok", "", "ow")
            plain = await net.invoke({"client-conf": "type=wsk"})
            assert plain.status == "error" and plain.error

    asyncio.run(story())


def test_a_server_that_is_started_later_is_found(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, "127.71.34") as net:
            computer = await net.computer(wsk_authority="any", look_period=0.1, back_off=0.2)
            assert computer.actions.names == ()
            await net.server()

            async def names() -> Any:
                return computer.actions.names

            await until(names, lambda found: found == ("/guest/f",))

    asyncio.run(story())
