"""Traffic between hosts beside the workload: iperf3, and packets made with scapy from a small description.

Begin with ``spec.py`` (what an experiment may say) and ``flows.py`` (what comes of it); ``live.py`` starts, watches and
ends it on emulated hosts. It never waits for the workload and never ends a run: what fails is told and recorded.
"""
