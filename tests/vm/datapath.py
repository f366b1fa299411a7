"""What Open vSwitch does with a kernel that has its datapath. Run in the VM by test_vm_suite.py."""

from __future__ import annotations

from in_arena import line, passes

from testbed.substrate.arena import RUNTIME
from testbed.substrate.find import named


def test_the_datapath_is_the_kernels_and_holds_the_flows_of_what_passes() -> None:
    def work() -> None:
        with named("mininet:ovs").open(line(), RUNTIME / "hosts", 1, {}) as network:
            assert "in the kernel" in network.notes["switches"]
            switch = network.mininet["s1"]
            assert "system@ovs-system" in switch.cmd("ovs-dpctl show")
            assert network.host("h1").run(["ping", "-c3", "-i0.2", "-W5", "h3"]).status == 0
            assert "in_port" in switch.cmd("ovs-dpctl dump-flows")

    passes(work)
