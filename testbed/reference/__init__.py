"""The reference documentation, generated from the models and the schema, so that it says what the program does.

    python -m testbed.reference docs/

Read first: ``pages.py`` (which page tells what), then ``models.py`` (from a pydantic model to tables).
This package never writes anything but Markdown.
"""

from testbed.reference.pages import PAGES, write

__all__ = ["PAGES", "write"]
