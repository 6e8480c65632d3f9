"""How a device becomes one of a plane: a token that was carried to it, for an identity."""

from __future__ import annotations

import hashlib
import json
import ssl
import warnings
from pathlib import Path

import urllib3

from edge import LinesideError, log

from ..invitation import read_token
from ..tls import doubt, safe
from . import key
from .certificate import Certificate, refuse
from .identity import Identity, body_of, keep, no_clock

MOST_SAID = 65_536  # bytes of an answer


def enroll(text: str, device: str, folder: Path, mine: str = "") -> Identity:
    """Trade a token for an identity and its first certificate, and keep both (0600). The plane is believed only if its CA has the
    token's fingerprint, and of what it says of its CA no more is kept than what has that fingerprint. `mine` names a key on a token
    (pkcs11:...), in place of one that is made here. Blocks for seconds."""
    url, fingerprint, invitation = read_token(text)
    mine = mine or key.made()
    asked = {"invitation": invitation, "request": key.request(mine, device)}
    unproven = safe(ssl.create_default_context())
    unproven.check_hostname, unproven.verify_mode = False, ssl.CERT_NONE
    warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)  # the token's fingerprint proves it
    try:
        with urllib3.PoolManager(ssl_context=unproven, timeout=10, retries=False) as strangers:
            said = _read(strangers.request("GET", f"{url}/d/v1/ca", preload_content=False))
        certificate = ssl.PEM_cert_to_DER_cert(said.decode())
        if hashlib.sha256(certificate).hexdigest() != fingerprint:
            raise LinesideError(
                f"the plane at {url} is not the one that wrote this token", hint="is the address right?"
            )
        ca = ssl.DER_cert_to_PEM_cert(certificate)
        proven = no_clock(safe(ssl.create_default_context(cadata=ca)), ca)
        refuse(folder, proven)
        with urllib3.PoolManager(ssl_context=proven, timeout=10, retries=False) as plane:
            answer = plane.request("POST", f"{url}/d/v1/enroll", json=asked, preload_content=False)
            said = _read(answer)
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        told = json.loads(said) if is_json else {}
    except (urllib3.exceptions.HTTPError, ValueError, OSError, RecursionError) as error:
        if (found := doubt(url, "the plane", error)) is not None:
            raise LinesideError(found[0], hint=found[1]) from None
        raise LinesideError(
            f"cannot reach the plane at {url}: {error}", hint="is it running, is the port open?"
        ) from None
    told = told if isinstance(told, dict) else {}
    if answer.status != 200 or not told.keys() >= {"secret", "certificate"}:
        raise LinesideError(f"the plane said no: {told.get('detail') or f'it answers {answer.status}'}")
    identity = Identity(device, url, str(told["secret"]), ca, mine)
    keep(identity, folder)
    try:
        Certificate(folder, identity).keep(str(told["certificate"]).encode())
    except ValueError as error:  # the daemon asks again
        why = (
            f"the plane's is of no use: {error}"
            if told["certificate"]
            else "who signs them for the plane does not answer"
        )
        log.warning("sync: no certificate yet, it is asked for again: %s", why)
    return identity


def _read(answer: urllib3.BaseHTTPResponse) -> bytes:
    if len(body := body_of(answer, MOST_SAID)) > MOST_SAID:
        raise ValueError(f"an answer of more than {MOST_SAID} bytes")
    return body
