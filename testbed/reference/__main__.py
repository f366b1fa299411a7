"""``python -m testbed.reference FOLDER`` writes the reference pages into FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

from testbed.reference import write


def main(arguments: list[str]) -> int:
    """Write the pages; says which on stdout."""
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        sys.stderr.write("Give the folder to write to: python -m testbed.reference docs/\n")
        return 2
    sys.stdout.writelines(f"{path}\n" for path in write(Path(arguments[0])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
