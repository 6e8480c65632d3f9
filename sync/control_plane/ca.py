"""The plane's private certificate authority: made at first start, kept in the plane's folder."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import ipaddress
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge import LinesideError

from ..wire import WireFault

CA_DAYS, SERVER_DAYS, CLIENT_DAYS = 3650, 365, 90
PROXY = "lineside:proxy"  # the name of a proxy before the plane; no device can be called so


@dataclass(frozen=True)
class Asked:
    """A request for a certificate: who it says to be, and the public key, which it is proven to hold."""

    device: str
    public: ec.EllipticCurvePublicKey

    @classmethod
    def read(cls, request: bytes) -> Asked:
        """From PKCS #10, PEM. Raises WireFault."""
        try:
            asked = x509.load_pem_x509_csr(request)
            key, names = asked.public_key(), asked.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            fits = asked.is_signature_valid and len(names) == 1 and isinstance(key, ec.EllipticCurvePublicKey)
            if fits and isinstance(key.curve, ec.SECP256R1):  # type: ignore[union-attr]
                return cls(str(names[0].value), key)  # type: ignore[arg-type]
        except (ValueError, UnsupportedAlgorithm, InvalidSignature):
            pass
        raise WireFault("that is no request for a certificate with a P-256 key")

    @property
    def key(self) -> str:
        return hash_of(self.public)


def hash_of(key: ec.EllipticCurvePublicKey) -> str:
    """SHA-256 of a public key (SubjectPublicKeyInfo, RFC 5280), as hex: what is kept of it."""
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


class Authority:
    """Opens or makes the authority in `folder`; keys are 0600. Raises LinesideError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key, cert = folder / "ca.key", folder / "ca.pem"
        with alone(folder):
            if not cert.exists():
                self._make(key, cert)
        try:
            self._key = serialization.load_pem_private_key(key.read_bytes(), None)
            self.pem = cert.read_text()
            self._cert = x509.load_pem_x509_certificate(cert.read_bytes())
            whole = self._key.public_key() == self._cert.public_key()
        except (OSError, ValueError):
            whole = False
        if not whole:
            raise LinesideError(
                f"{key} and {cert.name} cannot be read, or are no pair",
                hint="copy both back from a backup; with both moved away a new authority is made and every device enrols anew",
            )

    @property
    def _since(self) -> datetime.datetime:
        return self._cert.not_valid_before_utc

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, as hex; what a token carries."""
        return hashlib.sha256(self._cert.public_bytes(serialization.Encoding.DER)).hexdigest()

    def _make(self, key_file: Path, cert_file: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Lineside plane")])
        cert = (
            _builder(name, name, key.public_key(), CA_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(ca=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        keep(key_file, _private(key))
        keep(cert_file, cert.public_bytes(serialization.Encoding.PEM))

    def server(self, names: list[str], folder: Path | None = None, stem: str = "server") -> tuple[Path, Path]:
        """(certificate, key) for a listener of ours under these host names and addresses; made anew at each start, and good from
        when the authority was made: a device's clock may be far behind."""
        key = ec.generate_private_key(ec.SECP256R1())
        cert = self._issue(
            key.public_key(), names[0][:64], SERVER_DAYS, [ExtendedKeyUsageOID.SERVER_AUTH], names, self._since
        )
        return self._keep(folder, stem, cert, key)

    def proxy(self, names: list[str]) -> tuple[Path, Path]:
        """(certificate, key) for a proxy that ends TLS before us: for devices, and as our own client, whose word we take."""
        key = ec.generate_private_key(ec.SECP256R1())
        uses = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
        return self._keep(
            None, "proxy", self._issue(key.public_key(), PROXY, SERVER_DAYS, uses, names, self._since), key
        )

    def own(self, name: str, folder: Path | None = None) -> tuple[Path, Path]:
        """(certificate, key) with which we ourselves knock at a broker; made anew at each connection."""
        key = ec.generate_private_key(ec.SECP256R1())
        cert = self._issue(key.public_key(), name, CLIENT_DAYS, [ExtendedKeyUsageOID.CLIENT_AUTH])
        return self._keep(folder, "client", cert, key)

    def check(self, cert: x509.Certificate) -> None:
        """Raises ValueError, TypeError or InvalidSignature where that is no certificate of ours."""
        cert.verify_directly_issued_by(self._cert)

    def client(self, asked: Asked) -> bytes:
        """A certificate (PEM) for a device and its key."""
        return self._issue(asked.public, asked.device, CLIENT_DAYS, [ExtendedKeyUsageOID.CLIENT_AUTH])

    def _issue(
        self,
        key: ec.EllipticCurvePublicKey,
        name: str,
        days: float,
        uses: Sequence[x509.ObjectIdentifier],
        names: Sequence[str] = (),
        since: datetime.datetime | None = None,
    ) -> bytes:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, self._cert.subject, key, days, since)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([_general(n) for n in names]), critical=False)
        cert = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._cert.public_key()),  # type: ignore[arg-type]
                critical=False,
            )
            .sign(self._key, hashes.SHA256())  # type: ignore[arg-type]
        )
        return cert.public_bytes(serialization.Encoding.PEM) + self.pem.encode()

    def _keep(self, folder: Path | None, stem: str, cert: bytes, key: ec.EllipticCurvePrivateKey) -> tuple[Path, Path]:
        folder = folder or self._folder
        cert_file, key_file = folder / f"{stem}.pem", folder / f"{stem}.key"
        keep(key_file, _private(key))
        keep(cert_file, cert)
        return cert_file, key_file


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    days: float,
    since: datetime.datetime | None = None,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(since or now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


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


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name.encode("idna").decode())
    except UnicodeError:
        raise LinesideError(f"{name!r} is neither a host name nor an address", hint="--name plane.example") from None


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process makes something in that folder."""
    line = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(line, fcntl.LOCK_EX)
        yield
    finally:
        os.close(line)


def keep(path: Path, body: bytes) -> None:
    """Write a file (0600) whole or not at all, also on a full disk."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(body)
    fresh.replace(path)
