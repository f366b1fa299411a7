"""What any gRPC server should answer, so that standard tools work: health (``grpc.health.v1``) and reflection.

    grpc_health_probe -addr 10.0.0.3:10000
    grpcurl -plaintext 10.0.0.3:10000 list

Nothing of it costs anything until somebody asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from roles.serverless_on_edge import messages
from roles.serverless_on_edge.codec import PACKAGE, schema
from testbed.roles.api import Method

_Field = descriptor_pb2.FieldDescriptorProto
_File = descriptor_pb2.FileDescriptorProto
HEALTH = "grpc.health.v1"
REFLECTIONS = ("grpc.reflection.v1", "grpc.reflection.v1alpha")
SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3
NOT_FOUND = 5
_TEXT, _BLOB, _INT = _Field.TYPE_STRING, _Field.TYPE_BYTES, _Field.TYPE_INT32


def _message(file: _File, called: str, /, **fields: tuple[int, Any]) -> None:
    """Add a message: each field's number, and its type or, for a message or enum, the name of that.

    ``*`` before the name stands for a repeated field, ``|`` for one of a choice, as in reflection's messages.
    """
    made = file.message_type.add(name=called)
    for each, (number, kind) in fields.items():
        field = made.field.add(name=each, number=number, label=_Field.LABEL_OPTIONAL)
        choice, many = isinstance(kind, str) and kind.startswith("|"), isinstance(kind, str) and kind.startswith("*")
        kind = kind[1:] if choice or many else kind
        if many:
            field.label = _Field.LABEL_REPEATED
        if choice:
            if not made.oneof_decl:
                made.oneof_decl.add(name=f"message_{called.removeprefix('ServerReflection').lower()}")
            field.oneof_index = 0
        if kind in ("text", "blob"):
            field.type = _TEXT if kind == "text" else _BLOB
        elif isinstance(kind, str):
            field.type = _Field.TYPE_ENUM if kind.endswith("Status") else _Field.TYPE_MESSAGE
            field.type_name = f".{file.package}.{kind}"
        else:
            field.type = kind


def _service(file: _File, name: str, *procedures: tuple[str, str, str, bool, bool]) -> None:
    """Add a service: of each procedure its name, request and reply, and which of the two are streams."""
    made = file.service.add(name=name)
    for procedure, request, reply, asks, answers in procedures:
        made.method.add(
            name=procedure, input_type=f".{file.package}.{request}", output_type=f".{file.package}.{reply}",
            client_streaming=asks or None, server_streaming=answers or None,
        )  # fmt: skip


def _health() -> _File:
    file = _File(name="grpc/health/v1/health.proto", package=HEALTH, syntax="proto3")
    _message(file, "HealthCheckRequest", service=(1, _TEXT))
    _message(file, "HealthCheckResponse", status=(1, "HealthCheckResponse.ServingStatus"))
    statuses = file.message_type[1].enum_type.add(name="ServingStatus")
    for number, status in enumerate(("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")):
        statuses.value.add(name=status, number=number)
    _service(file, "Health", ("Check", "HealthCheckRequest", "HealthCheckResponse", False, False),
             ("Watch", "HealthCheckRequest", "HealthCheckResponse", False, True))  # fmt: skip
    return file


def _reflection(package: str) -> _File:
    file = _File(name=f"{package.replace('.', '/')}/reflection.proto", package=package, syntax="proto3")
    _message(file, "ExtensionRequest", containing_type=(1, _TEXT), extension_number=(2, _INT))
    _message(file, "ServerReflectionRequest", host=(1, _TEXT), file_by_filename=(3, "|text"),
             file_containing_symbol=(4, "|text"), file_containing_extension=(5, "|ExtensionRequest"),
             all_extension_numbers_of_type=(6, "|text"), list_services=(7, "|text"))  # fmt: skip
    _message(file, "FileDescriptorResponse", file_descriptor_proto=(1, "*blob"))
    _message(file, "ExtensionNumberResponse", base_type_name=(1, _TEXT), extension_number=(2, _INT))
    file.message_type[-1].field[-1].label = _Field.LABEL_REPEATED
    _message(file, "ServiceResponse", name=(1, _TEXT))
    _message(file, "ListServiceResponse", service=(1, "*ServiceResponse"))
    _message(file, "ErrorResponse", error_code=(1, _INT), error_message=(2, _TEXT))
    _message(file, "ServerReflectionResponse", valid_host=(1, _TEXT), original_request=(2, "ServerReflectionRequest"),
             file_descriptor_response=(4, "|FileDescriptorResponse"),
             all_extension_numbers_response=(5, "|ExtensionNumberResponse"),
             list_services_response=(6, "|ListServiceResponse"), error_response=(7, "|ErrorResponse"))  # fmt: skip
    _service(file, "ServerReflection",
             ("ServerReflectionInfo", "ServerReflectionRequest", "ServerReflectionResponse", True, True))  # fmt: skip
    return file


def _own() -> _File:
    """The system's messages with its services."""
    file, services = schema(), dict[str, list[tuple[str, str, str, bool, bool]]]()
    for each in vars(messages).values():
        if isinstance(each, Method):
            service, procedure = each.name.removeprefix(f"/{PACKAGE}.").split("/")
            types = each.request.__name__, each.reply.__name__
            services.setdefault(service, []).append((procedure, *types, False, each.streams))
    for service, procedures in services.items():
        _service(file, service, *procedures)
    return file


@cache
def _files() -> Mapping[str, _File]:
    return {file.name: file for file in (_own(), _health(), *map(_reflection, REFLECTIONS))}


@cache
def _symbols() -> Mapping[str, str]:
    """The file of each service, procedure, message and enum, by its full name."""
    found = dict[str, str]()
    for file in _files().values():
        named: tuple[Any, ...] = (*file.message_type, *file.enum_type, *file.service)
        found |= {f"{file.package}.{each.name}": file.name for each in named}
        for service in file.service:
            found |= {f"{file.package}.{service.name}.{each.name}": file.name for each in service.method}
        for message in file.message_type:
            inner: tuple[Any, ...] = (*message.nested_type, *message.enum_type)
            found |= {f"{file.package}.{message.name}.{each.name}": file.name for each in inner}
    return found


@cache
def _classes() -> Mapping[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    for file in _files().values():
        pool.Add(file)
    names = (f"{file.package}.{each.name}" for file in _files().values() for each in file.message_type)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names}


class Standard:
    """Health and reflection of one server that has these services."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = sorted({*services})
        self._status, self._changed = SERVING, asyncio.Event()

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """What a server takes."""
        health = {
            "Check": grpc.unary_unary_rpc_method_handler(self._check),
            "Watch": grpc.unary_stream_rpc_method_handler(self._watch),
        }
        found = [grpc.method_handlers_generic_handler(f"{HEALTH}.Health", health)]
        for package in REFLECTIONS:
            reflection = {"ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(self._reflecting(package))}
            found.append(grpc.method_handlers_generic_handler(f"{package}.ServerReflection", reflection))
        return found

    def leave(self) -> None:
        """From now on the server is not well: it is about to end."""
        self._status = NOT_SERVING
        self._changed.set()

    async def _status_of(self, data: bytes, context: Any) -> int:
        name = (await _read(f"{HEALTH}.HealthCheckRequest", data, context)).service
        return self._status if name in ("", *self._services) else SERVICE_UNKNOWN

    def _told(self, status: int) -> bytes:
        encoded: bytes = _classes()[f"{HEALTH}.HealthCheckResponse"](status=status).SerializeToString()
        return encoded

    async def _check(self, data: bytes, context: Any) -> bytes:
        status = await self._status_of(data, context)
        if status == SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service here")
        return self._told(status)

    async def _watch(self, data: bytes, context: Any) -> AsyncIterator[bytes]:
        yield self._told(await self._status_of(data, context))
        await self._changed.wait()
        yield self._told(await self._status_of(data, context))

    def _reflecting(self, package: str) -> Any:
        async def reflect(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            async for data in requests:
                request = await _read(f"{package}.ServerReflectionRequest", data, context)
                reply = _classes()[f"{package}.ServerReflectionResponse"](valid_host=request.host)
                reply.original_request.CopyFrom(request)
                self._answer(request, reply)
                yield reply.SerializeToString()

        return reflect

    def _answer(self, request: Any, reply: Any) -> None:
        asked = request.WhichOneof("message_request")
        if asked == "list_services":
            names = (*self._services, f"{HEALTH}.Health", *(f"{each}.ServerReflection" for each in REFLECTIONS))
            for name in names:
                reply.list_services_response.service.add(name=name)
            return
        name = request.file_by_filename if asked == "file_by_filename" else \
            _symbols().get(request.file_containing_symbol, "") if asked == "file_containing_symbol" else ""
        if name in _files():
            reply.file_descriptor_response.file_descriptor_proto.append(_files()[name].SerializeToString())
        else:
            reply.error_response.error_code = NOT_FOUND
            reply.error_response.error_message = "there is no such file, symbol or extension here"


async def _read(name: str, data: bytes, context: Any) -> Any:
    """A message; a caller whose bytes are none is told so."""
    try:
        return _classes()[name].FromString(data)
    except DecodeError as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"these {len(data)} bytes are no {name}: {error}")


def services_of(methods: Sequence[Method[Any, Any]]) -> list[str]:
    """The full names of the services that these methods belong to."""
    return [method.name[1:].split("/")[0] for method in methods]
