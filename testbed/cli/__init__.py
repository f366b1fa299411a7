"""The command line: ``testbed COMMAND``. Tables and progress go to stderr, results that a script wants to stdout.

Read first: ``app.py``, which joins the commands; those of a kind have a module (``interactive.py``, ``modelling.py``,
``exchange.py``). ``view.py`` draws the live view, ``tables.py`` the tables. What a command needs is
imported when it runs.
"""

from testbed.cli.app import main

__all__ = ["main"]
