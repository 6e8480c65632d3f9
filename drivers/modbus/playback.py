"""`lineside replay FILE`: a device that answers as the recorded one did, over and over."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import struct
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edge import ConfigFault, LinesideError, log, read_recording, reason_of

from . import capture
from .exchanges import Exchange, exchanges
from .line_frames import FRAMINGS
from .line_url import Where
from .reach import of_url
from .sim import Served

HELP = "serve a recorded Modbus connection, or a network capture of one, again on a port of this machine"
LONGEST_ANSWER = {1: 2000, 2: 2000, 3: 125, 4: 125}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="what `lineside record` wrote, or a capture (pcap, pcapng)")
    told = "of a capture with several devices: the address of the one to serve"
    parser.add_argument("--device", default="", metavar="ADDRESS", help=told)
    told = f"of a capture: the port of its devices (default: {capture.PORT})"
    parser.add_argument("--port", type=int, default=capture.PORT, help=told)
    told = "where to serve, as a site writes it: tcp://, rtu+tcp:// or rtu:///dev/... (default: tcp://127.0.0.1:5020)"
    parser.add_argument("--listen", default="tcp://127.0.0.1:5020", metavar="URL", help=told)
    parser.add_argument(
        "--speed", type=float, default=1.0, metavar="X", help="how much faster than it was (default: 1)"
    )


def run(options: argparse.Namespace) -> int:
    if not 0.001 <= options.speed <= 1e6:
        raise ConfigFault(f"--speed {options.speed:g} is out of range", hint="0.001 to 1e6")
    if not 0 < options.port < 65536:
        raise ConfigFault(f"--port {options.port} is out of range", hint="1 to 65535")
    where = of_url(options.listen).where
    captured = capture.is_one(options.file)
    found = load_capture(options.file, options.device, options.port) if captured else load(options.file)
    player = Player(found, options.speed, lambda: asyncio.get_running_loop().time())
    log.info("%s: %s", options.file, player.about())
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(Replay(player, where)))
    return 0


def load(path: Path) -> list[Exchange]:
    """The exchanges of a recording. Raises ConfigFault."""
    recording = read_recording(path)
    if recording.about.get("driver") != "modbus":
        raise ConfigFault(
            f"{path}: was recorded from {recording.about.get('driver')!r}", hint="only Modbus is served again"
        )
    scheme, left_out = recording.about.get("scheme"), Counter[str]()
    if scheme != "tcp" and scheme not in FRAMINGS:
        raise ConfigFault(f"{path}: was recorded over {scheme!r}, which this lineside does not know")
    found = exchanges(scheme, recording.frames, left_out)
    if recording.missed:
        log.warning("%s: %d frames are missing in it: the recorder could not keep up", path, recording.missed)
    return _answered(path, found, left_out)


def load_capture(path: Path, device: str, port: int) -> list[Exchange]:
    """The exchanges of all connections to one device of a network capture, Modbus TCP. Raises ConfigFault."""
    left_out: Counter[str] = Counter()
    found = capture.connections(path, port, left_out)
    told = ", ".join(f"{name} ({sum(map(len, found[name])):,} frames)" for name in sorted(found)[:50])
    if not found:
        raise ConfigFault(f"{path}: holds nothing to or from port {port}", hint="--port names another")
    if device not in found and (device or len(found) > 1):
        what = f"holds no device {device!r}" if device else "holds several devices"
        raise ConfigFault(f"{path}: {what}", hint=f"name one with --device: {told}")
    streams = found[device or next(iter(found))]
    pairs = [pair for frames in streams for pair in exchanges("tcp", frames, left_out)]
    return _answered(path, sorted(pairs, key=lambda pair: (pair.ts, pair.unit)), left_out)


def _answered(path: Path, found: list[Exchange], left_out: Counter[str]) -> list[Exchange]:
    for cause, n in (+left_out).items():
        log.warning("%s: %s: %d, left out", path, cause, n)
    if not any(exchange.answer for exchange in found):
        raise ConfigFault(f"{path}: holds no answer of a device", hint="was it connected while it was recorded?")
    return found


class Player:
    """Answers a request as the recorded device last had, at the same time after the start; then it begins anew. A read that was
    never asked so is put together from the registers that were read. `speed` times as fast as it was."""

    def __init__(self, recorded: Sequence[Exchange], speed: float, seconds: Callable[[], float]) -> None:
        self._seconds, self._speed = seconds, speed
        self._start: float | None = None
        self._first = recorded[0].ts
        self.length = max(1, recorded[-1].ts + recorded[-1].took - self._first)
        self._known: dict[tuple[int, bytes], _Course] = {}
        self._words: dict[tuple[int, int, int], _Course] = {}
        for exchange in recorded:
            at = exchange.ts - self._first
            self._known.setdefault((exchange.unit, exchange.ask), _Course()).add(at, exchange.answer)
            for number, word in _registers(exchange):
                self._words.setdefault((exchange.unit, exchange.ask[0], number), _Course()).add(at, word)
        self.units = sorted({exchange.unit for exchange in recorded if exchange.answer})
        self.exchanges = len(recorded)

    def about(self) -> str:
        units = ", ".join(map(str, self.units))
        return f"exchanges: {self.exchanges}, units: {units}, {self.length / 1e9:.1f} s, then it begins anew"

    def answer(self, unit: int, pdu: bytes) -> bytes | None:
        """The PDU of the answer; None: silence."""
        now = self._seconds()
        self._start = now if self._start is None else self._start
        at = int((now - self._start) * self._speed * 1e9) % self.length
        if (unit, pdu) in self._known:
            return self._known[unit, pdu].at(at)
        if unit not in self.units:
            return None
        if not pdu or pdu[0] not in LONGEST_ANSWER or len(pdu) != 5:
            return bytes([(pdu[0] if pdu else 0) | 0x80, 1])
        start, count = struct.unpack_from(">HH", pdu, 1)
        words = [self._words.get((unit, pdu[0], number)) for number in range(start, start + min(count, 2001))]
        if not 1 <= count <= LONGEST_ANSWER[pdu[0]] or None in words:
            return bytes([pdu[0] | 0x80, 2])
        return _packed(pdu[0], [course.at(at) for course in words if course is not None])


class _Course:
    """What one thing was over time."""

    def __init__(self) -> None:
        self._times: list[int] = []
        self._values: list = []

    def add(self, at: int, value: object) -> None:
        if not self._values or self._values[-1] != value:
            self._times.append(at)
            self._values.append(value)

    def at(self, at: int):
        """The newest not later than `at`; before all of them, the first."""
        return self._values[max(0, bisect_right(self._times, at) - 1)]


def _registers(exchange: Exchange) -> list[tuple[int, int]]:
    """(address, word or bit) of a read that was answered."""
    ask, answer = exchange.ask, exchange.answer
    if not answer or ask[0] not in LONGEST_ANSWER or answer[0] != ask[0] or len(ask) != 5:
        return []
    start, count = struct.unpack_from(">HH", ask, 1)
    body = np.frombuffer(answer[2:], np.uint8)
    if len(body) != ((count + 7) // 8 if ask[0] <= 2 else 2 * count) or not count:
        return []
    values = np.unpackbits(body, count=count, bitorder="little") if ask[0] <= 2 else body.view(">u2")
    return list(zip(range(start, start + count), values.tolist(), strict=True))


def _packed(function: int, values: Sequence[int]) -> bytes:
    bits = function <= 2
    body = (np.packbits(np.array(values, bool), bitorder="little") if bits else np.array(values, ">u2")).tobytes()
    return bytes([function, len(body)]) + body


class Replay(Served):
    """A player on a real socket or a serial line."""

    def __init__(self, player: Player, where: Where) -> None:
        super().__init__("replay", where)
        self.answer = player.answer  # type: ignore[method-assign]


async def serve(replay: Replay) -> None:
    """Until cancelled. Raises LinesideError where the place cannot be had."""
    try:
        await replay.start()
    except OSError as error:
        raise LinesideError(
            f"cannot serve on {replay.where}: {reason_of(error)}",
            hint="write another port, as in --listen tcp://127.0.0.1:5021",
        ) from None
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        await replay.stop()
