"""The device's own certificate: what lets it in at a broker that knows the plane's authority, and nobody else.

The key is made here and stays here; the plane signs it for the secret of the enrolment. It says who knocks, nothing more: what
is asked is proven by the secret, as everywhere.
"""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edge import LinesideError, log

from .identity import Identity, keep_file

FILE = "device.pem"  # certificate and key
EARLY = 2 / 3  # of its time, after which a new one is asked for

Ask = Callable[[str, str, bytes], Awaitable[bytes]]


class Certificate:
    """What the state folder holds. `over` is the share of its time that is over by this clock; 1: none, or none of use."""

    def __init__(self, folder: Path, me: Identity) -> None:
        self.path, self._me = folder / FILE, me
        self._from = self._until = datetime.datetime.fromtimestamp(0, datetime.UTC)
        self._read()

    def _read(self) -> None:
        try:
            body = self.path.read_bytes()
            cert = x509.load_pem_x509_certificate(body)
            cert.verify_directly_issued_by(x509.load_pem_x509_certificate(self._me.ca.encode()))
            named = cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
            key = serialization.load_pem_private_key(body, None)
            if named != self._me.device or key.public_key() != cert.public_key():
                return
            self._from, self._until = cert.not_valid_before_utc, cert.not_valid_after_utc
        except (OSError, ValueError, TypeError, IndexError, InvalidSignature):
            return

    @property
    def over(self) -> float:
        now, whole = datetime.datetime.now(datetime.UTC), (self._until - self._from).total_seconds()
        return (now - self._from).total_seconds() / whole if whole > 0 and now < self._until else 1.0

    async def renew(self, ask: Ask) -> None:
        """Get a new one of the plane, for a new key; where that fails the old one stays."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._me.device)])
        request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
        try:
            signed = await ask("POST", "/d/v1/certificate", request.public_bytes(serialization.Encoding.PEM))
            if x509.load_pem_x509_certificate(signed).public_key() != key.public_key():
                raise ValueError("it is for another key")
            secret = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            keep_file(self.path, (signed + secret).decode())
        except (LinesideError, ValueError, OSError) as error:
            log.warning("sync: no new certificate of the plane: %s", error)
            return
        self._read()

    def show(self, context: ssl.SSLContext) -> None:
        """Let `context` show it, where there is one."""
        try:
            if self.over < 1:
                context.load_cert_chain(self.path)
        except OSError as error:  # gone or spoiled since it was read
            log.warning("sync: %s cannot be shown: %s", self.path, error)
            self._until = self._from
