"""Fault finding: the twin under many seeds with random faults, and the invariants of the system that must hold in it.

Read first :mod:`testbed.explore.exploring`. Nothing here knows a system under test: what must hold stands beside its
roles, as :attr:`testbed.roles.api.System.invariants`.
"""
