"""Golden pairs: a faulty topology or experiment file and the exact message that it gets.

After a change of wording: ``REGENERATE=1 pytest tests/golden/test_errors.py``, then review the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from testbed.cli.files import problems_of
from testbed.errors import InputError

FOLDER = Path(__file__).parent / "errors"
CASES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def test_there_are_at_least_sixty_pairs() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize("case", CASES)
def test_a_faulty_file_gets_exactly_this_message(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    problems = problems_of(Path(f"{case}.yaml"))
    assert problems
    message = f"{InputError(problems)}\n"
    golden = Path(f"{case}.txt")
    if os.environ.get("REGENERATE"):
        golden.write_text(message, encoding="utf-8")
    assert message == golden.read_text(encoding="utf-8")
