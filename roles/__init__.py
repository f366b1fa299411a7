"""The systems under test: one folder each, found by its ``system.py``; nothing here is registered anywhere."""
