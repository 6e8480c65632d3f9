"""The device's own key: made here, and never sent anywhere."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def made() -> str:
    """A new P-256 key, PEM (PKCS #8)."""
    key = ec.generate_private_key(ec.SECP256R1())
    encoding = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(*encoding).decode()


def private(key: str) -> ec.EllipticCurvePrivateKey:
    """Raises ValueError where that is no P-256 key."""
    found = serialization.load_pem_private_key(key.encode(), None)
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise ValueError("that is no P-256 key")
    return found


def request(key: str, device: str) -> str:
    """A request for a certificate in the name of the device (PKCS #10, PEM), signed with its key. Raises ValueError."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device)])
    asked = x509.CertificateSigningRequestBuilder().subject_name(name).sign(private(key), hashes.SHA256())
    return asked.public_bytes(serialization.Encoding.PEM).decode()
