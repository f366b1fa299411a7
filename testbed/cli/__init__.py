"""The command line: ``testbed COMMAND``. Tables and progress go to stderr, results that a script wants to stdout.

Read first: ``app.py`` (the commands); ``view.py`` draws the live view, ``tables.py`` the tables.
"""

from testbed.cli.app import main

__all__ = ["main"]
