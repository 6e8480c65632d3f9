"""Who this device is to the plane: one file in the state folder, made once by `lineside enroll`.

Everything else asks only `Identity`; the fleet's certificates will replace the secret behind it.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import ssl
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import urllib3

from edge import LinesideError

from ..invitation import read_token

FILE = "identity.json"
MOST_SAID = 65_536  # bytes of an answer to what enrols


@dataclass(frozen=True)
class Identity:
    """`secret` proves the device to the plane, `ca` (PEM) the plane to the device."""

    device: str
    url: str
    secret: str
    ca: str

    def __repr__(self) -> str:
        return f"Identity({self.device!r}, {self.url!r})"

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Lineside {self.device}:{self.secret}"}

    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.ca)


class NotEnrolled(LinesideError):
    """Heals when someone runs `lineside enroll` beside the daemon."""

    heals = True


def distrust(url: str, error: Exception) -> tuple[str, str] | None:
    """(what, hint) where TLS did not believe the plane at `url`; None where it failed otherwise."""
    found = re.search(r"certificate verify failed: ([^(]+)", str(error))
    if found is None:
        return None
    why = found[1].strip().rstrip(".")
    if "not yet valid" in why or "expired" in why:
        now = datetime.datetime.now(datetime.UTC)
        return f"by this device's clock ({now:%Y-%m-%d}) the plane's {why}", "set the clock, or restart the plane"
    if "mismatch" in why or "not valid for" in why:
        return f"the plane's certificate is not for {url} ({why})", "start `lineside plane` with --name"
    return f"{url} is not the plane we enrolled with: {why}", "enroll again"


def load(folder: Path, device: str) -> Identity:
    """Raises NotEnrolled."""
    try:
        identity = Identity(**json.loads((folder / FILE).read_text()))
    except FileNotFoundError:
        raise NotEnrolled(
            "this device is not enrolled with a plane",
            hint="run `lineside enroll SITE TOKEN`; history is kept meanwhile",
        ) from None
    except (ValueError, TypeError):
        raise NotEnrolled(f"{folder / FILE} is damaged", hint="enroll again") from None
    if identity.device != device:
        raise NotEnrolled(f"enrolled as {identity.device}, the site says {device}", hint="enroll again")
    return identity


def enroll(text: str, device: str, folder: Path) -> Identity:
    """Trade a token for an identity and keep it (0600). The plane is believed only if its CA has the token's fingerprint, and of
    what it says of its CA no more is kept than what has that fingerprint."""
    url, fingerprint, invitation = read_token(text)
    unproven = ssl.create_default_context()
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
        with urllib3.PoolManager(ssl_context=ssl.create_default_context(cadata=ca), timeout=10, retries=False) as plane:
            asked = {"device": device, "invitation": invitation}
            answer = plane.request("POST", f"{url}/d/v1/enroll", json=asked, preload_content=False)
            said = _read(answer)
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        told = json.loads(said) if is_json else {}
    except (urllib3.exceptions.HTTPError, ValueError, OSError, RecursionError) as error:
        if (doubt := distrust(url, error)) is not None:
            raise LinesideError(doubt[0], hint=doubt[1]) from None
        raise LinesideError(
            f"cannot reach the plane at {url}: {error}", hint="is it running, is the port open?"
        ) from None
    told = told if isinstance(told, dict) else {}
    if answer.status != 200 or "secret" not in told:
        raise LinesideError(f"the plane said no: {told.get('detail') or f'it answers {answer.status}'}")
    identity = Identity(device, url, str(told["secret"]), ca)
    keep(identity, folder)
    return identity


def body_of(answer: urllib3.BaseHTTPResponse, most: int) -> bytes:
    """The body of an answer as it came, and never more than one byte beyond `most`."""
    body = bytearray()
    with answer:
        while len(body) <= most and (piece := answer.read(min(65_536, most + 1 - len(body)), decode_content=False)):
            body += piece
    return bytes(body)


def _read(answer: urllib3.BaseHTTPResponse) -> bytes:
    if len(body := body_of(answer, MOST_SAID)) > MOST_SAID:
        raise ValueError(f"an answer of more than {MOST_SAID} bytes")
    return body


def keep(identity: Identity, folder: Path) -> None:
    """Durable, and for the owner of the folder alone: with sudo, that is the service's own user."""
    folder.mkdir(parents=True, exist_ok=True)
    keep_file(folder / FILE, json.dumps(asdict(identity)))


def keep_file(path: Path, text: str) -> None:
    """A secret in the state folder, as `keep` says; whole or not at all."""
    owner, fresh = path.parent.stat(), path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        if os.geteuid() == 0:
            os.fchown(out.fileno(), owner.st_uid, owner.st_gid)
        out.write(text)
        out.flush()
        os.fsync(out.fileno())  # the token is used up: a power cut must not take what it was traded for
    fresh.replace(path)
    line = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(line)  # the new name stands in the folder
    finally:
        os.close(line)
