"""The VM starts, does a piece of work with the files of this machine, tells how it went, and leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from command import ORDINARY_USER, becoming, cli, environment
from test_kill import family

pytestmark = pytest.mark.feature("uml")
HERE = Path(__file__).parent
USERS = [None, ORDINARY_USER] if os.geteuid() == 0 else [None]
each_user = pytest.mark.parametrize("user", USERS)
CARRY = f"import sys; sys.path.insert(0, {str(HERE)!r}); import vm_works; sys.exit(vm_works.main(sys.argv[1]))"
WITHOUT_NAMESPACES = """\
echo 0 > /proc/sys/user/max_user_namespaces
exec setpriv --bounding-set=-all --inh-caps=-all "$@"
"""
forbidding = ("unshare", "--user", "--map-root-user", "sh", "-c", WITHOUT_NAMESPACES, "sh")
GONE_WITHIN_S = 20.0


def carried(name: str, folder: Path, prefix: Sequence[str] = ()) -> subprocess.Popen[str]:
    """A program that has this work done in a VM."""
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", CARRY, name], cwd=folder, env={**environment(), "GIVEN": "word"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def leftovers() -> set[str]:
    """What could be left in folders that programs of this kind use."""
    places = [Path(tempfile.gettempdir()), Path("/dev/shm"), Path.home() / ".uml", Path("/tmp/.uml"), Path("/tmp/uml")]
    return {str(path) for place in places if place.is_dir() for path in place.iterdir()
            if path.name.startswith(("testbed-vm", "vm", "uml")) or place.name.endswith("uml")}  # fmt: skip


@each_user
def test_work_is_done_in_another_kernel_with_this_machines_files(open_folder: Path, user: int | None) -> None:
    with carried("look", open_folder, () if user is None else becoming(user)) as program:
        out, err = program.communicate(timeout=120)
    assert program.returncode == 7, err
    release, folder_inside, given, *found = out.split()
    assert release != os.uname().release
    assert (folder_inside, given) == (str(open_folder), "word")
    assert found == ["netem", "tbf", "openvswitch", "bridge", "netns"]
    assert err == "a word on stderr False\n"
    assert (open_folder / "from-the-vm.txt").read_text() == "written inside\n"
    assert (open_folder / "from-the-vm.txt").stat().st_uid == (os.geteuid() if user is None else user)


def test_where_user_namespaces_are_forbidden_the_vm_does_without(tmp_path: Path) -> None:
    before = leftovers()
    with carried("look", tmp_path, forbidding) as program:
        out, err = program.communicate(timeout=120)
    assert program.returncode == 7, err
    assert "netem" in out
    assert leftovers() <= before


def test_an_error_of_the_work_is_raised_outside(tmp_path: Path) -> None:
    with carried("lack", tmp_path) as program:
        _, err = program.communicate(timeout=120)
    assert "MachineLacks: This machine lacks a thing. Get one." in err


def test_a_break_down_is_told_with_the_last_words_of_the_console(tmp_path: Path) -> None:
    with carried("break", tmp_path) as program:
        _, err = program.communicate(timeout=120)
    assert program.returncode == 1
    assert "The VM broke down. Its console said last:" in err
    assert "sysrq triggered crash" in err


@pytest.mark.parametrize("prefix", [(), forbidding], ids=["arena", "without-namespaces"])
def test_killing_the_command_leaves_no_process_and_no_file(tmp_path: Path, prefix: tuple[str, ...]) -> None:
    before = leftovers()
    with carried("wait", tmp_path, prefix) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "inside\n"
        members = family(program.pid)
        assert len(members) >= 6  # the command, the host, the kernel, its helpers, the work
        os.kill(program.pid, signal.SIGKILL)
        deadline = time.monotonic() + GONE_WITHIN_S
        while left := [pid for pid in members[1:] if alive(pid)]:
            assert time.monotonic() < deadline, f"still there: {left} of {members}"
            time.sleep(0.01)
    assert leftovers() <= before
    assert list(tmp_path.iterdir()) == []


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_network_cannot_be_left_behind_in_the_vm_and_that_is_said(tmp_path: Path) -> None:
    for words in (["up", "topologies/two-hosts.yaml"], ["up", "topologies/two-hosts.yaml", "--cli"]):
        done = cli(*words, "--substrate", "vm", cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert "Into the VM go whole runs only" in done.stderr


@pytest.mark.parametrize(("size", "said"), [("lots", "expected a size such as 2GiB"), ("64MiB", "cannot hold")])
def test_a_memory_that_makes_no_sense_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str, said: str
) -> None:
    monkeypatch.setenv("TESTBED_VM_MEMORY", size)
    done = cli("run", "experiments/quickstart.yaml", "--substrate", "vm", cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr


def test_without_user_mode_linux_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("testbed.substrate.vm_host.MODULES", tmp_path)
    from testbed.errors import MachineLacks
    from testbed.substrate.vm_host import run_in_vm

    with pytest.raises(MachineLacks, match=r"no modules.*apt-get install user-mode-linux"):
        run_in_vm(int)
