"""The device's own certificate, the server certificates on its trust list, and the last one of each server that was refused.

Below the device's state folder: `opcua/own.key` (0600) and `opcua/own.der`, `opcua/trusted/*` (DER or PEM),
`opcua/refused/DRIVER.der`.
"""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge import SECOND, DeviceRefused, log

MOST_BYTES = 65_536  # of a certificate's file
ENOUGH = 16  # digits of a fingerprint that name a certificate
BEGIN, END = datetime.datetime(2024, 1, 1), datetime.datetime(2049, 1, 1)  # fixed: a new device may have no clock yet


@dataclass(frozen=True)
class Own:
    """The device as an OPC UA application: private key (PEM), certificate (DER), and the application URI inside it."""

    key: bytes
    certificate: bytes
    uri: str


def own(state: Path) -> Own:
    """The device's key and certificate, made at the first call. Blocks (a key takes up to seconds). Raises DeviceRefused."""
    folder = _made(state / "opcua")
    key, certificate = folder / "own.key", folder / "own.der"
    try:
        with (folder / "own.lock").open("w") as alone:
            fcntl.flock(alone, fcntl.LOCK_EX)  # two drivers, or `lineside check`, may come at once
            if not (key.exists() and certificate.exists()):
                _make(key, certificate)
        der = certificate.read_bytes()
        names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName)
        uri = names.value.get_values_for_type(x509.UniformResourceIdentifier)[0]
        return Own(key.read_bytes(), der, uri)
    except (ValueError, LookupError, x509.ExtensionNotFound):
        hint = "delete it and own.key; servers must then trust the new one"
        raise DeviceRefused(f"{certificate} is no certificate of this device", hint=hint) from None


def _make(key: Path, certificate: Path) -> None:
    """A self-signed application certificate by OPC UA part 6, 6.2.2."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    host, name = socket.gethostname(), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Lineside")])
    for_what = {
        **dict.fromkeys(("key_agreement", "crl_sign", "encipher_only", "decipher_only"), False),
        **dict.fromkeys(("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"), True),
        "key_cert_sign": True,
    }
    public = private.public_key()
    names = [x509.UniformResourceIdentifier(f"urn:{host}:lineside"), x509.DNSName(host)]
    signed = (
        x509.CertificateBuilder(name, name, public, x509.random_serial_number(), BEGIN, END)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**for_what), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(private, hashes.SHA256())
    )
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    _written(key, private.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    _written(certificate, signed.public_bytes(serialization.Encoding.DER))


def raise_unless_trusted(state: Path, driver: str, der: bytes) -> None:
    """Raises DeviceRefused, naming the certificate and how to trust it, unless it is on the list. It is kept for
    `lineside trust`."""
    folder = state / "opcua"
    if any(found == der for found in map(_read, sorted((folder / "trusted").glob("*")))):
        return
    if len(der) > MOST_BYTES:
        raise DeviceRefused(f"the server's certificate has {len(der):,} bytes")
    _written(_made(folder / "refused") / f"{driver}.der", der)
    digits = fingerprint(der)
    raise DeviceRefused(
        f"the server's certificate is not trusted: {subject(der)}, SHA-256 {digits}",
        hint=f"compare it with the one that the server shows, then `lineside trust SITE {driver} {digits[:ENOUGH]}`",
    )


def refused(state: Path, driver: str) -> bytes | None:
    """The certificate that this driver met last and did not trust."""
    path = state / "opcua" / "refused" / f"{driver}.der"
    return path.read_bytes() if path.exists() else None


def trust(state: Path, driver: str, der: bytes) -> Path:
    """Put a certificate on the list."""
    path = _made(state / "opcua" / "trusted") / f"{driver}-{fingerprint(der)[:ENOUGH]}.der"
    _written(path, der)
    (state / "opcua" / "refused" / f"{driver}.der").unlink(missing_ok=True)
    return path


def fingerprint(der: bytes) -> str:
    """SHA-256 of the whole certificate, as hexadecimal digits."""
    return hashlib.sha256(der).hexdigest()


def subject(der: bytes) -> str:
    """Whose certificate it says it is, fit for a terminal."""
    try:
        said = x509.load_der_x509_certificate(der).subject.rfc4514_string()
    except ValueError:
        return "not readable"
    return "".join(c if c.isprintable() else "?" for c in said[:100]) or "without a name"


def validity(der: bytes) -> tuple[datetime.datetime, datetime.datetime] | None:
    """From when to when a certificate is valid (UTC); None where that cannot be read."""
    try:
        found = x509.load_der_x509_certificate(der)
        return found.not_valid_before_utc, found.not_valid_after_utc
    except ValueError:
        return None


def out_of_date(der: bytes, now: float) -> str:
    """What is to be said of a trusted certificate whose time is over, or has not come, at `now` (ns UTC); else empty. It stays
    trusted: who put it on the list named this very one, and a date stops no acquisition."""
    when = datetime.datetime.fromtimestamp(now / SECOND, datetime.UTC)
    if (found := validity(der)) is None or found[0] <= when <= found[1]:
        return ""
    word, date = ("ended", found[1]) if when > found[1] else ("begins", found[0])
    return f"the server's certificate {word} on {date:%Y-%m-%d}, and is used as it is on the list; give the server a new one"


def _read(path: Path) -> bytes | None:
    """The DER of a file on the list, be it DER or PEM."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError("too large")
        found = path.read_bytes()
        if found.startswith(b"-----BEGIN"):
            return x509.load_pem_x509_certificate(found).public_bytes(serialization.Encoding.DER)
        return found
    except (OSError, ValueError) as error:
        log.warning("%s is no certificate and is passed over: %s", path, error)
        return None


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _written(path: Path, data: bytes) -> None:
    """Whole or not at all; for this user only."""
    part = path.with_suffix(".part")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    part.replace(path)
