"""Which libraries a machine needs for a system's agents."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from testbed.deploy.libraries import ALWAYS, imported, needed
from testbed.places import home
from testbed.roles import discover


def loaded(statement: str) -> set[str]:
    """The distributions that a fresh Python has loaded after ``statement``, without those that others bring along."""
    program = f"import sys; before = set(sys.modules); {statement}; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], cwd=home(), capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def brought(names: set[str]) -> set[str]:
    """The packages that these distributions bring, themselves included."""
    owners = metadata.packages_distributions()
    waiting, known = list(names), set()
    while waiting:
        name = waiting.pop()
        if name not in known:
            known.add(name)
            wants = [each for each in metadata.requires(name) or () if "extra ==" not in each]
            waiting += [word for each in wants if (word := _distribution(each)) is not None]
    return {package for package, found in owners.items() if known & set(found)}


def _distribution(requirement: str) -> str | None:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    try:
        return metadata.distribution(match[0]).metadata["Name"] if match else None
    except metadata.PackageNotFoundError:
        return None


@pytest.mark.parametrize("system", discover.names())
def test_what_is_asked_for_is_all_that_agents_and_deputies_load(system: str) -> None:
    program = (
        "import testbed.deploy.agent, testbed.workload.client, testbed.roles.workers, testbed.substrate.deputy_host; "
        f"from testbed.roles import discover; discover.system({system!r}).wire()"
    )
    third = loaded(program) & set(metadata.packages_distributions())
    third -= {"testbed", "roles", "grpc_tools"}  # grpc looks for the last one and does without it
    assert third <= brought(set(needed(system)))
    assert set(ALWAYS) <= set(needed(system))


def test_versions_are_those_of_this_side() -> None:
    found = needed("serverless_on_edge")
    assert found["grpcio"] == metadata.version("grpcio")


def test_what_python_and_the_program_have_themselves_is_not_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "role.py"
    lines = ["import os.path, yaml", "from . import other", "from testbed.roles import api", "from grpc.aio import x"]
    path.write_text("\n".join(lines))
    assert imported([path]) == {"yaml", "grpc"}
