"""Who signs for a root: a key of its own and a certificate of the root's, so that the root's key may lie elsewhere."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge import LinesideError

ROOT_DAYS, ISSUER_DAYS = 7300, 1825
NAME = "Lineside plane"
SERVES, KNOCKS = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
STAMPS = ExtendedKeyUsageOID.TIME_STAMPING
USES = {"device": (KNOCKS,), "plane": (KNOCKS,), "server": (SERVES,), "proxy": (SERVES, KNOCKS), "witness": (STAMPS,)}


class Wanted(NamedTuple):
    """A certificate that is asked for: what it is for (see USES), in whose name, for which key, for how many days, with a request
    (PEM) that says the same; for a listener under which names and addresses; and from when, if not from now."""

    kind: str
    name: str
    key: ec.EllipticCurvePublicKey
    days: float
    request: bytes = b""
    names: Sequence[str] = ()
    since: datetime.datetime | None = None

    @property
    def uses(self) -> tuple[x509.ObjectIdentifier, ...]:
        return USES[self.kind]


@dataclass(frozen=True)
class Issuer:
    """`cert` is the root's word for `key`."""

    key: ec.EllipticCurvePrivateKey
    cert: x509.Certificate

    def sign(self, wanted: Wanted) -> list[x509.Certificate]:
        """The certificate, and those above it up to the root, which is left out."""
        builder = _builder(_name(wanted.name), self.cert.subject, wanted.key, self._times(wanted))
        if wanted.names:
            names = x509.SubjectAlternativeName(names_of(wanted.names))
            builder = builder.add_extension(names, critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(ca=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(wanted.uses), critical=False)
        return [_under(builder, self.cert).sign(self.key, hashes.SHA256()), self.cert]

    def _times(self, wanted: Wanted) -> tuple[datetime.datetime, datetime.datetime]:
        since, until = times(wanted.days, wanted.since)
        return since, min(until, self.cert.not_valid_after_utc) if until > since else until

    def due(self, above: x509.Certificate) -> bool:
        """Whether it is time for one that is good for longer, as far as the root `above` is."""
        until, third = self.cert.not_valid_after_utc, datetime.timedelta(days=ISSUER_DAYS / 3)
        return until - datetime.datetime.now(datetime.UTC) < third and until < above.not_valid_after_utc


def root(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    builder = _builder(_name(NAME), _name(NAME), key.public_key(), times(ROOT_DAYS))
    return _authority(builder, key.public_key(), path_length=1).sign(key, hashes.SHA256())


def issuer(key: ec.EllipticCurvePrivateKey, above: x509.Certificate) -> Issuer:
    """A new one, signed by the key of the root `above`, and good from when that was made: a device's clock may be far behind.

    A root of before there were issuers says that none may stand below it. One of its own name it does not count (RFC 5280, 6.1.4,
    "self-issued"), so devices that know such a root believe its issuers without hearing of anything."""
    fresh = ec.generate_private_key(ec.SECP256R1())
    below = above.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
    name = above.subject if below == 0 else _name(f"{NAME}: issuer of {datetime.datetime.now(datetime.UTC):%Y-%m-%d}")
    until = min(times(ISSUER_DAYS)[1], above.not_valid_after_utc)
    builder = _builder(name, above.subject, fresh.public_key(), (above.not_valid_before_utc, until))
    builder = _under(_authority(builder, fresh.public_key(), path_length=0), above)
    return Issuer(fresh, builder.sign(key, hashes.SHA256()))


def request(key: ec.EllipticCurvePrivateKey, name: str, names: Sequence[str]) -> bytes:
    """PKCS #10, PEM."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_name(name))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names_of(names)), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def private(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PEM, not encrypted."""
    encoding = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(*encoding)


def pem(chain: Sequence[x509.Certificate]) -> bytes:
    return b"".join(cert.public_bytes(serialization.Encoding.PEM) for cert in chain)


def times(days: float, since: datetime.datetime | None = None) -> tuple[datetime.datetime, datetime.datetime]:
    """(from, until) of so many days from now on, a day back for clocks that are behind."""
    now = datetime.datetime.now(datetime.UTC)
    return since or now - datetime.timedelta(days=1), now + datetime.timedelta(days=days)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    good: tuple[datetime.datetime, datetime.datetime],
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(good[0]).not_valid_after(good[1])


def _authority(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePublicKey, path_length: int
) -> x509.CertificateBuilder:
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
    builder = builder.add_extension(_usage(ca=True), critical=True)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _under(builder: x509.CertificateBuilder, above: x509.Certificate) -> x509.CertificateBuilder:
    key = above.public_key()
    known = x509.AuthorityKeyIdentifier.from_issuer_public_key(key)  # type: ignore[arg-type]
    return builder.add_extension(known, critical=False)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def names_of(names: Sequence[str]) -> list[x509.DNSName | x509.IPAddress]:
    """Raises LinesideError."""
    return [_general(name) for name in names]


def _general(name: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name.encode("idna").decode())
    except UnicodeError:
        raise LinesideError(f"{name!r} is neither a host name nor an address", hint="--name plane.example") from None
