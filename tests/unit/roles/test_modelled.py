"""What a payload says about how long its invocation takes."""

from __future__ import annotations

import json

import pytest

from testbed.roles.modelled import service_s, stated_service_s, stating
from testbed.roles.site import Function


@pytest.mark.parametrize("payload", ["", "AAAA", '{"input":"AAA"}', '{"input": "{\\"service_s\\": 1}"}', 'ä "ö" \n'])
def test_what_is_stated_is_read_again_and_the_payload_is_kept(payload: str) -> None:
    stated = stating(payload, 0.1234567)
    assert stated_service_s(stated) == 0.123457
    assert json.loads(stated)["input"] == payload


@pytest.mark.parametrize("payload", [
    "", "service_s", '"service_s"', '{"service_s"', '["service_s"]', '{"input": "\\"service_s\\": 1"}',
    '{"service_s": -1}', '{"service_s": true}', '{"service_s": "1"}', '{"service_s": NaN}', '{"service_s": 1e999}',
    '{"service_s": null}', '{"input": {"service_s": 1}}', '{"service_s": ' + "[" * 100_000,
    '{"service_s": ' + "9" * 400 + "}",
])  # fmt: skip
def test_a_payload_without_a_sound_number_states_nothing(payload: str) -> None:
    assert stated_service_s(payload) is None


@pytest.mark.parametrize(("payload", "seconds"), [('{"service_s": 0}', 0.0), (' {"a": [], "service_s": 2.5}', 2.5)])
def test_any_json_object_may_state_it(payload: str, seconds: float) -> None:
    assert stated_service_s(payload) == seconds


@pytest.mark.parametrize(
    ("model", "payload", "per_second", "seconds"),
    [
        ({"service_s": 0.2}, "x", 1e9, 0.2),
        ({"service_s": 0.2}, '{"service_s": 0.5}', 1e9, 0.5),
        ({"operations": 2e8}, "x", 1e9, 0.2),
        ({"operations": 2e8}, "x", 4e8, 0.5),
        ({"operations_per_byte": 1e8}, "ab", 1e9, 0.2),
        ({"operations_per_byte": 1e8}, "ä", 1e9, 0.2),  # two bytes
        ({"operations": 1e8, "operations_per_byte": 1e8}, "", 1e9, 0.1),
    ],
)
def test_a_modelled_function_takes_what_payload_or_model_says(
    model: dict[str, float], payload: str, per_second: float, seconds: float
) -> None:
    function = Function.model_validate({"name": "f", **model})
    assert service_s(function, payload, per_second) == pytest.approx(seconds)
