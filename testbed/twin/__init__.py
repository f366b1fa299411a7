"""The deterministic twin: the same roles, experiments and datasets in virtual time, without a network.

``loop`` is the event loop in which time passes only while everybody waits; ``network``, ``transport`` and ``fluid`` are
the model of links, connections and bulk transfers; ``environment`` and ``world`` let roles live in it; ``story`` is a
run. Nothing here opens a socket, starts a thread or reads a wall clock, and nothing depends on the order of a set.
"""
