"""A testbed emulation framework for serverless edge computing.

Read first: ``testbed/run.py`` (the story of one run), then ``testbed/topology/model.py`` and
``testbed/substrate/base.py``.
This package never changes anything outside the namespaces and folders that it made itself.
"""

__version__ = "0.1.0"
