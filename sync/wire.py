"""The contract between device and control plane: frames up, acknowledgements down. Both sides import this and what
stands beside it, and nothing of each other.

A message is a run of frames, each one msgpack array [version, epoch, stream, seq, t0, t1, n, body]. `body` is the
journal's own bytes, untouched. (device, epoch, stream, seq) is the identity of a frame: a repeat is dropped by it. The
answer is, per stream, a watermark and ranges above it, given only after the plane's COMMIT.

Over HTTPS a message is the body of a request. Over a broker (MQTT 5) it is the payload of a publication, with the request's
line as the user property `ask`; the answer comes on the device's other topic, with the same correlation data and the
status as `status`. Both carry a `proof` of who wrote them, so that the broker has to be trusted with nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgpack

from edge import AnswerContradicts, Cursor, LinesideError, Record

VERSION = 1
ALWAYS_KNOWN = (
    "ack",
    "shelve",
    "unshelve",
    "write",
)  # orders, to every device; one that asks with `answers` refuses others itself
MOST_MESSAGE = 8 * 2**20
MOST_BODY = 6 * 2**20
MOST_FRAMES = 4096
MOST_LEVELS = 32
MOST_PICTURE = 32 * 2**20
REJECTED = 422  # the plane's status for what it read and will never take; a proxy in between does not say this
REVOKED = "this device was revoked"  # what the plane says to one then, with 401
EXPIRED = "the time of this certificate is over; ask for a new one"  # and to one that shows such a certificate
WANT = ("kind", "name", "version", "stage", "generation")  # of each thing that is wanted of a device, see twin.py
WHOLE = b"all"  # the answer to a live message of a device whose other values the plane does not know
_STREAM = re.compile(r"event|tag|text|samples:[^\s/]{1,200}")
_EPOCH = re.compile(r"[0-9a-f]{16}")
DIGEST = re.compile(r"[0-9a-f]{64}")
DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class WireFault(LinesideError):
    """Bytes that are no message of this version. The far side may be another one next time."""

    heals = True


@dataclass(frozen=True, slots=True)
class Frame:
    """One sealed record under way."""

    epoch: str
    stream: str
    seq: int
    t0: int
    t1: int
    n: int
    body: bytes


def pack(epoch: str, records: Iterable[Record]) -> bytes:
    """One message of several records."""
    return b"".join(
        msgpack.packb([VERSION, epoch, r.stream, r.seq, r.t0, r.t1, r.n, r.body]) for r in records
    )  # a run, not an array: it can be cut anywhere between frames


def unpack(message: bytes) -> list[Frame]:
    """The frames of a message. Raises WireFault; never trusts a length or a type."""
    if len(message) > MOST_MESSAGE:
        raise WireFault(f"a message of {len(message)} bytes, at most {MOST_MESSAGE} are taken")
    reader = msgpack.Unpacker(max_bin_len=MOST_BODY, max_str_len=256, max_array_len=8, max_map_len=0, max_ext_len=0)
    reader.feed(message)
    frames: list[Frame] = []
    try:
        for fields in reader:
            frames.append(_frame(fields))
            if len(frames) > MOST_FRAMES:
                raise WireFault(f"more than {MOST_FRAMES} frames in one message")
    except (ValueError, msgpack.UnpackException, UnicodeDecodeError) as error:
        raise WireFault(f"damaged message: {error}") from None
    if reader.tell() != len(message):
        raise WireFault("the message ends in the middle of a frame")
    return frames


def _frame(fields: Any) -> Frame:
    if not isinstance(fields, list) or not fields:
        raise WireFault("a frame is an array")
    if fields[0] != VERSION:
        raise WireFault(f"wire version {repr(fields[0])[:40]} is not known here (this is {VERSION})")
    if len(fields) != 8:
        raise WireFault(f"a frame has 8 fields, not {len(fields)}")
    _, epoch, stream, seq, t0, t1, n, body = fields
    if not isinstance(epoch, str) or not _EPOCH.fullmatch(epoch):
        raise WireFault("epoch must be 16 hex digits")
    if not isinstance(stream, str) or not _STREAM.fullmatch(stream):
        raise WireFault(f"no stream is called {str(stream)[:40]!r}")
    numbers = (seq, t0, t1, n)
    if any(isinstance(x, bool) or not isinstance(x, int) or not -(2**63) <= x < 2**63 for x in numbers):
        raise WireFault("seq, t0, t1 and n are 64-bit integers")
    if seq < 1 or n < 0 or not isinstance(body, bytes):
        raise WireFault("seq starts at one, n at zero, body is bytes")
    return Frame(epoch, stream, seq, t0, t1, n, body)


def pack_ack(cursors: dict[str, Cursor]) -> bytes:
    return msgpack.packb({stream: [c.watermark, c.ranges] for stream, c in cursors.items()})


def unpack_ack(message: bytes) -> dict[str, Cursor]:
    """Watermark and ranges by stream. Raises AnswerContradicts."""
    try:
        found = msgpack.unpackb(message, max_map_len=10_000)
        return {str(s): Cursor(_number(w), _ranges(ranges)) for s, (w, ranges) in found.items()}
    except (ValueError, TypeError, AttributeError, msgpack.UnpackException) as error:
        raise AnswerContradicts(f"the plane's answer is no acknowledgement: {str(error)[:200]}") from None


def _number(n: Any) -> int:
    if isinstance(n, bool) or not isinstance(n, int) or not 0 <= n < 2**63:
        raise ValueError(f"{repr(n)[:40]} is no number of a record")
    return n


def _ranges(spans: Any) -> list[tuple[int, int]]:
    return [(_number(first), _number(last)) for first, last in spans]


def unpack_commands(message: bytes) -> list[tuple[int, str, dict[str, Any]]]:
    """(number, verb, data) of each command, by number. Raises AnswerContradicts."""
    try:
        commands = [(_number(n), str(verb), dict(data)) for n, verb, data in msgpack.unpackb(message)]
        if not all(shallow(data) for _, _, data in commands):
            raise ValueError("an order that is nested too deep")
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise AnswerContradicts(f"the plane's answer is no list of commands: {str(error)[:200]}") from None
    return sorted(commands, key=lambda command: command[0])


def unpack_wants(message: bytes) -> tuple[int, list[tuple[str, str, str, str, int]]]:
    """The generation of all that is wanted of a device, and each as in WANT. Raises AnswerContradicts."""
    try:
        said = msgpack.unpackb(message)
        wants = [tuple(one[name] for name in WANT) for one in said["wants"]]
        if not all([*map(type, one)] == [str, str, str, str, int] and "/" not in one[0] + one[1] for one in wants):
            raise ValueError("a want is four texts and a number")
        return _number(said["generation"]), wants
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise AnswerContradicts(f"the plane's answer does not say what is wanted: {str(error)[:200]}") from None


def place(epoch: str, seq: str) -> tuple[str, int]:
    """Where a picture lies in its journal. Raises WireFault."""
    if not _EPOCH.fullmatch(epoch) or not re.fullmatch(r"[1-9][0-9]{0,17}", seq):
        raise WireFault("a picture has an epoch of 16 hex digits and a number")
    return epoch, int(seq)


def shallow(data: Any, levels: int = MOST_LEVELS) -> bool:
    """Whether what a device says can be shown: JSON of a page goes no deeper."""
    inner = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return levels > 0 and all(shallow(one, levels - 1) for one in inner)


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def media(body: bytes) -> str:
    """The media type of a picture by its first bytes; anything unknown is a plain run of bytes."""
    if body[:3] == b"\xff\xd8\xff":
        return "image/jpeg"
    return "image/png" if body[:8] == b"\x89PNG\r\n\x1a\n" else "application/octet-stream"


# Over a broker

EVERY_DEVICE = "lineside/1/+/up"
SHARED = f"$share/lineside/{EVERY_DEVICE}"  # for several processes of one plane


def up(device: str) -> str:
    """The topic of what a device asks."""
    return f"lineside/1/{device}/up"


def down(device: str) -> str:
    """The topic of what the plane answers."""
    return f"lineside/1/{device}/dn"


def device_of(topic: str) -> str:
    """Whose topic that is. Raises WireFault."""
    device = topic.removeprefix("lineside/1/").removesuffix("/up")
    if topic != up(device) or not DEVICE.fullmatch(device):
        raise WireFault(f"no device asks on {topic[:100]!r}")
    return device


def key_of(secret: str) -> str:
    """What both sides keep of a device's secret; the secret itself never goes through a broker."""
    return hashlib.sha256(secret.encode()).hexdigest()


def proof(key: str, kind: str, number: bytes, words: str, body: bytes) -> str:
    """HMAC-SHA256 over what is asked (`kind` ask, `words` the request's line) or answered (answer, the status)."""
    seal = hmac.new(key.encode(), digestmod="sha256")
    for part in (kind.encode(), number, words.encode(), body):
        seal.update(len(part).to_bytes(8, "big"))
        seal.update(part)
    return seal.hexdigest()


def proven(key: str, kind: str, number: bytes, words: str, body: bytes, said: str) -> bool:
    return hmac.compare_digest(proof(key, kind, number, words, body).encode(), said.encode())
