"""Device and plane in one process, on real sockets: what is read arrives, once, whatever breaks."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import urllib3

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import func, select

from drivers.modbus.sim import ModbusSim
from edge import Batch, LinesideError, Quality
from edge.app import Daemon
from edge.bench.process import free_port
from edge.commands import doctor
from edge.config.load import load_text
from edge.control import Control, status
from edge.records import journal_of
from edge.status import Screen
from sync import wire
from sync.broker import BrokerConfig
from sync.control_plane import api, mosquitto, tables
from sync.control_plane.ca import Authority
from sync.control_plane.history import thin
from sync.control_plane.invite import Wish, invited
from sync.control_plane.plane import Plane
from sync.control_plane.where import Where
from sync.device import enrolment, identity
from sync.invitation import read_token, token
from tests.broker import Broker
from tests.sync.enrolled import tls_of

pytestmark = pytest.mark.usefixtures("database")
SITE = """
device: {{id: dev-1}}
drivers:
  plc:
    driver: modbus
    url: tcp://127.0.0.1:{port}
    every: 50ms
    tags:
      temp: {{address: "holding:0", type: int16}}
      stop: {{address: "coil:1", writable: {{range: [0, 1]}}}}
alarms:
  hot: {{when: "plc.temp > 80", severity: high, then: {{plc.stop: 1}}}}
journal: {{block: 300ms, durable_within: 100ms}}
sync: {{url: "{url}", live: 100ms}}
"""
both_ways = pytest.mark.parametrize("way", ["https", "mqtts"])


class Rig:
    """One simulated PLC, one plane, one device; `way` mqtts: and a broker between them."""

    def __init__(self, folder: Path, way: str = "https") -> None:
        self.folder = folder
        self.port, self.page = free_port(), free_port()
        self.broker: Broker | None = None
        if way == "mqtts":
            self.broker = Broker(folder / "broker")
            files, authority = folder / "plane" / "broker", Authority(folder / "plane")
            self.broker.config = mosquitto.write(files, authority, ["127.0.0.1"], "127.0.0.1", self.broker.port)

    async def __aenter__(self) -> Rig:
        if self.broker:
            self.broker.start()
        await self.plane_starts()
        probe = load_text(SITE.format(port=1, url="https://x"))
        self.sim = ModbusSim("plc", probe.drivers["plc"])  # type: ignore[arg-type]
        self.sim.port = 0
        await self.sim.start()
        invitation = await invited(self.plane.store, Wish())
        words = token(self.plane.url, self.plane.authority.fingerprint, invitation)
        await asyncio.to_thread(enrolment.enroll, words, "dev-1", self.folder / "dev")
        self.words = words
        await self.device_starts()
        return self

    async def plane_starts(self) -> None:
        access = BrokerConfig(url=f"mqtts://127.0.0.1:{self.broker.port}") if self.broker else None
        self.plane = Plane(Where(self.folder / "plane", device_port=self.port, page_port=self.page, broker=access))
        await self.plane.start()

    async def device_starts(self) -> None:
        access = self.plane.where.broker
        config = load_text(SITE.format(port=self.sim.port, url=access.url if access else self.plane.url))
        assert not config.problems
        self.daemon = Daemon(config, self.folder / "dev")
        await self.daemon.start()

    async def __aexit__(self, *_: object) -> None:
        await self.daemon.stop()
        await self.sim.stop()
        await self.plane.stop()
        if self.broker:
            self.broker.stop()

    async def until(self, true: Callable[[], Awaitable[Any]], seconds: float = 120) -> Any:
        async with asyncio.timeout(seconds):
            while not (found := await true()):
                await asyncio.sleep(0.02)
            return found

    async def count(self) -> int:
        """Samples the plane holds."""
        return int(await self.plane.store.read(lambda c: c.execute(select(func.sum(tables.block.c.n))).scalar()) or 0)

    async def events(self, kind: str) -> list[tuple[str, str]]:
        t = tables.event
        wanted = select(t.c.key, t.c.state).where(t.c.kind == kind).order_by(t.c.seq)
        return [tuple(row) for row in await self.plane.store.read(lambda c: c.execute(wanted).all())]

    async def all_arrived_of(self, daemon: Daemon, before: int) -> int:
        """As `all_arrived`, of a device that came after one of which the plane holds so many samples."""
        self.daemon = daemon
        return await self.all_arrived(before)

    async def all_arrived(self, before: int = 0) -> int:
        """Seal what is open, wait until the plane holds as many samples as the journal, return how many."""
        await self.daemon._end(self.daemon.drivers.values())
        await self.daemon.journal.commit(seal=True)
        db = self.daemon.journal.ask

        async def equal() -> bool:
            held = await db(lambda c: next(c.execute("SELECT coalesce(sum(n), 0) FROM block"))[0])
            return before + held == await self.count()

        await self.until(equal)
        return await self.count()


def rig(folder: Path, work: Callable[[Rig], Awaitable[None]], way: str = "https") -> None:
    async def main() -> None:
        async with Rig(folder, way) as it:
            await work(it)

    asyncio.run(main())


@both_ways
def test_a_register_goes_all_the_way_and_back(tmp_path: Path, way: str) -> None:
    async def work(it: Rig) -> None:
        it.sim.set("temp", 85)

        async def raised() -> bool:
            return ("hot", "raised") in await it.events("alarm")

        await it.until(raised)

        async def stopped() -> bool:
            return it.sim.get("stop") == 1  # the local output

        await it.until(stopped)
        await it.plane.ingest.command("dev-1", "ack", {"alarm": "hot", "by": "me"})

        async def acked() -> bool:
            return ("hot", "acked") in await it.events("alarm")

        await it.until(acked)
        assert await it.all_arrived() == it.daemon.journal.totals.appended
        assert (await it.daemon.journal.cursors("sync"))["commands"].watermark > 0

    rig(tmp_path, work, way)


@both_ways
def test_the_plane_away_and_back_loses_and_doubles_nothing(tmp_path: Path, way: str) -> None:
    async def work(it: Rig) -> None:
        async def some() -> bool:
            return await it.count() > 10

        await it.until(some)
        for _ in range(3):
            await it.plane.stop()
            before = it.daemon.journal.totals.sealed

            async def more(before: int = before) -> bool:
                return it.daemon.journal.totals.sealed > before + 2

            await it.until(more)
            await it.plane_starts()
        assert await it.all_arrived() == it.daemon.journal.totals.appended

    rig(tmp_path, work, way)


@both_ways
def test_a_new_daemon_goes_on_where_the_old_one_stopped(tmp_path: Path, way: str) -> None:
    async def work(it: Rig) -> None:
        async def some() -> bool:
            return it.daemon.journal.totals.durable > 10

        await it.until(some)
        await it.daemon.stop()
        first = it.daemon.journal.totals.appended
        await it.device_starts()
        await it.until(some)
        assert await it.all_arrived() == first + it.daemon.journal.totals.appended

    rig(tmp_path, work, way)


def test_what_is_not_delivered_is_counted_also_after_a_restart(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        async def rest() -> dict[str, int]:
            return (await status(it.daemon))["backlog"]["sync"]

        async def some() -> bool:
            return (await rest())["records"] > 3

        await it.plane.stop()
        await it.until(some)
        await it.daemon.stop()
        db = journal_of(it.folder / "dev" / "journal.db")
        ahead = "SELECT sum(n) FROM block LEFT JOIN cursor USING (stream) WHERE seq > coalesce(watermark, 0)"
        held = next(db.execute(ahead))[0] + next(db.execute("SELECT coalesce(sum(n), 0) FROM tail"))[0]
        db.close()
        site = it.folder / "site.yaml"
        site.write_text(SITE.format(port=it.sim.port, url=it.plane.url))
        said = {what: how for _, what, how, _ in doctor.site(site, it.folder / "dev")}
        assert said["backlog"].startswith("sync: ") and f"{held:,} samples to be delivered" in said["backlog"]
        assert "no daemon runs" in said["daemon"]
        await it.device_starts()
        waits = await rest()
        assert waits["samples"] >= held and waits["records"] > 3
        control = Control(it.daemon)
        await control.start()
        findings = await asyncio.to_thread(lambda: list(doctor.site(site, it.folder / "dev")))
        assert re.fullmatch(
            r"sync: \d+ records, [\d,]+ samples .*", {what: how for _, what, how, _ in findings}["backlog"]
        )
        await control.stop()
        await it.plane_starts()
        await it.all_arrived()

        async def told() -> bool:
            newest, now = it.plane.hub.devices.get("dev-1"), await status(it.daemon)
            none = {"records": 0, "samples": 0}
            return (
                bool(newest)
                and newest.status["backlog"] == now["backlog"]["sync"] == none
                and "sync: 0 records, 0 samples to be delivered" in Screen().lines(now)
            )

        await it.until(told)

    rig(tmp_path, work)


@both_ways
def test_values_are_the_same_bit_for_bit(tmp_path: Path, way: str) -> None:
    async def work(it: Rig) -> None:
        tag = it.daemon.table["plc.temp"].id
        stop = it.daemon.table["plc.stop"].id
        value = np.array([1.1, -0.0, np.nan, 5e-324, 1e300])
        await it.daemon._end(it.daemon.drivers.values())
        it.daemon.accept(Batch.of("plc", [tag] * 5, value, np.arange(1, 6) * 10**18))
        it.daemon.accept(Batch.of("plc", [stop], [1], 7 * 10**18))
        await it.all_arrived()
        from edge import decode

        rows = await it.plane.store.read(lambda c: c.execute(select(tables.block.c.body)).all())
        got = [
            b.value[(b.tag == tag) & (b.ts >= 10**18) & (b.ts < 6 * 10**18)] for (x,) in rows if (b := decode("plc", x))
        ]
        back = np.concatenate(got)
        assert back[-5:].tobytes() == value.tobytes()

    rig(tmp_path, work, way)


def test_strangers_and_garbage_are_refused(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        me = identity.load(it.folder / "dev", "dev-1")
        ours, nobodys = tls_of(it.folder / "dev", "dev-1"), ssl.create_default_context(cadata=me.ca)

        def ask(tls: ssl.SSLContext, method: str, path: str, body: bytes = b"") -> int:
            with urllib3.PoolManager(ssl_context=tls, retries=False, timeout=60) as plane:
                return int(plane.request(method, it.plane.url + path, body=body).status)

        async def status(*arguments: Any) -> int:
            return await asyncio.to_thread(ask, *arguments)

        assert await status(nobodys, "POST", "/d/v1/up", b"") == 401
        assert await status(ours, "POST", "/d/v1/up", b"garbage") == wire.REJECTED
        assert await status(ours, "POST", "/d/v1/live", b"\xc1") == wire.REJECTED
        assert await status(ours, "POST", "/d/v1/up", b"\0" * 9_000_000) == wire.REJECTED
        assert await status(ours, "PUT", f"/d/v1/picture/{'0' * 64}", b"x") == wire.REJECTED
        with pytest.raises(LinesideError, match="used already"):
            await asyncio.to_thread(enrolment.enroll, it.words, "dev-2", it.folder / "two")
        forged = token(it.plane.url, "0" * 64, "x")
        with pytest.raises(LinesideError, match="not the one"):
            await asyncio.to_thread(enrolment.enroll, forged, "dev-2", it.folder / "two")
        with pytest.raises(LinesideError, match="no token"):
            read_token("hello")
        kept = json.loads((it.folder / "dev" / "identity.json").read_text())
        assert (it.folder / "dev" / "identity.json").stat().st_mode & 0o077 == 0 and not any(
            kept[name] in repr(me) for name in ("secret", "key")
        )

    rig(tmp_path, work)


def test_the_page_needs_the_link_and_shows_live_values(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        it.sim.set("temp", 42)
        base = it.plane.link.split("/login")[0]

        def get(path: str, session: str = "", host: str = "") -> tuple[int, Any, str]:
            headers = {"Cookie": f"session={session}"} if session else {}
            headers |= {"Host": host} if host else {}
            with urllib3.PoolManager(retries=False, timeout=60) as page:
                answer = page.request("GET", base + path, headers=headers, redirect=False)
                cookie = answer.headers.get("set-cookie", "").partition("session=")[2].partition(";")[0]
                return answer.status, answer.data, cookie

        assert (await asyncio.to_thread(get, "/api/devices"))[0] == 401
        assert (await asyncio.to_thread(get, "/login?key=wrong"))[0] == 403
        assert (await asyncio.to_thread(get, "/api/devices", "", "evil.example"))[0] == 421
        session = (await asyncio.to_thread(get, it.plane.link[len(base) :]))[2]

        async def shown() -> bool:
            _, body, _ = await asyncio.to_thread(get, "/api/devices/dev-1/tags", session)
            return any(row["name"] == "plc.temp" and row["value"] == 42 for row in json.loads(body))

        await it.until(shown)
        await it.all_arrived()
        _, body, _ = await asyncio.to_thread(get, "/api/devices/dev-1/series?tag=plc.temp", session)
        assert set(json.loads(body)["v"]) >= {42.0}
        device = json.loads((await asyncio.to_thread(get, "/api/devices", session))[1])[0]
        assert device["online"] is True and 0 <= device["age"] < 10
        assert (await asyncio.to_thread(get, "/api/devices", "x" + session))[0] == 401
        assert (await asyncio.to_thread(get, "/api/devices", "999999999999." + session.partition(".")[2]))[0] == 401

    rig(tmp_path, work)


def test_what_is_not_trusted_is_a_gap_in_history(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        session = it.plane.people.login(it.plane.people.key)
        url = f"{it.plane.link.split('/login')[0]}/api/devices/dev-1/series?tag=plc.temp&from=-60000000000"

        def ask() -> dict[str, Any]:
            with urllib3.PoolManager(retries=False, timeout=60) as page:
                return page.request("GET", url, headers={"Cookie": f"session={session}"}).json()

        async def good() -> bool:
            return "dev-1" in it.plane.hub.devices and 0.0 in (await asyncio.to_thread(ask))["v"]

        await it.until(good)
        await it.daemon._end(it.daemon.drivers.values())
        number, now = it.daemon.table["plc.temp"].id, it.daemon.clock.utc()
        it.daemon.accept(Batch.of("plc", [number], [7.0], now, Quality.STALE))

        recent = it.plane.hub.devices["dev-1"].recent

        async def live() -> bool:
            return recent.of(number)[-1][0] == now

        await it.until(live)
        assert recent.of(number)[-1] == (now, None)
        await it.all_arrived()
        it.plane.hub.devices.clear()
        found = await asyncio.to_thread(ask)
        assert found["v"][-1] is None and found["t"][-1] == now // 1_000_000 <= found["to"], "sealed blocks know it too"

    rig(tmp_path, work)


def test_thinning_keeps_spikes_and_gaps() -> None:
    value = np.zeros(10_000)
    value[1234], value[5678], value[7000] = 9.0, -9.0, np.nan
    times, kept = thin(np.arange(10_000), value, 100)
    assert len(times) <= 101 and {1234, 5678, 7000} < set(times.tolist()) and np.isnan(kept[times == 7000]).all()


def test_the_live_lane_says_that_it_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "ALIVE_SECONDS", 0.05)

    async def work(it: Rig) -> None:
        await it.daemon._end(it.daemon.readers.values())
        session = it.plane.people.login(it.plane.people.key)

        def kinds() -> list[str]:
            with urllib3.PoolManager(retries=False, timeout=60) as page:
                url = it.plane.link.split("/login")[0] + "/api/live"
                answer = page.request("GET", url, headers={"Cookie": f"session={session}"}, preload_content=False)
                found, text = [], ""
                for piece in answer.stream(64):
                    text += piece.decode()
                    found = re.findall(r'data: \{"kind": "(\w+)"\}\n\n', text)
                    if len(found) == 3:
                        answer.close()
                        break
                return found

        assert await asyncio.to_thread(kinds) == ["open", "alive", "alive"]

    rig(tmp_path, work)


@both_ways
def test_a_record_that_the_plane_cannot_read_holds_up_nothing(tmp_path: Path, way: str) -> None:
    async def work(it: Rig) -> None:
        import zlib

        def spoil(db: Any) -> None:
            seq = next(db.execute("SELECT coalesce(max(seq), 0) FROM event"))[0] + 1
            db.execute("INSERT INTO event VALUES (?, 1, 'alarm', 'x', ?, 1, ?)", (seq, zlib.crc32(b"junk"), b"junk"))
            db.execute("INSERT OR REPLACE INTO stream (name, seq) VALUES ('event', ?)", (seq,))

        await it.daemon.journal.on_writer(spoil)
        it.sim.set("temp", 85)

        async def told() -> bool:
            return ("hot", "raised") in await it.events("alarm") and ("event", "rejected") in await it.events("gap")

        await it.until(told)
        (kept,) = await it.plane.store.read(lambda c: c.execute(select(tables.refused)).mappings().all())
        assert (kept["device"], kept["stream"], kept["body"]) == ("dev-1", "event", b"junk") and kept["why"]
        assert await it.all_arrived() == it.daemon.journal.totals.appended

    rig(tmp_path, work, way)
