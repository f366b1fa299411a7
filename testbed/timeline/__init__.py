"""What is done to the network, hosts and agents while a workload runs.

``events`` is what a file may say, ``actions`` what comes of it once names are resolved and repetitions are spelt out,
``force`` what is in force after some of it, ``traces`` reads recorded links.
"""
