"""Turning what happens during a run into CSV datasets: rows out = invocations in, always.

Read first: ``schema.py``, the only place that names a column of the framework's tables.
"""
