"""Speech to text, modelled: it takes a processor as long as the real one, for audio of the same size.

The original took 20 s of a processor for 1.764 MB of audio (10 s at 44.1 kHz, 16 bits, two channels), and had a history
of 0.5 MB. Each byte of the body is a byte of audio here; what is said in it is made up. The text so far is the session.
COMPUTED is the share of the time that really takes a processor; for the rest it waits, so that one machine can play
many.
"""

from roles.session_offloading.offloadable import Offloadable, Request

SECONDS_PER_BYTE = 20.0 / 1_764_000
COMPUTED = 0.1
BYTES_PER_WORD = 70_560  # 2.5 words a second
HISTORY = 500_000
TEXT = "the edge is near the cloud is far and what you said goes with you wherever you go"


class Transcribe(Offloadable):
    """The key ``history`` has the last half megabyte of what was said, ``bytes`` how much was heard."""

    def handle_offload(self, request: Request) -> str:
        """Work, and write down."""
        size = len(request.body.encode("utf-8", "surrogatepass"))
        self.ctx.compute(size * SECONDS_PER_BYTE * COMPUTED)
        self.ctx.sleep(size * SECONDS_PER_BYTE * (1 - COMPUTED))
        heard = int(self.edge_db.get("bytes") or 0)
        numbers = range(heard // BYTES_PER_WORD, (heard + size) // BYTES_PER_WORD)
        words = TEXT.split()
        said = " ".join(words[number % len(words)] for number in numbers)
        history = f"{self.edge_db.get('history') or ''} {said}".strip()
        self.edge_db.set("bytes", str(heard + size))
        self.edge_db.set("history", history[-HISTORY:])
        return said + "\n"


def code(ctx, payload):
    """The function."""
    return Transcribe(ctx).serve(payload)
