"""Functions that ask their agent in the middle of a call, in workers and as the twin runs them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from testbed.roles.answers import AtOnce
from testbed.roles.api import Answer, Function, FunctionResult
from testbed.roles.reckon import Reckoned, Reckoner
from testbed.roles.worker_channel import MAX_MESSAGE_BYTES, AskFailed
from testbed.roles.workers import Workers
from testbed.twin.functions import Codes

T = TypeVar("T")
Run = Callable[[str, str, Answer | None], FunctionResult]


def function(tmp_path: Path, code: str, **limits: float) -> Function:
    path = tmp_path / "sample.py"
    path.write_text(code)
    return Function.model_validate({"name": "sample", "code": str(path)} | limits)


def live(tmp_path: Path, body: Callable[[Workers], Awaitable[T]]) -> T:
    async def main() -> T:
        workers = Workers(tmp_path / "agent", "w1", 7)
        try:
            return await body(workers)
        finally:
            await workers.close()

    return asyncio.run(main())


def reckoned(sample: Function, payload: str, answer: Answer | None, codes: Codes | None = None) -> Reckoned:
    codes = codes or Codes()
    try:
        return codes.run(sample, payload, answer, seed=7, number=0, node="w1", time_limit=sample.time_limit_s,
                         storage_bytes=None, read_rate=None, write_rate=None)  # fmt: skip
    finally:
        codes.close()


@pytest.fixture(params=["worker", "twin", "callable"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Runs code in each of the worlds; what asks is the same text in all."""

    def in_a_worker(code: str, payload: str, answer: Answer | None) -> FunctionResult:
        sample = function(tmp_path, code, memory_bytes=1 << 30)
        return live(tmp_path, lambda workers: workers.run(sample, payload, answer))

    def in_the_twin(code: str, payload: str, answer: Answer | None) -> FunctionResult:
        return reckoned(function(tmp_path, code, memory_bytes=1 << 30), payload, answer).result

    def as_a_callable(code: str, payload: str, answer: Answer | None) -> FunctionResult:
        names: dict[str, Callable[..., object]] = {}
        exec(code, names)  # noqa: S102 - the test's own text
        return reckoned(Function(name="f"), payload, answer, Codes({"f": names["code"]})).result

    return {"worker": in_a_worker, "twin": in_the_twin, "callable": as_a_callable}[request.param]


async def upper(text: str) -> str:
    return text.upper()


async def broken(text: str) -> str:
    raise KeyError(f"no {text} here")


def test_a_question_gets_its_answer(run: Run) -> None:
    code = "def code(ctx, payload): return ctx.ask(payload) + ctx.ask('b')"
    assert run(code, "grüße \U0001f600 \0", upper).output == "GRÜSSE \U0001f600 \0B"


def test_answers_come_in_the_order_of_the_questions_however_many(run: Run) -> None:
    seen: list[str] = []

    async def count(text: str) -> str:
        seen.append(text)
        return str(len(seen))

    code = "def code(ctx, payload): return [ctx.ask(str(n)) for n in range(10_000)][-1]"
    assert run(code, "", count).output == "10000"
    assert seen == [str(number) for number in range(10_000)]


def test_an_answer_that_fails_is_an_exception_with_its_words_and_the_function_may_go_on(run: Run) -> None:
    code = """
def code(ctx, payload):
    try:
        return ctx.ask("a")
    except Exception as error:
        return f"{type(error).__name__}: {error}"
"""
    assert run(code, "", broken).output == "AskFailed: 'no a here'"
    failed = run("def code(ctx, payload): return ctx.ask('a')", "", broken)
    assert failed.error == "exception" and "AskFailed: 'no a here'" in failed.detail


def test_without_an_answer_to_give_asking_is_an_error_in_the_function(run: Run) -> None:
    failed = run("def code(ctx, payload): return ctx.ask('a')", "", None)
    assert failed.error == "exception" and "AskFailed: nobody here answers what functions ask" in failed.detail


@pytest.mark.parametrize(("what", "told"), [
    ("7", "TypeError: only a text can be asked, not a int"),
    (f"'a' * {MAX_MESSAGE_BYTES + 1}", "ValueError: what is asked is larger than 64 MB"),
    ("'\\ud800'", "UnicodeEncodeError"),
])  # fmt: skip
def test_what_cannot_be_asked_is_told_in_words(run: Run, what: str, told: str) -> None:
    code = f"""
def code(ctx, payload):
    try:
        ctx.ask({what})
    except Exception as error:
        return f"{{type(error).__name__}}: {{error}}, then {{ctx.ask('b')}}"
"""
    result = run(code, "", upper)
    assert result.output.startswith(told) and result.output.endswith(", then B"), result


@pytest.mark.parametrize(("given", "told"), [
    (None, "the answer is no text but a NoneType"),
    ("a" * (MAX_MESSAGE_BYTES + 1), "the answer is larger than 64 MB"),
])  # fmt: skip
def test_an_answer_that_cannot_be_given_is_told_to_the_function(run: Run, given: str, told: str) -> None:
    async def answer(text: str) -> str:
        return given

    failed = run("def code(ctx, payload): return ctx.ask('a')", "", answer)
    assert failed.error == "exception" and told in failed.detail


def test_large_texts_go_there_and_back(run: Run) -> None:
    async def twice(text: str) -> str:
        return text * 2

    code = "def code(ctx, payload): return str(len(ctx.ask('ü' * 5_000_000)))"
    assert run(code, "", twice).output == "10000000"


def test_waiting_for_an_answer_counts_against_the_time_limit_and_ends_the_answer(tmp_path: Path) -> None:
    ended: list[str] = []

    async def slow(text: str) -> str:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(text)
        return text

    sample = function(tmp_path, "def code(ctx, payload): return ctx.ask('a')", time_limit_s=0.5)

    async def body(workers: Workers) -> tuple[FunctionResult, FunctionResult]:
        return await workers.run(sample, "", slow), await workers.run(sample, "", upper)

    begun = time.monotonic()
    late, after = live(tmp_path, body)
    assert time.monotonic() - begun < 30
    assert late.error == "timeout" and ended == ["a"]
    assert after.output == "A"  # in a new worker


def test_answers_take_no_time_in_the_twin(tmp_path: Path) -> None:
    done = reckoned(function(tmp_path, "def code(ctx, payload): ctx.sleep(1); return ctx.ask('a')"), "", upper)
    assert (done.result.output, done.spent_s, done.steps) == ("A", 1.0, (("sleep", 1),))


def test_a_worker_that_dies_while_it_asks_is_a_crash_and_the_next_call_gets_another(tmp_path: Path) -> None:
    async def kill(text: str) -> str:
        os.kill(int(text), signal.SIGKILL)
        return "too late"

    sample = function(tmp_path, "import os\ndef code(ctx, payload): return ctx.ask(str(os.getpid()))")

    async def body(workers: Workers) -> tuple[FunctionResult, FunctionResult]:
        return await workers.run(sample, "", kill), await workers.run(sample, "", upper)

    crashed, after = live(tmp_path, body)
    assert crashed.error == "crash" and "SIGKILL" in crashed.detail
    assert after.output.isdigit()


def test_a_reckoned_worker_that_dies_while_it_asks_is_a_crash(tmp_path: Path) -> None:
    async def kill(text: str) -> str:
        os.kill(int(text), signal.SIGKILL)
        return "too late"

    sample = function(tmp_path, "import os\ndef code(ctx, payload): return ctx.ask(str(os.getpid()))")
    assert reckoned(sample, "", kill).result.error == "crash"


def test_threads_of_a_function_may_ask_at_the_same_time_but_not_after_the_call(tmp_path: Path) -> None:
    code = """
import threading
late = []
def code(ctx, payload):
    if payload == "late":
        return late[0]()
    def ask():
        try: return ctx.ask("x")
        except Exception as error: return str(error)
    late.append(ask)
    answers = []
    threads = [threading.Thread(target=lambda n=n: answers.append((str(n), ctx.ask(str(n))))) for n in range(20)]
    for each in threads: each.start()
    for each in threads: each.join()
    return str(all(asked == told for asked, told in answers) and len(answers))
"""
    sample = function(tmp_path, code, memory_bytes=1 << 30)  # each thread's stack counts

    async def body(workers: Workers) -> list[str]:
        return [(await workers.run(sample, payload, upper)).output for payload in ("", "late")]

    assert live(tmp_path, body) == ["20", "the call in which this was asked is over"]


def test_a_function_that_runs_out_of_memory_over_an_answer_does_not_mix_up_the_next(tmp_path: Path) -> None:
    async def much(text: str) -> str:
        return "y" * 60_000_000 if text == "much" else text

    code = """
def code(ctx, payload):
    try:
        return str(len(ctx.ask(payload)))
    except MemoryError:
        return "caught"
"""
    sample = function(tmp_path, code, memory_bytes=100_000_000)

    async def body(workers: Workers) -> list[FunctionResult]:
        return [await workers.run(sample, payload, much) for payload in ("much", "little")]

    first, second = live(tmp_path, body)
    assert first.output in ("caught", "60000000") or first.error == "memory"
    assert second.output == "6"


def test_an_answer_that_waits_in_the_twin_is_the_role_s_error(tmp_path: Path) -> None:
    async def waits(text: str) -> str:
        await asyncio.sleep(1)
        return text

    async def role() -> None:
        reckoned(function(tmp_path, "def code(ctx, payload): return ctx.ask('a')"), "", waits)

    with pytest.raises(RuntimeError, match=r"The answer to a function waited for something; in the twin"):
        asyncio.run(role())


def test_a_reckoner_s_worker_serves_calls_that_ask_and_calls_that_do_not(tmp_path: Path) -> None:
    sample = function(tmp_path, "def code(ctx, payload): return ctx.ask('a') if payload else 'b'")
    reckoner = Reckoner()
    try:
        outputs = [
            reckoner.run(sample, payload, 1, 0, "w", None, None, None, None, answers).result.output
            for payload, answers in (("x", AtOnce(upper)), ("", None), ("x", AtOnce(upper)))
        ]
    finally:
        reckoner.close()
    assert outputs == ["A", "b", "A"]


def test_many_calls_ask_at_the_same_time(tmp_path: Path) -> None:
    async def later(text: str) -> str:
        await asyncio.sleep(0.001)
        return text

    sample = function(
        tmp_path, "def code(ctx, payload): return ','.join(ctx.ask(payload + str(n)) for n in range(5))", concurrency=4
    )

    async def body(workers: Workers) -> list[FunctionResult]:
        return await asyncio.gather(*(workers.run(sample, f"{number}-", later) for number in range(12)))

    outputs = [result.output for result in live(tmp_path, body)]
    assert outputs == [",".join(f"{number}-{n}" for n in range(5)) for number in range(12)]


def test_the_error_for_asking_can_be_caught_by_its_kind() -> None:
    assert issubclass(AskFailed, Exception) and not issubclass(AskFailed, OSError)
