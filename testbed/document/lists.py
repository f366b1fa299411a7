"""Lists of names in a file, where one name may stand alone: ``link: edge1`` for ``link: [edge1]``."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field


def listed(value: object) -> object:
    """A list of one for a text that stands alone; whatever is no text is left as it is."""
    return [value] if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(listed)]
Patterns = Annotated[list[str], BeforeValidator(listed), Field(min_length=1)]
"""At least one, since they say what is meant."""
