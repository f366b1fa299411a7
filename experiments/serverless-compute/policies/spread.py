"""A scheduling policy: each call to the node with the most slots that nobody has claimed, equals in their order.

Where the built-in ``fcfs`` packs calls on the first nodes, this one spreads them. A node that has an idle container of
the function, and a slot for it, goes before all others.

    testbed run FILE --set settings.serverless_compute.head.scheduler=policies/spread.py:schedule
"""

from roles.serverless_compute.policies import Copy, Dispatch, Load


def schedule(pending, view):
    """Decisions for the pending calls, in the order of their submission."""
    free = {name: node.free_slots for name, node in view.nodes.items()}
    idle = {name: list(node.idle.values()) for name, node in view.nodes.items()}
    decided = {}  # without repetitions, in order
    for call in pending:
        names = [name for name in free if free[name] > 0]
        if not names:
            break
        hot = [name for name in names if call.registration in idle[name]]
        name = hot[0] if hot else max(names, key=free.get)
        free[name] -= 1
        if hot:
            idle[name].remove(call.registration)
        stage = view.nodes[name].image(call.image)
        if hot or stage == "in_ram":
            decided[Dispatch(call.invocation, name)] = None
        elif stage == "absent":
            decided[Copy(call.image, name)] = None
        elif stage == "on_disk":
            decided[Load(call.image, name)] = None
        # copying, loading: wait; the slot stays claimed
    return list(decided)
