"""Devices that are enrolled, without the enrolment: a key, and the certificate that a connection shows."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from sync.control_plane.ca import Asked, Authority
from sync.control_plane.heads import SHOWN
from sync.device import identity, key
from sync.device.certificate import Certificate


class Shown(NamedTuple):
    """`row` of the plane's table; `scope` of a request over a connection that has shown the certificate; `pem` of that."""

    row: dict[str, Any]
    scope: dict[str, Any]
    pem: bytes


def shown(authority: Authority, device: str, secret: str = "") -> Shown:
    asked = Asked.read(key.request(key.made(), device).encode())
    pem = authority.client(asked)
    row = {"id": device, "secret": secret, "key": asked.key, "enrolled": 1.0, "seen": 0.0}
    return Shown(row, {SHOWN: x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)}, pem)


def tls_of(folder: Path, device: str) -> ssl.SSLContext:
    """How the device of this state folder speaks TLS."""
    me = identity.load(folder, device)
    context = me.tls()
    Certificate(folder, me).show(context)
    return context
