"""What is kept: records of activations, actions and packages, and how they are found again, as tables."""

from __future__ import annotations

from typing import Any

import pytest
from test_wsk_tables import status

from roles.openwhisk.activation import Activation, Activations, Done, judged, timed_out
from roles.openwhisk.entities import Action, Code, Limits, Package, next_version, restored, stored
from roles.openwhisk.names import Full
from roles.openwhisk.resolving import Resolver
from roles.openwhisk.store import Store


class Notes:
    """A journal in memory."""

    def __init__(self) -> None:
        self.all: list[bytes] = []

    def append(self, record: bytes) -> None:
        self.all.append(record)

    def records(self) -> tuple[bytes, ...]:
        return tuple(self.all)

    def replace(self, records: Any) -> None:
        self.all = list(records)


# Records.


def activation(id_: str, start: int = 0, name: str = "a", **more: Any) -> Activation:
    action = Action(Full("guest", "", name), Code("python:3", "x"))
    return Activation(id_, "guest", "guest", action, start, start + 5, 3, Done(0, {"x": 1}, **more))


@pytest.mark.parametrize(
    ("result", "status_", "http"),
    [({"x": 1}, "success", 200), ({"error": "no"}, "application error", 502), ([1], "success", 200),
     (3, "action developer error", 502), (None, "action developer error", 502)],
)  # fmt: skip
def test_results_are_judged(result: Any, status_: str, http: int) -> None:
    record = activation("1")
    record.done = judged(result)
    assert record.response()["status"] == status_
    assert record.response()["success"] == (status_ == "success")
    assert record.http_status == http


def test_a_record_has_the_fields_that_clients_read() -> None:
    data = activation("1", 100, init_s=0.18, cold=True).data()
    assert (data["start"], data["end"], data["duration"]) == (100, 105, 5)
    noted = {each["key"]: each["value"] for each in data["annotations"]}
    assert noted == {"path": "guest/a", "waitTime": 3, "kind": "python:3", "timeout": False,
                     "limits": Limits().data(), "initTime": 180}  # fmt: skip
    assert "statusCode" not in data
    assert activation("1").summary()["statusCode"] == 0
    assert timed_out(0.5) == "The action exceeded its time limits of 500 milliseconds."


def test_the_oldest_records_make_room() -> None:
    kept = Activations(most=2, most_bytes=10**6)
    for number in range(3):
        kept.add(activation(str(number), number))
    assert kept.get("guest", "0") is None
    assert [each.id for each in kept.find("guest")] == ["2", "1"]
    kept.add(activation("big", 9, size=10**6))
    assert [each.id for each in kept.find("guest")] == ["big"]
    assert kept.bytes == 10**6 + 1000


def test_records_are_found_by_name_time_and_namespace() -> None:
    kept = Activations(10, 10**6)
    for number, name in enumerate("aab"):
        kept.add(activation(str(number), 1000 * number, name))
    assert [each.id for each in kept.find("guest", "a")] == ["1", "0"]
    assert [each.id for each in kept.find("guest", since=1000)] == ["2", "1"]
    assert [each.id for each in kept.find("guest", upto=1000)] == ["1", "0"]
    assert list(kept.find("other")) == []
    assert kept.get("other", "0") is None


# The store.

COPY = Action(Full("guest", "", "copy"), Code("python:3", "x", main="f"), parameters={"a": 1}, updated=7)
TWICE = Action(Full("guest", "kit", "twice"), Code("sequence", components=(COPY.name, COPY.name)), updated=8)
KIT = Package("guest", "kit", parameters={"b": 2}, updated=6)
BOUND = Package("guest", "bound", parameters={"c": 3}, binding=("guest", "kit"), updated=9)


@pytest.mark.parametrize("entity", [COPY, TWICE, KIT, BOUND])
def test_what_is_stored_comes_back(entity: Any) -> None:
    assert restored(stored(entity)) == entity


def test_the_store_outlives_a_crash() -> None:
    given = Action(Full("guest", "", "given"), Code("model:1"), function="given")
    journal = Notes()
    store = Store(journal, {given.name: given})
    for entity in (COPY, KIT, TWICE, BOUND):
        store.put(entity)
    store.remove(given)
    again = Store(journal, {given.name: given})
    assert again.actions("guest") == [TWICE, COPY]
    assert again.packages("guest") == [BOUND, KIT]
    assert again.action(given.name) is None
    again.remove(KIT)
    assert Store(journal, {}).packages("guest") == [BOUND]


def test_the_journal_stays_short() -> None:
    given = Action(Full("guest", "", "given"), Code("model:1"), function="given")
    journal = Notes()
    store = Store(journal, {given.name: given})
    store.remove(given)
    for _ in range(2000):
        store.put(COPY)
    assert len(journal.all) < 300
    assert Store(journal, {given.name: given}).actions("guest") == [COPY]


def test_versions_count_up() -> None:
    assert next_version("0.0.9") == "0.0.10"
    assert next_version("1.2.3") == "1.2.4"


# Sequences and bindings.


def resolver(*entities: Any) -> Resolver:
    store = Store(None, {})
    for each in entities:
        store.put(each)
    return Resolver(store)


def test_an_action_is_found_through_a_binding_with_the_parameters_on_the_way() -> None:
    found = resolver(COPY, KIT, TWICE, BOUND).found(Full("guest", "bound", "twice"))
    assert found.action == TWICE
    assert found.inherited == {"b": 2, "c": 3}
    assert found.binding == "guest/bound"


def test_sequences_that_cannot_be_are_refused() -> None:
    ask = resolver(COPY, KIT, TWICE)
    name = Full("guest", "", "new")
    ask.check_sequence(name, (TWICE.name,) * 25, 50)
    for components, said in (
        ((), "No component specified for the sequence."),
        ((name,), "Sequence may not refer to itself."),
        ((Full("guest", "", "none"),), "Sequence component does not exist: /guest/none."),
        ((TWICE.name,) * 26, "Too many actions in the sequence: there may be 50."),
    ):
        assert status(ask.check_sequence, name, components, 50) == (400, said)
    assert status(ask.check_sequence, COPY.name, (TWICE.name,), 50) == (400, "Sequence may not refer to itself.")
