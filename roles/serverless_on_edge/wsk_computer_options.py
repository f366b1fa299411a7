"""The parameters of a computer that has an OpenWhisk server execute its calls, and what they say of that server."""

from __future__ import annotations

import ssl

from pydantic import Field

from roles.openwhisk.options import PORT
from roles.serverless_on_edge.options import AgentOptions, Port, SecondsAboveZero, endpoint
from roles.serverless_on_edge.wsk_keys import Key, authorization
from testbed.errors import TestbedError
from testbed.roles.api import Site

OWN = "_"  # the namespace of the key
USUAL = "guest"  # where an OpenWhisk server of the experiment has the experiment's functions


class WskComputerOptions(AgentOptions):
    """A computer that has an OpenWhisk server execute its calls."""

    server_endpoint: Port = Field(10000, description="Port for calls.")
    wsk_api_root: str = Field(
        "", description="Where the server is, `http://` or `https://`; a node of the experiment may stand for an "
        "address. By default the nearest `openwhisk`."
    )  # fmt: skip
    wsk_auth: Key = Field(
        "", description="Its key there: `UUID:KEY`, or that in base64 (then it is in the run's files), or the absolute "
        "path of a file on the node's machine with lines NAMESPACE UUID:KEY. By default the original's public keys."
    )  # fmt: skip
    wsk_user: str = Field("whisk.system", description="Whose key, of those in a file and of the public ones.")
    wsk_namespace: str = Field(
        "", description="Whose actions it offers; `_`: those of the key's own namespace, which is the default for a "
        "key that is given in `wsk-auth` itself. Else `guest`."
    )  # fmt: skip
    wsk_authority: str = Field(
        "", description="PEM file of whom to trust with https, on the node's machine; empty: whom the machine trusts; "
        "`any`: whoever answers, as the original does."
    )  # fmt: skip
    look_period: SecondsAboveZero = Field(1.0, description="Time between two questions which actions there are.")
    back_off: SecondsAboveZero = Field(8.0, description="Longest such time while the server does not answer.")
    call_timeout: SecondsAboveZero = Field(70.0, description="A call that takes longer is given up.")

    def authorization(self) -> str:
        """The header that shows the key; raises TestbedError, which does not tell it."""
        return authorization(self.wsk_auth, self.wsk_user)

    def namespace(self) -> str:
        """Whose actions are offered."""
        return self.wsk_namespace or (OWN if self.wsk_auth and not self.wsk_auth.startswith("/") else USUAL)

    def root(self, site: Site) -> tuple[str, str]:
        """The scheme, and ``address:port``, of the server; raises TestbedError if nobody says where it is."""
        node = site.nearest("openwhisk")
        if not self.wsk_api_root and node is None:
            raise TestbedError("edgecomputerwsk needs a wsk-api-root, or the role openwhisk on a node.")
        if not self.wsk_api_root:
            return "http", site.endpoint(node or "", PORT)
        scheme, _, host = self.wsk_api_root.rpartition("://")
        host = host.removesuffix("/")
        if scheme not in ("", "http", "https") or not host or "/" in host:
            raise TestbedError(f"The wsk-api-root {self.wsk_api_root!r} of {site.node} is no http://HOST:PORT.")
        return scheme or "http", endpoint(site, host, {"": PORT, "http": 80, "https": 443}[scheme])

    def trust(self, site: Site) -> ssl.SSLContext | None:
        """Whom to trust with https; None with http. Raises TestbedError."""
        if self.root(site)[0] == "http":
            return None
        try:
            anyone = self.strict_original or self.wsk_authority == "any"
            found = ssl.create_default_context(cafile=None if anyone else self.wsk_authority or None)
        except OSError as error:
            raise TestbedError(f"The wsk-authority {self.wsk_authority} cannot be read: {error}.") from None
        if anyone:
            found.check_hostname, found.verify_mode = False, ssl.CERT_NONE
        return found
