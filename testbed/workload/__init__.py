"""What is asked of the system under test, and the clients that ask it.

Read first: ``spec.py`` (the section ``workload:`` of an experiment), then ``schedule.py`` (from it and a seed to every
invocation, before the start) and ``client.py`` (firing them on time). Arrival models: one file each family in
``arrivals/``. Nothing here opens a socket: how an invocation travels is the system's affair.
"""
