"""SSH servers on emulated hosts (``access: ssh``), so that plain Fabric and a person's ``ssh`` reach them.

Each server listens on its host's own addresses, takes the run's own key and nothing else, and dies with the arena. It
runs as root where the user is root. In an ordinary user's arena, where uid 0 may not change its groups, it runs in a
user namespace below, in which the user has the uid that the machine knows; sshd then neither drops rights nor chroots.

On any host, ``ssh -F <folder>/config <host>`` reaches each other one.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fabric import Config, Connection
from paramiko import RejectPolicy, SSHException

from testbed import linux
from testbed.deploy.sshhost import SshHost, failed
from testbed.errors import MachineLacks, TestbedError
from testbed.substrate import arena, programs
from testbed.substrate.base import Network, Process
from testbed.substrate.host import NetnsHost

PORT = 22
UP_S = 15.0  # for sshd to listen on a busy machine
_PRIVILEGE_SEPARATION = Path("/run/sshd")  # compiled into sshd; /run is the arena's own

_SERVER = """\
Port {port}
{listen}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
AuthenticationMethods publickey
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AllowUsers {user}
UsePAM no
StrictModes no
UseDNS no
PidFile none
PrintMotd no
PrintLastLog no
MaxStartups 200
MaxSessions 200
Subsystem sftp internal-sftp
"""
_CLIENT = """\
Host *
  User {user}
  IdentityFile {folder}/user_key
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  LogLevel ERROR
"""


@dataclass(frozen=True, slots=True)
class Access:
    """How hosts are reached by SSH in one run. ``folder`` (mode 0700) has the keys and ``config`` for ``ssh -F``."""

    folder: Path
    user: str
    addresses: Mapping[str, tuple[str, ...]]

    @property
    def config(self) -> Path:
        """The client's configuration file."""
        return self.folder / "config"

    @property
    def key(self) -> Path:
        """The private key that the servers accept."""
        return self.folder / "user_key"


class SshHosts:
    """The hosts of a network by name, each behind its SSH connection."""

    def __init__(self, access: Access, hosts: Mapping[str, SshHost]) -> None:
        self.access, self._hosts = access, hosts

    def host(self, name: str) -> SshHost:
        """The host of this name; KeyError for one that has no SSH server."""
        return self._hosts[name]


class InsideConnection(Connection):  # type: ignore[misc]
    """A Fabric connection by SSH whose TCP connection begins on the emulated host itself.

    The driver is no machine of the network and has no route into it; nothing else differs from a plain connection.
    """

    def __init__(self, machine: NetnsHost, access: Access) -> None:
        address = access.addresses[machine.name][0]
        options = {"key_filename": str(access.key), "look_for_keys": False, "allow_agent": False,
                   "banner_timeout": UP_S, "auth_timeout": UP_S}  # fmt: skip
        config = Config(overrides={"load_ssh_configs": False}, lazy=True)
        super().__init__(address, access.user, PORT, config=config, connect_kwargs=options)
        self._set(machine=machine)  # plain assignment would end up in the connection's configuration
        self.client.load_host_keys(str(access.folder / "known_hosts"))
        self.client.set_missing_host_key_policy(RejectPolicy())

    def open(self) -> Any:
        """Connect, if there is no connection; TestbedError if that fails, whichever of Fabric's verbs asked for it."""
        if self.is_connected:
            return None
        try:
            self.connect_kwargs["sock"] = dial(self.machine, self.host)
            return super().open()
        except (SSHException, EOFError, OSError) as error:
            advice = (f"It was for {self.user}@{self.host}, port {PORT}; {self.machine.folder / 'sshd' / 'stderr'} has "
                      "what the server said. `access: direct` in the experiment does without SSH.")
            raise failed(self.machine.name, error, advice) from error


def dial(machine: NetnsHost, address: str) -> socket.socket:
    """A TCP connection to the SSH server at ``address`` that begins on ``machine``; raises OSError."""
    with linux.entered(machine.net):
        return socket.create_connection((address, PORT), UP_S)


@contextmanager
def over_ssh(
    network: Network, names: Sequence[str], runtime: Path = Path("/run"),
    through: Callable[[str], Sequence[str]] = lambda name: (),
) -> Iterator[SshHosts]:  # fmt: skip
    """An SSH server on each of these hosts, ended with the context; ``runtime`` is where the keys' folder is made.

    ``through`` gives, for each name, the beginning of the command that starts its server: a program that changes the
    server's world and then becomes what follows.

    Call it inside the arena, whose own mounts are changed. Raises MachineLacks where there is no OpenSSH server.
    """
    if not arena.inside():
        raise TestbedError("SSH servers are started on emulated hosts only, inside an arena.")
    server = _server()
    with ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="ssh-", dir=runtime)))  # mode 0700
        _make_way(folder)
        user = pwd.getpwuid(_outer_uid()).pw_name
        access = Access(folder, user, {name: _addresses(network, name) for name in names})
        _write_keys(access)
        started = []
        for name in names:
            machine = network.host(name)
            assert isinstance(machine, NetnsHost), "SSH servers are started on emulated hosts only"
            process = _start(machine, access, [*through(name), server])
            undo.callback(process.signal, signal.SIGTERM)
            started.append((machine, process))
        hosts = {}
        for machine, process in started:
            _await(machine, process, access.addresses[machine.name][0])
            connection = InsideConnection(machine, access)
            undo.callback(connection.close)
            hosts[machine.name] = SshHost(machine.name, machine.folder, connection, sys.executable)
        yield SshHosts(access, hosts)


def _server() -> str:
    found = programs.find("sshd")
    if found is None or shutil.which("ssh-keygen") is None:
        remedy = "Install it (Debian, Ubuntu: openssh-server), or leave `access: ssh` out of the experiment."
        raise MachineLacks("the OpenSSH server", remedy)
    return found


def _outer_uid() -> int:
    inner, outer, _ = map(int, Path("/proc/self/uid_map").read_text().splitlines()[0].split())
    return outer + os.getuid() - inner


def _addresses(network: Network, name: str) -> tuple[str, ...]:
    ends = [end for _, end in network.topology.interfaces[name]]
    found = [each for end in ends for each in (end.ipv4, end.ipv6) if each is not None]
    return tuple(str(each.ip) for each in found)


def _write_keys(access: Access) -> None:
    for name in ("host_key", "user_key"):
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(access.folder / name)]
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    kind, public = (access.folder / "host_key.pub").read_text().split()[:2]
    lines = [f"{','.join((name, *known))} {kind} {public}\n" for name, known in access.addresses.items()]
    (access.folder / "known_hosts").write_text("".join(lines))
    access.config.write_text(_CLIENT.format(folder=access.folder, user=access.user))


def _start(machine: NetnsHost, access: Access, server: Sequence[str]) -> Process:
    listen = "\n".join(f"ListenAddress {address}" for address in access.addresses[machine.name])
    config = access.folder / f"{machine.name}.server"
    config.write_text(_SERVER.format(port=PORT, listen=listen, folder=access.folder, user=access.user))
    *through, program = server
    argv = [program, "-D", "-e", "-f", str(config)]
    if _outer_uid() == 0:
        return machine.start([*through, *argv], machine.folder / "sshd")
    user = pwd.getpwnam(access.user)
    with linux.entered(machine.net):  # the server has no rights over the network, so port 22 must be open to all
        Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("0")
    mapped = ["unshare", "--user", f"--map-user={user.pw_uid}", f"--map-group={user.pw_gid}", "--"]
    return machine.start([*through, *mapped, *argv], machine.folder / "sshd")


def _make_way(folder: Path) -> None:
    """Change what sshd finds on this machine so that it lets its user in; nobody outside the arena sees it."""
    _replace(Path("/etc/passwd"), folder, _with_shell)
    _replace(Path("/etc/shadow"), folder, _unlocked)
    if _outer_uid() == 0:
        _PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
    else:
        _replace(Path("/etc/group"), folder, _without_terminals)


def _replace(file: Path, folder: Path, change: Callable[[str], str]) -> None:
    """Lay an altered copy over ``file`` in the arena's own mounts, if ``change`` alters it."""
    text = file.read_text() if os.access(file, os.R_OK) else ""
    if (altered := change(text)) != text:
        copy = folder / file.name
        copy.touch(mode=file.stat().st_mode & 0o777)
        copy.write_text(altered)
        linux.mount(str(copy), str(file), flags=linux.MS_BIND)


def _with_shell(passwd: str) -> str:
    """Whoever runs the program has an entry, a shell and a home: accounts of services often lack them."""
    uid = _outer_uid()
    entries = [line.split(":") for line in passwd.splitlines()]
    if not any(entry[2:3] == [str(uid)] for entry in entries):
        entries.append(["testbed", "x", str(uid), str(uid), "", "/", "/bin/sh"])
    for entry in (each for each in entries if each[2:3] == [str(uid)]):
        entry[5] = entry[5] if os.path.isdir(entry[5]) else "/"  # noqa: PTH112 - also where root forbids to look
        entry[6] = "/bin/sh" if Path(entry[6]).name in ("nologin", "false", "") else entry[6]
    return "".join(":".join(entry) + "\n" for entry in entries)


def _unlocked(shadow: str) -> str:
    """The user without a password rather than with a locked one: sshd refuses locked users, whatever their key."""
    user = pwd.getpwuid(_outer_uid()).pw_name
    others = [line for line in shadow.splitlines() if not line.startswith(f"{user}:")]
    return "".join(f"{line}\n" for line in (*others, f"{user}:*:20000:0:99999:7:::"))


def _without_terminals(group: str) -> str:
    """No group ``tty``: sshd would give terminals to it, which the user's namespace cannot do, and give up."""
    return re.sub("^tty:.*\n", "", group, flags=re.MULTILINE)


def _await(machine: NetnsHost, process: Process, address: str) -> None:
    end = time.monotonic() + UP_S
    while True:
        try:
            dial(machine, address).close()
            return
        except OSError as error:
            last = error
        ended = process.poll()
        if ended is not None or time.monotonic() > end:
            how = f"exited with status {ended}" if ended is not None else f"does not listen after {UP_S:g} s ({last})"
            log = (process.folder / "stderr").read_text()
            raise TestbedError(f"The SSH server of host {machine.name!r} {how}. It said last: {log[-500:].strip()!r}")
        time.sleep(0.01)
