"""When sessions move in these experiments: each function looks at one location and says what it is told to do."""

seen = {}  # session -> when it was first seen; a policy is loaded once for each run


def up(now, before):
    """Everything goes up, as soon as it is there."""
    return [f"offload {session}" for session in sorted(now.sessions)] if now.location == "edge" else []


def none_of_them(now, before):
    """Everything stays."""
    return []


def half_of_them(now, before):
    """Every other session goes up, by the number at the end of its name."""
    even = [session for session in sorted(now.sessions) if int(session.rpartition("-")[2]) % 2 == 0]
    return [f"offload {session}" for session in even] if now.location == "edge" else []


def after_three_seconds(now, before):
    """A session goes up three seconds after it was first seen, and stays there."""
    if now.location != "edge":
        return []
    return [f"offload {session}" for session in sorted(now.sessions) if now.t - seen.setdefault(session, now.t) >= 3]


def to_and_fro(now, before):
    """What is at the edge goes up; when nothing is there, something comes down."""
    if now.location != "edge":
        return []
    return ["offload"] if now.sessions else ["onload"]
