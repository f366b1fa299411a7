"""Fabric connections to the machines of an inventory: strict about host keys, deaf to the user's own SSH settings."""

from __future__ import annotations

import getpass
import logging
import socket
from typing import Any

from fabric import Config, Connection
from paramiko import BadHostKeyException, PasswordRequiredException, RejectPolicy, SSHException
from paramiko.ssh_exception import NoValidConnectionsError

from testbed.errors import TestbedError
from testbed.substrate.inventory import Inventory, Machine, door

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # what it logs on its own, errors here tell in words
UP_S = 20.0  # for a machine to take a connection, and to let its user in
_ALIVE_S = 5  # between signs of life to a machine from which nothing is heard


class MachineLost(TestbedError, ConnectionError):
    """A machine that was reached is reached no longer, or never was."""


class MachineConnection(Connection):  # type: ignore[misc]
    """A connection to one machine of ``inventory``, through its jump host where it has one."""

    def __init__(self, inventory: Inventory, name: str, through: str | None = None) -> None:
        """``through`` is set for the connection to the jump host itself: what it is called in messages."""
        machine = inventory.machine(name)
        self_is_door = through is not None
        goal = door(machine.jump) if self_is_door and machine.jump else None
        gateway = None
        if goal is None and machine.jump:
            gateway = MachineConnection(inventory, name, f"the jump host {machine.jump} of machine {name!r}")
        host, port = (goal.host, goal.port) if goal else (machine.address, machine.port)
        user = (goal.user if goal else machine.user) or machine.user or getpass.getuser()
        config = Config(overrides={"load_ssh_configs": False}, lazy=True)
        super().__init__(host, user, port, config=config, gateway=gateway, connect_timeout=UP_S,
                         connect_kwargs=_options(inventory, machine))  # fmt: skip
        self._set(called=through or f"machine {name!r}", trusted=str(inventory.path(machine.known_hosts)))
        self.client.load_host_keys(self.trusted)
        self.client.set_missing_host_key_policy(RejectPolicy())

    def open(self) -> Any:
        """Connect, if there is no connection; MachineLost with what helps, whichever of Fabric's verbs asked for it."""
        if self.is_connected:
            return None
        try:
            result = super().open()
        except MachineLost:  # of the jump host
            raise
        except (SSHException, EOFError, OSError) as error:
            raise MachineLost(self._why(error)) from error
        self.transport.set_keepalive(_ALIVE_S)
        return result

    def _why(self, error: Exception) -> str:
        where = f"{self.user}@{self.host}, port {self.port}"
        what = (str(error) or type(error).__name__).rstrip(".")
        match error:
            case BadHostKeyException():
                advice = f"Its key is not the one in {self.trusted}: find out why before you change anything there."
            case SSHException() if "not found in known_hosts" in what:
                advice = (f"If you trust it, note its key: ssh-keyscan -p {self.port} {self.host} >> {self.trusted}, "
                          "and compare it with what the machine itself says.")  # fmt: skip
            case PasswordRequiredException():
                advice = "Add the key to an SSH agent (ssh-add), and leave `key` out of the inventory."
            case SSHException():
                advice = "Look at user and key in the inventory; plain `ssh -v` to the same place tells more."
            case NoValidConnectionsError() | socket.gaierror() | OSError():
                advice = "Look at address, port and jump in the inventory, and whether the machine is up."
            case _:
                advice = ""
        return f"The SSH connection to {self.called} ({where}) failed: {what}. {advice}".rstrip()


def _options(inventory: Inventory, machine: Machine) -> dict[str, Any]:
    waits = {"banner_timeout": UP_S, "auth_timeout": UP_S}
    if not machine.key:
        return waits
    return {**waits, "key_filename": str(inventory.path(machine.key)), "look_for_keys": False, "allow_agent": False}
