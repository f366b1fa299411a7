"""Systems are found by listing folders."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from testbed import places
from testbed.errors import UsageError
from testbed.roles import discover

HOME = Path(__file__).parents[1] / "deploy" / "home"


def test_a_system_is_a_folder_with_a_system_in_it() -> None:
    assert discover.names(HOME) == ("echo",)
    assert discover.system("echo", HOME).name == "echo"
    assert discover.templates("echo", HOME).is_dir()


def test_every_folder_of_the_program_has_a_system_that_bears_its_name() -> None:
    assert "serverless_on_edge" in discover.systems()
    for name, system in discover.systems().items():
        assert system.name == name
        assert set(system.duties.values()) <= set(system.roles)


def test_listing_the_systems_imports_none_of_them(tmp_path: Path) -> None:
    (tmp_path / "roles" / "untouched").mkdir(parents=True)
    (tmp_path / "roles" / "untouched" / "system.py").write_text("raise RuntimeError('imported')\n")
    found = discover.systems(tmp_path)
    assert list(found) == ["untouched"] and len(found) == 1 and "other" not in set(found)
    assert "roles.untouched.system" not in sys.modules
    with pytest.raises(RuntimeError, match="imported"):
        found["untouched"]


def test_two_homes_live_side_by_side(tmp_path: Path) -> None:
    (tmp_path / "roles" / "mine").mkdir(parents=True)
    text = "from testbed.roles.api import System\nclass Mine(System):\n    name = 'mine'\n    roles = {}\n"
    (tmp_path / "roles" / "mine" / "system.py").write_text(
        text + "    duties = {}\n    def wire(self): ...\nSYSTEM = Mine()\n"
    )
    assert discover.system("mine", tmp_path).name == "mine"
    assert discover.system("serverless_on_edge", places.home()).name == "serverless_on_edge"


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"There is no system 'serverles_on_edge' in .*Try serverless_on_edge\."):
        discover.system("serverles_on_edge")
    with pytest.raises(UsageError, match=r"There are: echo\."):
        discover.system("zzz", HOME)


def test_a_module_without_a_system_is_told(tmp_path: Path) -> None:
    (tmp_path / "roles" / "hollow").mkdir(parents=True)
    (tmp_path / "roles" / "hollow" / "system.py").write_text("SYSTEM = 3\n")
    with pytest.raises(UsageError, match="does not define SYSTEM"):
        discover.system("hollow", tmp_path)
