"""What a simulated computer has: processors, and containers with one function each, in the original's JSON format.

The built-in types are the original's; ``functions_computer`` describes the modelled functions of an experiment.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from testbed.roles.api import Function


def _kebab(name: str) -> str:
    return name.replace("_", "-")


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=_kebab, populate_by_name=True)


class Processor(_Strict):
    """A processor: ``speed`` in operations a second for each core, ``memory`` in bytes."""

    name: str
    type: Literal["GenericCpu", "GenericGpu"]
    speed: float = Field(gt=0)
    cores: int | float = Field(gt=0)
    memory: int = Field(ge=0)


class Lambda(_Strict):
    """A modelled function: operations and memory grow in proportion to the length of the input."""

    name: str = Field(min_length=1)
    requirements: Literal["proportional"]
    op_coeff: float = Field(ge=0)
    op_offset: float = Field(ge=0)
    mem_coeff: float = Field(ge=0)
    mem_offset: float = Field(ge=0)
    output_type: Literal["copy-input", "fixed"]
    output_value: str

    def operations(self, size: int) -> float:
        """Operations for an input of ``size`` characters."""
        return self.op_offset + self.op_coeff * size

    def memory(self, size: int) -> float:
        """Bytes of memory for an input of ``size`` characters."""
        return self.mem_offset + self.mem_coeff * size

    def output(self, given: str) -> str:
        """What it answers to the input ``given``."""
        return given if self.output_type == "copy-input" else self.output_value


class ContainerSpec(_Strict):
    """Workers of one function on one processor."""

    name: str
    processor: str
    num_workers: int = Field(gt=0)
    function: Lambda = Field(alias="lambda")


class ComputerSpec(_Strict):
    """A whole computer. One function for each container, and each function once."""

    version: Literal["1.0"]
    processors: tuple[Processor, ...]
    containers: tuple[ContainerSpec, ...]

    @model_validator(mode="after")
    def _consistent(self) -> ComputerSpec:
        known = {processor.name for processor in self.processors}
        names = [container.function.name for container in self.containers]
        for container in self.containers:
            if container.processor not in known:
                raise ValueError(f"container {container.name!r} is on an unknown processor {container.processor!r}")
        if len(set(names)) != len(names) or len(known) != len(self.processors):
            raise ValueError("a function or a processor is named twice")
        return self

    def document(self) -> dict[str, object]:
        """The computer in the original's file format."""
        return self.model_dump(by_alias=True)


def read_computer(text: str) -> ComputerSpec:
    """A computer from the original's JSON; each key is needed. Raises ValueError."""
    return ComputerSpec.model_validate(json.loads(text))


def _offer(name: str, processor: str, workers: int, function: Lambda) -> ContainerSpec:
    return ContainerSpec.model_validate(
        {"name": name, "processor": processor, "num-workers": workers, "lambda": function}
    )


def _container(name: str, processor: str, workers: int, offset: float) -> ContainerSpec:
    """One of the built-in types: a million operations a character, 100 bytes of memory a character."""
    function = Lambda(name=name, requirements="proportional", op_coeff=1e6, op_offset=offset, mem_coeff=100,
                      mem_offset=0, output_type="copy-input", output_value="")  # fmt: skip
    return _offer(f"container-{name}", processor, workers, function)


def raspberry(cpu_containers: int, cpu_workers: int, gpu_containers: int, gpu_workers: int) -> ComputerSpec:
    """The built-in small computer: an ARM with four cores (functions clambdaN) and a GPU (functions glambdaN)."""
    memory = 512 * 2**20
    arm = Processor(name="arm", type="GenericCpu", speed=1e11, cores=4, memory=memory)
    gpu = Processor(name="bm2837", type="GenericGpu", speed=1e11, cores=1, memory=memory)
    on_arm = [_container(f"clambda{i}", "arm", cpu_workers, 4e6) for i in range(cpu_containers)]
    on_gpu = [_container(f"glambda{i}", "bm2837", gpu_workers, 5e6) for i in range(gpu_containers)]
    return ComputerSpec(version="1.0", processors=(arm, gpu), containers=(*on_arm, *on_gpu))


def intel_server(containers: int, workers: int) -> ComputerSpec:
    """The built-in large computer: 20 cores, 128 GiB, functions clambdaN."""
    xeon = Processor(name="intel", type="GenericCpu", speed=4e9, cores=20, memory=128 * 2**30)
    made = [_container(f"clambda{i}", "intel", workers, 4e6) for i in range(containers)]
    return ComputerSpec(version="1.0", processors=(xeon,), containers=tuple(made))


def functions_computer(functions: Iterable[Function], cores: float, speed: float, memory: int) -> ComputerSpec:
    """One processor ``cpu`` with a container for each modelled function of an experiment."""
    cpu = Processor(name="cpu", type="GenericCpu", speed=speed, cores=cores, memory=memory)
    made = []
    for each in functions:
        offset = each.operations if each.service_s is None else each.service_s * speed
        function = Lambda(name=each.name, requirements="proportional", op_coeff=each.operations_per_byte,
                          op_offset=offset, mem_coeff=0, mem_offset=each.memory_bytes, output_type="copy-input",
                          output_value="")  # fmt: skip
        made.append(_offer(each.name, "cpu", each.concurrency, function))
    return ComputerSpec(version="1.0", processors=(cpu,), containers=tuple(made))
