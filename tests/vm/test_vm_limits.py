"""Limits of hosts inside the VM, by control groups of version 2: for root, and for a user to whom one is delegated."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_vm_suite import inside

pytestmark = [pytest.mark.alone, pytest.mark.feature("uml"), pytest.mark.timeout(900)]
LIMITS = "tests/integration/test_host_limits.py"


def test_limits_are_in_force_by_version_2_for_root_and_for_a_user_with_a_delegated_group(
    tmp_path: Path, long: bool
) -> None:
    more = " or full or ordinary_user_without or no_group or killed_command or before_they_do" if long else ""
    names = inside(tmp_path, LIMITS, "-k", f"(share_of_a_core or groups_of_their_own{more}) and not mininet")
    assert len(names) >= 2
