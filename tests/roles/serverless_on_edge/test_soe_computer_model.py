"""The simulated computer: processor sharing, memory, workers, utilisation, estimates, in exact time."""

from __future__ import annotations

import random

import pytest

from roles.serverless_on_edge.computer_model import ComputerModel, LoadMeter, Task
from roles.serverless_on_edge.computer_spec import ComputerSpec, Lambda, intel_server, raspberry

GIGA = 1e9


def computer(
    *workers: int, cores: int = 1, memory: int = 1000, coefficient: float = GIGA, per_char: float = 0.0
) -> ComputerModel:
    """One processor of 1e9 operations a second, with a container f0, f1, ... for each number of workers."""
    containers = [
        {
            "name": f"c{i}",
            "processor": "cpu",
            "num-workers": count,
            "lambda": {"name": f"f{i}", "requirements": "proportional", "op-coeff": coefficient, "op-offset": 0,
                       "mem-coeff": per_char, "mem-offset": 0, "output-type": "copy-input", "output-value": ""},
        }
        for i, count in enumerate(workers)
    ]  # fmt: skip
    cpu = {"name": "cpu", "type": "GenericCpu", "speed": GIGA, "cores": cores, "memory": memory}
    return ComputerModel(ComputerSpec.model_validate({"version": "1.0", "processors": [cpu], "containers": containers}))


def play(model: ComputerModel, arrivals: list[tuple[float, str, int]]) -> list[float]:
    """When each of the arrivals (time, function, size) ends, in their order."""
    tasks = []
    for at, function, size in arrivals:
        model.advance(at)
        tasks.append(model.arrive(function, size, at))
    while (end := model.next_end()) is not None:
        model.advance(end)
    return [task.finished or -1.0 for task in tasks]


@pytest.mark.parametrize(
    ("workers", "cores", "arrivals", "ends"),
    [
        ((4,), 1, [(0, "f0", 1)], [1]),
        ((4,), 1, [(0, "f0", 1), (0, "f0", 1)], [2, 2]),
        ((4,), 2, [(0, "f0", 1), (0, "f0", 1)], [1, 1]),
        ((1,), 1, [(0, "f0", 1), (0, "f0", 1)], [1, 2]),
        ((1,), 2, [(0, "f0", 1), (0, "f0", 1)], [1, 2]),
        ((1, 1), 1, [(0, "f0", 1), (0, "f1", 1)], [2, 2]),
        ((4,), 1, [(0, "f0", 1), (0.5, "f0", 1)], [1.5, 2]),
        ((4,), 2, [(0, "f0", 1), (0, "f0", 1), (0, "f0", 1)], [1.5, 1.5, 1.5]),
        ((4,), 1, [(0, "f0", 1), (0, "f0", 3)], [2, 4]),
        ((2,), 1, [(0, "f0", 2), (0, "f0", 2), (0, "f0", 1)], [4, 4, 5]),
        ((4,), 1, [(0, "f0", 0)], [0]),
    ],
)
def test_tasks_share_the_processor_equally_and_wait_for_workers_in_order(
    workers: tuple[int, ...], cores: int, arrivals: list[tuple[float, str, int]], ends: list[float]
) -> None:
    # A size of 0 means no operations at all; the model's times start at 0, finished 0.0 is told as -1.
    found = play(computer(*workers, cores=cores), [(at, name, size) for at, name, size in arrivals])
    assert [max(0.0, end) for end in found] == pytest.approx(ends)


def test_memory_admits_what_fits_and_the_head_of_the_queue_blocks_the_rest() -> None:
    model = computer(100, memory=100, coefficient=GIGA, per_char=1.0)
    for size in (10, 20, 30, 30):
        assert model.arrive("f0", size, 0.0).started == 0.0
    waits = model.arrive("f0", 30, 0.0)
    overtakes = model.arrive("f0", 10, 0.0)
    blocked = model.arrive("f0", 5, 0.0)
    assert (waits.started, overtakes.started, blocked.started) == (None, 0.0, None)
    ended: list[Task] = []
    while not ended:
        ended = model.advance(model.next_end() or 0)
    assert {task.memory for task in ended} == {10} and len(ended) == 2, "20 are free now, and the head needs 30"
    assert (waits.started, blocked.started) == (None, None)
    while waits.started is None:
        ended = model.advance(model.next_end() or 0)
    assert waits.started == blocked.started == ended[0].finished


def test_a_container_that_waits_for_memory_gets_it_from_another_one() -> None:
    model = computer(1, 1, memory=10, per_char=1.0)
    model.arrive("f0", 8, 0.0)
    other = model.arrive("f1", 8, 0.0)
    assert other.started is None
    model.advance(8.0)
    assert other.started == 8.0


def test_what_can_never_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="f0 needs 11 bytes of memory; cpu has 10"):
        computer(1, memory=10, per_char=1.0).arrive("f0", 11, 0.0)


def test_tasks_end_at_their_moment_however_late_the_model_is_asked() -> None:
    model = computer(1)
    first, second = model.arrive("f0", 1, 0.0), model.arrive("f0", 1, 0.0)
    assert model.advance(10.0) == [first, second]
    assert (first.finished, second.started, second.finished) == (1.0, 1.0, 2.0)


def test_work_is_conserved_under_random_arrivals() -> None:
    rng = random.Random(3)
    model = computer(3, 2, cores=2, memory=10**9)
    arrivals, at = [], 0.0
    for _ in range(400):
        at += rng.expovariate(1.5)
        arrivals.append((at, rng.choice(("f0", "f1")), rng.randrange(1, 4)))
    ends = play(model, arrivals)
    assert all(end >= at + size - 1e-6 for end, (at, _, size) in zip(ends, arrivals, strict=True))
    busy = model.processors["cpu"].take_busy()
    assert busy >= sum(size for *_, size in arrivals) - 1e-3, "each running task counts, slowed down or not"
    assert model.processors["cpu"].running == 0 and model.processors["cpu"].free == 10**9


def test_a_core_that_works_half_of_the_time_is_half_loaded() -> None:
    model = computer(1, coefficient=GIGA / 2)
    seen = []
    for second in range(40):
        model.advance(float(second))
        model.arrive("f0", 1, float(second))
        model.advance(second + 1.0)
        seen.append(model.sample(second + 1.0)["cpu"])
    assert seen == pytest.approx([0.5] * 40)
    loads = model.loads("f0")
    assert (loads.load1, loads.load10, loads.load30) == pytest.approx((0.5, 0.5, 0.5))


def test_longer_loads_remember_what_the_last_second_has_forgotten() -> None:
    meter = LoadMeter(2)
    assert (meter.loads.load1, meter.loads.load30) == (0.0, 0.0)
    for busy in [2.0] * 10 + [0.0] * 5:
        meter.sample(busy, 1.0)
    assert (meter.loads.load1, meter.loads.load10, meter.loads.load30) == pytest.approx((0.0, 0.5, 2 / 3))
    assert meter.sample(9.0, 1.0) == 1.0, "never above one"


def test_an_estimate_counts_the_queue_the_next_free_worker_and_the_own_operations() -> None:
    model = computer(1)
    assert model.estimate("f0", 3) == pytest.approx(3.0), "idle: operations by speed"
    model.arrive("f0", 4, 0.0)
    model.advance(1.0)
    assert model.estimate("f0", 2) == pytest.approx(3 + 2), "residual, then its own at the current speed"
    model.arrive("f0", 5, 1.0)
    assert model.estimate("f0", 2) == pytest.approx(3 + 5 + 2)
    shared = computer(4)
    shared.arrive("f0", 4, 0.0)
    assert shared.estimate("f0", 2) == pytest.approx(4.0), "with a free worker: at the speed of two"


def test_the_built_in_computers_are_the_originals() -> None:
    pi = raspberry(1, 4, 1, 2)
    arm, gpu = pi.processors
    assert (arm.cores, arm.speed, arm.memory, gpu.cores, gpu.speed) == (4, 1e11, 512 * 2**20, 1, 1e11)
    assert [(c.function.name, c.num_workers) for c in pi.containers] == [("clambda0", 4), ("glambda0", 2)]
    assert [c.function.operations(1000) for c in pi.containers] == [1.004e9, 1.005e9]
    assert pi.containers[0].function.memory(1000) == 100_000
    server = intel_server(2, 4).processors[0]
    assert (server.cores, server.speed, server.memory) == (20, 4e9, 128 * 2**30)


def test_every_key_of_the_file_format_is_needed_and_no_other_is_taken() -> None:
    document = raspberry(1, 4, 1, 2).document()
    assert ComputerSpec.model_validate(document) == raspberry(1, 4, 1, 2)
    without_cores = raspberry(1, 4, 1, 2).document()
    del without_cores["processors"][0]["cores"]  # type: ignore[index]
    with pytest.raises(ValueError, match="cores"):
        ComputerSpec.model_validate(without_cores)
    with pytest.raises(ValueError, match="extra"):
        ComputerSpec.model_validate(document | {"extra": 1})


def test_fixed_output_is_what_the_description_says() -> None:
    fixed = Lambda(name="f", requirements="proportional", op_coeff=0, op_offset=0, mem_coeff=0, mem_offset=0,
                   output_type="fixed", output_value="done")  # fmt: skip
    assert fixed.output("given") == "done"
