"""The encoding, held against what protoc makes of the written-down .proto."""

from __future__ import annotations

from dataclasses import fields, replace
from types import ModuleType
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from roles.serverless_on_edge import messages
from roles.serverless_on_edge.codec import Codec, schema, wired_fields
from roles.serverless_on_edge.messages import (
    MESSAGES,
    Action,
    ComputerInfo,
    Container,
    Dag,
    EdgeRouterConf,
    FunctionList,
    IndexList,
    LambdaRequest,
    LambdaResponse,
    RouterInfo,
    State,
    Utilization,
    Wired,
)
from testbed.roles.api import Method

CODEC = Codec()
FULL = LambdaRequest(
    name="f", input="in", datain=b"\x00\xff", dry=True, forward=True, hops=7, states={"s": State("s", "h:1", b"c")},
    callback="h:6480", chain=("a", "b"), dag=Dag((IndexList((1, 2)), IndexList()), ("a", "b", "c")),
    dependencies={"s": FunctionList(("a", "b"))}, next_function_index=3, uuid="u",
)  # fmt: skip


def test_the_dataclasses_say_what_the_proto_file_says(generated: tuple[ModuleType, ModuleType]) -> None:
    theirs = descriptor_pb2.FileDescriptorProto()
    generated[0].DESCRIPTOR.CopyToProto(theirs)
    theirs.ClearField("service")
    ours = schema()
    for each in (theirs, ours):
        for message in each.message_type:
            for field in message.field:
                field.ClearField("json_name")
            for nested in message.nested_type:
                for field in nested.field:
                    field.ClearField("json_name")
    by_name = {message.name: message for message in theirs.message_type}
    assert set(by_name) == {message.name for message in ours.message_type}
    for message in ours.message_type:
        assert message == by_name[message.name]
    assert ours.enum_type == theirs.enum_type


def test_the_methods_are_those_of_the_proto_file(generated: tuple[ModuleType, ModuleType]) -> None:
    theirs = {}
    for service in generated[0].DESCRIPTOR.services_by_name.values():
        for method in service.methods:
            kinds = method.input_type.name, method.output_type.name, method.server_streaming
            theirs[f"/{service.full_name}/{method.name}"] = kinds
    ours = {each.name: (each.request.__name__, each.reply.__name__, each.streams)
            for each in vars(messages).values() if isinstance(each, Method)}  # fmt: skip
    assert ours == theirs


def test_a_full_request_has_the_bytes_that_protoc_gives_it(generated: tuple[ModuleType, ModuleType]) -> None:
    pb = generated[0]
    theirs = pb.LambdaRequest(
        name="f", input="in", datain=b"\x00\xff", dry=True, forward=True, hops=7,
        states={"s": pb.State(name="s", location="h:1", content=b"c")}, callback="h:6480", chain=["a", "b"],
        dag=pb.Dag(successors=[pb.IndexList(functions=[1, 2]), pb.IndexList()], names=["a", "b", "c"]),
        dependencies={"s": pb.FunctionList(functions=["a", "b"])}, nextFunctionIndex=3, uuid="u",
    )  # fmt: skip
    assert CODEC.encode(FULL) == theirs.SerializeToString(deterministic=True)
    assert CODEC.decode(LambdaRequest, theirs.SerializeToString()) == FULL


@pytest.mark.parametrize(
    ("message", "octets"),
    [
        (LambdaRequest("f", "x", forward=True, hops=1), "0a0166" "120178" "2801" "3001"),
        (LambdaResponse("OK", responder="h:1", ptime=300, hops=2), "0a024f4b" "1a03683a31" "20ac02" "4802"),
        (EdgeRouterConf(Action.CHANGE, "f", "d", 1.0, True), "0801" "120166" "1a0164" "250000803f" "2801"),
        (EdgeRouterConf(Action.FLUSH), ""),
        (EdgeRouterConf(Action.REMOVE, "f", "d"), "0802" "120166" "1a0164"),
        (ComputerInfo("h:1", (Container("c", "p", "f", 2),)), "0a03683a31" "120b" "0a0163" "120170" "1a0166" "2002"),
        (RouterInfo("h:1", "h:2"), "0a03683a31" "1203683a32"),
        (Utilization({"p": 0.5}), "0a08" "0a0170" "150000003f"),
        (messages.Return("OK"), "12024f4b"),
    ],
)  # fmt: skip
def test_messages_have_the_originals_field_numbers(message: Any, octets: str) -> None:
    assert CODEC.encode(message).hex() == octets
    assert CODEC.decode(type(message), bytes.fromhex(octets)) == message


_SCALARS = {
    "string": st.text(max_size=20),
    "bytes": st.binary(max_size=20),
    "bool": st.booleans(),
    "uint32": st.integers(0, 2**32 - 1),
    "uint64": st.integers(0, 2**64 - 1),
    "float": st.floats(width=32, allow_nan=False),
    "enum": st.sampled_from(Action),
}


def some(kind: type[Any]) -> st.SearchStrategy[Any]:
    def of(wired: Wired) -> st.SearchStrategy[Any]:
        one = some(wired.holds) if wired.kind == "message" and wired.holds else _SCALARS[wired.kind]
        if wired.shape == "many":
            return st.lists(one, max_size=3).map(tuple)
        if wired.shape == "map":
            return st.dictionaries(st.text(max_size=5), one, max_size=3)
        return st.none() | one if wired.kind == "message" else one

    return st.builds(kind, **{field.name: of(field.metadata["wired"]) for field in fields(kind)})


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(MESSAGES).flatmap(some))
def test_any_message_comes_back_as_it_was(message: Any) -> None:
    assert CODEC.decode(type(message), CODEC.encode(message)) == message


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(MESSAGES), st.binary(max_size=60))
def test_bytes_that_are_no_message_are_a_value_error(kind: type[Any], data: bytes) -> None:
    try:
        assert isinstance(CODEC.decode(kind, data), kind)
    except ValueError as error:
        assert kind.__name__ in str(error)


def test_fields_that_are_not_known_are_skipped() -> None:
    assert CODEC.decode(RouterInfo, CODEC.encode(RouterInfo("a:1", "b:2")) + bytes.fromhex("a20601ff")) == RouterInfo(
        "a:1", "b:2"
    )


def test_a_request_goes_onward_with_all_that_it_carries() -> None:
    kinds = {"string": "x", "bytes": b"x", "bool": True, "uint32": 7}
    shapes: dict[str, Any] = {"many": ("x",), "map": {"x": State()}}
    request = LambdaRequest(**{
        name: shapes.get(wired.shape) or kinds.get(wired.kind, Dag())
        for name, _, _, wired in wired_fields(LambdaRequest)
    })
    assert request.onward() == replace(request, dry=False, forward=True, hops=8)
