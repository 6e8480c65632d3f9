"""What is too large for one message, both ways: in pieces, and after a break on from the byte at which it broke, also by another
connection, another transport or another start of either end. A SHA-256 says whether it is whole."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import msgpack

from edge import AnswerContradicts, DeviceLost

from .. import wire
from .pace import LEAST, Pace
from .transport import Refused, TooLarge, Transport


class Upload:
    """One body on its way up. The plane says with each answer how much it holds, whoever brought that."""

    def __init__(self, body: bytes, digest: str) -> None:
        self.body, self.digest = body, digest
        self._at = -1  # not known: ask

    @classmethod
    async def of(cls, body: bytes) -> Upload:
        """Its digest is made elsewhere: that takes long enough to hold up what has to happen here."""
        return cls(body, await asyncio.to_thread(wire.digest, body))

    async def step(self, transport: Transport, pace: Pace) -> bool:
        """Send the next piece; true when the plane holds all of it. Raises what `exchange` does."""
        at, size = max(0, self._at), len(self.body)
        piece = self.body[at : at + pace.room] if self._at >= 0 else b""
        try:
            answer = await pace.timed(transport, "PUT", f"/d/v1/piece/{self.digest}?size={size}&at={at}", piece)
        except TooLarge:
            if len(piece) <= LEAST:
                raise
            pace.refused(len(piece))
            return False
        if not answer.isdigit() or len(answer) > 10 or int(answer) > size:
            raise AnswerContradicts(f"the plane's answer to a piece is no number of bytes: {answer[:40]!r}")
        self._at = int(answer)  # also where that is less than before: it was put back to a backup, or forgot pieces
        if piece and self._at <= at:
            raise DeviceLost(f"the plane holds {self._at:,} of {size:,} bytes and takes no more")
        return self._at == size


async def fetch(transport: Transport, pace: Pace, digest: str, path: Path, most: int, kind: str = "object") -> None:
    """Bring an object of at most `most` bytes down to `path`, which is there whole or not at all; what a break left of it lies in
    `path`.part and is gone on with. `kind` is where it lies, `digest` at least the beginning of its SHA-256. Raises Refused where
    it is too large or not what it is called, OSError, and what `exchange` does."""
    part = path.with_name(path.name + ".part")
    at = part.stat().st_size if part.exists() else 0
    with part.open("ab") as out:
        while True:
            asked = f"/d/v1/{kind}/{digest}?at={at}&most={pace.room}"
            size, piece = _piece(await pace.timed(transport, "GET", asked), digest)
            if size > most or at + len(piece) > size:
                out.truncate(0)
                raise Refused(f"object {digest[:12]} has {size:,} bytes, at most {most:,} are taken here")
            out.write(piece)
            at += len(piece)
            if at >= size:
                break
            if not piece:
                raise DeviceLost(f"the plane has {size:,} bytes of object {digest[:12]} and gives only {at:,}")
    await asyncio.to_thread(_ends, part, path, digest)


def _ends(part: Path, path: Path, digest: str) -> None:
    with part.open("rb") as kept:
        os.fsync(kept.fileno())
        found = hashlib.file_digest(kept, "sha256").hexdigest()
    if not found.startswith(digest):
        part.unlink()
        raise Refused(f"what came as object {digest[:12]} is another one ({found[:12]}); thrown away")
    part.replace(path)


def _piece(answer: bytes, digest: str) -> tuple[int, bytes]:
    try:
        size, piece = msgpack.unpackb(answer)
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size < 2**63 or not isinstance(piece, bytes):
            raise ValueError("a size and bytes are needed")
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise AnswerContradicts(f"the plane's answer is no piece of {digest[:12]}: {error}") from None
    return size, piece
