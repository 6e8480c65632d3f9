"""The certificate of the device: what lets it in at the plane, and at a broker that knows the plane's authority.

The plane signs it for the key of the enrolment, and signs it anew before its time is over: for that the key's own signature is
enough, so that a device that was away for a year, or whose clock stands at 1970, comes back by itself.
"""

from __future__ import annotations

import datetime
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from edge import DeviceLost, LinesideError, log

from .. import chain, disown
from . import key, pkcs11
from .identity import Identity, keep_file

REFUSED = "disowned.pem"  # issuers that count no more
FILE = "device.pem"  # certificates, and the key where it is in no token
EARLY = 2 / 3  # of its time, after which a new one is asked for
MOST_ABOVE = 8  # certificates of a chain
AGAIN, SOON = 3600.0, 10.0  # seconds between two requests for one; and where there is none of use

Ask = Callable[[str, str, bytes], Awaitable[bytes]]


def refuse(folder: Path, context: ssl.SSLContext) -> None:
    """Let `context` believe nobody whom an issuer has signed that counts no more, as far as this state folder knows."""
    file = folder / REFUSED
    if file.exists():
        try:
            context.load_verify_locations(file)
        except OSError as error:
            log.warning("sync: %s is spoiled, so issuers that count no more are believed: %s", file, error)


class Certificate:
    """What the state folder holds. `over` is the share of its time that is over by this clock; 1: none, or none of use."""

    def __init__(self, folder: Path, me: Identity) -> None:
        self.path, self._me = folder / FILE, me
        self._refused = folder / REFUSED
        self._asked = -AGAIN
        self.forget()
        self._read()

    def forget(self) -> None:
        """It is of no use: gone, spoiled, or the far side does not take it, whatever our clock says."""
        self._from = self._until = datetime.datetime.fromtimestamp(0, datetime.UTC)

    def _read(self) -> None:
        try:
            found = chain.read(self.path.read_bytes())
            (root,) = chain.read(self._me.ca)
            named = found[0].subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
            ours = named == self._me.device and key.private(self._me.key).public_key() == found[0].public_key()
            if ours and chain.leads_to(root, found):
                self._from, self._until = found[0].not_valid_before_utc, found[0].not_valid_after_utc
        except (OSError, ValueError, TypeError, IndexError, LinesideError):
            return

    @property
    def over(self) -> float:
        now, whole = datetime.datetime.now(datetime.UTC), (self._until - self._from).total_seconds()
        return (now - self._from).total_seconds() / whole if whole > 0 and now < self._until else 1.0

    def wanted(self, by: float = EARLY) -> bool:
        """Whether it is time to ask for a new one, where that much of it is over. Each time that it says so counts as a try."""
        now, over = time.monotonic(), self.over
        if over < by or now - self._asked < (AGAIN if over < 1 else SOON):
            return False
        self._asked = now
        return True

    def able(self) -> None:
        """Raises DeviceLost where our key lies on a token that does not give it, now."""
        try:
            if key.on_token(self._me.key):
                pkcs11.on_token(self._me.key)
        except LinesideError as error:
            raise DeviceLost(f"the key of this device cannot be used: {error}") from None

    async def renew(self, ask: Ask) -> bool:
        """Get a new one of the plane, for the same key; where that fails the old one stays. Whether there is a new one."""
        try:
            request = key.request(self._me.key, self._me.device)
            self.keep(await ask("POST", "/d/v1/certificate", request.encode()))
        except (LinesideError, ValueError, OSError) as error:
            log.warning("sync: no new certificate of the plane: %s", error)
            return False
        return True

    def keep(self, signed: bytes) -> None:
        """The certificates of what the plane answered, and nothing else of it. Raises ValueError where the first is none for our
        key."""
        found = chain.read(signed)
        if found[0].public_key() != key.private(self._me.key).public_key():
            raise ValueError("it is for another key")
        if len(found) > MOST_ABOVE:
            raise ValueError(f"{len(found)} certificates")
        text = "".join(cert.public_bytes(Encoding.PEM).decode() for cert in found)
        self._disown(signed.decode(errors="replace"))
        keep_file(self.path, text + ("" if key.on_token(self._me.key) else self._me.key))
        self._read()

    def _disown(self, said: str) -> None:
        """Keep which issuers count no more, beside those of before: nobody but the root says that, and for ever."""
        try:
            known = disown.read(self._refused.read_text(errors="replace"))
        except OSError:
            known = []
        new = [cert for cert in disown.proven(said, chain.read(self._me.ca)[0]) if cert not in known]
        if new:
            keep_file(self._refused, "".join(map(disown.rejecting, [*known, *new])))
            log.warning(
                "sync: the plane's root says that %d issuers of before are not to be believed any more", len(new)
            )

    def refuse(self, context: ssl.SSLContext) -> None:
        """Let `context` believe nobody whom such an issuer has signed."""
        refuse(self.path.parent, context)

    def show(self, context: ssl.SSLContext) -> None:
        """Let `context` show it, where there is one."""
        try:
            if self.over < 1 and key.on_token(self._me.key):
                pkcs11.on_token(self._me.key).show(context, self.path)
            elif self.over < 1:
                context.load_cert_chain(self.path)
        except (OSError, LinesideError) as error:  # gone or spoiled since it was read
            log.warning("sync: %s cannot be shown: %s", self.path, error)
            self.forget()
