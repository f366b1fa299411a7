"""How iperf3 is called, and how what it says is read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import TypeAdapter

from testbed.background import iperf, results
from testbed.background.flows import Flow, Outcome
from testbed.background.spec import Entry
from testbed.errors import MachineLacks
from testbed.substrate.base import Capabilities, Feature

ENTRY: TypeAdapter[Any] = TypeAdapter(Entry)
ENDED = "interrupt - the client has terminated"


def flow(**keys: Any) -> Flow:
    what = ENTRY.validate_python({"kind": "iperf3", "from": "a", "to": "b", **keys})
    return Flow(2, "bulk", "bulk", what, "a", "b", "10.0.0.1", "10.0.1.2", 0.0, 5.0)


def side(error: str = ENDED, **end: Any) -> str:
    return json.dumps({"start": {}, "end": end, "error": error})


def test_a_client_goes_on_until_it_is_told_to_end() -> None:
    argv = iperf.client(flow())
    assert argv[argv.index("--time") + 1] == "0"
    assert "--bitrate" not in argv and "--udp" not in argv and "--reverse" not in argv


def test_a_rate_is_shared_by_the_connections() -> None:
    argv = iperf.client(flow(protocol="udp", rate="9Mbit", connections=3, reverse=True, size="500B"))
    assert argv[argv.index("--bitrate") + 1] == "3000000"
    assert argv[argv.index("--parallel") + 1] == "3"
    assert argv[argv.index("--length") + 1] == "500"
    assert {"--udp", "--reverse"} < set(argv)


def test_tcp_at_a_low_rate_writes_little_at_a_time() -> None:
    assert iperf.block(flow(rate="1Mbit").what) == 1448
    assert iperf.block(flow(rate="10Mbit").what) == 12_500
    assert iperf.block(flow().what) == 128 << 10


def test_tcp_counts_what_one_side_sent_and_the_other_received() -> None:
    outcome = Outcome(flow(), began=0.0, ended=4.0)
    here = side(sum_sent={"bytes": 1000, "retransmits": 3}, sum_received={"bytes": 0})
    there = side("the client has terminated", sum_sent={"bytes": 0}, sum_received={"bytes": 900})
    assert results.of_iperf(outcome, here, there) == ""
    row = outcome.row()
    assert (row["sent_bytes"], row["received_bytes"], row["retransmits"]) == (1000, 900, 3)
    assert (row["rate_bps"], row["loss"], row["from"]) == (1800.0, None, "a")


def test_in_reverse_the_server_is_the_one_who_sends() -> None:
    outcome = Outcome(flow(protocol="udp", rate="1Mbit", reverse=True, size="100B"))
    here = side(sum_sent={"bytes": 0}, sum_received={"bytes": 900, "lost_packets": 1})
    there = side("the client has terminated", sum_sent={"bytes": 1000}, sum_received={"bytes": 0})
    assert results.of_iperf(outcome, here, there) == ""
    row = outcome.row()
    assert (row["from"], row["to"], row["sent_packets"], row["received_packets"]) == ("b", "a", 10, 9)
    assert row["loss"] == pytest.approx(0.1)


@pytest.mark.parametrize(("client", "why"), [
    (side("unable to connect to server: Connection refused"), "Connection refused"), ("", "it wrote nothing"),
    ("iperf3: error - something\n", "error - something"),
])  # fmt: skip
def test_what_went_wrong_is_told_in_its_own_words(client: str, why: str) -> None:
    assert why in results.of_iperf(Outcome(flow()), client, side("the client has terminated"))


def test_a_machine_without_the_program_is_told_of_before_anything_begins() -> None:
    missing = Capabilities({"iperf3": Feature("iperf3", False, "no program iperf3", "", "apt-get install iperf3")})
    with pytest.raises(MachineLacks, match="apt-get install iperf3"):
        iperf.require([flow()], missing)
    iperf.require([], missing)
