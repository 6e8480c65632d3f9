"""What a device signs of its journal, so that others can see later that nothing of it was altered or left out.

A checkpoint lists the hash of each record since the one before, by stream and number, and names the hash of that one: whoever
has the last of them knows all of them. It is JSON, signed as it stands, and travels as an event of the kind `checkpoint`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge import Event, LinesideError, content

KIND = "checkpoint"
VERSION = "lineside checkpoint 1"
HASH = 32  # bytes
MOST_LISTED = 2048  # records of one
MOST_STATEMENT = 2**20  # characters
SIGNED = ec.ECDSA(hashes.SHA256())


class NotSigned(LinesideError):
    """A statement that is none, or was signed by another key."""


def leaf(stream: str, body: bytes) -> bytes:
    """The hash of a record: SHA-256 of what its bytes say. A block and an event are unpacked for that, so that who keeps them may
    pack them otherwise. Raises CodecFault."""
    packed = stream == "event" or stream.startswith("samples:")
    return hashlib.sha256(content(body) if packed else body).digest()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`number` counts them in one journal (`epoch`), from 1; `before` is the hash of the one before, in hex ("": the first). `ts`
    is by the device's clock (ns UTC). `lists` has a run of records each: stream, number of the first, their hashes one after the
    other. `key` is the public key that signed (DER, SubjectPublicKeyInfo)."""

    device: str
    epoch: str
    number: int
    ts: int
    before: str
    key: bytes
    lists: tuple[tuple[str, int, bytes], ...]

    def statement(self) -> str:
        lists = [[stream, first, _text(run)] for stream, first, run in self.lists]
        said = {"lineside": VERSION, "device": self.device, "epoch": self.epoch, "number": self.number, "ts": self.ts}
        return json.dumps({**said, "before": self.before, "key": _text(self.key), "lists": lists}, ensure_ascii=False)

    @classmethod
    def read(cls, statement: str) -> Checkpoint:
        """Raises NotSigned where that is none."""
        try:
            said = read_statement(statement, VERSION)
            lists = tuple((str(stream), _number(first), _bytes(run)) for stream, first, run in said["lists"])
            if any(len(run) % HASH or not run or first < 1 for _, first, run in lists):
                raise ValueError("a run of hashes is cut off")
            names = (said["device"], said["epoch"], said["before"])
            if not all(isinstance(name, str) for name in names):
                raise ValueError("a name is no text")
            device, epoch, before = names
            return cls(device, epoch, _number(said["number"]), _number(said["ts"]), before, _bytes(said["key"]), lists)
        except (ValueError, TypeError, KeyError) as error:
            raise NotSigned(f"that is no checkpoint: {error}") from None

    def listed(self) -> dict[tuple[str, int], bytes]:
        """{(stream, number): hash} of every record."""
        return {
            (stream, first + k): run[k * HASH : (k + 1) * HASH]
            for stream, first, run in self.lists
            for k in range(len(run) // HASH)
        }


def head(statement: str) -> str:
    """The hash by which the next one names it, in hex."""
    return hashlib.sha256(statement.encode()).hexdigest()


def runs(stream: str, numbered: Iterable[tuple[int, bytes]]) -> list[tuple[str, int, bytes]]:
    """Hashes by number, in order, as runs without a hole."""
    out: list[tuple[str, int, list[bytes]]] = []
    for number, one in numbered:
        if out and number == out[-1][1] + len(out[-1][2]):
            out[-1][2].append(one)
        else:
            out.append((stream, number, [one]))
    return [(stream, first, b"".join(some)) for stream, first, some in out]


def signed(event: Event) -> tuple[str, bytes]:
    """(statement, signature) of an event of this kind. Raises NotSigned."""
    try:
        statement, signature = event.data["statement"], _bytes(event.data["signature"])
    except (KeyError, ValueError, TypeError):
        raise NotSigned("an event of this kind without a statement and its signature") from None
    if not isinstance(statement, str):
        raise NotSigned("a statement that is no text")
    return statement, signature


def event_of(statement: str, signature: bytes, one: Checkpoint) -> Event:
    n = sum(len(run) // HASH for _, _, run in one.lists)
    data = {"statement": statement, "signature": _text(signature)}
    return Event(KIND, one.device, "signed", one.ts, text=f"checkpoint {one.number}: {n} records", data=data)


# Signatures, the same for all who sign


def sign(key: ec.EllipticCurvePrivateKey, statement: str) -> bytes:
    return key.sign(statement.encode(), SIGNED)


def check(key: ec.EllipticCurvePublicKey, statement: str, signature: bytes) -> bool:
    """Whether that key signed that statement."""
    try:
        key.verify(signature, statement.encode(), SIGNED)
    except InvalidSignature:
        return False
    return True


def public(der: bytes) -> ec.EllipticCurvePublicKey:
    """A P-256 key. Raises NotSigned."""
    try:
        key = serialization.load_der_public_key(der)
    except ValueError:
        raise NotSigned("that is no key") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise NotSigned("that is no P-256 key")
    return key


def der(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def fingerprint(key: bytes) -> str:
    """SHA-256 of a public key (DER), in hex."""
    return hashlib.sha256(key).hexdigest()


def read_statement(statement: str, version: str) -> Mapping[str, Any]:
    """The JSON of a statement of this version. Raises ValueError."""
    if len(statement) > MOST_STATEMENT:
        raise ValueError(f"{len(statement)} characters")
    try:
        said = json.loads(statement)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(said, dict) or said.get("lineside") != version:
        raise ValueError(f"it does not begin as {version!r} does")
    return said


def _text(body: bytes) -> str:
    return base64.b64encode(body).decode()


def _bytes(text: Any) -> bytes:
    return base64.b64decode(text, validate=True)


def _number(said: Any) -> int:
    if isinstance(said, bool) or not isinstance(said, int) or not 0 <= said < 2**63:
        raise ValueError(f"{repr(said)[:40]} is no number")
    return said
