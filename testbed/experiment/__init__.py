"""An experiment: one YAML file that names a topology, a system under test, a workload, a timetable and a seed.

Read first: ``model.py`` (the keys), then ``load.py``. After loading, every name is resolved (nodes, roles, parameters,
functions, links), and later code asks no more questions about the file.
"""
