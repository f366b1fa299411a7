"""ServerlessComputeService and FunctionManager: functions on machines with slots, images on disks, containers.

Read ``events.py`` first: what the deciding core (``core.py``) is told and what it answers. The core never touches a
clock, a socket or a random source of its own; what carries out its effects is the business of the roles.
"""
