"""Issuers whose word counts no more, as the root of a plane says it: its list of revoked certificates (RFC 5280, 5), and beside it
those certificates, each as OpenSSL takes one that is to be refused. PEM, which who knows nothing of it passes over."""

from __future__ import annotations

import base64
import contextlib
import datetime
import re
from collections.abc import Iterable, Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from . import chain

MOST = 1000  # blocks that are looked at
BLOCK = re.compile(r"-----BEGIN (X509 CRL|TRUSTED CERTIFICATE)-----([^-]+)-----END \1-----")  # no text takes long
# what OpenSSL reads behind such a certificate: reject anyExtendedKeyUsage
FOR_NOTHING = bytes.fromhex("3008a0060604551d2500")


def word(key: ec.EllipticCurvePrivateKey, root: x509.Certificate, issuers: Iterable[x509.Certificate]) -> str:
    """The root's own word on all of these."""
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateRevocationListBuilder(root.subject, now, root.not_valid_after_utc)
    for cert in issuers:
        one = x509.RevokedCertificateBuilder(cert.serial_number, now).build()
        builder = builder.add_revoked_certificate(one)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def rejecting(cert: x509.Certificate) -> str:
    """PEM by which OpenSSL refuses every chain that it is part of, whoever shows it."""
    text = base64.encodebytes(cert.public_bytes(Encoding.DER) + FOR_NOTHING).decode()
    return f"-----BEGIN TRUSTED CERTIFICATE-----\n{text}-----END TRUSTED CERTIFICATE-----\n"


def read(said: str) -> list[x509.Certificate]:
    """Those that are to be refused, whoever says so."""
    found = list[x509.Certificate]()
    for body in _bodies(said, "TRUSTED CERTIFICATE"):
        with contextlib.suppress(ValueError):
            found.append(x509.load_der_x509_certificate(body[: _size(body)]))
    return found


def proven(said: str, root: x509.Certificate) -> list[x509.Certificate]:
    """Those of which the root says so, and that it had signed."""
    lists, key = list[x509.CertificateRevocationList](), root.public_key()
    for body in _bodies(said, "X509 CRL"):
        with contextlib.suppress(*chain.NOT_OURS):
            one = x509.load_der_x509_crl(body)
            if isinstance(key, ec.EllipticCurvePublicKey) and one.is_signature_valid(key):
                lists.append(one)
    return [cert for cert in read(said) if chain.leads_to(root, [cert]) and _listed(cert, lists)]


def _listed(cert: x509.Certificate, lists: Sequence[x509.CertificateRevocationList]) -> bool:
    return any(one.get_revoked_certificate_by_serial_number(cert.serial_number) is not None for one in lists)


def _bodies(said: str, label: str) -> list[bytes]:
    out = list[bytes]()
    for match in list(BLOCK.finditer(said))[:MOST]:
        with contextlib.suppress(ValueError):
            out += [base64.b64decode(match[2])] if match[1] == label else []
    return out


def _size(der: bytes) -> int:
    """Bytes of the first thing in them (X.690, 8.1.3), with its head."""
    if len(der) < 2 or der[1] < 0x80:
        return 2 + (der[1] if len(der) > 1 else 0)
    more = der[1] & 0x7F
    return 2 + more + int.from_bytes(der[2 : 2 + more], "big")
