"""What programmers extend: a function whose session follows its user.

    from roles.session_offloading.offloadable import Offloadable, Request, Response

    class Cart(Offloadable):
        def handle_offload(self, request: Request) -> Response:
            self.edge_db.add_to_list("items", request.body)
            return Response(", ".join(self.edge_db.get_list("items")))

    def code(ctx, payload):
        return Cart(ctx).serve(payload)

It runs in a process of its own; the EdgeDB asks the location for each operation. What was written is put down when
``handle_offload`` has returned, all at once, and nothing of it if it raised.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol


class Asking(Protocol):
    """The part of a function's ``ctx`` that is used here."""

    def ask(self, text: str) -> str:
        """Ask the location."""


class Request:
    """What was asked: ``body`` is text. All else is asked for when somebody wants it: most functions do not."""

    def __init__(self, body: str, ctx: Asking) -> None:
        self.body, self._ctx = body, ctx

    @cached_property
    def _details(self) -> dict[str, Any]:
        return dict(json.loads(self._ctx.ask('{"do": "request"}')))

    @property
    def verb(self) -> str:
        """The request's verb, such as POST."""
        return str(self._details["verb"])

    @property
    def query(self) -> Mapping[str, str]:
        """The fields of its query."""
        return dict(self._details["query"])

    @property
    def headers(self) -> Mapping[str, str]:
        """Its headers, names in lower case."""
        return dict(self._details["headers"])

    @property
    def session(self) -> str:
        """The session that it belongs to."""
        return str(self._details["session"])

    @property
    def location(self) -> str:
        """The location that serves it."""
        return str(self._details["location"])


@dataclass(frozen=True)
class Response:
    """What to answer."""

    body: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class EdgeDB:
    """Texts by key, of the session of this request alone."""

    def __init__(self, ctx: Asking) -> None:
        self._ctx = ctx

    def set(self, key: str, value: str) -> None:
        """Put a value."""
        self._ask(do="set", key=key, value=value)

    def get(self, key: str) -> str | None:
        """The value, or None."""
        found: str | None = self._ask(do="get", key=key)
        return found

    def add_to_list(self, key: str, value: str) -> None:
        """Put a value at the end of a list, which is made if there is none; raises an error if the key has a text."""
        self._ask(do="add", key=key, value=value)

    def get_list(self, key: str) -> list[str]:
        """The list; empty if there is none."""
        return list(self._ask(do="list", key=key) or [])

    def delete(self, key: str) -> None:
        """Remove a key."""
        self._ask(do="delete", key=key)

    def propagate(self, value: str, level: str, function: str) -> None:
        """Hand a value to the receivers ``function`` from ``level`` down to here, once the request has been served.

        A list of levels, joined by commas, means exactly those. The caller's answer waits until all have been served.
        """
        self._ask(do="propagate", value=value, level=level, function=function)

    def _ask(self, **operation: str) -> Any:
        return json.loads(self._ctx.ask(json.dumps(operation)))


class Offloadable(ABC):
    """The base of functions with a session; one object serves one request."""

    def __init__(self, ctx: Asking) -> None:
        self.ctx, self.edge_db = ctx, EdgeDB(ctx)

    @abstractmethod
    def handle_offload(self, request: Request) -> Response | str:
        """Serve a request at the place where its session is; a text is a response with status 200."""

    def serve(self, payload: str) -> str:
        """What a function's ``code`` calls."""
        response = self.handle_offload(Request(payload, self.ctx))
        if isinstance(response, str):
            return response
        if response.status != 200 or response.headers:
            told = {"do": "respond", "status": response.status, "headers": dict(response.headers)}
            self.ctx.ask(json.dumps(told))
        return response.body
