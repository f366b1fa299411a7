"""Dataclasses to and from proto3 bytes, by protobuf's own library; the schema is read off ``messages.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from roles.serverless_on_edge.messages import MESSAGES, Action, Wired

PACKAGE = "uiiit.rpc"
MOST_COUNT = 2**32 - 1  # of microseconds, hops and all that is counted
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
    "bool": _Field.TYPE_BOOL,
    "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
    "float": _Field.TYPE_FLOAT,
    "enum": _Field.TYPE_ENUM,
    "message": _Field.TYPE_MESSAGE,
}


def wired_fields(kind: type[Any]) -> Iterable[tuple[str, str, Any, Wired]]:
    """For each field of a message: its name here, its name on the wire, its default, how it travels."""
    for each in fields(kind):
        wired: Wired = each.metadata["wired"]
        yield each.name, wired.name or each.name, each.default, wired


def _typed(into: Any, wired: Wired) -> None:
    into.type = _SCALARS[wired.kind]
    if wired.holds is not None:
        into.type_name = f".{PACKAGE}.{wired.holds.__name__}"


def _map_entry(message: Any, name: str, wired: Wired) -> str:
    entry = message.nested_type.add(name=name[0].upper() + name[1:] + "Entry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=_Field.LABEL_OPTIONAL, type=_Field.TYPE_STRING)
    _typed(entry.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL), wired)
    return f".{PACKAGE}.{message.name}.{entry.name}"


def schema() -> descriptor_pb2.FileDescriptorProto:
    """The messages in protobuf's own terms: what protoc makes of ``uiiit_rpc.proto``, less the services."""
    file = descriptor_pb2.FileDescriptorProto(name="uiiit_rpc.proto", package=PACKAGE, syntax="proto3")
    actions = file.enum_type.add(name=Action.__name__)
    for action in Action:
        actions.value.add(name=action.name, number=action.value)
    for kind in MESSAGES:
        message = file.message_type.add(name=kind.__name__)
        for _, name, _, wired in wired_fields(kind):
            label = _Field.LABEL_OPTIONAL if wired.shape == "one" else _Field.LABEL_REPEATED
            target = message.field.add(name=name, number=wired.number, label=label)
            if wired.shape == "map":
                target.type, target.type_name = _Field.TYPE_MESSAGE, _map_entry(message, name, wired)
            else:
                _typed(target, wired)
    return file


def _is_plain(wired: Wired) -> bool:
    return wired.shape == "one" and wired.kind != "message"


def _as_it_is(wired: Wired) -> bool:
    return wired.shape == "one" and wired.kind not in ("message", "enum")


def _nearest(value: Any) -> Any:
    """A count that is more than can travel is told as the most that can; other values that cannot travel stay."""
    return MOST_COUNT if type(value) is int and value > MOST_COUNT else value


class _MessageCodec:
    """Translates one message type. Fields at their default are left out, as proto3 does."""

    def __init__(self, kind: type[Any], proto: type[Any], codecs: dict[type[Any], _MessageCodec]) -> None:
        self.kind, self.proto, self._codecs = kind, proto, codecs
        table = tuple(wired_fields(kind))
        self._plain = tuple((n, w, default) for n, w, default, wired in table if _is_plain(wired))
        self._rest = tuple((n, w, wired) for n, w, _, wired in table if not _is_plain(wired))
        described = proto.DESCRIPTOR.fields_by_number
        self._found = {described[wired.number]: (n, None if _as_it_is(wired) else wired) for n, _, _, wired in table}

    def to_proto(self, message: Any) -> Any:
        proto = self.proto()
        for name, on_wire, default in self._plain:
            if (value := getattr(message, name)) != default:
                try:
                    setattr(proto, on_wire, value)
                except ValueError:
                    setattr(proto, on_wire, _nearest(value))
        for name, on_wire, wired in self._rest:
            if value := getattr(message, name):
                self._fill(getattr(proto, on_wire), value, wired)
        return proto

    def _fill(self, target: Any, value: Any, wired: Wired) -> None:
        into: Callable[[Any], Any] = self._codecs[wired.holds].to_proto if wired.kind == "message" and wired.holds \
            else lambda plain: plain
        if wired.shape == "many":
            target.extend([into(each) for each in value])
        elif wired.shape == "one":
            target.CopyFrom(into(value))
            target.SetInParent()
        elif wired.kind == "message":
            for key, each in value.items():
                target[key].CopyFrom(into(each))
        else:
            target.update(value)

    def from_proto(self, proto: Any) -> Any:
        """Only what is set is looked at, which is little of most messages; the rest are defaults on both sides."""
        values = {}
        for field, found in proto.ListFields():
            name, wired = self._found[field]
            values[name] = found if wired is None else self._read(found, wired)
        return self.kind(**values)

    def _read(self, found: Any, wired: Wired) -> Any:
        outof: Callable[[Any], Any] = self._codecs[wired.holds].from_proto if wired.kind == "message" and wired.holds \
            else wired.holds or (lambda plain: plain)
        if wired.shape == "one":
            return outof(found)
        if wired.shape == "many":
            return tuple(outof(each) for each in found)
        return {key: outof(each) for key, each in sorted(found.items())}


class Codec:
    """Encodes and decodes every message of ``messages.py``; raises ValueError for bytes that are none."""

    def __init__(self) -> None:
        pool = descriptor_pool.DescriptorPool()
        pool.Add(schema())
        self._codecs: dict[type[Any], _MessageCodec] = {}
        for kind in MESSAGES:
            descriptor = pool.FindMessageTypeByName(f"{PACKAGE}.{kind.__name__}")
            self._codecs[kind] = _MessageCodec(kind, message_factory.GetMessageClass(descriptor), self._codecs)

    def encode(self, message: Any) -> bytes:
        """The bytes of one message."""
        encoded: bytes = self._codecs[type(message)].to_proto(message).SerializeToString(deterministic=True)
        return encoded

    def decode(self, kind: type[Any], data: bytes) -> Any:
        """The message of type ``kind`` that these bytes hold; fields that it does not know are skipped."""
        codec = self._codecs[kind]
        try:
            return codec.from_proto(codec.proto.FromString(data))
        except (DecodeError, ValueError) as error:
            raise ValueError(f"these {len(data)} bytes are no {kind.__name__}: {error}") from error
