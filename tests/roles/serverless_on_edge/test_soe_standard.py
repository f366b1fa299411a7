"""Health and reflection as standard tools ask for them, and what is refused at the door."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import ModuleType
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from roles.serverless_on_edge import messages, standard
from roles.serverless_on_edge.messages import OK, RUN_LAMBDA, STREAM_UTIL, LambdaRequest, LambdaResponse, Void
from roles.serverless_on_edge.wire import MOST_BYTES, GrpcWire
from testbed.roles.api import CallFailed, Method

HOST = "127.72.5.1"
OWN = "uiiit.rpc.EdgeServer"


async def echo(request: LambdaRequest) -> LambdaResponse:
    return LambdaResponse(OK, request.input, "me")


def told(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 60))


class Tool:
    """What a tool does that knows nothing but the standards: it learns the rest by reflection."""

    def __init__(self, address: str, package: str = "grpc.reflection.v1") -> None:
        self._channel, self._package = grpc.insecure_channel(address), package
        self._pool, self._files = descriptor_pool.DescriptorPool(), set[str]()
        standards = standard._classes()
        self._ask, self._reply = (standards[f"{package}.ServerReflection{each}"] for each in ("Request", "Response"))

    def reflect(self, **question: str) -> Any:
        call = self._channel.stream_stream(
            f"/{self._package}.ServerReflection/ServerReflectionInfo",
            request_serializer=self._ask.SerializeToString, response_deserializer=self._reply.FromString,
        )
        return next(iter(call(iter([self._ask(**question)]), timeout=10)))

    def services(self) -> list[str]:
        return [each.name for each in self.reflect(list_services="").list_services_response.service]

    def call(self, service: str, procedure: str, /, **values: Any) -> Any:
        answer = self.reflect(file_containing_symbol=service)
        for data in answer.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(data)
            if file.name not in self._files:
                self._files.add(file.name)
                self._pool.Add(file)
        method = self._pool.FindServiceByName(service).FindMethodByName(procedure)
        request, reply = (message_factory.GetMessageClass(each) for each in (method.input_type, method.output_type))
        call = self._channel.unary_unary(f"/{service}/{procedure}", request.SerializeToString, reply.FromString)
        return call(request(**values), timeout=10)

    def watch(self) -> list[int]:
        request, reply = (standard._classes()[f"grpc.health.v1.HealthCheck{each}"] for each in ("Request", "Response"))
        stream = self._channel.unary_stream("/grpc.health.v1.Health/Watch", request.SerializeToString, reply.FromString)
        return [each.status for each in stream(request(service=OWN), timeout=20)]


@pytest.mark.parametrize("package", ["grpc.reflection.v1", "grpc.reflection.v1alpha"])
def test_a_tool_without_a_proto_file_finds_and_calls_everything(package: str) -> None:
    def ask() -> None:
        tool = Tool(f"{HOST}:7101", package)
        assert tool.services() == [OWN, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
                                   "grpc.reflection.v1alpha.ServerReflection"]  # fmt: skip
        assert tool.call(OWN, "RunLambda", name="f", input="hi").output == "hi"
        assert tool.call("grpc.health.v1.Health", "Check", service=OWN).status == standard.SERVING
        assert tool.call("grpc.health.v1.Health", "Check").status == standard.SERVING
        with pytest.raises(grpc.RpcError) as refused:
            tool.call("grpc.health.v1.Health", "Check", service="nobody")
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND  # type: ignore[attr-defined]
        for question in ({"file_containing_symbol": "no.such"}, {"file_by_filename": "x"}, {"host": "h"},
                         {"all_extension_numbers_of_type": "x"}):  # fmt: skip
            assert tool.reflect(**question).error_response.error_code == 5, question
        assert tool.reflect(file_by_filename="uiiit_rpc.proto").HasField("file_descriptor_response")
        assert tool.reflect(file_containing_symbol=f"{OWN}.RunLambda").HasField("file_descriptor_response")

    async def story() -> None:
        wire = GrpcWire()
        await wire.serve(HOST, 7101, {RUN_LAMBDA: echo})
        await asyncio.to_thread(ask)
        await wire.close()

    told(story())


def test_who_watches_is_told_that_a_server_is_about_to_end() -> None:
    async def story() -> None:
        wire = GrpcWire()
        await wire.serve(HOST, 7102, {RUN_LAMBDA: echo})
        watching = asyncio.create_task(asyncio.to_thread(Tool(f"{HOST}:7102").watch))
        caller = GrpcWire()
        await caller.call(f"{HOST}:7102", RUN_LAMBDA, LambdaRequest("f"), 10)
        await asyncio.sleep(0.3)
        await wire.close()
        assert await watching == [standard.SERVING, standard.NOT_SERVING]
        await caller.close()

    told(story())


def test_reflection_describes_the_services_as_the_proto_file_does(generated: tuple[ModuleType, ModuleType]) -> None:
    written = descriptor_pb2.FileDescriptorProto()
    generated[0].DESCRIPTOR.CopyToProto(written)
    ours = standard._own()
    assert {each.name for each in ours.service} == {each.name for each in written.service}
    for service in written.service:
        mine = next(each for each in ours.service if each.name == service.name)
        assert {str(each) for each in mine.method} == {str(each) for each in service.method}
    methods = [each for each in vars(messages).values() if isinstance(each, Method)]
    assert sum(len(each.method) for each in ours.service) == len(methods)


@pytest.mark.parametrize("data", [b"\xff" * 20, b"\x0a\x05ab", b"\x0a\x02\xff\xfe", b"\x52\x7f"])
def test_bytes_that_are_no_message_are_refused_in_words(data: bytes) -> None:
    def ask() -> tuple[grpc.StatusCode, str]:
        with grpc.insecure_channel(f"{HOST}:7103") as channel, pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(RUN_LAMBDA.name)(data, timeout=10)
        return refused.value.code(), refused.value.details()  # type: ignore[attr-defined]

    async def story() -> None:
        wire = GrpcWire()
        await wire.serve(HOST, 7103, {RUN_LAMBDA: echo, STREAM_UTIL: echo})  # type: ignore[dict-item]
        code, words = await asyncio.to_thread(ask)
        assert code is grpc.StatusCode.INVALID_ARGUMENT and f"these {len(data)} bytes are no LambdaRequest" in words
        assert (await wire.call(f"{HOST}:7103", RUN_LAMBDA, LambdaRequest("f", "x"), 10)).output == "x", "it lives"
        await wire.close()

    told(story())


def test_a_message_beyond_the_limit_is_refused_and_the_next_one_is_served() -> None:
    async def story() -> None:
        server, caller = GrpcWire(), GrpcWire()
        await server.serve(HOST, 7104, {RUN_LAMBDA: echo})
        with pytest.raises(CallFailed, match="larger than max") as failed:
            await caller.call(f"{HOST}:7104", RUN_LAMBDA, LambdaRequest("f", "x" * (MOST_BYTES + 1)), 30)
        assert failed.value.kind == "protocol"
        assert (await caller.call(f"{HOST}:7104", RUN_LAMBDA, LambdaRequest("f", "x"), 10)).output == "x"
        await caller.close()
        await server.close()

    told(story())


def test_calls_beyond_the_limit_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roles.serverless_on_edge.counter.MOST_CALLS", 5)
    free = asyncio.Event()

    async def slow(_: LambdaRequest) -> LambdaResponse:
        await free.wait()
        return LambdaResponse(OK)

    async def story() -> None:
        server, caller = GrpcWire(), GrpcWire()
        await server.serve(HOST, 7105, {RUN_LAMBDA: slow})
        address, request = f"{HOST}:7105", LambdaRequest("f")
        calls = [asyncio.create_task(caller.call(address, RUN_LAMBDA, request, 20)) for _ in range(12)]
        done, _ = await asyncio.wait(calls, timeout=5)
        assert len(done) == 7
        for each in done:
            error = each.exception()
            assert isinstance(error, CallFailed) and error.kind == "protocol", error
            assert "5 calls are under way here" in error.detail
        free.set()
        assert [each.retcode for each in await asyncio.gather(*(set(calls) - done))] == [OK] * 5
        await caller.close()
        await server.close()

    told(story())


def test_nothing_to_say_is_a_message_too() -> None:
    assert GrpcWire().decode(Void, b"") == Void()
