"""Run pytest inside the VM, with its arguments: ``python tests/vm/pytest_in_vm.py tests/integration -k netem``."""

import sys
from functools import partial
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from testbed.substrate.vm_host import run_in_vm

if __name__ == "__main__":
    sys.exit(run_in_vm(partial(pytest.main, ["-p", "no:cacheprovider", *sys.argv[1:]]), "pytest-in-vm"))
