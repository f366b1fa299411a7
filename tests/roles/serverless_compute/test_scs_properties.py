"""What holds of the core whatever is configured, called and broken."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scs_driver import World
from scs_faults import Story, nonsense

from roles.serverless_compute import events
from roles.serverless_compute.causes import CannotAdmitNow, ServiceStopped
from roles.serverless_compute.model import FINAL, InvocationRecord
from roles.serverless_compute.policies import Copy, Dispatch, Load

SEEDS = st.integers(0, 2**32)
SCHEDULERS = st.sampled_from(["fcfs", "random", "balancing"])


def in_order(record: InvocationRecord) -> bool:
    """Whether the moments of an invocation follow each other."""
    moments = [record.t_submit, record.t_admit, record.t_schedulable, record.t_dispatch, record.t_start, record.t_end]
    reached = [each for each in moments if each is not None]
    return reached == sorted(reached) and record.state in FINAL


def accepted(world: World) -> set[int]:
    return {each.invocation for each in world.answers.values() if each.invocation}


def finished(world: World) -> None:
    """Each accepted call has ended, once (the driver asserts that), and nothing was lost on the way."""
    assert set(world.records) == accepted(world)
    assert all(in_order(each) for each in world.records.values())
    assert world.core.waiting == 0 and world.core.cluster.busy == 0 and not world.core.pending.calls


@settings(max_examples=150, deadline=None)
@given(SEEDS, SCHEDULERS, st.booleans())
def test_every_accepted_call_ends_once_and_nothing_is_overbooked(seed: int, scheduler: str, faults: bool) -> None:
    world = Story(seed, scheduler, faults).world()
    world.run()
    finished(world)
    if not faults:
        sizes = {each.function.image.name: each.function.image.size_bytes for each in world.core.registrations.values()}
        assert world.wan_bytes == pytest.approx(sum(sizes[name] for name in world.downloads))


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_a_policy_that_answers_nonsense_breaks_nothing_and_loses_nothing(seed: int) -> None:
    world = Story(seed, nonsense(seed)).world()
    world.run()
    world.handle(events.Stop())
    finished(world)


@settings(max_examples=40, deadline=None)
@given(SEEDS, SCHEDULERS, st.floats(0, 50))
def test_a_stop_ends_all_that_has_not_ended(seed: int, scheduler: str, at: float) -> None:
    world = Story(seed, scheduler).world()
    world.at(at, events.Stop())
    world.run()
    finished(world)
    assert not world.core.cluster.containers
    late = [each for each in world.answers.values() if isinstance(each.cause, ServiceStopped)]
    assert all(each.invocation == 0 for each in late)


@settings(max_examples=30, deadline=None)
@given(SEEDS, SCHEDULERS)
def test_the_same_story_has_the_same_effects(seed: int, scheduler: str) -> None:
    first, second = (Story(seed, scheduler).world() for _ in range(2))
    first.run()
    second.run()
    assert first.effects == second.effects


STAGES = ("in_ram", "loading", "on_disk", "copying")


def plain_first_come(pending: Any, view: Any) -> Any:
    """First come first served as it is told: all calls anew in each round, six looks at the nodes for each."""
    free = {name: node.free_slots for name, node in view.nodes.items()}
    idle = {name: list(node.idle.values()) for name, node in view.nodes.items()}
    coming: set[tuple[str, str]] = set()
    for call in pending:
        def stage(name: str, image: str = call.image) -> str:
            there: str = view.nodes[name].image(image)
            if (name, image) in coming:
                return "loading" if there == "on_disk" else "copying"
            return there

        open_ = [name for name in free if free[name] > 0 and fits(view.nodes[name], call)]
        looks = [[name for name in open_ if call.registration in idle[name]]]
        looks += [[name for name in open_ if stage(name) == want] for want in STAGES]
        place = next((look[0] for look in [*looks, open_] if look), None)
        if place is None:
            continue
        free[place] -= 1
        if call.registration in idle[place]:
            idle[place].remove(call.registration)
            yield Dispatch(call.invocation, place)
        elif stage(place) == "in_ram":
            yield Dispatch(call.invocation, place)
        elif stage(place) in ("on_disk", "absent"):
            yield (Load if stage(place) == "on_disk" else Copy)(call.image, place)
            coming.add((place, call.image))


def fits(node: Any, call: Any) -> bool:
    """Whether the node, empty, could run the call; the size of images is found in the test's own world."""
    return bool(FITS[node.name, call.registration])


FITS: dict[tuple[str, str], bool] = {}


@settings(max_examples=150, deadline=None)
@given(SEEDS, st.sampled_from([(False, 1, (0, 10**6)), (True, 5, (10**6,))]))
def test_keeping_places_gives_what_looking_at_all_calls_anew_gives(seed: int, kind: tuple[bool, int, Any]) -> None:
    # No room runs short, since the two try again at different moments what failed for want of it; and no call waits
    # for one function's image where another's is ready: then places that are kept differ from places chosen anew.
    in_ram, functions, rooms = kind
    story = Story(seed, "fcfs", False, {"max_queue": None, "head_bytes": math.inf}, rooms, True, in_ram, functions)
    quick, plain = story.world(), replace(story, scheduler=plain_first_come).world()
    FITS.clear()
    for registration in quick.core.registrations.values():
        for node in quick.core.cluster.nodes:
            FITS[node.spec.name, registration.name] = bool(registration.fits & node.bit)
    quick.run()
    plain.run()
    assert quick.records == plain.records and not plain.notes


@settings(max_examples=60, deadline=None)
@given(SEEDS, SCHEDULERS)
def test_a_bound_on_the_queue_holds(seed: int, scheduler: str) -> None:
    world = Story(seed, scheduler, False, {"max_queue": 2, "head_full": "queue"}).world()
    look = world.look

    def bounded(each: World) -> None:
        assert each.core.waiting <= 2
        assert look is not None
        look(each)

    world.look = bounded
    world.run()
    finished(world)
    assert all(isinstance(each.cause, CannotAdmitNow) for each in world.answers.values()
               if not each.registration and not each.invocation and "fit" not in str(each.cause)
               and "larger" not in str(each.cause) and "room for the function" not in str(each.cause))  # fmt: skip
