"""TLS on the data path: keys that the program makes for one run, or that the user gives.

A run has an authority of its own, whose key is forgotten as soon as the run's agents have theirs; each agent has a key
and a certificate for its own address.
"""

from __future__ import annotations

import ipaddress
import ssl
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from roles.serverless_on_edge.options import TlsConf
from testbed.errors import TestbedError
from testbed.roles.api import Site

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

AUTHORITY, CERTIFICATE, KEY = "tls/authority.pem", "tls/certificate.pem", "tls/key.pem"
VALID = timedelta(days=30)
EARLIER = timedelta(days=1)  # clocks of other machines may be behind


@dataclass(frozen=True)
class Keys:
    """PEM texts: whom an agent trusts, its own certificate and key (never shown)."""

    authority: bytes
    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Keys(...)"


def _files(conf: TlsConf, folder: Path) -> tuple[Path, Path, Path]:
    if conf.key:
        return Path(conf.authority), Path(conf.certificate), Path(conf.key)
    return folder / AUTHORITY, folder / CERTIFICATE, folder / KEY


def own(conf: TlsConf, folder: Path) -> Keys:
    """The keys of one agent: those that its user gives, else those of the run in the agent's ``folder``."""
    return read(*_files(conf, folder))


def for_clients(conf: TlsConf, folder: Path) -> ssl.SSLContext:
    """What an agent serves clients over HTTPS with; raises TestbedError as :func:`read` does."""
    authority, certificate, key = _files(conf, folder)
    read(authority, certificate, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        raise TestbedError(f"{certificate} and {key} are no certificate and its key: {error}.") from error
    return context


def for_servers(conf: TlsConf, folder: Path) -> ssl.SSLContext:
    """What an agent trusts HTTPS servers with; raises TestbedError as :func:`read` does."""
    return ssl.create_default_context(cadata=own(conf, folder).authority.decode())


def read(authority: Path, certificate: Path, key: Path) -> Keys:
    """Keys from files; raises TestbedError for those that cannot be read, and for a key that others can read."""
    try:
        mode = stat.S_IMODE(key.stat().st_mode)
        if mode & 0o077:
            raise TestbedError(f"The key {key} can be read by others (mode {mode:04o}). Try: chmod 600 {key}")
        return Keys(authority.read_bytes(), certificate.read_bytes(), key.read_bytes())
    except OSError as error:
        raise TestbedError(f"TLS needs {error.filename}: {error.strerror}.") from error


def made(sites: Sequence[Site]) -> Mapping[tuple[str, str], Mapping[str, str]]:
    """The files of each agent, by node and role, with their paths below the agent's folder."""
    if not sites:
        return {}
    from cryptography.hazmat.primitives.asymmetric import ec  # only runs with TLS need it

    top = ec.generate_private_key(ec.SECP256R1())
    authority = _signed("authority of one run", top, top, None)
    found = {}
    for site in sites:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _signed(f"{site.role} on {site.node}", key, top, site.address)
        found[site.node, site.role] = {
            AUTHORITY: _pem(authority), CERTIFICATE: _pem(certificate), KEY: _private(key),
        }  # fmt: skip
    return found


def _signed(
    name: str, key: EllipticCurvePrivateKey, top: EllipticCurvePrivateKey, address: str | None
) -> x509.Certificate:
    """A certificate for an agent's address, or of the authority itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import NameOID

    def called(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])

    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(called("authority of one run"), called(name), key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(now + VALID)
        .add_extension(x509.BasicConstraints(ca=address is None, path_length=None), critical=True)
    )
    if address is not None:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(top, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM).decode()


def _private(key: EllipticCurvePrivateKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
