"""Where a frame begins and ends, and whether its checksum is right. Pure: bytes in, frames out."""

from __future__ import annotations

import functools
import operator
import struct
import time
from collections import Counter
from typing import Annotated, Literal

import numpy as np
import regex
from pydantic import AfterValidator, BaseModel, Field, model_validator

from edge import DeviceLost

LONGEST = 4096  # bytes a frame may be given at most
WITHIN = 0.02  # seconds a pattern may take for one frame
FRAMING_WITHIN = 0.2  # seconds that looking for frames may take in what came at once


def _bytes(text: str) -> str:
    """Escapes hold in any quotes of YAML; each character is one byte."""
    plain = regex.sub(r"\\(x[0-9A-Fa-f]{2}|[rntfv0\\])", lambda found: _escape(found[1]), text)
    if any(ord(c) > 255 for c in plain):
        raise ValueError(f"{text!r} holds a character that is no byte; write the bytes as \\xHH")
    if len(plain) > 256:
        raise ValueError("longer than 256 bytes")
    return plain


def _escape(name: str) -> str:
    if name[0] == "x":
        return chr(int(name[1:], 16))
    return {"r": "\r", "n": "\n", "t": "\t", "f": "\f", "v": "\v", "0": "\0", "\\": "\\"}[name]


Octets = Annotated[str, AfterValidator(_bytes)]  # a text whose characters are bytes 0 to 255


def octets(text: str) -> bytes:
    return text.encode("latin-1")


@functools.cache
def compiled(pattern: str) -> regex.Pattern[bytes]:
    """A pattern over bytes. Raises ValueError with the place of the fault in it."""
    try:
        return regex.compile(pattern.encode("latin-1"), regex.DOTALL)
    except UnicodeError:
        raise ValueError(f"{pattern!r} holds a character that is no byte; write the bytes as \\xHH") from None
    except regex.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None


def fits(pattern: regex.Pattern[bytes], frame: bytes) -> regex.Match[bytes] | None:
    """The match of a whole frame. Raises DeviceLost where the pattern takes too long: the wait before the next start then
    bounds what a bad pattern or a hostile line can cost."""
    try:
        return pattern.fullmatch(frame, timeout=WITHIN)
    except TimeoutError:
        raise _slow(pattern, len(frame)) from None


def _slow(pattern: regex.Pattern[bytes], length: int) -> DeviceLost:
    return DeviceLost(
        f"the pattern {pattern.pattern.decode('latin-1')!r} takes longer than {WITHIN * 1000:g} ms for {length} bytes",
        hint="write it without a repeat inside a repeat",
    )


class Checksum(BaseModel):
    """The checksum at the end of each frame."""

    model_config = {"extra": "forbid", "frozen": True}
    type: Literal["sum8", "xor8", "crc16-modbus"] = Field(description="how it is computed")
    hex: bool = Field(False, description="written as hexadecimal digits instead of bytes")
    order: Literal["little", "big"] = Field("little", description="order of its two bytes, where it has two")
    first: int = Field(0, ge=0, le=64, description="first byte that it covers, counted from 0")
    mark: Octets = Field("", description='text between what it covers and the checksum, as in "*"')
    after_delimiter: bool = Field(False, description="it follows the delimiter, and covers it")

    @property
    def size(self) -> int:
        return (2 if self.type == "crc16-modbus" else 1) * (2 if self.hex else 1)

    def of(self, covered: bytes) -> bytes:
        """The checksum of these bytes, as it stands in the frame."""
        if self.type == "crc16-modbus":
            number = struct.pack("<H" if self.order == "little" else ">H", crc16(covered))
        else:
            number = bytes([functools.reduce(operator.xor, covered, 0) if self.type == "xor8" else sum(covered) & 255])
        return number.hex().upper().encode() if self.hex else number

    def right(self, frame: bytes) -> bool:
        mark = octets(self.mark)
        end = len(frame) - self.size - len(mark)
        said = frame[len(frame) - self.size :]
        return (
            end >= self.first
            and frame[end:].startswith(mark)
            and self.of(frame[self.first : end]) == (said.upper() if self.hex else said)
        )


def crc16(data: bytes) -> int:
    """CRC-16/MODBUS: polynomial 0xA001 reflected, from 0xFFFF. The sum is linear: what each byte adds to it depends on how many
    follow, so that a long frame is one look-up and one reduction."""
    table = _crc_table(1 << max(len(data) - 1, 63).bit_length())
    raw = np.frombuffer(data, np.uint8).copy()
    raw[:2] ^= 0xFF  # to begin at 0xFFFF is to turn the first two bytes over and begin at 0
    found = np.bitwise_xor.reduce(table[np.arange(len(raw) - 1, -1, -1), raw], initial=0)
    return int(found) if len(raw) > 1 else int(found) ^ (0xFF if len(raw) else 0xFFFF)


@functools.cache
def _crc_table(most: int) -> np.ndarray:
    """uint16[most, 256]: what a byte adds to the sum when so many others follow it."""
    step: np.ndarray = np.arange(256, dtype=np.uint16)
    for _ in range(8):
        step = step >> 1 ^ np.where(step & 1, np.uint16(0xA001), np.uint16(0))
    table = np.empty((most, 256), np.uint16)
    table[0] = step
    for k in range(1, most):
        table[k] = table[k - 1] >> 8 ^ step[table[k - 1] & 255]
    return table


class Framing(BaseModel):
    """Where a frame ends: at the end of a line, or as one of these says."""

    model_config = {"extra": "forbid", "frozen": True}
    delimiter: Octets = Field("", description='bytes that end it, as in "\\x03" (default: the end of a line)')
    length: int | None = Field(None, ge=1, le=LONGEST, description="bytes that it has, all counted")
    pattern: str = Field("", description="regular expression; the frame is complete as soon as it fits")
    start: Octets = Field("", description="bytes that begin it; what stands before is left out")
    longest: int = Field(1024, ge=1, le=LONGEST, description="bytes after which a frame without an end is given up")

    @model_validator(mode="after")
    def _one_end(self) -> Framing:
        if sum((bool(self.delimiter), self.length is not None, bool(self.pattern))) > 1:
            raise ValueError("say one of `delimiter`, `length` or `pattern`")
        if self.pattern:
            if self.start:
                raise ValueError("`start` stands in the pattern itself")
            if compiled(self.pattern).search(b""):
                raise ValueError(f"{self.pattern!r} fits where nothing is")
        if self.length is not None and self.length <= len(self.start):
            raise ValueError("a frame longer than its `start` is needed")
        return self


class Framer:
    """Cuts a stream into frames with a right checksum. What it holds is bounded by `longest`.

    `counts` tells what it threw away since it was last emptied: `checksum` (frames), `cut` (bytes of no frame).
    """

    def __init__(self, how: Framing, check: Checksum | None = None) -> None:
        self.how, self.check = how, check
        self._start, self._end = octets(how.start), octets(how.delimiter) or b"\n"
        self._after = check.size + len(octets(check.mark)) if check and check.after_delimiter else 0
        self._pattern = compiled(how.pattern) if how.pattern else None
        self.counts: Counter[str] = Counter()
        self.reset()

    def reset(self, *, inside: bool = False) -> None:
        """Forget what came. `inside`: the next byte may lie in the middle of a frame, so that frame is left out."""
        self._held = bytearray()
        self._skips = inside and not self._start and self.how.length is None and self._pattern is None
        self._tried = 0

    def give_up(self) -> None:
        """The line fell silent: what came is no frame, and the next byte begins one."""
        self.counts["cut"] += len(self._held)
        self.reset()

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that these bytes complete."""
        self._held += data
        if self.how.length is not None:
            return self._by_length(self.how.length)
        return self._by_pattern(self._pattern) if self._pattern else self._by_delimiter()

    def _cut(self, n: int) -> None:
        del self._held[:n]
        self.counts["cut"] += n

    def _right(self, frame: bytes) -> bool:
        if self.check is None or self.check.right(frame):
            return True
        self.counts["checksum"] += 1
        return False

    def _by_delimiter(self) -> list[bytes]:
        out = []
        while (end := self._held.find(self._end, self._tried)) >= 0:
            upto = end + len(self._end) + self._after
            if len(self._held) < upto:
                self._tried = end
                break
            frame = bytes(self._held[: upto if self._after else end])
            if not (self._after or self.how.delimiter):
                frame = frame.removesuffix(b"\r")
            begins = frame.rfind(self._start, 0, end) if self._start else 0
            if self._skips or begins < 0 or len(frame) > self.how.longest:
                self._cut(upto)
            else:
                self.counts["cut"] += begins
                del self._held[:upto]
                if frame[begins:] and self._right(frame[begins:]):
                    out.append(frame[begins:])
            self._skips, self._tried = False, 0
        else:
            self._tried = max(0, len(self._held) - len(self._end) + 1)
        if len(self._held) > self.how.longest + len(self._end) + self._after:
            self._cut(len(self._held) - len(self._end) + 1)
            self._skips, self._tried = True, 0
        return out

    def _by_length(self, length: int) -> list[bytes]:
        """After a wrong checksum the next frame is looked for from the byte after the wrong one's first."""
        out: list[bytes] = []
        while True:
            if self._start:
                begins = self._held.find(self._start)
                self._cut(begins if begins >= 0 else max(0, len(self._held) - len(self._start) + 1))
            if len(self._held) < length:
                return out
            frame = bytes(self._held[:length])
            if self.check is None or self.check.right(frame):
                out.append(frame)
                del self._held[:length]
                self._tried = 0
            else:
                self.counts["checksum"] += not self._tried  # said once, until a right one is found
                self._tried = 1
                self._cut(1)

    def _by_pattern(self, pattern: regex.Pattern[bytes]) -> list[bytes]:
        """Tried byte by byte, so that the same bytes give the same frames however they arrive."""
        out: list[bytes] = []
        ends = time.monotonic() + FRAMING_WITHIN
        while self._tried < len(self._held):
            self._tried += 1
            try:
                found = pattern.search(
                    self._held, 0, self._tried, timeout=min(WITHIN, max(1e-6, ends - time.monotonic()))
                )
            except TimeoutError:
                raise _slow(pattern, self._tried) from None
            if found:
                frame, begins = bytes(found[0]), found.start()
                del self._held[: self._tried]
                self.counts["cut"] += begins
                self._tried = 0
                if len(frame) <= self.how.longest and self._right(frame):
                    out.append(frame)
            elif self._tried >= self.how.longest:
                half = self._tried - self._tried // 2
                self._cut(half)
                self._tried -= half
        return out

    # The way back, for simulators and for taking a frame apart

    def ends(self, frame: bytes) -> int:
        """Where delimiter or checksum begin behind what a frame says."""
        behind = self.check.size + len(octets(self.check.mark)) if self.check else 0
        if self._after:
            behind += len(self._end)
        return max(len(self._start), len(frame) - behind)

    def payload(self, frame: bytes) -> bytes:
        """What stands between start, delimiter and checksum."""
        return frame[len(self._start) : self.ends(frame)]

    def sealed(self, payload: bytes) -> bytes:
        """The frame around a payload, as the device sends it."""
        frame = self._start + payload + (self._end if self._after else b"")
        if self.check:
            frame += octets(self.check.mark) + self.check.of(frame[self.check.first :])
        if self._after or self.how.length is not None or self.how.pattern:
            return frame
        return frame + (self._end if self.how.delimiter else b"\r\n")
