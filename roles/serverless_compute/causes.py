"""Why a request was refused or an invocation did not complete; ``code`` is the word in datasets and on the wire."""

from __future__ import annotations

from typing import ClassVar


class FailureCause(Exception):
    """A cause of failure: ``code`` names its kind, ``detail`` is a sentence for a person. Equal if both are."""

    code: ClassVar[str] = "failure"

    def __init__(self, detail: str = "") -> None:
        self.detail = detail
        super().__init__(detail or self.code)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FailureCause) and (self.code, self.detail) == (other.code, other.detail)

    def __hash__(self) -> int:
        return hash((self.code, self.detail))


class BadInput(FailureCause):
    """A request or a configuration that makes no sense."""

    code = "bad_input"


class NotAllowed(FailureCause):
    """The function does not fit any node, or its image not the head; the detail names the resource."""

    code = "not_allowed"


class AlreadyRegistered(FailureCause):
    """The name of this function or image stands for something else at this service."""

    code = "already_registered"


class FunctionNotFound(FailureCause):
    """Invoked something that is not registered at this service."""

    code = "function_not_found"


class CannotAdmitNow(FailureCause):
    """No room at the head for the image, or too many calls wait already; a later call may be admitted."""

    code = "cannot_admit_now"


class InvocationTimeout(FailureCause):
    """The function's time limit ran out."""

    code = "invocation_timeout"


class ImageFetchFailed(FailureCause):
    """The image could not be had from the registry."""

    code = "image_fetch_failed"


class FunctionError(FailureCause):
    """The function itself raised, crashed or exceeded its memory."""

    code = "function_error"


class EphemeralStorageFull(FailureCause):
    """The function wrote more than its private storage holds."""

    code = "ephemeral_storage_full"


class ContainerNotStarted(FailureCause):
    """The node could not start a container for the function."""

    code = "container_not_started"


class NodeLost(FailureCause):
    """The node was lost while it worked on the invocation."""

    code = "node_lost"


class ServiceStopped(FailureCause):
    """The service stopped before the invocation ended."""

    code = "service_stopped"


class Cancelled(FailureCause):
    """The invocation was called off by its client."""

    code = "cancelled"


_KINDS: dict[str, type[FailureCause]] = {
    kind.code: kind
    for kind in (BadInput, NotAllowed, AlreadyRegistered, FunctionNotFound, CannotAdmitNow, InvocationTimeout,
                 ImageFetchFailed, FunctionError, EphemeralStorageFull, ContainerNotStarted, NodeLost, ServiceStopped,
                 Cancelled)
}  # fmt: skip


def cause(code: str, detail: str = "") -> FailureCause:
    """The cause that was sent as ``code`` and ``detail``; an unknown code becomes a FunctionError that quotes it."""
    kind = _KINDS.get(code)
    return kind(detail) if kind else FunctionError(f"{code}: {detail}")
