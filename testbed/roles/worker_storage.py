"""The private folder of a worker, and its quota. Runs inside the worker; standard library only.

Where the worker may mount (root, the arena's root, or anyone where the kernel allows user namespaces), the folder is a
tmpfs of the quota's size in a mount namespace of its own: a plain ``write`` meets ENOSPC. Elsewhere the quota is
*counted*: before each ``ctx.write``, and when the function has ended. Either way the files' sizes count, to the byte.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from testbed import linux

PAGE = 4096
SLACK_PAGES = 16  # a tmpfs counts whole pages: so many files of odd sizes still fit as they do when bytes are counted


class StorageFull(OSError):
    """What ``ctx.write`` raises when a file does not fit; like any full disk, with ``errno`` ENOSPC."""

    def __init__(self, text: str) -> None:
        super().__init__(errno.ENOSPC, text)


class Storage:
    """A worker's folder: ``limit`` is its quota in bytes (None: none); ``emptied`` ones are so after each run."""

    def __init__(self, folder: Path, limit: int | None, *, emptied: bool, mount: bool) -> None:
        self.folder, self.limit, self._emptied = folder, limit, emptied
        self.mounted = mount and limit is not None and _own_mounts() and self._mount()

    def _mount(self) -> bool:
        size = (-(-(self.limit or 0) // PAGE) + SLACK_PAGES) * PAGE
        try:
            linux.mount("tmpfs", str(self.folder), "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, f"size={size},mode=700")
        except OSError:
            return False
        return True

    def used(self) -> int:
        """Bytes in all files of the folder."""
        return sum(_size(status, self.mounted) for status in _files(self.folder))

    def path(self, name: str, size: int | None = None) -> Path:
        """The path of the file ``name``; with a ``size``, if a file of that size fits. Raises StorageFull."""
        if not name or "/" in name or "\0" in name or name in (".", ".."):
            raise ValueError(f"a file in the private folder cannot be called {name!r}")
        path = self.folder / name
        if size is not None and self.limit is not None:
            with suppress(FileNotFoundError):
                size -= _size(path.stat(), self.mounted)
            needed = self.used() + size
            if needed > self.limit:
                raise StorageFull(f"with the file {name} it would need {needed} bytes of its {storage(self.limit)}")
        return path

    def excess(self, error: BaseException | None) -> str:
        """A sentence if the quota was exceeded, also if that is what ``error`` says; else nothing."""
        if self.limit is None:
            return ""
        if isinstance(error, StorageFull):
            return str(error.strerror)
        used, full = self.used(), (errno.EFBIG, errno.ENOSPC) if self.mounted else (errno.EFBIG,)
        if used > self.limit or (isinstance(error, OSError) and error.errno in full):
            return f"it needed more than its {storage(self.limit)}: {used} bytes were in use when it ended"
        return ""

    def clear(self) -> None:
        """Empty a folder that is to be emptied and go there; raises OSError where that cannot be done."""
        if not self._emptied:
            return
        if self.mounted and not self._untouched():
            os.chdir("/")
            linux.unmount(str(self.folder))  # with all that somebody may still hold open
            if not self._mount():
                raise OSError(errno.EIO, f"cannot mount {self.folder} again")
        elif not self.mounted:
            _empty(self.folder)
        os.chdir(self.folder)

    def _untouched(self) -> bool:
        room = os.statvfs(self.folder)
        return room.f_bfree == room.f_blocks and not any(self.folder.iterdir())


def storage(limit: int) -> str:
    """How a quota is called in a sentence."""
    return f"{limit} bytes of private storage"


def _own_mounts() -> bool:
    """Whether this process now has a mount namespace of its own in which it may mount."""
    user, group = os.geteuid(), os.getegid()
    try:
        try:
            linux.unshare(linux.CLONE_NEWNS)
        except PermissionError:
            linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNS)  # as an ordinary user: still the same user inside
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
            Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    except OSError:
        return False
    return True


def _files(folder: Path) -> Iterator[os.stat_result]:
    with suppress(FileNotFoundError, PermissionError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            else:
                yield entry.stat(follow_symlinks=False)


def _size(status: os.stat_result, blocks_too: bool) -> int:
    """On a tmpfs, holes in a file take nothing; elsewhere blocks say too little about the size."""
    return min(status.st_size, status.st_blocks * 512) if blocks_too else status.st_size


def _empty(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                remove(Path(entry.path))
            else:
                Path(entry.path).unlink()


def remove(folder: Path) -> None:
    """Remove a folder with all there is in it, also where a function took its own permissions away."""
    _open_up(folder)
    shutil.rmtree(folder)


def _open_up(folder: Path) -> None:
    folder.chmod(0o700)
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _open_up(Path(entry.path))
