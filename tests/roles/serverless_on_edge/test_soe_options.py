"""Parameters: the original's names and defaults, both ways to write them, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from roles.openwhisk.options import ServerOptions
from roles.serverless_on_edge.client_options import ClientOptions
from roles.serverless_on_edge.computer_options import ComputerOptions
from roles.serverless_on_edge.openfaas import OpenfaasOptions
from roles.serverless_on_edge.options import (
    ControllerOptions,
    DispatcherOptions,
    Options,
    RouterOptions,
    endpoint,
)
from roles.serverless_on_edge.system import SYSTEM
from roles.serverless_on_edge.wsk_computer_options import WskComputerOptions
from roles.serverless_on_edge.wskproxy_options import ProxyOptions
from testbed.roles.api import Site

MODELS = (RouterOptions, DispatcherOptions, ControllerOptions, ComputerOptions, ClientOptions, OpenfaasOptions,
          ProxyOptions, WskComputerOptions)  # fmt: skip


def test_the_ports_and_defaults_are_the_originals() -> None:
    router, computer = RouterOptions(), ComputerOptions()
    assert (router.server_endpoint, router.configuration_endpoint, ControllerOptions().server_endpoint) == (
        6473, 6474, 6475)  # fmt: skip
    assert (computer.server_endpoint, computer.utilization_endpoint) == (10000, 20000)
    assert (router.num_threads, router.router_conf.max_pending_clients) == (5, 2)
    assert (router.table_conf.type, router.optimizer_conf.type) == ("random", "trivial")
    assert DispatcherOptions().ptimeest_conf.type == "rtt" and ClientOptions().client_conf.persistence == 0.05


@pytest.mark.parametrize(
    ("text", "mapping"),
    [
        ("type=proportional-fairness,alpha=2,beta=1", {"type": "proportional-fairness", "alpha": 2, "beta": 1.0}),
        ("type=round-robin", {"type": "round-robin"}),
        ("", {}),
    ],
)
def test_a_configuration_is_pairs_or_a_mapping(text: str, mapping: dict[str, Any]) -> None:
    assert RouterOptions.model_validate({"table-conf": text}) == RouterOptions.model_validate({"table-conf": mapping})


@pytest.mark.parametrize(("written", "seconds"), [(5, 5.0), ("5", 5.0), ("2.5", 2.5), ("500ms", 0.5), ("1min", 60.0)])
def test_durations_are_seconds_as_in_the_original_or_carry_a_unit(written: Any, seconds: float) -> None:
    found = RouterOptions.model_validate({"optimizer-conf": {"type": "trivial", "period": written}}).optimizer_conf
    assert found.type == "trivial" and found.period == seconds


@pytest.mark.parametrize("written", [7000, "7000", "0.0.0.0:7000", "[::]:7000"])
def test_of_a_server_endpoint_the_port_counts(written: Any) -> None:
    assert RouterOptions.model_validate({"server-endpoint": written}).server_endpoint == 7000


@pytest.mark.parametrize(
    ("model", "given", "says"),
    [
        (RouterOptions, {"table-cof": "type=random"}, "table-cof"),
        (RouterOptions, {"table-conf": "type=roundrobin"}, "round-robin"),
        (RouterOptions, {"table-conf": "type=random,alpha=1"}, "alpha"),
        (RouterOptions, {"table-conf": "random"}, "key=value"),
        (RouterOptions, {"optimizer-conf": "type=trivial,stat=median"}, "stat"),
        (RouterOptions, {"optimizer-conf": "type=async,alpha=2"}, "alpha"),
        (RouterOptions, {"router-conf": {"max-pending-clients": 0}}, "max-pending-clients"),
        (RouterOptions, {"server-endpoint": "h1"}, "port"),
        (RouterOptions, {"server-endpoint": 70000}, "port"),
        (RouterOptions, {"num-threads": 0}, "num-threads"),
        (DispatcherOptions, {"ptimeest-conf": "type=rtt,output=F"}, "output"),
        (ControllerOptions, {"type": "etsi-file"}, "plain"),
        (ControllerOptions, {"expire-after": "-1"}, "expire-after"),
        (ComputerOptions, {"asynchronous": "often"}, "asynchronous"),
        (ComputerOptions, {"state-endpoint": "h1"}, "port as state-endpoint"),
        (ComputerOptions, {"no-state-server": True}, "state-endpoint"),
        (ClientOptions, {"execution-model": "faas"}, "state-prop"),
        (ClientOptions, {"chains": {"c": {"functions": []}}}, "no functions"),
        (ComputerOptions, {"computer-type": "https"}, "http"),
        (ComputerOptions, {"conf": "type=raspberry,num-workers=1"}, "num-workers"),
        (ClientOptions, {"client-conf": "type=quic"}, "grpc"),
        (ClientOptions, {"client-conf": "persistence=1.5"}, "persistence"),
        (WskComputerOptions, {"wsk-auth": "Basic x"}, "absolute path"),
        (WskComputerOptions, {"back-off": 0}, "back-off"),
    ],
)
def test_what_is_unknown_or_out_of_range_is_refused(model: type[Options], given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        model.model_validate(given)


@pytest.mark.parametrize("model", MODELS)
def test_parameters_survive_being_written_as_json(model: type[Options]) -> None:
    for given in (model(), model.model_validate({"strict-original": True})):
        assert model.model_validate(given.model_dump(mode="json", by_alias=True)) == given
        assert model.model_validate(given.model_dump(mode="json")) == given


def test_strict_original_switches_heartbeats_and_expiry_off() -> None:
    assert RouterOptions(strict_original=True).heartbeat() == 0 and RouterOptions().heartbeat() == 1
    assert ControllerOptions(strict_original=True).expiry() == 0 and ControllerOptions().expiry() == 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [("h1", "10.0.0.1:9"), ("h1:8", "10.0.0.1:8"), ("10.9.9.9", "10.9.9.9:9"), ("[fd00::1]:8", "[fd00::1]:8"),
     ("h6", "[fd00::6]:9")],
)  # fmt: skip
def test_an_endpoint_is_a_node_or_an_address(text: str, expected: str) -> None:
    site = Site("h1", "client", 1, {"h1": "10.0.0.1", "h6": "fd00::6"}, {}, {})
    assert endpoint(site, text, 9) == expected


def test_each_duty_is_a_role_and_each_role_has_parameters_of_its_own() -> None:
    assert set(SYSTEM.duties.values()) <= set(SYSTEM.roles)
    assert {role.parameters_model for role in SYSTEM.roles.values()} == {*MODELS, ServerOptions}
    assert SYSTEM.name == "serverless_on_edge" and len({table.name for table in SYSTEM.tables}) == len(SYSTEM.tables)
