"""The token that brings a device to its plane."""

from __future__ import annotations

import base64
import json

from edge import LinesideError


def token(url: str, fingerprint: str, invitation: str) -> str:
    """What `lineside plane invite` prints: where the plane is, how to know it, and a one-time invitation."""
    return base64.urlsafe_b64encode(json.dumps([url, fingerprint, invitation]).encode()).decode().rstrip("=")


def read_token(text: str) -> tuple[str, str, str]:
    """(url, fingerprint of the CA, invitation). Raises LinesideError."""
    try:
        url, fingerprint, invitation = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if not str(url).startswith("https://"):
            raise ValueError
        return str(url), str(fingerprint), str(invitation)
    except (ValueError, TypeError):
        raise LinesideError(
            "this is no token", hint="copy the whole line that `lineside plane invite` printed"
        ) from None
