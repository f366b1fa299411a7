"""A small system for the tests of deployment: it answers with what it was asked, and fails in every way there is."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from testbed.roles.api import (
    CallFailed,
    Client,
    Duty,
    Environment,
    Invocation,
    Method,
    Outcome,
    Parameters,
    Role,
    Service,
    System,
    Wire,
)
from testbed.tables import Column, Table


@dataclass(frozen=True)
class Message:
    text: str


ECHO: Method[Message, Message] = Method("echo", Message, Message)
CALLS = Table(
    "calls", "What was asked.", (
        Column("t", "number", "s", "When."), Column("wall", "number", "s", "When, by the host's calendar."),
        Column("node", "text", "", "Who was asked."), Column("text", "text", "", "What was asked."),
    ),
)  # fmt: skip


class LineWire:
    """One request a connection: a line with the method, a line with the message, a line with the answer."""

    def __init__(self) -> None:
        self._servers: list[asyncio.Server] = []

    def encode(self, message: Any) -> bytes:
        return json.dumps(asdict(message)).encode()

    def decode(self, kind: type[Any], data: bytes) -> Any:
        return kind(**json.loads(data))

    async def serve(self, host: str, port: int, service: Service) -> None:
        methods = {method.name: (method, handler) for method, handler in service.items()}

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            method, handler = methods[(await reader.readline()).decode().strip()]
            message = self.decode(method.request, await reader.readline())
            writer.write(self.encode(await handler(message)) + b"\n")  # type: ignore[misc]
            writer.close()

        self._servers.append(await asyncio.start_server(answer, host, port))

    async def call(self, address: str, method: Method[Any, Any], message: Any, timeout: float) -> Any:
        host, _, port = address.rpartition(":")
        try:
            async with asyncio.timeout(timeout):
                reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
                writer.write(method.name.encode() + b"\n" + self.encode(message) + b"\n")
                data = await reader.readline()
                writer.close()
        except TimeoutError as error:
            raise CallFailed("timeout", f"no answer within {timeout:g} s") from error
        except OSError as error:
            raise CallFailed("unreachable", str(error)) from error
        return self.decode(method.reply, data)

    def stream(self, address: str, method: Method[Any, Any], message: Any) -> AsyncIterator[Any]:
        raise NotImplementedError

    def framing(self, method: Method[Any, Any], *, reply: bool) -> int:
        return 1 if reply else len(method.name) + 2  # the ends of lines, and the line with the method

    async def close(self) -> None:
        for server in self._servers:
            server.close()


class ServerParameters(Parameters):
    port: int = 7000
    greeting: str = "hello"


class Server(Role):
    """Answers, tells its host's name when asked for it, and says good-bye in its log."""

    parameters_model = ServerParameters
    templates = ("echo.conf.j2",)

    async def start(self, env: Environment) -> None:
        async def echo(message: Message) -> Message:
            env.emit("calls", {"t": env.now(), "wall": env.wall(), "node": env.node, "text": message.text})
            return Message(socket.gethostname()) if message.text == "who?" else message

        await env.serve(self.parameters.port, {ECHO: echo})
        print("serving", flush=True)

    async def stop(self, env: Environment) -> None:
        print("good-bye", flush=True)


class Broken(Role):
    """Cannot start."""

    async def start(self, env: Environment) -> None:
        raise RuntimeError("there is no flux\nin the capacitor")


class Stuck(Role):
    """Never gets ready."""

    async def start(self, env: Environment) -> None:
        await asyncio.Event().wait()


class Crasher(Role):
    """Gets ready, and fails in something that it spawned."""

    async def start(self, env: Environment) -> None:
        async def crash() -> None:
            await env.sleep(0.3)
            raise ValueError("lost the thread")

        env.spawn(crash())


class Deaf(Role):
    """Does not end when it is asked to, not even when its time to say good-bye is over."""

    async def start(self, env: Environment) -> None:
        pass

    async def stop(self, env: Environment) -> None:
        import time

        time.sleep(60)


class Caller(Client):
    """Asks the servers in turn."""

    parameters_model = ServerParameters

    async def invoke(self, env: Environment, invocation: Invocation, timeout: float) -> Outcome:
        servers = self.site.places["server"]
        address = self.site.endpoint(servers[invocation.invocation_id % len(servers)], self.parameters.port)
        try:
            reply = await env.call(address, ECHO, Message(invocation.payload), timeout)
        except CallFailed as error:
            return Outcome("error", str(error))
        return Outcome("ok", output=reply.text, response_bytes=len(reply.text))


class Echo(System):
    name: ClassVar[str] = "echo"
    roles: ClassVar[Mapping[str, type[Role]]] = {
        "server": Server, "broken": Broken, "stuck": Stuck, "crasher": Crasher, "deaf": Deaf, "caller": Caller,
    }
    duties: ClassVar[Mapping[Duty, str]] = {"worker": "server", "client": "caller"}
    tables: ClassVar[tuple[Table, ...]] = (CALLS,)

    def wire(self) -> Wire:
        return LineWire()


SYSTEM = Echo()
