"""Names that a topology may have, from whatever other programs call their nodes."""

from __future__ import annotations

import re
import unicodedata

_LETTERS = str.maketrans({"ß": "ss", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "æ": "ae", "Æ": "AE", "đ": "d", "ı": "i"})
_LONGEST = 56
"""A name may have 63 letters; some are kept for the number that makes it unique."""


def label(text: str) -> str:
    """``text`` as a DNS label (small letters, digits, hyphens, a letter first); empty if nothing of it is left."""
    plain = unicodedata.normalize("NFKD", text.translate(_LETTERS))
    plain = "".join(each for each in plain if not unicodedata.combining(each)).lower()
    plain = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    plain = f"n{plain}" if plain and not plain[0].isalpha() else plain
    return plain if len(plain) <= 63 else plain[:_LONGEST].rstrip("-")


class Names:
    """Gives each node a name of its own."""

    def __init__(self) -> None:
        self._taken = {"localhost"}

    def take(self, *wanted: str) -> str:
        """A free name after the first of ``wanted`` that leaves something; with a number where it is taken."""
        name = next(filter(None, map(label, wanted)), "node")
        free, number = name, 2
        while free in self._taken:
            free, number = f"{name[:_LONGEST]}-{number}", number + 1
        self._taken.add(free)
        return free
