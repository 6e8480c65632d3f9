"""Who asks, by the certificate that a connection has shown: a device, or a proxy that says who asked it."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.requests import Request

from .ca import PROXY, Authority, hash_of
from .heads import SHOWN

HEADER = (
    "lineside-certificate"  # a proxy's: what was shown to it, PEM with % escapes, as nginx's $ssl_client_escaped_cert
)
MOST_HEADER = 8192
MOST_KNOWN = 65_536  # certificates that are read once; more than one process has connections


class Who(NamedTuple):
    """The name in a certificate, the hash of its key, and from when until when it is good (s UTC)."""

    name: str
    key: str
    since: float
    until: float

    @property
    def good(self) -> bool:
        return self.since <= time.time() < self.until


def who(request: Request, authority: Authority) -> Who | None:
    """Who holds the key, as TLS has proven: the far side of the connection, or who asked our own proxy. None: nobody in particular.
    Whether a certificate's time is over is for the caller to see: TLS itself would end the connection without a word."""
    shown = request.scope.get(SHOWN)
    found = _read(shown) if shown else None
    if found is None or found.name != PROXY:
        return found
    said = request.headers.get(HEADER, "")
    return _vouched(said, authority) if found.good and 0 < len(said) <= MOST_HEADER else None


@lru_cache(MOST_KNOWN)
def _read(der: bytes) -> Who | None:
    return _who(x509.load_der_x509_certificate(der))


@lru_cache(MOST_KNOWN)
def _vouched(said: str, authority: Authority) -> Who | None:
    """The proxy has seen that who asked holds the key. Whether the certificate is ours is seen here."""
    try:
        cert = x509.load_pem_x509_certificate(unquote(said).encode())
        authority.check(cert)
        found = _who(cert)
    except (ValueError, TypeError, InvalidSignature):
        return None
    return found if found and found.name != PROXY else None


def _who(cert: x509.Certificate) -> Who | None:
    key, names = cert.public_key(), cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not names or not isinstance(key, ec.EllipticCurvePublicKey):
        return None
    times = cert.not_valid_before_utc.timestamp(), cert.not_valid_after_utc.timestamp()
    return Who(str(names[0].value), hash_of(key), *times)
