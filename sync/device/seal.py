"""The device's seal on what people sign: proof that a sheet is as this device wrote it.

An HMAC with the secret that device and plane share: both can verify it, and nobody else. Device keys of the fleet will
replace it by a signature that everybody can verify.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from .identity import load

_FOR = b"lineside sheet 1\n"


def seal(folder: Path, device: str, body: bytes) -> str:
    """Proof for `body`, in hex. Raises NotEnrolled."""
    key = hashlib.sha256(load(folder, device).secret.encode()).hexdigest()  # what the plane keeps of the secret
    return hmac.new(key.encode(), _FOR + body, hashlib.sha256).hexdigest()


def verify(folder: Path, device: str, body: bytes, proof: str) -> bool:
    """Whether `proof` is this device's for `body`. Raises NotEnrolled."""
    return hmac.compare_digest(seal(folder, device, body).encode(), proof.encode())
