"""Getting agents onto hosts, alive, watched and off again; the same code for emulated hosts and for SSH.

Read first: ``fleet.py`` (the driving side), then ``agent.py`` (what runs on a host). ``forks.py`` only makes starting
quicker, ``ssh.py`` only gives another kind of Host. Nothing here knows a system under test by name.
"""
