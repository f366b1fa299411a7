"""The original's own client for JavaScript, unmodified, against a server: what each of its calls gives."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from wsk_live import GUEST, clean_environment, live

HERE = Path(__file__).parent
CLIENT = Path(sys.prefix, "openwhisk-client")
pytestmark = [
    pytest.mark.feature("node"),
    pytest.mark.skipif(not CLIENT.is_dir(), reason="needs the npm package openwhisk: ./tb test installs it"),
]


def zipped(files: dict[str, str]) -> str:
    """A zip file in base64."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return base64.b64encode(memory.getvalue()).decode()


ZIP = zipped({
    "package.json": '{"main": "first.js"}',
    "first.js": "const other = require('./lib/other'); exports.main = p => ({ payload: other(p.input) })",
    "lib/other.js": "module.exports = text => text + '!'",
})


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each step of acceptance.js gave."""
    return asyncio.run(_found(tmp_path_factory.mktemp("server")))


async def _found(folder: Path) -> dict[str, Any]:
    async with live(folder, "127.7.91.1") as server:
        process = await asyncio.create_subprocess_exec(
            "node", str(HERE / "client" / "acceptance.js"), f"http://{server.address}", GUEST,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=clean_environment() | {"CLIENT_AT": str(CLIENT), "ZIP": ZIP},
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, err.decode()
    given: dict[str, Any] = json.loads(out)
    return given


def test_an_action_is_made_and_told_with_its_version(found: dict[str, Any]) -> None:
    made = found["create"]["ok"]
    assert (made["namespace"], made["name"], made["version"]) == ("guest", "copy", "0.0.1")
    assert made["exec"]["kind"] == "nodejs:20"
    assert {"key": "exec", "value": "nodejs:20"} in made["annotations"]


def test_making_it_again_is_a_conflict_with_error_and_code(found: dict[str, Any]) -> None:
    again = found["again"]
    assert again["status"] == 409
    assert again["error"]["error"] == "resource already exists"
    assert again["error"]["code"]


def test_an_update_has_a_new_version_and_keeps_what_it_does_not_name(found: dict[str, Any]) -> None:
    changed = found["update"]["ok"]
    assert changed["version"] == "0.0.2"
    assert changed["parameters"] == [{"key": "greeting", "value": "hi"}]
    assert {"key": "note", "value": 1} in changed["annotations"]
    assert {"key": "provide-api-key", "value": False} in changed["annotations"]


def test_an_action_without_code_is_refused(found: dict[str, Any]) -> None:
    assert found["noexec"]["status"] == 400
    assert "exec undefined" in found["noexec"]["error"]["error"]


def test_lists_are_cut_as_asked_and_counted(found: dict[str, Any]) -> None:
    assert [each["name"] for each in found["list"]["ok"]] == ["plus", "fail"]  # what was changed last comes first
    assert found["count"]["ok"] == {"actions": 4}


def test_an_action_comes_with_its_code_and_without(found: dict[str, Any]) -> None:
    assert "console.log" in found["get"]["ok"]["exec"]["code"]
    assert "code" not in found["code"]["ok"]["exec"]


def test_the_three_ways_to_invoke(found: dict[str, Any]) -> None:
    assert set(found["invokes"]["ok"]) == {"activationId"}
    record = found["blocking"]["ok"]
    assert record["response"] == {"result": {"payload": "hello"}, "success": True, "status": "success"}
    assert record["logs"][0].endswith("stdout: seen hello")
    assert record["end"] - record["start"] == record["duration"]
    assert found["result"]["ok"] == {"payload": "hello"}
    assert set(found["string"]["ok"]) == {"activationId"}
    assert found["qualified"]["ok"] == {"payload": 1}


@pytest.mark.parametrize("step", ["failing", "failing result"])
def test_an_action_that_says_error_is_one_for_the_client(found: dict[str, Any], step: str) -> None:
    assert found[step]["status"] == 502
    assert "no disk" in found[step]["message"]
    assert "code" not in found[step]["error"]


def test_a_zip_file_with_modules_of_its_own_runs(found: dict[str, Any]) -> None:
    assert found["zipped"]["ok"] == {"payload": "z!"}


def test_a_sequence_hands_on_results(found: dict[str, Any]) -> None:
    assert found["sequence"]["ok"]["exec"] == {"kind": "sequence", "components": ["/guest/plus", "/guest/plus"]}
    assert found["sequenced"]["ok"] == {"n": 4}  # 1 + 2, and 1 more: the first part did not hand on `by`


def test_packages_hold_actions_and_lend_them_parameters(found: dict[str, Any]) -> None:
    assert found["package"]["ok"]["name"] == "kit"
    assert found["packaged"]["ok"]["namespace"] == "guest/kit"
    assert [each["name"] for each in found["kit"]["ok"]["actions"]] == ["plus"]
    assert found["by ten"]["ok"] == {"n": 15}
    assert found["nowhere"]["status"] == 404
    assert found["full"]["status"] == 409


def test_activations_are_told_with_result_and_logs(found: dict[str, Any]) -> None:
    record = found["activation"]["ok"]
    noted = {each["key"]: each["value"] for each in record["annotations"]}
    assert noted["path"] == "guest/copy"
    assert noted["kind"] == "nodejs:20"
    assert {"waitTime", "initTime", "limits", "timeout"} <= set(noted)
    assert found["activation result"]["ok"] == {"result": {"payload": "hello"}, "success": True, "status": "success"}
    assert found["activation logs"]["ok"]["logs"] == record["logs"]
    assert [each["name"] for each in found["activations"]["ok"]] == ["copy"] * 3
    assert found["activations"]["ok"][0]["statusCode"] == 0
    assert "response" in found["docs"]["ok"][0]


def test_namespaces_are_listed_with_all_that_is_in_them(found: dict[str, Any]) -> None:
    assert found["namespaces"]["ok"] == ["guest"]
    assert len(found["namespace"]["ok"]["actions"]) == 6
    assert found["triggers"]["ok"] == []


def test_a_deleted_action_is_gone(found: dict[str, Any]) -> None:
    assert found["delete"]["ok"]["name"] == "copy"
    assert found["gone"]["status"] == 404
    assert found["gone"]["error"]["error"] == "The requested resource does not exist."


def test_a_wrong_key_is_refused(found: dict[str, Any]) -> None:
    assert found["wrong key"]["status"] == 401


def test_a_burst_beyond_the_limits_is_refused_with_429(found: dict[str, Any]) -> None:
    assert set(found["burst"]) == {200, 429}
    assert "allowed: 1" in found["burst error"]["error"]["error"]  # 100 at a time, 120 in a minute
    assert found["burst error"]["error"]["code"]
