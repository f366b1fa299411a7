"""The agent's side of ``ctx.ask``: what comes of a function's question, in the live world and in the twin."""

from __future__ import annotations

import json
from typing import Any

from testbed.roles.api import Answer
from testbed.roles.worker_channel import MAX_MESSAGE_BYTES, AskFailed


async def answered(answer: Answer, text: str) -> bytes:
    """What a worker is sent for its question; an error in ``answer`` becomes one in the function."""
    try:
        said = checked(await answer(text))
    except Exception as error:  # noqa: BLE001 - told to the function that asked
        return refused(error)
    return json.dumps({"answer": said}).encode()


def refused(error: Exception) -> bytes:
    """What a worker is sent in the place of an answer."""
    return json.dumps({"refused": why(error)}).encode()


def why(error: Exception) -> str:
    """The text of an error, or its kind where it has none."""
    return str(error) or type(error).__name__


def checked(said: Any) -> str:
    """An answer, if it can be sent."""
    if not isinstance(said, str):
        raise TypeError(f"the answer is no text but a {type(said).__name__}")
    if len(said.encode("utf-8", "surrogatepass")) > MAX_MESSAGE_BYTES:
        raise ValueError(f"the answer is larger than {MAX_MESSAGE_BYTES // 10**6} MB")
    return said


class AtOnce:
    """Answers as the twin does, where no time passes while a function asks: ``answer`` may not wait for anything.

    ``fault`` is the error of a role whose answer did; it is for the role, not for the function.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.fault: RuntimeError | None = None

    def __call__(self, text: str) -> str:
        """The answer to ``text``; raises AskFailed."""
        try:
            steps = self._answer(text).__await__()
            next(steps)
        except StopIteration as done:
            return self._checked(done.value)
        except Exception as error:
            raise AskFailed(why(error)) from error
        steps.close()
        self.fault = RuntimeError("The answer to a function waited for something; in the twin it must give it at once.")
        raise AskFailed(str(self.fault))

    def _checked(self, said: Any) -> str:
        try:
            return checked(said)
        except (TypeError, ValueError) as error:
            raise AskFailed(why(error)) from error

    def packed(self, text: str) -> bytes:
        """As what a worker is sent."""
        try:
            return json.dumps({"answer": self(text)}).encode()
        except AskFailed as error:
            return refused(error)
