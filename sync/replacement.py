"""How one box takes the place of another: the old key says which new one is the device from now on."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec

from . import checkpoint
from .checkpoint import NotSigned

VERSION = "lineside replacement 1"


class Replacement(NamedTuple):
    """Of a device, with the fingerprints of both keys and the journal that goes on."""

    device: str
    epoch: str
    old: str
    new: str


def asked(old: ec.EllipticCurvePrivateKey, request: str, device: str, epoch: str, new: str) -> dict[str, str]:
    """What goes to the plane; `request` (PKCS #10, PEM) is of the new key, `new` its fingerprint."""
    key = base64.b64encode(checkpoint.der(old.public_key())).decode()
    said = {"lineside": VERSION, "device": device, "epoch": epoch, "key": key, "new": new}
    statement = json.dumps(said, ensure_ascii=False)
    signature = base64.b64encode(checkpoint.sign(old, statement)).decode()
    return {"statement": statement, "signature": signature, "request": request}


def read(said: Mapping[str, Any]) -> tuple[Replacement, bytes]:
    """(what the old key has signed, the request of the new one). Raises NotSigned."""
    try:
        statement, signature = str(said["statement"]), base64.b64decode(str(said["signature"]), validate=True)
        told = checkpoint.read_statement(statement, VERSION)
        key = base64.b64decode(str(told["key"]), validate=True)
        found = Replacement(str(told["device"]), str(told["epoch"]), checkpoint.fingerprint(key), str(told["new"]))
        request = str(said["request"]).encode()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotSigned(f"that asks for no replacement: {error}") from None
    if not checkpoint.check(checkpoint.public(key), statement, signature):
        raise NotSigned("the old key has not signed that")
    return found, request
