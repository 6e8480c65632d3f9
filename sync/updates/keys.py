"""Keys that sign: Ed25519, in a file that a passphrase protects, with the public half beside it."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.signer import CryptoSigner, SSlibKey

from edge import LinesideError

SHORTEST = 12  # characters of a passphrase


def make(path: Path, passphrase: str) -> SSlibKey:
    """A new key in `path` (0600) and its public half in `path`.pub. Without a passphrase only for a plane, which has nobody to ask.
    Raises LinesideError, FileExistsError."""
    if passphrase and len(passphrase) < SHORTEST:
        raise LinesideError(f"a passphrase of fewer than {SHORTEST} characters", hint="take several words")
    key = Ed25519PrivateKey.generate()
    sealed = serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else None
    body = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealed or serialization.NoEncryption()
    )
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(body)
    path.with_name(path.name + ".pub").write_bytes(pem(key.public_key()))
    return SSlibKey.from_crypto(key.public_key())


def pem(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def is_sealed(path: Path) -> bool:
    """Whether the key asks for a passphrase. Raises OSError."""
    return b"ENCRYPTED" in path.read_bytes()[:100]


def signer(path: Path, passphrase: str = "") -> CryptoSigner:
    """Raises LinesideError, OSError."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), passphrase.encode() or None)
    except (ValueError, TypeError):
        raise LinesideError(f"{path} cannot be opened", hint="is it a key, and the passphrase right?") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise LinesideError(f"{path} is no Ed25519 key", hint="make one with `lineside sign key FILE`")
    return CryptoSigner(key, SSlibKey.from_crypto(key.public_key()))


def public(path: Path) -> SSlibKey:
    """The public half in a file. Raises LinesideError, OSError."""
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except ValueError:
        raise LinesideError(
            f"{path} is no public key", hint="it ends in .pub; the key itself stays where it is"
        ) from None
    if not isinstance(key, Ed25519PublicKey):
        raise LinesideError(f"{path} is no Ed25519 key", hint="make one with `lineside sign key FILE`")
    return SSlibKey.from_crypto(key)
