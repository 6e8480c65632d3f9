"""Who asks, by the certificate that a connection has shown: a device, or a proxy that says who asked it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from starlette.requests import Request
from starlette.types import Scope

from .. import chain
from .ca import MOST_KNOWN, PROXY, Authority, hash_of
from .heads import SHOWN

HEADER = (
    "lineside-certificate"  # a proxy's: what was shown to it, PEM with % escapes, as nginx's $ssl_client_escaped_cert
)
MOST_HEADER = 8192


class Who(NamedTuple):
    """The name in a certificate, the hash of its key, from when until when it is good (s UTC), and whether who signed it may."""

    name: str
    key: str
    since: float
    until: float
    signed: bool = True

    @property
    def good(self) -> bool:
        return self.signed and self.since <= time.time() < self.until


def who(request: Request, authority: Authority) -> Who | None:
    """Who holds the key, as TLS has proven: the far side of the connection, or who asked our own proxy. None: nobody in particular.
    Whether a certificate's time is over is for the caller to see: TLS itself would end the connection without a word. So is whether
    its issuer's word counts: TLS believes each that the root ever had."""
    shown: bytes | None = request.scope.get(SHOWN)
    found = _read(shown) if shown else None
    if found is None or shown is None:
        return None
    found = found._replace(signed=authority.signed(shown))
    if found.name != PROXY:
        return found
    said = request.headers.get(HEADER, "")
    if not found.good or len(said) > MOST_HEADER:
        return None
    try:
        found = _vouched(said, authority.signed)
    except NotOurs as other:
        found = other.who
    return found if found and found.name != PROXY else None


def speaker(scope: Scope, authority: Authority) -> str:
    """Whom a request counts for: the device that it proves to come from; else the address."""
    found = who(Request(scope), authority)
    return f"device {found.name}" if found and found.signed else f"from {(scope.get('client') or ('',))[0]}"


class NotOurs(Exception):
    """A certificate that nobody has signed whose word counts. Raised, since what is raised is not remembered: anybody can show a
    proxy as many of them as he likes."""

    def __init__(self, who: Who | None = None) -> None:
        super().__init__()
        self.who = who


@lru_cache(MOST_KNOWN)
def _vouched(said: str, signed: Callable[[bytes], bool]) -> Who | None:
    """Whom a proxy names. It has seen that who asked holds the key; whether the certificate is ours is seen here. Raises
    NotOurs."""
    try:
        der = x509.load_pem_x509_certificate(unquote(said).encode()).public_bytes(Encoding.DER)
        found = _read.__wrapped__(der)
    except chain.NOT_OURS:
        raise NotOurs from None
    if not signed(der):
        raise NotOurs(found and found._replace(signed=False))
    return found


@lru_cache(MOST_KNOWN)
def _read(der: bytes) -> Who | None:
    cert = x509.load_der_x509_certificate(der)
    key, names = cert.public_key(), cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not names or not isinstance(key, ec.EllipticCurvePublicKey):
        return None
    times = cert.not_valid_before_utc.timestamp(), cert.not_valid_after_utc.timestamp()
    return Who(str(names[0].value), hash_of(key), *times)
