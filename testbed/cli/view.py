"""The live view of a run on stderr: phase, invocations, latency and fidelity so far."""

from __future__ import annotations

from types import TracebackType

from rich.console import RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from testbed.cli.tables import err
from testbed.conduct import Progress


class LiveView:
    """Redraws one small table while a run goes on; on a pipe it prints one line a phase instead.

    The run goes on in a forked process, so the drawing (which needs a thread) begins there, with the first phase, and
    ends with :meth:`close`; the process that waits has a drawing of its own afterwards.
    """

    def __init__(self, title: str, quiet: bool = False) -> None:
        self.title, self.quiet = title, quiet
        self._phase = ""
        self._live: Live | None = None

    def __reduce__(self) -> tuple[type[LiveView], tuple[str, bool]]:
        return LiveView, (self.title, self.quiet)  # without the drawing, where the run goes on in a VM

    def __enter__(self) -> LiveView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the drawing away; the next phase begins another."""
        if self._live:
            self._live.stop()
            self._live = None

    def phase(self, name: str) -> None:
        """A new phase of the run has begun."""
        self._phase = name
        if self.quiet:
            return
        if err.is_terminal:
            self._draw(Text(f"{self.title}: {name} …"))
        else:
            err.print(f"{self.title}: {name}", soft_wrap=True)

    def progress(self, now: Progress) -> None:
        """Numbers of the workload so far."""
        if self.quiet or not err.is_terminal:
            return
        table = Table.grid(padding=(0, 2))
        table.add_row(f"{self.title}: {self._phase}", f"{max(0.0, now.t):.0f} s of {now.duration_s:.0f} s")
        counts = f"{now.sent} sent, {now.done} done, {now.failed} failed, {now.scheduled} scheduled"
        table.add_row("invocations", counts)
        if now.p50_s is not None:
            table.add_row("latency so far", f"median {now.p50_s * 1e3:.1f} ms")
        table.add_row("fidelity so far", now.fidelity)
        self._draw(table)

    def _draw(self, what: RenderableType) -> None:
        if self._live is None:
            self._live = Live(console=err, refresh_per_second=4, transient=True)
            self._live.start()
        self._live.update(what)
