"""Who asks, by the certificate that a connection has shown: a device, or a proxy that says who asked it."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from starlette.requests import Request

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
    found = _judged(request.scope.get(SHOWN), authority)
    if found is None or found.name != PROXY:
        return found
    said = request.headers.get(HEADER, "")
    if not found.good or len(said) > MOST_HEADER:
        return None
    found = _judged(_der(said), authority)
    return found if found and found.name != PROXY else None


def _judged(der: bytes | None, authority: Authority) -> Who | None:
    found = _read(der) if der else None
    return found._replace(signed=authority.signed(der)) if found and der else None


@lru_cache(MOST_KNOWN)
def _read(der: bytes) -> Who | None:
    cert = x509.load_der_x509_certificate(der)
    key, names = cert.public_key(), cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not names or not isinstance(key, ec.EllipticCurvePublicKey):
        return None
    times = cert.not_valid_before_utc.timestamp(), cert.not_valid_after_utc.timestamp()
    return Who(str(names[0].value), hash_of(key), *times)


@lru_cache(MOST_KNOWN)
def _der(said: str) -> bytes | None:
    """What a proxy says was shown to it. It has seen that who asked holds the key; whether the certificate is ours is seen here."""
    try:
        return x509.load_pem_x509_certificate(unquote(said).encode()).public_bytes(Encoding.DER)
    except chain.NOT_OURS:
        return None
