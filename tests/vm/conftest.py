"""The helpers of tests/integration serve here, too."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder where every user may write. Not ``tmp_path``: each pytest that starts closes those of all others."""
    with tempfile.TemporaryDirectory(prefix="tests-of-the-vm-") as name:
        Path(name).chmod(0o777)
        yield Path(name)
