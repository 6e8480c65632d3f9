"""The plane's word on what devices sign: that a checkpoint came, when, and whose key that was.

The key is this process's own, kept in its folder; the authority vouches for it, so that an export needs nothing of the plane but
that authority's fingerprint.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import Connection, select, update

from edge import LinesideError, log

from .. import checkpoint, countersignature
from ..checkpoint import Checkpoint, NotSigned
from ..wire import Frame
from .ca import Authority
from .database import insert_new
from .evidence_tables import checkpoint as checkpoints
from .evidence_tables import keyed, original
from .kept import alone
from .repeat import repeat

if TYPE_CHECKING:
    from .store import Store

EVERY, AT_ONCE = 2.0, 200  # seconds between looks, checkpoints a transaction
SOON = datetime.timedelta(days=30)  # before its end a certificate is made anew, at a start
NEW, COUNTERSIGNED, REFUSED = 0, 1, 2


class Witness:
    """Its key and certificate are two files in `folder`, made where there are none of use."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self._folder, self._authority = folder, authority
        self.certificates, self._own = "", b""
        self._key: ec.EllipticCurvePrivateKey

    def ready(self) -> None:
        """To be called before it signs. Blocks, for as long as a command does that signs for the plane. Raises LinesideError."""
        if self.certificates and self._authority.signed(self._own):  # an issuer may be distrusted since
            return
        with alone(self._folder):
            if not self._read():
                self._authority.witness()
        if not self._read():
            raise LinesideError("the authority's certificate for the plane's witness is of no use")

    def _read(self) -> bool:
        try:
            key = serialization.load_pem_private_key((self._folder / "witness.key").read_bytes(), None)
            pem = (self._folder / "witness.pem").read_text() + self._authority.pem
            own, _ = countersignature.witness(pem)
        except (OSError, ValueError, NotSigned):
            return False
        left, der = own.not_valid_after_utc - datetime.datetime.now(datetime.UTC), own.public_bytes(Encoding.DER)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or own.public_key() != key.public_key() or left < SOON:
            return False
        if not self._authority.signed(der):
            return False
        self._key, self._own, self.certificates = key, der, pem
        return True

    def sign(self, statement: str) -> bytes:
        return checkpoint.sign(self._key, statement)

    async def run(self, store: Store, learn: Callable[[], Awaitable[None]]) -> None:
        """Countersign what came, until cancelled; `learn` has the authority see who signs, and whose word counts no more."""

        async def work() -> None:
            await learn()
            await asyncio.to_thread(self.ready)
            while await store.read(waits) and await store.write(self.look) == AT_ONCE:
                pass

        await repeat(work, EVERY, "nothing is countersigned for now")

    def look(self, connection: Connection) -> int:
        """Countersign what came since, or say why not; how many it looked at. In the writer's transaction."""
        t = checkpoints
        waiting = select(t).where(t.c.witness == NEW).order_by(t.c.arrived).limit(AT_ONCE)
        rows = connection.execute(waiting).mappings().all()
        for row in rows:
            try:
                said = self._word(connection, row)
                done: dict[str, Any] = {"witness": COUNTERSIGNED, "proof": self.sign(said)}
            except NotSigned as error:
                said, done = str(error), {"witness": REFUSED}
                log.error("plane: a checkpoint of %s is not countersigned: %s", row["device"], error)
            place = (t.c[name] == row[name] for name in ("device", "epoch", "seq"))
            mine = {"countersigned": said, "certificates": self.certificates, **done}
            connection.execute(update(t).where(*place).values(mine))
        return len(rows)

    def _word(self, connection: Connection, row: Any) -> str:
        one = Checkpoint.read(row["statement"])
        if (one.device, one.epoch) != (row["device"], row["epoch"]):
            raise NotSigned(f"it says to be of {one.device}, {one.epoch}")
        if not checkpoint.check(checkpoint.public(one.key), row["statement"], row["signature"]):
            raise NotSigned("its signature is wrong")
        own = select(keyed.c.key).where(keyed.c.device == one.device, keyed.c.key == checkpoint.fingerprint(one.key))
        if connection.scalar(own) is None:
            raise NotSigned("its key was never enrolled for this device")
        return countersignature.statement(one, checkpoint.head(row["statement"]), row["arrived"])


def waits(connection: Connection) -> bool:
    """Whether a checkpoint is to be countersigned: nothing is written where none is."""
    return (
        connection.execute(select(checkpoints.c.seq).where(checkpoints.c.witness == NEW).limit(1)).first() is not None
    )


def signs(connection: Connection, device: str, epoch: str) -> bool:
    """Whether that device signs what is in that journal."""
    t = checkpoints
    one = select(t.c.seq).where(t.c.device == device, t.c.epoch == epoch).limit(1)
    return connection.execute(one).first() is not None


def keep_originals(connection: Connection, device: str, frames: Iterable[Frame]) -> None:
    """Keep records as they came. In the transaction that takes them in."""
    names = ("epoch", "stream", "seq", "t1", "body")
    insert_new(connection, original, [{"device": device, **{name: getattr(f, name) for name in names}} for f in frames])


def take(connection: Connection, device: str, frame: Frame, statement: str, signature: bytes, arrived: int) -> None:
    """Keep a checkpoint until it is countersigned. Raises NotSigned where it is none."""
    one = Checkpoint.read(statement)
    row = {"device": device, "epoch": frame.epoch, "seq": frame.seq, "number": one.number, "ts": one.ts}
    row |= {"statement": statement, "signature": signature, "arrived": arrived}
    row |= {"countersigned": "", "witness": NEW, "proof": b"", "certificates": ""}
    insert_new(connection, checkpoints, [row])
