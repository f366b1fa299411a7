"""How requests are refused: a status and a text that clients of the original know."""

from __future__ import annotations

from testbed.errors import TestbedError
from testbed.roles.web import Fields, WebReply, told

NO_RESOURCE = "The requested resource does not exist."
NO_ROUTE = "The requested resource could not be found."
EXISTS = "resource already exists"
OTHER_KIND = "Resource by this name exists but is not in this collection."
NO_CREDENTIALS = "The resource requires authentication, which was not supplied with the request"
BAD_CREDENTIALS = "The supplied authentication is invalid"
CHALLENGE = (("www-authenticate", 'Basic realm="OpenWhisk secure realm"'),)


class Refused(TestbedError):
    """A request that is not granted: ``status`` and text of the answer, and headers that belong to it."""

    def __init__(self, status: int, text: str, headers: Fields = ()) -> None:
        self.status, self.headers = status, headers
        super().__init__(text)


def missing() -> Refused:
    """There is no such thing."""
    return Refused(404, NO_RESOURCE)


def malformed(why: str) -> Refused:
    """The body cannot be understood."""
    return Refused(400, f"The request content was malformed:\n{why}")


def not_allowed(*verbs: str) -> Refused:
    """This path is for these verbs alone."""
    allowed = ", ".join(verbs)
    return Refused(405, f"HTTP method not allowed, supported methods: {allowed}", (("allow", allowed),))


def too_big(what: str, size: int, most: int) -> Refused:
    """``what`` has more bytes than it may have."""
    return Refused(413, f"{what} larger than allowed: {size} > {most} bytes.")


def refusal(status: int, text: str, code: str, headers: Fields = ()) -> WebReply:
    """The answer: ``error`` and ``code``, by which clients tell the server's errors from those of actions."""
    return told(status, {"error": text, "code": code}, *headers)
