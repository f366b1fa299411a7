"""Begins a deputy on a machine that has nothing of this program yet; the whole text goes there as ``python3 -c``.

    1. It writes one line: MARK and, as JSON, which Python this is and which versions of the libraries are here.
    2. It reads the length of an archive in eight bytes, and the archive: the program.
    3. It makes the run's folder, which is for this user alone, unpacks the archive there and becomes the deputy.

If the driver goes away meanwhile, nothing has been made. It stands alone and keeps to words that an old Python
understands too, so that the line can say how old it is.
"""

# ruff: noqa: C420, PTH100, PTH112, PTH118, UP006, UP035, UP045 - old Pythons, few imports

import io
import json
import os
import shutil
import struct
import sys
import tempfile
from typing import Dict, List, Optional

MARK = "testbed-deputy "


def versions(names: List[str]) -> Dict[str, Optional[str]]:
    """The version of each library, None for one that is missing."""
    try:
        from importlib import metadata
    except ImportError:
        return {name: None for name in names}
    found: Dict[str, Optional[str]] = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def exactly(count: int) -> bytes:
    """So many bytes of stdin and not one more: what follows is the deputy's."""
    data = io.BytesIO()
    while data.tell() < count:
        piece = os.read(0, min(count - data.tell(), 1 << 20))
        if not piece:
            sys.exit(0)
        data.write(piece)
    return data.getvalue()


def unpacked(archive: bytes, program: str) -> str:
    """The folder ``program`` with the archive's files in it."""
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        packed.extraction_filter = getattr(tarfile, "data_filter", None)
        packed.extractall(program)
    return program


def main(libraries: List[str], above: str, options: str) -> None:
    """Tell, receive, unpack, become the deputy."""
    told = {"version": list(sys.version_info[:3]), "python": sys.executable, "versions": versions(libraries)}
    place = os.path.abspath(above or tempfile.gettempdir())
    told["folder"] = place if os.path.isdir(place) and os.access(place, os.W_OK | os.X_OK) else ""
    told["wanted"] = place
    os.write(1, (MARK + json.dumps(told) + "\n").encode())
    archive = exactly(struct.unpack("!Q", exactly(8))[0])
    folder = tempfile.mkdtemp(prefix="testbed-", dir=place)
    try:
        os.environ["PYTHONPATH"] = unpacked(archive, os.path.join(folder, "program"))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    os.chdir(folder)
    os.execv(sys.executable, [sys.executable, "-m", "testbed.substrate.deputy", folder, options])


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2], sys.argv[3])
