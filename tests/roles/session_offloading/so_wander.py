"""An oracle without a purpose: sessions go up and down at random."""

from random import Random


def wander(now, before):
    """Mostly one move, sometimes a change of mind."""
    rng = Random(f"{now.location} {now.t:.3f}")
    word = rng.choice(["offload", "offload", "onload", "onload", "accept", "reject", ""])
    if word == "offload" and not now.sessions:
        return []
    return [word] if word else []
