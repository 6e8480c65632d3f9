"""The device's own key: made here, or in a token (pkcs11.py), and never sent anywhere."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from . import pkcs11


def made() -> str:
    """A new P-256 key, PEM (PKCS #8)."""
    key = ec.generate_private_key(ec.SECP256R1())
    encoding = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(*encoding).decode()


def private(key: str) -> ec.EllipticCurvePrivateKey:
    """The key of a PEM, or of a URI that names one on a token. Raises ValueError where that is no P-256 key, and LinesideError
    where a token does not give it."""
    if on_token(key):
        return pkcs11.on_token(key)
    found = serialization.load_pem_private_key(key.encode(), None)
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise ValueError("that is no P-256 key")
    return found


def on_token(key: str) -> bool:
    return key.startswith(pkcs11.SCHEME)


def request(key: str, device: str) -> str:
    """A request for a certificate in the name of the device (PKCS #10, PEM), signed with its key. Raises ValueError."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device)])
    asked = x509.CertificateSigningRequestBuilder().subject_name(name).sign(private(key), hashes.SHA256())
    return asked.public_bytes(serialization.Encoding.PEM).decode()
