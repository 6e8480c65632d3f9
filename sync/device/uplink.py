"""The reader that brings everything to the control plane, and its commands down."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import msgpack

from edge import Cursor, DeviceLost, Host, LinesideError, Record, lack, log

from .. import wire
from ..either import either
from . import compare, identity, key, twin_cases
from .allowance import SPARING, Allowance, Counted
from .certificate import Certificate
from .compare import NAME
from .evidence import Evidence
from .lease import Lease
from .mqtt import Mqtt
from .objects import Upload
from .options import SyncConfig
from .orders import Orders, asks
from .pace import FIRST_WAIT, LEAST, Pace, Waits
from .transport import Https, Rejected, Stranger, TooLarge, Transport
from .twin import Handler, Twin, refusals
from .twin_cases import CasesHandler
from .twin_config import Configs
from .twin_firmware import FirmwareHandler
from .twin_models import ModelHandler
from .twin_runtime import RuntimeHandler
from .twin_updates import Brought

ROW, LEAST_ROWS = 21, 64  # bytes of a newest value; how many go at once on any line
LOOK = 30.0  # seconds between two looks at what may go by now


class Uplink:
    """Sends what is sealed, in the order tags, texts, events, samples; the cursor moves only after the plane's COMMIT. Pictures go
    beside them when nothing else waits, and hold up nothing that comes meanwhile.

    Offline is the normal case: each lane tries again with growing, jittered waits and nothing else notices.
    After each break it compares where the plane stands with what the plane had acknowledged.
    """

    def __init__(
        self, config: SyncConfig, host: Host, transport: Transport | None = None, rng: random.Random | None = None
    ) -> None:
        self.config, self.host = config, host
        self._transport = transport
        self._rng = rng or random.Random()
        self._run = f"{self._rng.getrandbits(48):012x}"
        self._lease = Lease(host.clock)
        self._gives, self._orders = config.gives, Orders(host, config.writes, config.commands, self._lease)
        self._a_second = config.a_second or 0
        self._allowance = Allowance(self._gives.a_day, config.windows, host.clock, host.folder, self._a_second)
        self.cursors: dict[str, Cursor] = {}
        self._whole = True  # the next live message brings every value
        self._said = ""
        self._pace = Pace(self._a_second)
        self._upload: Upload | None = None
        self._twin: Twin | None = None
        self._idle = asyncio.Event()  # no record waits: pictures have their turn
        self._broken = asyncio.Event()  # the plane may be another one now: compare before anything else is sent
        self._reached = asyncio.Event()  # compared: the other lanes may knock, too

    async def run(self) -> None:
        line = self._transport or self._reach(identity.load(self.host.folder, self.host.config.device.id))
        transport, much = Counted(line, self._allowance), Counted(line, self._allowance, much=True)
        self.cursors = await self.host.journal.cursors(NAME)
        await compare.begun(self.host.journal)
        handlers = self._handlers(transport, much)
        twin = self._twin = Twin(self.host, handlers, refusals(self.config.installs))
        self._broken.set()
        try:
            async with asyncio.TaskGroup() as lanes:
                lanes.create_task(self._again(lambda: self._deliver(transport, much), leads=True))
                lanes.create_task(self._again(lambda: self._pictures(much)))
                lanes.create_task(self._again(lambda: self._live(transport)))
                lanes.create_task(self._again(lambda: self._commands(transport, twin)))
                lanes.create_task(self._again(lambda: twin.ask(transport)))
                lanes.create_task(self._again(twin.work, alone=lambda: twin.goes_on))
                if self.config.evidence and self._transport is None:
                    lanes.create_task(self._evidence())
                if isinstance(models := handlers.get("model"), ModelHandler):
                    lanes.create_task(models.keep())
        except ExceptionGroup as several:  # not `except*`: before Python 3.11.4 it wraps what is raised in it again
            known, unknown = several.split(LinesideError)
            if known is None or unknown is not None:
                raise
            raise known.exceptions[0] from None
        finally:
            self._orders.stop()
            transport.close()

    async def _evidence(self) -> None:
        """Sign what is recorded, with or without a line."""
        me = identity.load(self.host.folder, self.host.config.device.id)
        await Evidence(self.host, me.device, key.private(me.key), self.config.evidence or 0.0).run()

    def _reach(self, me: identity.Identity) -> Transport:
        broker = self.config.url.startswith("mqtts:")
        if broker:
            return Mqtt(self.config, me, self.host.folder)
        return Https(replace(me, url=self.config.url), Certificate(self.host.folder, me))

    def _handlers(self, transport: Transport, much: Transport) -> dict[str, Handler]:
        """Of what the plane wants here, by kind; large things come by `much`."""
        made: dict[str, Callable[[Host, Transport], Handler]] = {"model": self._models}
        signed = self.config.signed
        made["config"] = lambda host, much: Configs(host, much, self._brought(host, much), signed)
        firmware = self.config.firmware
        made["firmware"] = lambda host, much: FirmwareHandler(host, self._brought(host, much), firmware)
        made["runtime"] = lambda host, much: RuntimeHandler(host, self._brought(host, much))
        holds = partial(self._allowance.holds, pictures=True)
        made["cases"] = lambda host, much: CasesHandler(host, much, self._a_second, holds)
        if "cases" not in self.config.installs:
            twin_cases.forget(self.host.folder)
        return {kind: make(self.host, much) for kind, make in made.items() if kind in self.config.installs}

    def _models(self, host: Host, much: Transport) -> ModelHandler:
        return ModelHandler(host, self._brought(host, much))

    def _brought(self, host: Host, much: Transport) -> Brought:
        return Brought(host, much, self._updates_turn, partial(self._allowance.holds, pictures=True))

    async def _updates_turn(self) -> None:
        """Until a piece of an update may go: as a picture."""
        await self._idle.wait()
        while wait := self._allowance.rest():
            await asyncio.sleep(wait)
            await self._idle.wait()

    async def _again(
        self, lane: Callable[[], Any], leads: bool = False, alone: Callable[[], bool] = lambda: False
    ) -> None:
        """Run one lane for ever; while it is `alone()` it does not wait for the plane. Each call of `lane` does one round; after
        one that failed it waits, longer each time, and the lane that leads knocks first: a plane that comes back is asked once by
        each device."""
        waits, said = Waits(self._rng), ""
        while True:
            try:
                if not leads and not alone():
                    await self._reached.wait()
                await lane()
                if leads:
                    self._well(bool(said))
                waits.over()
                said = ""
            except LinesideError as error:
                if not error.heals or isinstance(error, Stranger):
                    raise
                self._reached.clear()
                self._broken.set()
                if str(error) not in (said, self._said):
                    log.warning("sync: %s; kept and tried again", error)
                if leads:
                    self.host.health.state(NAME, "waiting", str(error))
                    self._said = str(error)
                said = str(error)
                await asyncio.sleep(waits.next())

    def _well(self, again: bool = False) -> None:
        if again:
            log.info("sync: the plane answers again")
        self.host.health.state(NAME, "running", self._allowance.words())

    # Up

    async def _deliver(self, transport: Transport, much: Transport) -> None:
        """One message, by `much` where it has samples; waits for news when there is nothing to send."""
        if self._broken.is_set():
            self._broken.clear()
            self._idle.clear()
            await self._compare(transport)
            if not self._broken.is_set():
                self._reached.set()
        news = self.host.journal.news  # taken before we look
        records = await self._next_records()
        if records:
            self._idle.clear()
            transport = much if records[-1].stream.startswith("samples:") else transport
            try:
                await self._send(transport, records)
            except TooLarge:
                if self._pace.room > LEAST:
                    self._pace.refused(sum(len(record.body) for record in records))
                elif len(records) > 1:
                    await self._one_by_one(transport, records)
                else:
                    raise
            except Rejected:
                await self._one_by_one(transport, records)
        elif rest := self._allowance.rest():
            self._idle.clear()  # whatever waits, samples are before pictures
            self._well()
            await either(news, self._broken, timeout=rest)
        else:
            self._idle.set()
            self._well()
            await either(news, self._broken, timeout=LOOK if self._allowance.holds() else None)
            if self._broken.is_set() and not news.is_set():  # all its devices lost the plane at this moment
                await either(news, timeout=self._rng.uniform(0, FIRST_WAIT))

    async def _compare(self, transport: Transport) -> None:
        """What the plane had acknowledged and no longer has is sent again; what is no longer here either, a gap event tells."""
        journal = self.host.journal
        epoch, given = journal.epoch, dict(self.cursors)  # as it was when we asked: a picture may be under way
        self._pace = Pace(self._a_second)
        stands = wire.unpack_ack(await self._pace.timed(transport, "GET", f"/d/v1/stands?epoch={epoch}"))
        await compare.check(journal, stands)
        if all(stands.get(s, Cursor()).watermark >= c.watermark for s, c in given.items() if s != "commands"):
            return
        back, events = await journal.revise(NAME, compare.behind, given, stands)
        self.cursors |= back
        if events:
            log.warning("sync: %s", events[-1].text)
        if self._twin and any(event.kind == "gap" and event.data["stream"] == "event" for event in events):
            await self._twin.again()

    async def _next_records(self) -> list[Record]:
        """What goes next, as much as the line carries in a moment: every tag and every text before anything that uses it, events
        before samples."""
        journal = self.host.journal
        # before the rest is read: a block that is sealed meanwhile may use a newer text
        sealed = await journal.streams()
        records: list[Record] = []
        room = self._pace.room
        samples = sorted(sealed) if not (self._allowance.holds() or self._allowance.rest()) else []
        for stream in ("tag", "text", "event", *samples):
            if records and [stream] == samples[:1]:
                room = min(room, self._pace.room // 4)  # what is urgent takes little else with it
            limit = min(512, wire.MOST_FRAMES - len(records))
            if room <= 0 or not limit:
                break
            after = self.cursors.setdefault(stream, Cursor()).watermark
            found = await journal.read(stream, after, limit, room)
            for record in found:
                if records and len(record.body) > room:
                    return records  # never more than it carries, and nothing of what comes after
                if record.seq <= sealed.get(stream, record.seq):
                    records.append(record)
                    room -= len(record.body)
            if stream in ("tag", "text") and len(found) == limit:
                break  # the rest of them comes first
        return records

    async def _send(self, transport: Transport, records: list[Record]) -> bool:
        """Several records in one message. One that is larger than what goes at once goes in pieces, one piece a call, so that an
        event that happens meanwhile is before the next one; false until all of it is there."""
        message, path = wire.pack(self.host.journal.epoch, records), "/d/v1/up"
        if len(records) == 1 and len(message) > 2 * self._pace.room:
            if self._upload is None or self._upload.body != message:
                self._upload = await Upload.of(message)
            if not await self._upload.step(transport, self._pace):
                return False
            path, message, self._upload = f"{path}?whole={self._upload.digest}", b"", None
        ack = wire.unpack_ack(await self._pace.timed(transport, "POST", path, message))
        moved = False
        for stream in dict.fromkeys(r.stream for r in records):
            sent = [r for r in records if r.stream == stream]
            missing = [r.seq for r in sent if r.seq not in ack.get(stream, Cursor())]
            if missing and (taken := [r.seq for r in sent if r.seq < missing[0]]):
                self._move(stream, taken[-1])
                moved = True
            if missing and moved:
                self._broken.set()  # it may count more by now of what it was told is gone: compare, and send the rest again
                break
            if missing:
                raise DeviceLost(f"the plane did not take {stream} {missing[0]}")
            if ack[stream].watermark < sent[-1].seq:
                self._broken.set()  # it lacks something below: put back to a backup, or given up here and not told yet
            self._move(stream, sent[-1].seq)
            moved = True
        return True

    def _move(self, stream: str, number: int) -> None:
        before = self.cursors.get(stream, Cursor())
        cursor = Cursor(number, list(before.ranges))  # a new one: the last may be under way to the disk
        cursor.cover([])  # what the plane has behind a hole that is filled now is delivered, too
        self.cursors[stream] = cursor
        self.host.journal.moved(NAME, stream, cursor)

    async def _one_by_one(self, transport: Transport, records: list[Record]) -> None:
        """Find the record that spoils a message: it is set aside with a gap event, so that the rest goes on."""
        for record in records:
            try:
                if not await self._send(transport, [record]):
                    break  # what comes after it waits until it is there
            except Rejected as error:
                self._set_aside(record, error)

    def _set_aside(self, record: Record, error: Rejected) -> None:
        log.error("sync: record %d of %s is set aside: %s", record.seq, record.stream, error)
        run = record.seq, record.seq, record.t0, record.t1, record.n
        self.host.accept(lack(0, record.stream, run, "rejected", str(error)))
        self._move(record.stream, record.seq)

    async def _pictures(self, transport: Transport) -> None:
        """One picture; waits where there is none, or where records wait."""
        news = self.host.journal.news
        await self._pictures_turn()
        after = self.cursors.setdefault("picture", Cursor()).watermark
        found = await self.host.journal.read("picture", after, 1, 1)
        for record in found:
            fault = None
            try:
                await self._picture(transport, record)
            except Rejected as error:
                fault = error
            if self.cursors["picture"].watermark != after:  # put back meanwhile: it comes again
                return
            if fault is not None:
                self._set_aside(record, fault)
            else:
                self._move("picture", record.seq)
        if not found:
            await news.wait()

    async def _pictures_turn(self) -> None:
        """Until no record waits that may go, and pictures may."""
        await self._idle.wait()
        while wait := LOOK if self._allowance.holds(pictures=True) else self._allowance.rest():
            await asyncio.sleep(wait)
            await self._idle.wait()

    async def _picture(self, transport: Transport, record: Record) -> None:
        """In one message, or in pieces, between which records have their turn."""
        upload, body = await Upload.of(record.body), record.body
        path = f"/d/v1/picture/{upload.digest}?epoch={self.host.journal.epoch}&seq={record.seq}"
        if len(body) > self._pace.room:
            while not await upload.step(transport, self._pace):
                await self._pictures_turn()
            path, body = f"{path}&whole={upload.digest}", b""
        try:
            await self._pace.timed(transport, "PUT", path, body)
        except TooLarge:
            if len(body) <= LEAST:
                raise
            self._pace.refused(len(body))
            await self._picture(transport, record)

    async def _live(self, transport: Transport) -> None:
        """The newest values, unacknowledged: only what changed since the last time, everything after a break, and where
        the plane says that it knows none of them (it was started anew)."""
        every = max(self._gives.live, SPARING) if self._allowance.over else self._gives.live
        await self._lease.wait(every)
        only = None if self._whole else self._lease.only(every)
        everything = self._whole or (only is None and self._rng.random() < 0.05)
        batch, whole = self.host.live.take(everything, only), self._whole
        self._whole = True
        columns = (batch.tag, batch.ts, batch.value, batch.quality)
        totals = self.host.journal.totals
        status = {
            "samples": totals.appended,
            "durable": totals.durable,
            "dropped": totals.dropped,
            "backlog": await self.host.journal.backlog(NAME),
            "journal": self.host.journal.complaint,
            "parts": self.host.health.report(),
            "every": every,
        }
        anew = at = 0
        while at == 0 or at < len(batch):  # no longer than what an alarm may wait for
            rows = slice(at, at + max(LEAST_ROWS, self._pace.room // ROW))
            body = msgpack.packb([wire.VERSION, self.host.journal.epoch, *(c[rows].tobytes() for c in columns), status])
            try:
                answer = await self._pace.timed(transport, "POST", "/d/v1/live", body, timeout=10.0)
            except TooLarge:
                self._pace.refused(len(body))
                raise
            anew += answer == wire.WHOLE and not (whole and at == 0)  # all of it is under way already
            at = rows.stop
        self._whole = bool(anew)

    # Down

    async def _commands(self, transport: Transport, twin: Twin) -> None:
        """Wait for commands; each is journaled before it runs, and its number with it, so that none runs twice. Number 0 is the
        plane's hint that something newer is wanted."""
        if "commands" not in self.cursors and (last := await self._orders.carried_out(transport)):
            self._move("commands", last)
        after = self.cursors.setdefault("commands", Cursor()).watermark
        await self._orders.begin()
        answer = await transport.exchange("GET", asks(after, 20, self._run, twin.generation), timeout=40.0)
        for number, verb, data in wire.unpack_commands(answer):
            if (number, verb) == (0, "twin"):
                twin.hint(data)
            if number in self.cursors["commands"]:
                continue
            async with self._orders.turn(verb, data) as about:
                self._move("commands", number)
                await self._orders(number, verb, data, about)
