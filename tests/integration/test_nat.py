"""A way to the outside. What stands for the machine is a network namespace, and for the Internet another one behind it.

The machine's own network is never touched: without the namespaces made here these tests would reach nobody.
"""

from __future__ import annotations

import http.server
import os
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from ipaddress import IPv4Interface
from pathlib import Path

import pytest
from command import HELLO, cli, record, write
from in_arena import forked, status_of

import testbed.substrate.nat
import testbed.substrate.netns
from testbed import linux
from testbed.errors import MachineLacks, TestbedError, UsageError
from testbed.netlink import Netlink
from testbed.substrate import requests
from testbed.substrate.arena import RUNTIME, run_inside
from testbed.substrate.find import named
from testbed.substrate.nat import WithOutside
from testbed.substrate.requests import VethEnd
from testbed.topology.load import parse

pytestmark = [pytest.mark.feature("netns"), pytest.mark.feature("root"), pytest.mark.feature("slirp4netns")]

MACHINE, INTERNET, PORT = "198.18.0.1", "198.18.0.2", 8080
NET = """
name: net
nodes: {h1: {}, r1: {kind: router}, r2: {kind: router}, h2: {}, h3: {}}
links: [[h1, r1], [r1, r2], [r2, h2], [r2, h3]]
"""
FETCH = f"import urllib.request as u; print(u.urlopen('http://%s:{PORT}/', timeout=20).read().decode())"


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"hello {self.client_address[0]}".encode())

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


class Pages(socketserver.ThreadingTCPServer):
    """A web server that does not first ask for its own name, which nobody in a namespace without resolver knows."""

    allow_reuse_address = daemon_threads = True


def names(server: socket.socket) -> None:
    """A name server for which everything is called ``INTERNET``; IPv6 addresses there are none."""
    while True:
        question, who = server.recvfrom(512)
        end = question.index(b"\0", 12) + 5
        is_ipv4 = question[end - 4 : end - 2] == b"\0\1"
        answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(INTERNET) if is_ipv4 else b""
        head = question[:2] + b"\x81\x80\0\1" + (b"\0\1" if answer else b"\0\0") + bytes(4)
        server.sendto(head + question[12:end] + answer, who)


def internet(done: threading.Event, ready: threading.Event, found: list[int]) -> None:
    """In a thread: a namespace of its own with a web server and a name server."""
    linux.unshare(linux.CLONE_NEWNET)
    found.append(linux.namespace("net"))
    ready.set()
    done.wait()
    with Netlink() as here:
        here.do([requests.raise_link(10, "far"), requests.address(10, IPv4Interface(f"{INTERNET}/24"), "far")])
    pages = Pages((INTERNET, PORT), Page)
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((INTERNET, 53))
    threading.Thread(target=names, args=(server,), daemon=True).start()
    ready.set()
    pages.serve_forever()


def machine(body: Callable[[], None], folder: Path) -> int:
    """Run ``body`` on what it takes for the machine; its exit status."""

    def work() -> int:
        linux.unshare(linux.CLONE_NEWNET | linux.CLONE_NEWNS)
        linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
        resolver = folder / "resolv.conf"
        resolver.write_text(f"nameserver {INTERNET}\n")
        linux.mount(str(resolver), os.path.realpath("/etc/resolv.conf"), flags=linux.MS_BIND)
        done, ready, found = threading.Event(), threading.Event(), list[int]()
        threading.Thread(target=internet, args=(done, ready, found), daemon=True).start()
        assert ready.wait(20)
        ready.clear()
        near = VethEnd(10, "near", "02:00:00:00:01:01")
        with Netlink() as here:
            here.do([requests.veth(near, VethEnd(10, "far", "02:00:00:00:01:02", found[0]), 1500, 1, "a cable"),
                     requests.raise_link(1, "lo"), requests.raise_link(10, "near"),
                     requests.address(10, IPv4Interface(f"{MACHINE}/24"), "near")])  # fmt: skip
        done.set()
        assert ready.wait(20)
        body()
        return 0

    return status_of(forked(work))


def fetched(found: testbed.substrate.netns.NetnsNetwork, host: str, name: str = INTERNET) -> str:
    return found.host(host).run([sys.executable, "-I", "-c", FETCH % name], check=False).stdout.strip()


def inside(
    door: str, look: Callable[[testbed.substrate.netns.NetnsNetwork], None], substrate: str = "netns"
) -> Callable[[], None]:
    """A body for :func:`machine`: a network with a way out through ``door``, looked at."""

    def body() -> None:
        carrier = WithOutside(named(substrate), door)

        def work() -> int:
            with carrier.open(parse(NET, "net.yaml"), RUNTIME / "hosts", 1, {}) as found:
                look(found)  # type: ignore[arg-type]  # of this substrate it is such a network
            return 0

        assert carrier.enter(work, f"nat-{os.getpid()}") == 0

    return body


@pytest.mark.ability("networks", "nodes reach the outside through a router, for root who asks")
def test_all_nodes_reach_the_outside_through_a_router_and_still_each_other(tmp_path: Path) -> None:
    def look(found: testbed.substrate.netns.NetnsNetwork) -> None:
        answers = {fetched(found, host) for host in ("h1", "h2", "h3", "r1", "r2")}
        assert answers == {f"hello {MACHINE}"}, answers
        for a, b in (("h1", "h2"), ("h2", "h1"), ("r1", "h3")):
            assert found.host(a).run(["ping", "-c", "1", "-W", "5", b], check=False).status == 0
        assert "through r1" in found.notes["nat"]
        found.check()

    assert machine(inside("r1", look), tmp_path) == 0


def test_a_host_can_be_the_door_and_keeps_its_way_to_the_others(tmp_path: Path) -> None:
    def look(found: testbed.substrate.netns.NetnsNetwork) -> None:
        assert {fetched(found, host) for host in ("h1", "h2", "r1")} == {f"hello {MACHINE}"}
        assert found.host("h2").run(["ping", "-c", "1", "-W", "5", "h1"], check=False).status == 0

    assert machine(inside("h2", look), tmp_path) == 0


@pytest.mark.feature("mnexec")
def test_a_network_on_mininet_has_it_too(tmp_path: Path) -> None:
    def look(found: testbed.substrate.netns.NetnsNetwork) -> None:
        assert {fetched(found, host) for host in ("h1", "h3")} == {f"hello {MACHINE}"}

    assert machine(inside("r1", look, "mininet"), tmp_path) == 0


def test_names_are_those_that_the_machine_finds(tmp_path: Path) -> None:
    def look(found: testbed.substrate.netns.NetnsNetwork) -> None:
        assert fetched(found, "h1", "www.example.org") == f"hello {MACHINE}"

    assert machine(inside("r1", look), tmp_path) == 0


def test_nothing_of_the_machine_itself_is_reached_or_changed(tmp_path: Path) -> None:
    def body() -> None:
        before = [name for _, name in socket.if_nameindex()]
        server = socket.create_server(("127.0.0.1", PORT + 1))

        def look(found: testbed.substrate.netns.NetnsNetwork) -> None:
            gateway = found.notes["nat"].rpartition(" ")[2].rpartition(".")[0] + ".2"
            ask = f"import socket; socket.create_connection(('{gateway}', {PORT + 1}), 3)"
            assert found.host("h1").run([sys.executable, "-I", "-c", ask], check=False).status != 0

        inside("r1", look)()
        server.close()
        assert [name for _, name in socket.if_nameindex()] == before

    assert machine(body, tmp_path) == 0


def test_a_network_is_closed_unless_somebody_asks(tmp_path: Path) -> None:
    def body() -> None:
        def work() -> int:
            with named("netns").open(parse(NET, "net.yaml"), RUNTIME / "hosts", 1, {}) as found:
                assert fetched(found, "h1") == ""
            return 0

        assert run_inside(work, nested=True) == 0

    assert machine(body, tmp_path) == 0


def test_a_way_that_closes_ends_the_run(tmp_path: Path) -> None:
    def look(found: testbed.substrate.netns.NetnsNetwork) -> None:
        ours = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()
                and (each / "comm").read_text().startswith("slirp4netns")]  # fmt: skip
        for pid in ours:
            os.kill(pid, 9)
        while True:
            try:
                found.check()
            except TestbedError as error:
                assert "way to the outside ended" in str(error)
                return

    assert machine(inside("r1", look), tmp_path) == 0


def test_a_run_with_a_way_out_says_so_in_its_record_and_in_its_verdict(tmp_path: Path) -> None:
    def body() -> None:
        done = cli("run", str(write(tmp_path, HELLO)), "--nat", "h2", "--no-figures", "-q", "--out",
                   str(tmp_path / "runs"), cwd=tmp_path)  # fmt: skip
        told = record(Path(done.stdout.splitlines()[-1]))
        assert told["state"] == "done", told["error"]
        assert "through h2" in told["features"]["nat"]
        assert "outside" in [reason["check"] for reason in told["verdict"]["reasons"]]

    assert machine(body, tmp_path) == 0


def test_a_network_that_stays_up_has_the_way_out_as_long_as_it_is_up(tmp_path: Path) -> None:
    def body() -> None:
        (tmp_path / "net.yaml").write_text(NET)
        name = f"nat-{os.getpid()}"
        done = cli("up", "net.yaml", "--name", name, "--nat", "r2", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        try:
            asked = cli("exec", "-n", name, "h1", "--", sys.executable, "-I", "-c", FETCH % INTERNET, cwd=tmp_path)
            assert asked.stdout.strip() == f"hello {MACHINE}", asked.stderr
        finally:
            assert cli("down", name, cwd=tmp_path).returncode == 0

    assert machine(body, tmp_path) == 0


def test_an_ordinary_user_is_told_that_it_takes_root(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(NET)
    tmp_path.chmod(0o755)
    done = cli("up", "net.yaml", "--nat", "r1", cwd=tmp_path, user=54321)
    assert done.returncode == MachineLacks.exit_status
    assert "root" in done.stderr and "sudo" in done.stderr


@pytest.mark.parametrize(("words", "hint"), [(("--nat", "h9"), "there are: h1, r1"),
                                             (("--nat", "h1", "--substrate", "twin"), "leave out --nat")])  # fmt: skip
def test_refuses_a_door_that_cannot_be(tmp_path: Path, words: tuple[str, ...], hint: str) -> None:
    (tmp_path / "net.yaml").write_text(NET)
    done = cli("up", "net.yaml", *words, cwd=tmp_path)
    assert done.returncode == UsageError.exit_status
    assert hint in " ".join(done.stderr.split())
