"""What a system under test is written against: roles, methods, the Environment, and their discovery.

Read first: ``api.py``. A system is one folder ``roles/<system>/`` with a ``system.py`` that names its parts; it imports
nothing of the framework but this package and the base level (units, errors, seeds, tables).
"""
