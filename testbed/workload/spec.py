"""The section ``workload:`` of an experiment, as typed data."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from testbed import seeds
from testbed.units import Delay, Size, refuse
from testbed.workload.arrivals import AnyArrivals
from testbed.workload.arrivals.base import PositiveDelay, Some
from testbed.workload.arrivals.replay import Replay

Phase = Literal["warmup", "measure", "cooldown"]
Weight = Annotated[float, Field(gt=0, le=1e9)]
Style = Literal["letters", "words", "json"]

_FRAME = '{"input":""}'
_WORDS = (
    "edge cloud node link host delay loss rate queue worker cold start warm session function call answer router "
    "gateway the a of and to in from over under before after when while until every any some none first last near far"
)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _as_weights(value: object) -> object:
    """A name, a list of names or ``{zipf: s, of: [names]}`` as a map from name to weight."""
    if isinstance(value, str):
        return {value: 1.0}
    if isinstance(value, list) and value and all(isinstance(name, str) for name in value):
        return dict.fromkeys(value, 1.0)
    if isinstance(value, dict) and set(value) == {"zipf", "of"}:
        return _zipf(value["zipf"], value["of"])
    if not isinstance(value, dict) or not value:
        raise refuse("a function, a list of functions, a map {function: weight} or {zipf: 1.1, of: [functions]}")
    return value


def _zipf(exponent: object, names: object) -> object:
    if not isinstance(exponent, (int, float)) or isinstance(exponent, bool) or not 0 <= exponent <= 10:
        raise refuse("a zipf exponent from 0 to 10, such as {zipf: 1.1, of: [a, b]}")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise refuse("functions in order of popularity, such as {zipf: 1.1, of: [a, b]}")
    return {name: rank**-exponent for rank, name in enumerate(names, 1)}


Mix = Annotated[dict[str, Weight], BeforeValidator(_as_weights)]


class Payload(_Part):
    """What is sent: generated text of a size, or a given text."""

    size: Size | None = Field(default=None, description="Generated text of this size.")
    sizes: tuple[Size, ...] | None = Field(
        default=None, description="Generated text; each invocation draws one of these sizes."
    )
    text: str | None = Field(default=None, description="This very text.")
    file: str | None = Field(default=None, description="The text of this file, relative to the experiment's.")
    style: Style = Field(
        default="letters",
        description="What generated text looks like: `letters` (AAAA…), `words` (plain words between spaces) or `json` "
        '(`{"input":"AAA…"}`, at least 12 bytes, as the clients of ServerlessOnEdge send).',
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("size", "sizes", "text", "file") if getattr(self, name) is not None]
        if len(given) != 1 or self.sizes == ():
            raise refuse("exactly one of size, sizes, text, file", f"Given: {', '.join(given) or 'none'}.")
        return self

    def resolved(self, folder: Path) -> Payload:
        """The same with the file's text in it; raises OSError or UnicodeDecodeError."""
        if self.file is None:
            return self
        return Payload(text=(folder / self.file).read_text(encoding="utf-8"), style=self.style)


@cache
def generated(style: Style, size_bytes: int) -> str:
    """ASCII text of exactly ``size_bytes`` bytes (``json``: at least 12); the same at each call."""
    if style == "letters":
        return "A" * size_bytes
    if style == "json":
        return _FRAME[:-2] + "A" * (size_bytes - len(_FRAME)) + _FRAME[-2:]
    rng = seeds.stream(0, "words", str(size_bytes))
    words: list[str] = []
    known = _WORDS.split()
    length = 0
    while length <= size_bytes:
        words.append(rng.choice(known))
        length += len(words[-1]) + 1
    return " ".join(words)[:size_bytes]


class Sessions(_Part):
    """Which invocations belong together."""

    count: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        description="Sessions of each client; each invocation draws one of them."
    )


class Traffic(_Part):
    """One stream of invocations: who asks, when, for what, with what."""

    clients: Some[str] | None = Field(
        None, description="Client nodes: names, globs or `tag:…`. Left out: all clients."
    )
    arrivals: AnyArrivals = Field(description="When each of these clients invokes.")
    functions: Mix | None = Field(
        None,
        description="What they invoke: a function, a list, a map of weights, or `{zipf: 1.1, of: [most popular, …]}`. "
        "Left out: all functions alike.",
    )
    payload: Payload = Field(Payload.model_validate({"size": "100B"}), description="What they send.")
    sessions: Sessions | None = Field(None, description="The sessions that invocations belong to; none if left out.")
    start: Delay = Field(0.0, description="When this stream begins, counted from the start of the workload.")
    stop: PositiveDelay | None = Field(None, description="When it ends; left out: with the workload.")

    @model_validator(mode="after")
    def _one_origin_of_functions(self) -> Self:
        if self.functions and isinstance(self.arrivals, Replay):
            raise refuse("no functions beside a replay, which brings its own", "Name one to copy in arrivals.like.")
        return self

    def function_names(self) -> tuple[str, ...]:
        """The functions that are named here, in order; empty if none are."""
        return tuple(self.functions or ())


class Workload(_Part):
    """What is asked of the system under test. Invocations count their time from the start of the warm-up."""

    duration: PositiveDelay = Field(description="Length of the measured phase.")
    warmup: Delay = Field(0.0, description="Length of the phase before it, which figures leave out.")
    cooldown: Delay = Field(0.0, description="Length of the phase after it, which figures leave out.")
    timeout: PositiveDelay = Field(10.0, description="How long a client waits for an answer after sending.")
    in_flight: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        1000, description="Invocations of one client under way at most; what is due beyond is recorded as dropped."
    )
    traffic: Some[Traffic] = Field(description="The streams of invocations, side by side.")

    @property
    def ends_s(self) -> float:
        """Seconds from the start of the warm-up to the end of the cool-down."""
        return self.warmup + self.duration + self.cooldown

    def phase(self, t: float) -> Phase:
        """The phase to which the time ``t`` belongs."""
        if t < self.warmup:
            return "warmup"
        return "measure" if t < self.warmup + self.duration else "cooldown"
