"""Who this device is to the plane: one file in the state folder, made once by `lineside enroll`."""

from __future__ import annotations

import datetime
import json
import os
import ssl
from dataclasses import asdict, dataclass
from pathlib import Path

import urllib3
from cryptography import x509

from edge import LinesideError

from ..clockless import NO_CHECK_TIME
from ..tls import safe

FILE = "identity.json"


@dataclass(frozen=True)
class Identity:
    """`key` (PEM, or the URI of one on a token) is the device itself, `ca` (PEM) proves the plane to it. Plane and device share the
    `secret`: it proves what goes through a broker."""

    device: str
    url: str
    secret: str
    ca: str
    key: str

    def __repr__(self) -> str:
        return f"Identity({self.device!r}, {self.url!r})"

    def tls(self) -> ssl.SSLContext:
        return no_clock(safe(ssl.create_default_context(cadata=self.ca)), self.ca)


def no_clock(context: ssl.SSLContext, authority: str) -> ssl.SSLContext:
    """`context`, which asks nothing of a clock that says less than when its `authority` (PEM) was made: such a clock was never set,
    and with it nobody would be believed."""
    if not authority:
        return context
    made = x509.load_pem_x509_certificate(authority.encode()).not_valid_before_utc
    if datetime.datetime.now(datetime.UTC) < made:
        context.verify_flags |= NO_CHECK_TIME
    return context


class NotEnrolled(LinesideError):
    """Heals when someone runs `lineside enroll` beside the daemon."""

    heals = True


def load(folder: Path, device: str) -> Identity:
    """Raises NotEnrolled."""
    try:
        said = json.loads((folder / FILE).read_text())
        if "key" not in said:
            raise NotEnrolled("this device was enrolled before devices had keys", hint="enroll again; history is kept")
        identity = Identity(**said)
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


def body_of(answer: urllib3.BaseHTTPResponse, most: int) -> bytes:
    """The body of an answer as it came, and never more than one byte beyond `most`."""
    body = bytearray()
    with answer:
        while len(body) <= most and (piece := answer.read(min(65_536, most + 1 - len(body)), decode_content=False)):
            body += piece
    return bytes(body)


def keep(identity: Identity, folder: Path) -> None:
    """Durable, and for the owner of the folder alone: with sudo, that is the service's own user."""
    folder.mkdir(parents=True, exist_ok=True)
    keep_file(folder / FILE, json.dumps(asdict(identity)))


def keep_file(path: Path, text: str) -> None:
    """A secret in the state folder, as `keep` says; whole or not at all. With sudo the folder is somebody else's, who may have
    put a link where we write: no link is followed, and no file but a new one is given away."""
    owner, fresh = path.parent.stat(), path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
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
