"""What the controller sends to which router."""

from __future__ import annotations

import random

import pytest

from roles.serverless_on_edge.installers import (
    FlatInstaller,
    HierarchicalInstaller,
    Installer,
    Objective,
    Push,
    drop,
    host_of,
    put,
    read_distances,
)
from roles.serverless_on_edge.messages import Action

# Hosts 0-2, 1-2, 2-3, 3-4: a star that ends in a line.
STAR = """
# distances in hops
0 0 2 1 2 3
1 2 0 1 2 3
2 1 1 0 1 2
3 2 2 1 0 1
4 3 3 2 1 0
"""


def hierarchical(*routers: str, objective: Objective = "min-max") -> HierarchicalInstaller:
    made = HierarchicalInstaller(read_distances(STAR), objective, random.Random(1))
    for router in routers:
        made.router_added(router)
    return made


def told(pushes: list[Push]) -> list[str]:
    return [f"{router} {c.action.name} {c.function} {c.destination}{' F' if c.final else ''}".rstrip()
            for router, c in pushes]  # fmt: skip


def test_flat_tells_every_router_of_every_computer() -> None:
    made = FlatInstaller()
    assert made.router_added("r1:1") == []
    assert made.computer_added("c1:1", ("f", "g")) == [Push("r1:1", put(f, "c1:1", True)) for f in "fg"]
    assert made.router_added("r2:1") == [Push("r2:1", put(f, "c1:1", True)) for f in "fg"]
    assert made.computer_removed("c1:1") == [Push(r, drop(f, "c1:1")) for r in ("r1:1", "r2:1") for f in "fg"]


def test_the_home_of_a_computer_is_near_it_and_central_among_the_routers() -> None:
    made = hierarchical("2:r", "4:r")
    assert told(made.computer_added("0:c", ("f",))) == ["2:r CHANGE f 0:c F", "4:r CHANGE f 2:r"]


def test_other_routers_hear_of_a_home_once_and_lose_it_with_its_last_computer() -> None:
    made = hierarchical("2:r", "4:r")
    made.computer_added("0:c", ("f",))
    assert told(made.computer_added("1:c", ("f", "g"))) == [
        "2:r CHANGE f 1:c F", "2:r CHANGE g 1:c F", "4:r CHANGE g 2:r"]  # fmt: skip
    assert told(made.computer_removed("0:c")) == ["2:r REMOVE f 0:c"]
    assert told(made.computer_removed("1:c")) == [
        "2:r REMOVE f 1:c", "2:r REMOVE g 1:c", "4:r REMOVE f 2:r", "4:r REMOVE g 2:r"]  # fmt: skip


def test_a_router_that_comes_or_goes_has_all_homes_chosen_anew() -> None:
    made = hierarchical("4:r")
    made.computer_added("0:c", ("f",))
    assert told(made.router_added("2:r")) == [
        "4:r FLUSH", "2:r FLUSH", "2:r CHANGE f 0:c F", "4:r CHANGE f 2:r"]  # fmt: skip
    assert told(made.router_removed("2:r")) == ["4:r FLUSH", "4:r CHANGE f 0:c F"]


def test_computers_that_come_before_any_router_are_told_to_the_first_one() -> None:
    made = hierarchical()
    assert made.computer_added("0:c", ("f",)) == []
    assert told(made.router_added("2:r")) == ["2:r FLUSH", "2:r CHANGE f 0:c F"]


@pytest.mark.parametrize(("objective", "expected"), [("min-max", "2:r"), ("min-avg", "2:r")])
def test_both_objectives_agree_on_a_star(objective: Objective, expected: str) -> None:
    made = hierarchical("2:r", "4:r", objective=objective)
    assert made.computer_added("0:c", ("f",))[0].router == expected


def test_the_objectives_differ_where_one_router_is_far_away() -> None:
    # Computer 0 is 2 from router a and 3 from router b. b has the smaller farthest router, a the smaller total.
    text = """c 0 2 3 9 9
              a 2 0 1 1 9
              b 3 1 0 6 6
              x 9 1 6 0 9
              y 9 9 6 9 0"""
    homes = {}
    for objective in ("min-max", "min-avg"):
        made = HierarchicalInstaller(read_distances(text), objective, random.Random(1))
        for router in "abxy":
            made.router_added(f"{router}:r")
        homes[objective] = made.computer_added("c:1", ("f",))[0].router
    # min-max: a: 2+9=11, b: 3+6=9. min-avg: a: 5*2+11=21, b: 5*3+13=28.
    assert homes == {"min-max": "b:r", "min-avg": "a:r"}


def test_two_routers_on_one_host_share_the_homes_by_lot() -> None:
    homes = set()
    for seed in range(20):
        made = HierarchicalInstaller(read_distances(STAR), "min-max", random.Random(seed))
        made.router_added("2:6473")
        made.router_added("2:7473")
        homes.add(made.computer_added("0:c", ("f",))[0].router)
    assert homes == {"2:6473", "2:7473"}


@pytest.mark.parametrize("kind", ["flat", "hier"])
def test_what_routers_were_told_adds_up_to_their_view(kind: str) -> None:
    rng = random.Random(7)
    made: Installer = FlatInstaller() if kind == "flat" else hierarchical()
    tables: dict[str, dict[tuple[str, str], bool]] = {}

    def obey(pushes: list[Push]) -> None:
        for router, change in pushes:
            own = tables.setdefault(router, {})
            if change.action is Action.FLUSH:
                own.clear()
            elif change.action is Action.REMOVE:
                del own[change.function, change.destination]
            else:
                own[change.function, change.destination] = change.final

    for _ in range(300):
        computer, router = f"{rng.randrange(5)}:c", f"{rng.randrange(5)}:r"
        if rng.random() < 0.3 and router not in made.routers:
            obey(made.router_added(router))
        elif rng.random() < 0.2 and router in made.routers:
            obey(made.router_removed(router))
            tables.pop(router, None)
        elif computer in made.computers:
            obey(made.computer_removed(computer))
        else:
            obey(made.computer_added(computer, tuple(rng.sample("fgh", rng.randrange(1, 4)))))
        for each in made.routers:
            view = {(c.function, c.destination): c.final for _, c in made.view(each)}
            assert tables.get(each, {}) == view


@pytest.mark.parametrize("text", ["a 0 1\nb 1", "a 0 1\na 1 0", "a 0 x\nb 1 0"])
def test_a_matrix_that_is_not_square_or_not_of_numbers_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_distances(text)


def test_the_host_of_an_endpoint_has_no_brackets() -> None:
    assert [host_of(each) for each in ("10.0.0.1:6473", "[fd00::1]:6473", "h1:1")] == ["10.0.0.1", "fd00::1", "h1"]
