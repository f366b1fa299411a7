"""YAML files as data that remembers its lines: read once, checked against a model, every problem told at once.

    document = read(path)                    # YAML only, no model yet; parse_document(text, name) for text
    document = set_path(document, "a.b=1")   # what --set does
    model = document.into(Model)             # a frozen model, or one InputError with all problems
    model = load(path, Model)                # the short way: read and into

``source.py`` turns YAML into data, ``wording.py`` turns the errors of pydantic into sentences, ``lists.py`` has types
for lists of which one name may stand alone.
"""

from testbed.document.document import Attempt, Document, in_order, load, parse, parse_document, read, set_path
from testbed.document.lists import Names, Patterns, listed
from testbed.document.source import Place, dotted
from testbed.document.wording import Finding, nearest, show

__all__ = [
    "Attempt", "Document", "Finding", "Names", "Patterns", "Place", "dotted", "in_order", "listed", "load", "nearest",
    "parse", "parse_document", "read", "set_path", "show",
]
