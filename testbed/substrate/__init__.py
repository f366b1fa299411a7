"""Bringing a topology to life: the interface, the probe of this machine, and one module for each substrate.

Read first: ``base.py``. A substrate never touches an interface, a process or a file that it did not make.
"""
