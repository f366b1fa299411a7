"""A shopping cart: one line of the body for each wish.

    apple            one more apple
    remove apple     all apples out again
    checkout         an empty cart
    (nothing)        only look

The answer is the cart, {"apple": 2}.
"""

import json
from collections import Counter

from roles.session_offloading.offloadable import Offloadable, Request


class Cart(Offloadable):
    """The list ``items`` has what was put in, in order."""

    def handle_offload(self, request: Request) -> str:
        """Do what each line says."""
        for line in request.body.splitlines():
            self.obey(line.strip())
        return json.dumps(Counter(self.edge_db.get_list("items")))

    def obey(self, line: str) -> None:
        """Do what one line says."""
        word, _, product = line.partition(" ")
        if line == "checkout":
            self.edge_db.delete("items")
        elif word == "remove" and product:
            left = [each for each in self.edge_db.get_list("items") if each != product]
            self.edge_db.delete("items")
            for each in left:
                self.edge_db.add_to_list("items", each)
        elif line:
            self.edge_db.add_to_list("items", line)


def code(ctx, payload):
    """The function."""
    return Cart(ctx).serve(payload)
