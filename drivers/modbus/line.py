"""Modbus on a line without request numbers: RTU or ASCII on a serial port, RTU frames through a TCP gateway.

One request is out at a time, and an answer is one only if unit, function, byte count, length and checksum fit it and nothing
follows it. What comes and is no answer ends nothing: the answer may still be under way, so the request stays out until it comes
or its time is over (Modbus over Serial Line 1.02, 2.4.1), also where nobody waits for it any more. Only a damaged frame of the
answer's own length ends it at once. After a time-out or a wrong answer the line is drained and held quiet for `turnaround`
seconds, so that a late answer is not taken for the next one's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge import AnswerContradicts, Clock, DeviceLost, DeviceSilent

from .client import Client
from .line_frames import FRAMINGS, MORE, WHOLE, BrokenFrame, answer_size
from .line_port import Port, open_serial
from .line_units import NOBODY_THERE, Units
from .line_url import Where
from .options import ModbusConfig
from .plan import Request, ShortAnswer
from .scans import ASKED, BROKEN, CONFIRMED_OTHER, WAITED, Scan, dial, fill, write_refused

SILENCE = 0.02  # seconds without a byte that end what is no answer; USB adapters hand on every 16 ms
Form = tuple[int, int]  # function and size, by which alone an answer is known
AS_ASKED = (5, 6)  # functions whose right answer is the request itself
_busy: dict[str, float] = {}  # by `Where.identity`: the loop's time until which an answer may come to one who hung up


@dataclass(slots=True, eq=False)
class _Job:
    """One request in its turn: of a scan, or a write."""

    unit: int
    pdu: bytes
    request: Request | None = None
    scan: Scan | None = None
    index: int = 0
    done: asyncio.Future[None] | None = None


class Line(asyncio.Protocol):
    """One line and its units; same use as `Client`. A unit has its limit for an answer beyond the time that the frames take on
    the line. `turnaround` in seconds."""

    def __init__(self, where: Where, clock: Clock, units: Units, turnaround: float) -> None:
        self._where, self._clock, self.units, self._turnaround = where, clock, units, turnaround
        self._framing = FRAMINGS[where.scheme]
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reads: deque[_Job] = deque()
        self._writes: deque[_Job] = deque()
        self._out: _Job | None = None
        self._got = bytearray()
        self._sent_at = self._heard_at = self._quiet_until = 0.0
        self._noise_since = self._loop.time()
        self._stamp = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._ending: asyncio.TimerHandle | None = None
        self._waking: asyncio.TimerHandle | None = None
        self._gave_up: int | None = None  # the unit whose answer may still come
        self._amiss = ""  # why what came in this turn is no answer
        self._spoiled = ""  # why nothing that comes in this turn can be one
        self._echo = b""  # what the adapter still has to send back
        self._plain = where.echo  # whether what comes is known to be the unit's, not what we sent
        self._looked = False  # for an echo, before the first write
        self._owed: dict[int, tuple[Form, float]] = {}  # by unit: the answer that may come yet, and until when
        self._drained = True  # nothing is under way but the answer to what is out
        self.late = 0
        self.quiet_end = False
        self.lost: Exception | None = None
        self.tap: Callable[[str, bytes], None] | None = None

    @classmethod
    async def connect(cls, where: Where, clock: Clock, units: Units, turnaround: float) -> Line:
        """Raises DeviceLost."""
        if where.serial:
            line, port = cls(where, clock, units, turnaround), open_serial(where)
            Port(port.fileno(), line, port.close)
        else:
            line = await dial(lambda: cls(where, clock, units, turnaround), where.host, where.port)
        line._quiet_until = min(_busy.pop(where.identity, 0.0), line._loop.time() + units.timeout + turnaround)
        return line

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, error: Exception | None) -> None:
        self.eof_received()
        self._fail(self.lost or (error if isinstance(error, DeviceLost) else DeviceLost("the gateway hung up")))

    def eof_received(self) -> None:
        self.quiet_end |= self.lost is None and not (self._out or self._reads or self._writes)

    def data_received(self, data: bytes) -> None:
        self._heard_at, self._stamp = self._loop.time(), self._clock.utc()
        if self.tap:
            self.tap("in", bytes(data))
        if self._out is None:
            self._stray(data)
            return
        if self._echo and not (data := self._without_echo(data)):
            return
        self._got += data[: self._framing.longest + 1 - len(self._got)]
        verdict = self._framing.verdict(bytes(self._got), self._out.unit, self._out.pdu)
        self._ending = _forget(self._ending)
        if verdict == MORE:
            return
        wait = self._where.gap if verdict == WHOLE else max(self._where.gap, SILENCE)
        if wait:
            self._ending = self._loop.call_later(wait, self._ended)
        else:
            self._ended()

    def _without_echo(self, data: bytes) -> bytes:
        """What is left of it beside the echo that this adapter sends."""
        size = min(len(self._echo), len(data))
        if data[:size] == self._echo[:size]:
            self._echo = self._echo[size:]
            return data[size:]
        self._echo, self._spoiled = (
            b"",
            "the adapter does not send back what it is sent; take `echo=strip` out of the url",
        )
        return data

    def _stray(self, data: bytes) -> None:
        """Bytes that nobody asked for: a late answer, or noise. Nothing is sent before they end; who waits for longer than the
        time-out gets no answer."""
        if self._gave_up is not None and data:
            self.late += 1
            unit = self.units[self._gave_up]
            unit.late += 1
            if data.startswith(self._framing.head(self._gave_up)):
                self._owed.pop(self._gave_up, None)
                unit.slowest = max(unit.slowest, self._heard_at - self._sent_at)  # so much time it needs
            self._gave_up = None
        if self._heard_at >= self._quiet_until:
            self._noise_since = self._heard_at
        self._quiet_until = self._heard_at + self._turnaround
        if self._heard_at - self._noise_since > self.units.timeout:
            self._noise_since = self._heard_at
            waiting = [*self._writes, *self._reads]
            self._writes, self._reads = deque(), deque()
            for job in waiting:
                self._end(job, BROKEN, "the line is never quiet")

    # What the driver calls

    async def scan(
        self, requests: Sequence[Request], words: np.ndarray, within: float | None = None, *, ahead: bool = False
    ) -> Scan:
        """As `Client.scan`; a request whose answer was broken or contradicts it ends as BROKEN, and the line goes on."""
        if self.lost:
            raise self.lost
        scan = Scan(requests, words, self._loop.create_future(), within)
        if not requests:
            return scan
        jobs = [_Job(r.unit, r.pdu, r, scan, index) for index, r in enumerate(requests)]
        self._reads = deque([*jobs, *self._reads] if ahead else [*self._reads, *jobs])
        self._send()
        try:
            await scan.done
        finally:
            if scan.left:
                self._reads = deque(job for job in self._reads if job.scan is not scan)
        return scan

    async def write(self, unit: int, pdu: bytes) -> None:
        """Send a write ahead of reads that wait and return when the unit confirmed it. Raises DeviceRefused, DeviceSilent,
        AnswerContradicts; after these two it may have been done."""
        if self.lost:
            raise self.lost
        if self._unsure(pdu) and self._out is None and not self._reads:
            look = Request(unit, 1 if pdu[0] == 5 else 3, int.from_bytes(pdu[1:3]), 1, 0)
            await self.scan([look], np.zeros(1, np.uint16))
        job = _Job(unit, pdu, done=self._loop.create_future())
        assert job.done is not None
        self._writes.append(job)
        self._send()
        try:
            await job.done
        finally:
            if job in self._writes:
                self._writes.remove(job)

    def _unsure(self, pdu: bytes) -> bool:
        """Whether the answer to this write could not be told from its echo. The first answer to a read decides it for good."""
        return not self._plain and pdu[0] in AS_ASKED

    # One turn

    def _send(self) -> None:
        if self._out is not None or self._transport is None or not (self._writes or self._reads):
            return
        now = self._loop.time()
        if now < self._quiet_until:
            self._waking = self._waking or self._loop.call_at(self._quiet_until, self._wake)
            return
        if (job := self._next()) is None:
            return
        self._out = job
        frame = self._framing.frame(job.unit, job.pdu)
        self._gave_up, self._amiss, self._spoiled = None, "", ""
        self._echo = frame if self._where.echo else b""
        self._sent_at = now
        on_the_line = self._framing.size(job.pdu) * self._where.character
        limit = job.scan.limit(self.units, job.unit) if job.scan else self.units.limit(job.unit)
        self._deadline = self._loop.call_at(now + on_the_line + limit, self._expired)
        if self.tap:
            self.tap("out", frame)
        self._transport.write(frame)

    def _next(self) -> _Job | None:
        """A write, but for one read ahead of the first that needs it; no read whose answer could not be told from one that its unit
        still owes: that read does not have its turn."""
        while self._writes or self._reads:
            first = self._writes and not (self._reads and not self._looked and self._unsure(self._writes[0].pdu))
            if first:
                return self._writes.popleft()
            job, self._looked = self._reads.popleft(), self._looked or bool(self._writes)
            form, until = self._owed.get(job.unit, ((0, 0), 0.0))
            if form != form_of(job.pdu) or until <= self._loop.time():
                return job
            self._end(job, WAITED)
        return None

    def _wake(self) -> None:
        self._waking = None
        self._send()

    def _rest(self, hold: float) -> None:
        """Nothing is out any more; the next request leaves after `hold` seconds of quiet."""
        self._out, self._got = None, bytearray()
        self._deadline, self._ending = _forget(self._deadline), _forget(self._ending)
        self._noise_since = self._loop.time()
        self._quiet_until = self._noise_since + hold
        self._send()

    def _ended(self) -> None:
        """Silence follows what came."""
        assert self._out is not None
        code, why, last = self._judge(self._out, bytes(self._got))
        if last:
            self._conclude(self._out, code, why)
        else:
            self._amiss, self._got = self._amiss or why, bytearray()

    def _expired(self) -> None:
        """The time for the answer is over."""
        job, now = self._out, self._loop.time()
        assert job is not None
        code, why = BROKEN, self._amiss
        if self._got:
            code, why, _ = self._judge(job, bytes(self._got))
        elif not why:
            code, why = ASKED, f"unit {job.unit} does not answer"
        dead = False
        if code == ASKED and job.scan is not None:
            dead = job.scan.missed(self.units, job.unit, now)
        elif code == BROKEN and (job.scan is None or job.scan.within is None):
            self.units.missed(job.unit, now, silent=False)
        if code < 0:
            self._gave_up = job.unit
            on_the_line = self._framing.size(job.pdu) * self._where.character
            until = self._sent_at + on_the_line + self.units.timeout + self._turnaround
            if until > now + self._turnaround + 1e-6:  # it had less than the whole time-out
                self._owed[job.unit] = form_of(job.pdu), until
            if job.scan is not None:
                job.scan.hurried = True
        self._conclude(job, code, why, dead)

    def _judge(self, job: _Job, got: bytes) -> tuple[int, str, bool]:
        """0, the exception, or BROKEN; why; and whether it was the answer, so that no other will come."""
        now, unit = self._loop.time(), self.units[job.unit]
        self.units.heard_at = now
        last = self._framing.came(got, job.unit, job.pdu)
        try:
            if self._spoil(job, got):
                echo = self._framing.frame(job.unit, job.pdu)
                rest = got.replace(echo, b"", 1) if echo in got else got[len(echo) :]
                last = self._framing.came(rest, job.unit, job.pdu)
                raise AnswerContradicts(f"unit {job.unit}: {self._spoiled}")
            number, answer = self._framing.open(got)
            if number != job.unit and number in self._owed:
                del self._owed[number]
                self.late += 1
                self.units[number].late += 1
                return BROKEN, f"unit {number} answers late", last
            code = self._read(job, number, answer)
        except BrokenFrame:
            unit.broken += 1
            return BROKEN, f"unit {job.unit}: {len(got)} bytes came that are no frame, or with a wrong checksum", last
        except ShortAnswer as error:
            unit.contradicted += 1
            if job.scan is not None:
                job.scan.short = error
            return BROKEN, str(error), True
        except AnswerContradicts as error:
            unit.contradicted += 1
            return BROKEN, str(error), last
        if got != self._framing.frame(job.unit, job.pdu):
            self._plain, self.units.echoes = True, False
        self._drained = not unit.misses  # else what it was asked before may be answered too, right behind this
        self.units.answered(job.unit, now, self._heard_at - self._sent_at, code)
        return code, "", True

    def _spoil(self, job: _Job, got: bytes) -> bool:
        """Whether this turn brings no answer: an echo is none, nor is what follows it."""
        if not self._plain and got.startswith(self._framing.frame(job.unit, job.pdu)):
            self._spoiled, self.units.echoes = self._where.echoes, True
        return bool(self._spoiled)

    def _conclude(self, job: _Job, code: int, why: str, dead: bool = False) -> None:
        if code == BROKEN and job.scan is not None:
            job.scan.why = why
        self._end(job, code, why)
        if code == ASKED or code in NOBODY_THERE:
            self._skip(job, code, dead)
        self._rest(self._turnaround if code < 0 or not self._drained else 0.0)

    def _end(self, job: _Job, code: int, why: str = "") -> None:
        if job.scan is not None:
            job.scan.end(job.index, code, self._stamp if code >= 0 else 0)
        elif job.done is not None and not job.done.done():
            _tell(job.done, code, why)

    def _skip(self, silent: _Job, code: int, dead: bool) -> None:
        """Nothing more is asked of this unit in this scan; of no unit, where the whole line is dead. After enough silent ones no
        unit is asked for the first time, which may cost its full time-out: it has its turn in the next scan."""
        scan = silent.scan
        if scan is None:
            return
        enough = self.units.hurry(scan.misses)
        mine = [
            job
            for job in self._reads
            if job.scan is scan and (dead or job.unit == silent.unit or (enough and self.units[job.unit].stranger))
        ]
        if mine:
            self._reads = deque(job for job in self._reads if job not in mine)
        for job in mine:
            self._end(job, code if job.unit == silent.unit else WAITED)

    def _read(self, job: _Job, unit: int, answer: bytes) -> int:
        """0, or the exception that the unit answers with. Raises AnswerContradicts."""
        what = str(job.request) if job.request else f"the write to unit {job.unit}"
        if unit != job.unit:
            raise AnswerContradicts(f"{what}: answered by unit {unit}")
        if answer[0] == job.pdu[0] | 0x80 and len(answer) == 2:
            return answer[1] or 4
        if answer[0] != job.pdu[0]:
            raise AnswerContradicts(f"{what}: answered with function {answer[0]}")
        if job.request is not None and job.scan is not None:
            fill(job.scan.words, job.request, memoryview(answer))
        elif answer != job.pdu[:5]:
            raise AnswerContradicts(CONFIRMED_OTHER)
        return 0

    # The end

    def _fail(self, error: Exception) -> None:
        self.lost = self.lost or error
        due = self._deadline.when() + self._turnaround if self._out and self._deadline else self._quiet_until
        if due > self._loop.time():
            _busy[self._where.identity] = due
        jobs = [*([self._out] if self._out else []), *self._writes, *self._reads]
        self._out, self._reads, self._writes = None, deque(), deque()
        self._deadline, self._ending = _forget(self._deadline), _forget(self._ending)
        self._waking = _forget(self._waking)
        for done in {id(d): d for job in jobs if (d := job.scan.done if job.scan else job.done)}.values():
            if not done.done():
                done.set_exception(error)

    def close(self) -> None:
        """Hang up; whoever still waits gets DeviceLost."""
        self.lost = self.lost or DeviceLost("closed")
        if self._transport is not None:
            self._transport.abort()
        self._fail(self.lost)


def form_of(pdu: bytes) -> Form:
    return pdu[0], answer_size(pdu)


async def open_bus(config: ModbusConfig, clock: Clock, units: Units) -> Client | Line:
    """A connection as the site describes it, without its `pause`. Raises DeviceLost."""
    where = config.where
    if where.numbered:
        return await Client.connect(where.host, where.port, clock, units, config.most_in_flight)
    return await Line.connect(where, clock, units, config.turnaround)


def _forget(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """What takes its place: nothing."""
    if timer is not None:
        timer.cancel()
    return None


def _tell(done: asyncio.Future[None], code: int, why: str) -> None:
    if code > 0:
        done.set_exception(write_refused(code))
    elif code == ASKED:
        done.set_exception(DeviceSilent(f"{why}; the write may have been done"))
    elif code:
        done.set_exception(AnswerContradicts(f"{why}; the write may have been done"))
    else:
        done.set_result(None)
