"""When invocations are asked for: the arrival models, found by listing the files of this folder.

A new model is a subclass of :class:`~testbed.workload.arrivals.base.Arrivals` with a ``model: Literal[...]`` in any
file here. pydantic needs one discriminated union for good error messages; it is put together from what was found.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from testbed.workload.arrivals.base import Arrival, Arrivals, Source

__all__ = ["AnyArrivals", "Arrival", "Arrivals", "Source", "models"]


def models() -> tuple[type[Arrivals], ...]:
    """All arrival models, in the order of their files and of their lines."""
    found = []
    for each in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{each.name}")
        found += [
            kind for kind in vars(module).values()
            if isinstance(kind, type) and issubclass(kind, Arrivals)
            and kind.__module__ == module.__name__ and "model" in kind.model_fields
        ]
    return tuple(found)


if TYPE_CHECKING:
    AnyArrivals = Arrivals
else:
    AnyArrivals = Annotated[Union[models()], Field(discriminator="model")]  # noqa: UP007 - made at run time
