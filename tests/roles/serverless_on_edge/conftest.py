"""The protoc-generated module of the written-down .proto: what a client in another language would be made from."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from testbed.places import home


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ModuleType, ModuleType]]:
    """The modules ``uiiit_rpc_pb2`` (messages) and ``uiiit_rpc_pb2_grpc`` (stubs), by the standard tool."""
    from grpc_tools import protoc

    source = home() / "roles" / "serverless_on_edge"
    made: Path = tmp_path_factory.mktemp("protoc")
    status = protoc.main(
        ["protoc", f"-I{source}", f"--python_out={made}", f"--grpc_python_out={made}", str(source / "uiiit_rpc.proto")]
    )
    assert status == 0
    sys.path.insert(0, str(made))
    yield importlib.import_module("uiiit_rpc_pb2"), importlib.import_module("uiiit_rpc_pb2_grpc")
    sys.path.remove(str(made))
