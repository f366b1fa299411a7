"""How each feature of a machine is tried, what is used without it, and how to get it: one row of ``ROWS`` each."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path

from testbed import linux, netlink
from testbed.netlink import Netlink, Request
from testbed.shaping import tc
from testbed.substrate import cgroups_hosts, programs, requests, trunk, vm_host
from testbed.substrate.forbidden import forbidden_by
from testbed.substrate.requests import VethEnd
from testbed.topology.limits import KEYS

_LOOPBACK = 1


@dataclass(frozen=True, slots=True)
class Row:
    """How to try one feature (the detail it found, or an error), what is used without it and how to get it."""

    attempt: Callable[[], str]
    fallback: str
    remedy: str
    in_namespace: bool = False


def _root() -> str:
    if os.geteuid() != 0:
        raise PermissionError("an ordinary user")
    return "runs as root"


def _user_namespaces() -> str:
    child = os.fork()
    if child == 0:
        try:
            linux.unshare(linux.CLONE_NEWUSER)
            os._exit(0)
        finally:
            os._exit(1)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise PermissionError(forbidden_by())
    return "unshare(CLONE_NEWUSER) works"


def _netns() -> str:
    return "an arena was made and thrown away"


def _make(request: Request) -> str:
    with Netlink() as here:
        here.do([request])
    return "made and thrown away"


def _veth() -> str:
    ends = VethEnd(100, "probe-a", "02:00:00:00:00:0a"), VethEnd(101, "probe-b", "02:00:00:00:00:0b")
    return _make(requests.veth(*ends, 1500, 1, "a veth pair"))


def _bridge() -> str:
    return _make(requests.bridge(102, "probe-br", "02:00:00:00:00:0c", "a bridge"))


def _ifb() -> str:
    return _make(requests.device(103, "probe-ifb", "ifb", "an ifb device"))


def _queue(kind: str, options: bytes) -> Callable[[], str]:
    return lambda: _make(tc.queueing(_LOOPBACK, 0, tc.ROOT, kind, options))


def _vxlan() -> str:
    here = linux.namespace("net")
    try:
        return _make(trunk.vxlan("probe-vxlan", 0xFFFFFF, ("127.0.0.1", "127.0.0.2"), 1400, here))
    finally:
        os.close(here)


def _netem_options() -> bytes:
    return struct.pack("=6I", 1000, 100, 0, 0, 0, 0)


def _tbf_options() -> bytes:
    rate = struct.pack("=BBHhHI", 0, 1, 0, 0, 0, 1_000_000)
    return netlink.attribute(1, rate + bytes(12) + struct.pack("=3I", 100_000, 1_000_000, 0)) + netlink.number(6, 3000)


def _htb_options() -> bytes:
    return netlink.attribute(2, struct.pack("=5I", 3, 10, 0, 0, 0))


def _relay() -> str:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as packets:
        packets.setsockopt(263, 15, 1)  # SOL_PACKET, PACKET_VNET_HDR
    return "packet sockets with segmentation offload"


def _tun() -> str:
    with Path("/dev/net/tun").open("r+b", buffering=0) as tun:
        ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"probe-tap", 0x1002))
    return "a TAP device was made and thrown away"


def _openvswitch() -> str:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16) as generic:
        generic.settimeout(5)
        body = struct.pack("=BBH", 3, 1, 0) + netlink.text(2, "ovs_datapath")
        generic.sendall(struct.pack("=IHHII", 16 + len(body), 16, 5, 1, 0) + body)
        code = struct.unpack_from("=i", generic.recv(65536), 16)[0]
        if code < 0:
            raise OSError(-code, f"{os.strerror(-code)}: the kernel has no family ovs_datapath")
    return "the kernel datapath answers"


def _cgroup(version: int) -> Callable[[], str]:
    def attempt() -> str:
        for line in Path("/proc/mounts").read_text().splitlines():
            _, place, kind, options, *_ = line.split()
            if kind == "cgroup2" and version == 2:
                return f"{place}: {Path(place, 'cgroup.controllers').read_text().strip() or 'no controllers'}"
            if kind == "cgroup" and version == 1 and "cpu" in options.split(","):
                return f"{place}: {options}"
        raise FileNotFoundError(f"no cgroup v{version} hierarchy with the cpu controller is mounted")

    return attempt


def _limit(key: str) -> Callable[[], str]:
    return lambda: cgroups_hosts.attempt(key)


def _program(*argv: str) -> Callable[[], str]:
    def attempt() -> str:
        path = programs.find(argv[0])
        if path is None:
            raise FileNotFoundError(f"no program {argv[0]}")
        subprocess.run([path, *argv[1:]], check=True, capture_output=True, timeout=30, stdin=subprocess.DEVNULL)
        return path

    return attempt


def _mininet() -> str:
    try:
        from mininet.net import VERSION
    except ImportError as error:  # also of what it uses: Python 3.12 has no distutils any more
        raise FileNotFoundError(str(error)) from error
    return f"Mininet {VERSION}"


_LIMITS_REMEDY = "as an ordinary user: `systemd-run --user --scope -p Delegate=yes -- testbed ...`; or as root"
_SCHEDULERS = "apt-get install linux-modules-extra-$(uname -r), or a kernel built with CONFIG_NET_SCH_{}"
ROWS: Mapping[str, Row] = {
    "root": Row(_root, "user namespaces give the rights that are needed", "run as root or with sudo"),
    "user-namespaces": Row(_user_namespaces, "root, if you are root", "see the detail"),
    "netns": Row(_netns, "none: only the twin runs here", forbidden_by(), True),
    "veth": Row(_veth, "none: only the twin runs here", "a kernel built with CONFIG_VETH", True),
    "bridge": Row(_bridge, "networks without switches", "a kernel built with CONFIG_BRIDGE", True),
    "netem": Row(_queue("netem", _netem_options()), "the relay in user space", _SCHEDULERS.format("NETEM"), True),
    "tbf": Row(_queue("tbf", _tbf_options()), "the relay in user space", _SCHEDULERS.format("TBF"), True),
    "htb": Row(_queue("htb", _htb_options()), "tbf, or the relay", _SCHEDULERS.format("HTB"), True),
    "vxlan": Row(_vxlan, "a tunnel in user space", "a kernel built with CONFIG_VXLAN", True),
    "ifb": Row(_ifb, "nothing here needs it", "a kernel built with CONFIG_IFB", True),
    "relay": Row(_relay, "netem and tbf", "a kernel built with CONFIG_PACKET", True),
    "tun": Row(_tun, "packet sockets", "a kernel built with CONFIG_TUN, and the right to open /dev/net/tun", True),
    "openvswitch": Row(_openvswitch, "Linux bridges", "modprobe openvswitch", True),
    **{
        f"limit-{key}": Row(_limit(key), f"none: topologies with `{key}` are refused", _LIMITS_REMEDY) for key in KEYS
    },
    "cgroup-v1": Row(_cgroup(1), "cgroup v2", "boot with systemd.unified_cgroup_hierarchy=0"),
    "cgroup-v2": Row(_cgroup(2), "cgroup v1", "mount -t cgroup2 none /sys/fs/cgroup"),
    "ping": Row(_program("ping", "-V"), "tests with ping are skipped", "apt-get install iputils-ping"),
    "iperf3": Row(_program("iperf3", "--version"), "tests with iperf3 are skipped", "apt-get install iperf3"),
    "sshd": Row(_program("sshd", "-V"), "hosts without `access: ssh`", "apt-get install openssh-server"),
    "chromium": Row(_program("chromium", "--version"), "reports are not looked at", "apt-get install chromium"),
    "mininet": Row(_mininet, "the namespace substrate", "pip install mininet setuptools"),
    "mnexec": Row(_program("mnexec", "-n", "true"), "the namespace substrate", "apt-get install mininet", True),
    "ovs-vswitchd": Row(
        _program("ovs-vswitchd", "--version"), "Linux bridges", "apt-get install openvswitch-switch"
    ),
    "uml": Row(vm_host.installed, "no substrate vm", "apt-get install user-mode-linux kmod"),
    "bird": Row(_program("bird", "--version"), "fixed routes (`protocol: static`)", "apt-get install bird2"),
    "redis-server": Row(
        _program("redis-server", "--version"), "sessions are kept inside agents", "apt-get install redis-tools, and a "
        "link redis-server to its redis-check-rdb"
    ),
    "node": Row(_program("node", "--version"), "OpenWhisk actions in Python", "apt-get install nodejs"),
    "slirp4netns": Row(_program("slirp4netns", "--version"), "networks without --nat", "apt-get install slirp4netns"),
    "sudo": Row(_program("sudo", "-n", "true"), "user namespaces", "apt-get install sudo, and a rule for this user"),
}
