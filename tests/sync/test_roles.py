"""A plane in several processes: what one of them did alone is right between them, whichever of them ends, and whenever."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import func, select, text

from edge import LinesideError
from edge.bench.process import free_port
from edge.cli import main
from sync import wire
from sync.broker import BrokerConfig
from sync.control_plane import hold, leader, tables
from sync.control_plane.broker import AtBroker
from sync.control_plane.database import opened
from sync.control_plane.plane import Plane
from sync.control_plane.where import Where
from sync.mqtt_line import Line, Message, Refused
from tests.broker import Broker
from tests.postgres import Postgres
from tests.relay import pour
from tests.sync.test_spine import Rig
from tests.walks import LONG

pytestmark = pytest.mark.system


@pytest.fixture
def shared(postgres: Postgres, tmp_path: Path) -> str:
    """The address of an empty PostgreSQL that a plane in `tmp_path/plane` uses."""
    address = postgres.address(postgres.database())
    (tmp_path / "plane").mkdir(mode=0o700)
    (tmp_path / "plane" / "database").write_text(address)
    return address


class Proxy:
    """Hands each connection to the next process that takes it, and cuts it after a while: a device stays with none."""

    def __init__(self, ports: list[int]) -> None:
        self._ports, self._turn = ports, 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _relay(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        for _ in self._ports:
            self._turn += 1
            try:
                far, forth = await asyncio.open_connection("127.0.0.1", self._ports[self._turn % len(self._ports)])
            except OSError:
                continue
            pumps = [asyncio.create_task(pour(*pair)) for pair in ((near, forth), (far, back))]
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait(pumps, timeout=0.7)
            forth.transport.abort()
            break
        back.transport.abort()

    def stop(self) -> None:
        self._server.close()


class Apart(Rig):
    """Two processes that take in, and this one with the page and the works."""

    def __init__(self, folder: Path, way: str) -> None:
        super().__init__(folder, way)
        self.ports = [free_port(), free_port()]
        self.proxy, self.processes = Proxy(self.ports), dict[int, subprocess.Popen[bytes]]()

    async def plane_starts(self) -> None:
        await self.proxy.start()
        url = f"https://127.0.0.1:{self.proxy.port}"
        access = BrokerConfig(url=f"mqtts://127.0.0.1:{self.broker.port}") if self.broker else None
        self.where = Where(self.folder / "plane", page_port=0, broker=access, roles=("api", "worker"), url=url)
        await self.page_starts()
        for k in (0, 1):
            self.runs(k)
        for port in self.ports:
            await self.until(partial(self.listens, port), 30)

    async def listens(self, port: int) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    async def page_starts(self) -> None:
        self.plane = Plane(self.where)
        await self.plane.start()
        self.plane.url = self.where.url

    def runs(self, k: int) -> None:
        """One of the two begins."""
        words = ["plane", "--folder", str(self.folder / "plane"), "--role", "ingest", "--url", self.where.url]
        words += ["--port", str(self.ports[k])]
        words += ["--broker", f"mqtts://127.0.0.1:{self.broker.port}"] if self.broker else []
        with (self.folder / f"plane{k}.log").open("ab") as log:
            self.processes[k] = subprocess.Popen([sys.executable, "-m", "edge.cli", *words], stdout=log, stderr=log)

    def kills(self, k: int) -> None:
        self.processes[k].kill()
        self.processes[k].wait()

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__(*_)
        self.proxy.stop()
        for k in self.processes:
            self.kills(k)

    async def waiting(self) -> int:
        """How many transactions wait for what another one holds."""
        wanted = text(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return int(await self.plane.store.read(lambda c: c.execute(wanted).scalar()) or 0)

    async def more(self) -> None:
        """Wait until ten more samples are there."""
        before = await self.count()

        async def came() -> bool:
            return await self.count() > before + 10

        await self.until(came, 60)


@pytest.mark.parametrize("way", [pytest.param("https", marks=LONG), "mqtts"])
def test_two_that_take_in_are_killed_in_turn_and_nothing_is_lost_or_doubled(
    tmp_path: Path, shared: str, way: str
) -> None:
    async def work() -> None:
        async with Apart(tmp_path, way) as it:
            await it.more()
            for k in (0, 1):
                it.kills(k)
                await it.more()  # the other one goes on
                it.runs(k)
            await it.more()
            with it.plane.store.engine.connect() as holds:  # both come to a stop in the middle of a transaction
                hold.devices(holds, ["dev-1"])

                async def stopped() -> bool:
                    return await it.waiting() > 0

                await it.until(stopped, 60)
                for k in (0, 1):
                    it.kills(k)
                    it.runs(k)
            await it.more()
            total = await it.all_arrived()
            assert total == it.daemon.journal.totals.appended
            cursors = await it.plane.store.read(lambda c: c.execute(select(tables.applied)).mappings().all())
            highest = await it.plane.store.read(
                lambda c: dict(
                    c.execute(select(tables.block.c.stream, func.max(tables.block.c.seq)).group_by("stream")).all()
                )
            )
            stands = {row["stream"]: row["watermark"] for row in cursors if row["stream"] in highest}
            assert stands == highest, "where it stands is where it is whole"

    asyncio.run(work())


@pytest.mark.parametrize("way", ["https", pytest.param("mqtts", marks=LONG)])
def test_a_page_at_one_process_shows_and_orders_what_comes_to_others(tmp_path: Path, shared: str, way: str) -> None:
    async def work() -> None:
        async with Apart(tmp_path, way) as it:

            async def everything() -> bool:
                newest = it.plane.hub.devices.get("dev-1")
                return bool(newest and len(newest.values) == 2 and newest.values[1][0] is not None)

            await it.until(everything, 60)
            pages = it.plane.hub.listen()
            while (message := await pages.get()) and message["kind"] != "values":
                pass
            await it.plane.ingest.command("dev-1", "ack", {"alarm": "none", "by": "test"})

            async def carried_out() -> bool:
                return ("ack", "") in await it.events("command")

            await it.until(carried_out, 20)
            await it.plane.stop()
            await it.page_starts()  # it knows nothing, and one of the tags never changes
            await it.until(everything, 60)

    asyncio.run(work())


def test_each_message_goes_to_one_of_the_processes_at_a_broker(tmp_path: Path) -> None:
    """Else every one of them would take in everything, and the database keep only that it was there already."""

    async def work() -> None:
        broker = Broker(tmp_path / "broker")
        broker.start()
        url, taken = f"mqtt://127.0.0.1:{broker.port}", Counter[int]()
        lines = [Line(url, name) for name in ("device", "one", "other")]
        for line in lines:
            await line.open()
        for k in (1, 2):
            await lines[k].listen(wire.SHARED, lambda message, k=k: taken.update([k] * (message.body == b"x")))  # type: ignore[misc]
        for _ in range(20):
            assert await lines[0].publish(wire.up("d"), b"x"), "somebody listens"
        async with asyncio.timeout(120):
            while taken.total() < 20:
                await asyncio.sleep(0.01)
        assert taken.keys() == {1, 2}
        lines[1].close()
        lines[2].close()
        async with asyncio.timeout(120):
            while await lines[0].publish(wire.up("d"), b"late"):
                await asyncio.sleep(0.01)  # the broker sees that they are gone, and says that nobody listens
        assert taken.total() == 20
        lines[0].close()
        broker.stop()

    asyncio.run(work())


def test_a_broker_without_shared_subscriptions_gives_each_process_everything() -> None:
    asked: list[str] = []

    class Old(Line):
        async def listen(self, topic: str, heard: Callable[[Message], None]) -> None:
            asked.append(topic)
            if topic.startswith("$share/"):
                raise Refused("not supported")

    async def work() -> None:
        access = BrokerConfig(url="mqtts://broker.example")
        nobody: Any = None
        await AtBroker(access, nobody, nobody, shared=True)._listen(Old(access.url, "x"))

    asyncio.run(work())
    assert asked == [wire.SHARED, wire.EVERY_DEVICE]


class Works:
    """What two processes do for the plane: at most one of them at a time."""

    def __init__(self, address: str) -> None:
        self.engines = [opened(address), opened(address)]
        self.at = list[int]()

    async def lead(self, k: int) -> None:
        async def one() -> None:
            self.at.append(k)
            try:
                await asyncio.Event().wait()
            finally:
                self.at.remove(k)

        await leader.lead(self.engines[k], [one])

    async def until(self, *who: int) -> None:
        async with asyncio.timeout(120):
            while self.at != list(who):
                await asyncio.sleep(0.01)

    async def others_wait(self) -> None:
        """Until both are connected and one has not got the lock."""
        wanted = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'lineside plane works'"
        async with asyncio.timeout(120):
            with self.engines[0].connect() as connection:
                connection = connection.execution_options(isolation_level="AUTOCOMMIT")
                while connection.exec_driver_sql(wanted).scalar() != 2:
                    await asyncio.sleep(0.01)

    def cut(self) -> None:
        """End the connection of the one that leads, at the server."""
        with self.engines[0].connect() as connection:
            lock = f"locktype = 'advisory' AND granted AND objid = {leader.LEADS}"
            connection.exec_driver_sql(f"SELECT pg_terminate_backend(pid) FROM pg_locks WHERE {lock}")


def led(address: str, work: Callable[[Works], Awaitable[None]]) -> None:
    async def main() -> None:
        works = Works(address)
        try:
            await work(works)
        finally:
            for engine in works.engines:
                engine.dispose()

    asyncio.run(main())


def test_one_process_works_for_all_and_another_takes_over_where_it_ends(
    shared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leader, "LOOK", 0.05)

    async def work(it: Works) -> None:
        first = asyncio.create_task(it.lead(0))
        await it.until(0)
        other = asyncio.create_task(it.lead(1))
        await it.others_wait()
        assert it.at == [0]
        first.cancel()
        await it.until(1)
        it.cut()  # it ends its works, and whoever is first again begins
        await it.until()
        await it.until(1)
        other.cancel()
        await asyncio.wait([first, other])
        assert it.at == []

    led(shared, work)


def test_a_leader_that_is_frozen_leads_no_longer(shared: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leader, "SILENT", 0.3)
    monkeypatch.setattr(leader, "LOOK", 60.0)  # it says nothing for that long

    async def work(it: Works) -> None:
        with it.engines[0].connect() as connection:
            if connection.dialect.server_version_info < (14,):  # type: ignore[operator]
                pytest.skip("needs PostgreSQL 14 (make system-packages)")
        first = asyncio.create_task(it.lead(0))
        await it.until(0)
        monkeypatch.setattr(leader, "LOOK", 0.05)
        other = asyncio.create_task(it.lead(1))
        await it.until(0, 1)
        for task in (first, other):
            task.cancel()
        await asyncio.wait([first, other])

    led(shared, work)


def test_on_sqlite_there_is_one_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*words: str) -> str:
        assert main(["plane", "--folder", str(tmp_path), "--port", "0", "--page-port", "0", *words]) == 2
        return capsys.readouterr().err

    assert "on SQLite one process does everything (leave out --role" in refused("--role", "api")
    plane = Plane(Where(tmp_path, device_port=0, page_port=0))
    assert f"another plane is at work on {tmp_path}/plane.db (end it first; several" in refused()
    asyncio.run(plane.stop())
    again = Plane(Where(tmp_path))
    asyncio.run(again.stop())


def test_a_process_without_the_keys_of_its_plane_is_told_where_to_get_them(tmp_path: Path, shared: str) -> None:
    where = Where(tmp_path / "plane", device_port=0, page_port=0, url="https://plane.example:8443")

    async def enrolled(plane: Plane) -> None:
        row = {"id": "d", "secret": "x", "enrolled": 0.0, "seen": 0.0}
        await plane.store.write(lambda c: c.execute(tables.device.insert().values(row)))
        await plane.stop()

    first = Plane(where)
    asyncio.run(enrolled(first))
    with pytest.raises(
        LinesideError, match=r"in another folder than .*two \(copy ca.pem, issuing.pem and sessions.key"
    ):
        Plane(replace(where, folder=tmp_path / "two", database=shared))
    assert not (tmp_path / "two" / "ca.pem").exists()
    for name in ("ca.pem", "issuing.pem", "sessions.key"):
        shutil.copy(tmp_path / "plane" / name, tmp_path / "two" / name)
    other = Plane(replace(where, folder=tmp_path / "two", database=shared))
    assert other.people.known(first.people.login(other.people.key)), "the link leads to any of them"
    asyncio.run(other.stop())


@pytest.mark.parametrize(
    "url", ["http://plane.example", "https://", "https://x/y", "https://x:0", "https://me:pw@x", "x"]
)
def test_an_address_that_is_none_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], url: str) -> None:
    assert main(["plane", "--folder", str(tmp_path), "--url", url]) == 2
    assert "is no address of a plane, as in https://plane.example:8443" in capsys.readouterr().err
