"""What always holds of computers that have OpenWhisk servers execute their calls."""

from __future__ import annotations

from collections.abc import Iterator

from roles.openwhisk.server import Server
from roles.serverless_on_edge.wsk_computer import WskComputer
from testbed.roles.api import Invariant, Observed

SLACK_S = 1.0


def _offers(seen: Observed) -> Iterator[str]:
    for role in seen.agents.values():
        if isinstance(role, WskComputer) and not role.options.strict_original:
            wanted, within = _wanted(role, seen), role.actions.slowest_s + SLACK_S
            offered = {container.function for container in role.information().containers}
            if wanted is not None and offered != wanted and seen.now - seen.since > within:
                odd = ", ".join(sorted(offered ^ wanted))
                yield (f"{role.site.node} offers not what the server at {role.actions.root} has, in {odd}, "
                       f"{seen.now - seen.since:.2f} s after the last change; {within:g} s are allowed")  # fmt: skip


def _wanted(role: WskComputer, seen: Observed) -> set[str] | None:
    """The actions of its server, none of a dead one; None if it is no server of the experiment's."""
    for node in role.site.places.get("openwhisk", ()):
        server = seen.agents.get((node, "openwhisk"))
        if role.actions.root.startswith(f"http://{role.site.endpoint(node, 0)[:-1]}"):
            found = server.store.actions(role.options.namespace()) if isinstance(server, Server) else ()
            return {f"/{each.name.path}" for each in found}
    return None


ALL: tuple[Invariant, ...] = (
    Invariant(
        "offers what there is",
        "A computer with an OpenWhisk server offers the actions that the server has, and none while it is gone: within "
        f"the time that three questions take, or back-off and one question, + {SLACK_S:g} s after the last change.",
        _offers,
    ),
)
