"""An emulated machine as a Fabric connection: the library's own verbs, without SSH in between.

Commands go through Fabric's and Invoke's machinery (threads and a polling loop for each), so they cost two to three
times as much as ``NetnsHost.run``; files are copied by Fabric's own transfer code over ``LocalFiles``.
"""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path
from typing import IO, Any

from fabric import Config, Connection
from invoke.runners import Local

from testbed.linux import entered
from testbed.substrate.host import NetnsHost


class NamespaceRunner(Local):
    """Invoke's runner of local commands, started inside a host and in its folder."""

    input_sleep = 0.001  # how often the end of a command is looked for

    def start(self, command: str, shell: str, env: dict[str, Any]) -> None:
        """Start the shell command in the namespaces of the connection's machine."""
        machine: NetnsHost = self.context.machine
        with entered(machine.net, machine.uts):
            super().start(_obeying(machine, command), shell, env)


def _obeying(machine: NetnsHost, command: str) -> str:
    """The command, after its shell has come under the limits of the machine."""
    if machine.group is None:
        return command
    joins = " && ".join(f"echo 0 > {shlex.quote(str(file))}" for file in machine.group.files)
    return f"{{ {joins}; }} || exit 126\n{command}"


class LocalFiles:
    """The part of an SFTP client that Fabric's transfers use, on the files of this machine below ``root``."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def getcwd(self) -> str:
        """Where relative remote paths begin."""
        return str(self._root)

    def stat(self, path: str) -> os.stat_result:
        """Size, mode and times of a file."""
        return (self._root / path).stat()

    def chmod(self, path: str, mode: int) -> None:
        """Set the permissions of a file."""
        (self._root / path).chmod(mode)

    def mkdir(self, path: str) -> None:
        """Make a folder; FileExistsError if there is one."""
        (self._root / path).mkdir()

    def put(self, localpath: str, remotepath: str) -> None:
        """Copy a file to the host."""
        shutil.copyfile(localpath, self._root / remotepath)

    def putfo(self, fl: IO[bytes], remotepath: str) -> None:
        """Write what a file-like object holds to the host."""
        with (self._root / remotepath).open("wb") as file:
            shutil.copyfileobj(fl, file)

    def get(self, remotepath: str, localpath: str) -> None:
        """Copy a file of the host to here."""
        shutil.copyfile(self._root / remotepath, localpath)

    def getfo(self, remotepath: str, fl: IO[bytes]) -> None:
        """Read a file of the host into a file-like object."""
        with (self._root / remotepath).open("rb") as file:
            shutil.copyfileobj(file, fl)


class NamespaceConnection(Connection):  # type: ignore[misc]
    """A Fabric connection to an emulated host. Commands and relative remote paths begin in the host's folder."""

    def __init__(self, machine: NetnsHost) -> None:
        super().__init__(machine.name, config=Config(lazy=True))  # the user's settings for real machines do not count
        self._set(machine=machine)  # plain assignment would end up in the connection's configuration
        self.command_cwds.append(str(machine.folder))

    @property
    def is_connected(self) -> bool:
        """Always: there is nothing to connect to."""
        return True

    def open(self) -> None:
        """Nothing to open."""

    def close(self) -> None:
        """Nothing to close."""

    def sftp(self) -> LocalFiles:
        """The host's files, for Fabric's ``put`` and ``get``."""
        return LocalFiles(self.machine.folder)

    def _remote_runner(self) -> Any:
        return NamespaceRunner(context=self)
