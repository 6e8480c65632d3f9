"""A file that only a passphrase opens: scrypt makes a key of it (RFC 7914), AES-256-GCM keeps what is inside secret and whole."""

from __future__ import annotations

import json
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from edge import LinesideError

MAGIC = b"lineside box 1\n"
COST = {"n": 2**15, "r": 8, "p": 1}  # 32 MB and a tenth of a second; a guess costs as much
DEAREST = {"n": 2**18, "r": 16, "p": 4}  # of a file that somebody else wrote
LEAST = 8  # characters of a passphrase


def sealed(body: bytes, passphrase: str) -> bytes:
    """Raises LinesideError for a passphrase that is too short."""
    if len(passphrase) < LEAST:
        raise LinesideError(f"a passphrase has at least {LEAST} characters")
    salt, nonce = os.urandom(16), os.urandom(12)
    head = json.dumps({**COST, "salt": salt.hex(), "nonce": nonce.hex()}).encode() + b"\n"
    return MAGIC + head + AESGCM(_key(passphrase, salt, COST)).encrypt(nonce, body, MAGIC + head)


def opened(sealed_: bytes, passphrase: str) -> bytes:
    """Raises LinesideError: no such file, or another passphrase."""
    magic, (head, _, body) = sealed_[: len(MAGIC)], sealed_[len(MAGIC) :].partition(b"\n")
    try:
        said = json.loads(head)
        cost = {name: int(said[name]) for name in COST}
        salt, nonce = bytes.fromhex(said["salt"]), bytes.fromhex(said["nonce"])
        good = magic == MAGIC and all(0 < cost[name] <= DEAREST[name] for name in COST) and len(nonce) == 12
    except (ValueError, KeyError, TypeError):
        good = False
    if not good:
        raise LinesideError("that is no backup of a box", hint="one is made by `lineside backup SITE FILE`")
    try:
        return AESGCM(_key(passphrase, salt, cost)).decrypt(nonce, body, MAGIC + head + b"\n")
    except ValueError as error:
        raise LinesideError(f"that is no backup of a box: {error}") from None
    except InvalidTag:
        raise LinesideError("another passphrase, or the file was changed") from None


def _key(passphrase: str, salt: bytes, cost: dict[str, int]) -> bytes:
    return Scrypt(salt=salt, length=32, **cost).derive(passphrase.encode())
