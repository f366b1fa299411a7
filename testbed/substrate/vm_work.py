"""The errand inside the VM, in a process of its own: unpack the work, do it, exit with its status."""

from __future__ import annotations

import os
import pickle
import sys

from testbed.errors import TestbedError
from testbed.places import open_home
from testbed.substrate.vm_errand import Errand, error_text


def main(report: int) -> int:
    """Do the work of the errand; an error of ours goes to ``report``, for the host to raise."""
    os.set_inheritable(report, False)
    errand = Errand.read()
    os.umask(errand.umask)
    os.chdir(errand.folder)
    _find_modules_as_the_host_does(errand)
    open_home()
    try:
        status: int = pickle.loads(errand.work)()  # noqa: S301 - pickled by the host
    except TestbedError as error:
        os.write(report, error_text(error).encode())
        return error.exit_status
    return status


def _find_modules_as_the_host_does(errand: Errand) -> None:
    sys.path[:] = errand.path
    del os.environ["PYTHONPATH"]  # it was for finding this very module
    if "PYTHONPATH" in errand.environment:
        os.environ["PYTHONPATH"] = errand.environment["PYTHONPATH"]


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
