"""Putting an agent's files onto a machine through its Fabric connection."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any


def upload(
    connection: Any, folder: Path, texts: Mapping[str, str | Path], private: Mapping[str, str] | None = None
) -> None:
    """Put texts and local files below ``folder`` through a Fabric connection, making the folders that they need.

    ``private`` texts can be read by the connection's account alone: from before anything is in their files.
    """
    sftp, secrets = connection.sftp(), private or {}
    for parent in _folders(folder, (*texts, *secrets)):
        with suppress(OSError):  # it exists; if it could not be made, the next line says so
            sftp.mkdir(str(parent))
    for name, text in texts.items():
        with text.open("rb") if isinstance(text, Path) else io.BytesIO(text.encode()) as file:
            connection.put(file, remote=str(folder / name))
    for name, text in secrets.items():
        remote = str(folder / name)
        connection.put(io.BytesIO(b""), remote=remote)
        sftp.chmod(remote, 0o600)
        connection.put(io.BytesIO(text.encode()), remote=remote)


def _folders(folder: Path, names: Iterable[str]) -> list[PurePosixPath]:
    """The folders to make, parents first, beginning with the host's own."""
    inner = {PurePosixPath(folder) / parent for name in names for parent in PurePosixPath(name).parents}
    return [PurePosixPath(folder.parent), *sorted(inner, key=lambda each: len(each.parts))]
