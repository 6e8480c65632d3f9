"""Hours as Parquet files at a customer's: every sample once, whatever comes late, is away, or is killed."""

from __future__ import annotations

import asyncio
import io
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgpack
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")
parquet = pytest.importorskip("pyarrow.parquet", reason="needs the parquet extra")

from sqlalchemy import select

from edge import Batch, ConfigFault, Event, LinesideError, Quality, decode, encode, encode_event, encode_text
from sync import wire
from sync.control_plane import compact, filing, forward_state, forward_tables, forwarding, objects, tables, unfiled
from sync.control_plane.days import DAY
from sync.control_plane.duties import Duties
from sync.control_plane.filing import Filing
from sync.control_plane.forward_options import ParquetOptions
from sync.control_plane.leader import lead
from sync.control_plane.live import Hub
from sync.control_plane.messages import Message
from sync.control_plane.plane_file import PlaneFile, load
from sync.control_plane.retention import forget_once
from sync.control_plane.rollup import HOUR, MINUTE, roll_once
from sync.control_plane.standing import StoreFault
from sync.control_plane.store import Store
from tests.sync.buckets import bucket, moto
from tests.sync.stored import rolled, with_store
from tests.sync.test_rollups import EPOCH, START, TAG, block, minute_blocks

NAME = "parquet lake"
Row = tuple[int, str, float | None, str | None, str, str]


class Lake(NamedTuple):
    """Where files go, and what is there by name."""

    options: ParquetOptions
    files: Callable[[], dict[str, bytes]]


def folder(path: Path) -> Lake:
    path.mkdir(exist_ok=True)

    def files() -> dict[str, bytes]:
        return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}

    return Lake(ParquetOptions(to=str(path)), files)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    (tmp_path / "key").write_text("me\nvery-secret\n")
    return tmp_path / "key"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with moto() as url:
        yield url


@pytest.fixture(params=["folder", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path, key: Path) -> Iterator[Lake]:
    if request.param == "folder":
        yield folder(tmp_path / "lake")
        return
    minio = pytest.importorskip("minio", reason="needs the s3 extra")
    url, prefix = request.getfixturevalue("server"), f"a/{tmp_path.name}/"
    client = minio.Minio(urlsplit(url).netloc, access_key="me", secret_key="very-secret", secure=False)
    place = {"bucket_name": "lineside"}

    def files() -> dict[str, bytes]:
        names = [one.object_name for one in client.list_objects(**place, prefix=prefix, recursive=True)]
        return {name.removeprefix(prefix): client.get_object(**place, object_name=name).read() for name in names}

    yield Lake(ParquetOptions(to=f"{url}/{prefix}", key=str(key)), files)


def rows(body: bytes) -> Counter[Row]:
    table = parquet.read_table(io.BytesIO(body))
    assert table.schema.names == ["time", "tag", "value", "text", "unit", "quality"]
    time = table["time"].cast("int64").to_pylist()
    return Counter(zip(time, *(table[name].to_pylist() for name in table.schema.names[1:]), strict=True))


def everything(lake: Lake) -> Counter[Row]:
    return sum((rows(body) for body in lake.files().values()), Counter[Row]())


def sent(frames: list[wire.Frame]) -> Counter[Row]:
    """What blocks of the one tag without a unit hold."""
    found: Counter[Row] = Counter()
    for batch in (decode("", f.body) for f in frames if f.stream == "samples:plc"):
        for ts, value, quality in zip(batch.ts.tolist(), batch.value.tolist(), batch.quality.tolist(), strict=True):
            found[ts, "plc.a", value, None, "", Quality(quality).name] += 1
    return found


async def begun(store: Store, *names: str) -> None:
    for name in names or (NAME,):
        await store.write(lambda c, n=name: unfiled.begin(c, n))  # type: ignore[misc]


async def written(store: Store, lake: Lake, name: str = NAME) -> Filing:
    """Write all that waits."""
    it = Filing(store, name, lake.options)
    await it._look()
    return it


async def told(store: Store, name: str = NAME) -> dict[str, Any]:
    return next(row for row in await store.read(forward_state.told) if row["name"] == name)


async def stands(store: Store, name: str = NAME, **wanted: Any) -> None:
    while True:
        row = next((row for row in await store.read(forward_state.told) if row["name"] == name), {})
        if row and all(row[key] == value for key, value in wanted.items()):
            return
        await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filing, "EVERY", 0.02)
    monkeypatch.setattr(forwarding, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(forwarding, "LONGEST_WAIT", 0.05)


OTHER = "1" * 16  # a later journal, in which tags have other numbers
TEMP, RECIPE = ("plc.temp", "float64", "°C", {}, "plc"), ("plc.recipe", "text", "", {}, "plc")
WORDS = {1: 'A7, "x"', 2: "B 热", 5: ""}


def mixed() -> tuple[list[wire.Frame], Counter[Row]]:
    """Of two journals and two sources numbers and texts, of all qualities, over hours and across their ends, one block over three
    days; and its rows."""
    chance, frames, wanted = np.random.default_rng(3), list[wire.Frame](), Counter[Row]()
    for epoch, tags in ((EPOCH, {1: TEMP, 2: RECIPE}), (OTHER, {1: RECIPE, 2: TEMP})):
        frames += [wire.Frame(epoch, "tag", n, 0, 0, 1, msgpack.packb(list(tag))) for n, tag in tags.items()]
        texts = next(n for n, tag in tags.items() if tag is RECIPE)
        frames += [wire.Frame(epoch, "text", n, 0, 0, 1, encode_text(texts, text)) for n, text in WORDS.items()]
        for source, seq in ((source, seq) for source in ("plc", "cam") for seq in range(1, 20)):
            n = int(chance.integers(1, 60))
            width = 70 * HOUR if (epoch, source, seq) == (EPOCH, "plc", 7) else 25 * MINUTE
            ts = START + seq * 11 * MINUTE + np.sort(chance.integers(0, width, n))
            tag, quality = chance.integers(1, 3, n).astype(np.int32), chance.integers(0, 9, n)
            value = np.where(tag == texts, chance.choice([1, 2, 5, 9], n), chance.normal(size=n).round(2))
            value[chance.random(n) < 0.2] = np.nan
            batch = Batch.of("plc", tag, value, ts, quality)
            frames.append(wire.Frame(epoch, f"samples:{source}", seq, int(ts.min()), int(ts.max()), n, encode(batch)))
            for t, k, v, q in zip(ts.tolist(), tag.tolist(), value.tolist(), quality.tolist(), strict=True):
                said = WORDS.get(int(v), "text 9") if k == texts and v == v else None
                number = v if k != texts and v == v else None
                wanted[t, tags[k][0], number, said, tags[k][2], Quality(q).name] += 1
    return frames, wanted


def test_every_sample_is_in_one_file_once(database: str, lake: Lake) -> None:
    async def work(store: Store) -> None:
        frames, wanted = mixed()
        await begun(store)
        await store.write(Message("press-4", frames))
        assert (await told(store))["waits"] == 0, "an hour that is not settled does not wait yet"
        rolled(store, "press-4")
        await written(store, lake)
        there = lake.files()
        assert {(await told(store))[name] for name in ("waits", "aside")} == {0}
        assert (await told(store))["delivered"] == len(there) > 10
        assert sum(map(rows, there.values()), Counter[Row]()) == wanted
        first = int(np.datetime64("2027-01-15T08", "h").astype(int))
        assert first == START // HOUR and "device=press-4/date=2027-01-15/08.parquet" in there
        for name, body in there.items():
            date, clock = name.removeprefix("device=press-4/date=").removesuffix(".parquet").split("/")
            hour = int(np.datetime64(f"{date}T{clock}", "h").astype(int))
            own = {row[0] // HOUR for row in rows(body)}
            assert own == {hour} or (hour > first + 20 and max(own) <= hour), "of what a clock that jumped said"

    with_store(database, work)


def test_what_comes_late_makes_its_file_anew_and_no_other(database: str, lake: Lake) -> None:
    async def work(store: Store) -> None:
        all_of_it = minute_blocks(0, 180)
        await begun(store)
        await store.write(Message("a", [TAG, *all_of_it[:70], *all_of_it[75:]]))
        rolled(store, "a")
        await written(store, lake)
        before = lake.files()
        assert everything(lake) == sent(all_of_it[:70] + all_of_it[75:]) and len(before) == 3
        await store.write(Message("a", all_of_it))
        await store.write(lambda c: unfiled.mark(c, "a", START // HOUR + 1))
        await written(store, lake)
        assert lake.files() == before, "an hour that is not settled waits until it is"
        rolled(store, "a")
        await written(store, lake)
        after = lake.files()
        assert everything(lake) == sent(all_of_it)
        assert [name[-10:] for name in after if after[name] != before[name]] == ["09.parquet"]
        assert (await told(store))["delivered"] == 4
        await store.write(lambda c: [unfiled.mark(c, "a", START // HOUR + k) for k in range(3)] and None)
        await written(store, lake)
        assert (await told(store))["delivered"] == 4, "what has not changed is not written again"

    with_store(database, work)


def test_what_comes_when_its_hour_was_forgotten_goes_beside_it(database: str, tmp_path: Path) -> None:
    lake = folder(tmp_path / "lake")

    async def work(store: Store) -> None:
        all_of_it = minute_blocks(0, 60)
        await begun(store)

        async def comes(frames: list[wire.Frame]) -> list[str]:
            await store.write(Message("a", frames))
            rolled(store, "a")
            await written(store, lake)
            return sorted(name[len("device=a/date=2027-01-15/") :] for name in lake.files())

        assert await comes([TAG, *all_of_it[:20]]) == ["08.parquet"]
        await store.write(lambda c: c.execute(tables.block.delete()) and None)  # their age has come
        assert await comes(all_of_it[20:30]) == ["08-1.parquet", "08.parquet"]
        assert await comes(all_of_it[30:35]) == ["08-1.parquet", "08.parquet"]
        await store.write(lambda c: c.execute(tables.block.delete()) and None)
        assert await comes(all_of_it[35:]) == ["08-1.parquet", "08-2.parquet", "08.parquet"]
        assert everything(lake) == sent(all_of_it)

    with_store(database, work)


def test_what_a_file_holds_is_not_joined_with_what_it_does_not(database: str, tmp_path: Path) -> None:
    """A block across the end of an hour is in two files. Where the others of the first are forgotten, and something of that hour
    comes late, its samples are not written a second time."""
    lake, hour = folder(tmp_path / "lake"), START - START % DAY  # PostgreSQL forgets whole days

    async def work(store: Store) -> None:
        def part(seq: int, minute: int, minutes: int) -> wire.Frame:
            ts = hour + (minute - 60) * MINUTE + np.arange(60) * (minutes * MINUTE // 60)
            return block(seq, ts, np.arange(60.0) + seq)

        frames = [part(1, 50, 5), part(2, 55, 4), part(3, 59, 2), part(4, 61, 2), part(5, 63, 2), part(6, 40, 5)]
        await begun(store)
        for upto, now in ((3, hour + 3 * MINUTE), (5, hour + 2 * HOUR)):
            await store.write(Message("a", [TAG, *frames[:upto]]))
            assert await roll_once(store, now) > 0
            await written(store, lake)
        assert everything(lake) == sent(frames[:5]) and len(lake.files()) == 2
        assert await forget_once(store, "samples", hour) > 0
        await store.write(Message("a", frames))
        rolled(store, "a")
        await written(store, lake)
        assert sorted(name.split("/")[-1] for name in lake.files()) == ["00.parquet", "23-1.parquet", "23.parquet"]
        assert everything(lake) == sent(frames)

    with_store(database, work)


@pytest.mark.parametrize("seed", [6, 7, 13])
def test_late_blocks_roll_ups_what_is_forgotten_and_restarts_in_any_order(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance, lake, frames = random.Random(seed), folder(tmp_path / "lake"), list[wire.Frame]()
    monkeypatch.setattr(compact, "MOST", chance.choice([60, 130, 400, 100_000]))
    end = START
    for seq in range(1, 60):
        width = chance.choice([1, 3, 7, 20, 90]) * MINUTE
        ts = np.sort(end + np.array([chance.randrange(width) for _ in range(chance.randrange(1, 60))], np.int64))
        frames.append(block(seq, ts, np.arange(len(ts)) + 1000.0 * seq))
        end += width

    async def turns(store: Store, left: list[wire.Frame], many: int) -> None:
        for _ in range(many):
            some = [left.pop(0) for _ in range(min(len(left), chance.randrange(1, 8)))]
            await store.write(Message("a", [TAG, *some]))
            if chance.random() < 0.6:
                await roll_once(store, chance.choice([START + 3 * HOUR, end + 3 * HOUR]))
                await written(store, lake)
            if chance.random() < 0.35:
                await forget_once(store, "samples", chance.randrange(START, end))

    async def whole(store: Store) -> None:
        await roll_once(store, end + 60 * HOUR)
        await written(store, lake)
        assert everything(lake) == sent(frames)

    left = list(frames)
    for _ in range(12):
        at = chance.randrange(len(left))
        left.insert(min(len(left), at + chance.randrange(30)), left.pop(at))
    address = f"sqlite:///{tmp_path}/plane.db"
    with_store(address, lambda store: begun(store))
    for _ in range(4):
        with_store(address, lambda store: turns(store, left, 6))
    with_store(address, whole)


def test_a_target_that_is_away_gets_everything_and_holds_up_no_other(database: str, tmp_path: Path) -> None:
    away, here = tmp_path / "away", folder(tmp_path / "lake")

    async def work(store: Store) -> None:
        all_of_it = minute_blocks(0, 120)
        targets = {"away": ParquetOptions(to=str(away)), "here": here.options}
        works = asyncio.ensure_future(lead(store.engine, Duties(store, Hub(), PlaneFile(parquet=targets)).works))
        try:
            async with asyncio.timeout(120):
                await stands(store, "parquet here")
                await stands(store, "parquet away")
                await store.write(Message("a", [TAG, *all_of_it]))
                rolled(store, "a")
                await stands(store, "parquet here", delivered=2, waits=0, trouble="")
                assert everything(here) == sent(all_of_it)
                while "there is no folder" not in (await told(store, "parquet away"))["trouble"]:
                    await asyncio.sleep(0.01)
                assert await forget_once(store, "samples", START + 10**18) == 0, "what waits is not forgotten"
                away.mkdir()
                await stands(store, "parquet away", delivered=2, waits=0, trouble="")
                assert everything(folder(away)) == sent(all_of_it)
                assert await forget_once(store, "samples", START + 10**18) > 0
        finally:
            works.cancel()
            await asyncio.wait([works])

        async def ended() -> list[Any]:
            return [
                await store.read(lambda c, t=t: c.execute(select(t)).all())
                for t in (forward_tables.filed, forward_tables.unfiled)
            ]

        assert len((await ended())[0]) == 4
        assert len(await store.write(lambda c: forward_state.end(c, set()))) == 2 and await ended() == [[], []]

    with_store(database, work)


def test_a_store_that_says_no_is_told_and_asked_again(database: str, key: Path) -> None:
    pytest.importorskip("minio", reason="needs the s3 extra")
    write = key.write_text

    async def work(store: Store) -> None:
        with bucket() as (url, held):
            write("stranger\nvery-secret\n")
            it = Lake(ParquetOptions(to=f"{url}/x", key=str(key)), lambda: held)
            await begun(store)
            await store.write(Message("a", [TAG, *minute_blocks(0, 60)]))
            rolled(store, "a")
            await written(store, it)
            row = await told(store)
            assert "AccessDenied" in row["trouble"] and row["waits"] == 1 and not held
            assert "very-secret" not in row["trouble"]
            write("me\nvery-secret\n")
            await written(store, it)
            assert (await told(store))["waits"] == 0 and everything(it) == sent(minute_blocks(0, 60))

    with_store(database, work)


@pytest.mark.parametrize("fault", [ArithmeticError("poison"), StoreFault("the plane cannot read: poison")])
def test_one_that_cannot_be_made_holds_up_no_other(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    lake, make, poison = folder(tmp_path / "lake"), filing.make, {"a"}

    def spoiled(connection: Any, name: str, mark: unfiled.Mark, out: Any) -> Any:
        if mark.device in poison:
            raise fault
        return make(connection, name, mark, out)

    monkeypatch.setattr(filing, "make", spoiled)
    monkeypatch.setattr(filing, "AT_ONCE", 1)

    async def work(store: Store) -> None:
        await begun(store)
        for device in ("a", "b"):
            await store.write(Message(device, [TAG, *minute_blocks(0, 120)]))
            rolled(store, device)
        filing_ = asyncio.ensure_future(Filing(store, NAME, lake.options).run())
        try:
            async with asyncio.timeout(120):
                await stands(store, waits=2, delivered=2)
                assert {name[:8] for name in lake.files()} == {"device=b"}
                while "poison" not in (await told(store))["trouble"]:
                    await asyncio.sleep(0.01)
                poison.clear()
                await stands(store, waits=0, delivered=4, trouble="")
        finally:
            filing_.cancel()
            await asyncio.wait([filing_])

    with_store(database, work)


KILLED = """
import asyncio, os, shutil, signal, sys
from pathlib import Path
from sync.control_plane import objects
from sync.control_plane.filing import Filing
from sync.control_plane.forward_options import ParquetOptions
from sync.control_plane.store import Store

address, to, moment = sys.argv[1:]

def end(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def half(source, target):
    target.write(source.read(1000))
    target.flush()
    end()

if moment == "in the middle":
    shutil.copyfileobj = half
else:
    stored = objects.Folder.store
    objects.Folder.store = lambda self, name, file: (stored(self, name, file), end())
asyncio.run(Filing(Store(address), "parquet lake", ParquetOptions(to=to))._look())
"""


def test_a_kill_loses_and_doubles_nothing(database: str, tmp_path: Path) -> None:
    lake = folder(tmp_path / "lake")

    async def work(store: Store) -> None:
        all_of_it = minute_blocks(0, 60)
        await begun(store)
        whole: list[str] = []
        for upto, moment in ((40, "in the middle"), (60, "before the commit")):
            await store.write(Message("a", [TAG, *all_of_it[:upto]]))
            rolled(store, "a")
            command = [sys.executable, "-c", KILLED, database, lake.options.to, moment]
            done = await asyncio.to_thread(subprocess.run, command, timeout=60, check=False)
            assert done.returncode == -9
            assert (await told(store))["waits"] == 1
            assert [name for name in lake.files() if name.endswith(".parquet")] == whole, "never half of one"
            await written(store, lake)
            whole = ["device=a/date=2027-01-15/08.parquet"]
            assert everything(lake) == sent(all_of_it[:upto]) and len(lake.files()) == 1
        assert (await told(store))["delivered"] == 2

    with_store(database, work)


def test_who_stores_an_hour_that_another_one_took_leaves_it_to_be_written_again(database: str) -> None:
    """A process that was frozen while another one took over."""

    async def work(store: Store) -> None:
        await begun(store)
        await store.write(lambda c: unfiled.mark(c, "a", 7))
        (mark,) = await store.read(lambda c: unfiled.waiting(c, NAME, 2**62, 1.0, 9))
        await store.write(lambda c: unfiled.filed(c, NAME, mark, [{"e s": [[1, 5]]}]))
        assert await store.read(lambda c: unfiled.waiting(c, NAME, 2**62, 1.0, 9)) == []
        await store.write(lambda c: unfiled.filed(c, NAME, mark, [{"e s": [[1, 4]]}]))
        (again,) = await store.read(lambda c: unfiled.waiting(c, NAME, 2**62, 1.0, 9))
        assert again[:2] == ("a", 7) and again.marked != mark.marked
        await store.write(lambda c: unfiled.mark(c, "a", 7))
        await store.write(lambda c: unfiled.filed(c, NAME, again, None))
        assert len(await store.read(lambda c: unfiled.waiting(c, NAME, 2**62, 1.0, 9))) == 1, (
            "what came meanwhile still waits"
        )

    with_store(database, work)


def test_only_what_is_wanted_goes_and_from_when_it_is_new(database: str, tmp_path: Path) -> None:
    lake = folder(tmp_path / "lake")
    lake = lake._replace(options=lake.options.model_copy(update={"devices": "press-*"}))

    async def work(store: Store) -> None:
        await store.write(Message("press-1", [TAG, *minute_blocks(0, 60)]))
        rolled(store, "press-1")
        await begun(store)
        for device in ("press-1", "press-2", "oven"):
            await store.write(Message(device, [TAG, *minute_blocks(60, 60)]))
            rolled(store, device)
        assert (await told(store))["waits"] == 3
        await written(store, lake)
        day = "date=2027-01-15/09.parquet"
        assert lake.files().keys() == {f"device=press-1/{day}", f"device=press-2/{day}"}
        assert (await told(store))["waits"] == 0
        happened = Event("alarm", "hot", "raised", START, "high", "")
        await store.write(Message("oven", [wire.Frame(EPOCH, "event", 1, START, START, 1, encode_event(happened))]))
        assert await forget_once(store, "events", START + HOUR) == 1, "it takes no events"

    with_store(database, work)


def test_what_is_not_wanted_waits_for_no_target_that_is_away(database: str, tmp_path: Path) -> None:
    options = ParquetOptions(to=str(tmp_path / "away"), devices="press-*")

    async def work(store: Store) -> None:
        await begun(store)
        for device in ("press-1", "oven"):
            await store.write(Message(device, [TAG, *minute_blocks(0, 120)]))
            rolled(store, device)
        await Filing(store, NAME, options)._look()
        assert (await told(store))["waits"] == 2
        assert await store.read(lambda c: unfiled.devices(c, NAME)) == ["press-1"]
        assert await forget_once(store, "samples", START + 10 * DAY) > 0, "of the other one"

    with_store(database, work)


def test_what_waits_is_not_forgotten_with_its_day(database: str) -> None:
    async def work(store: Store) -> None:
        now = time.time_ns()
        await begun(store)
        await store.write(Message("a", [TAG, block(1, np.array([now - 100 * DAY]), np.array([1.0]))]))
        rolled(store, "a")
        assert await forget_once(store, "samples", now - 60 * DAY) == 0
        (mark,) = await store.read(lambda c: unfiled.waiting(c, NAME, 2**62, 1.0, 9))
        await store.write(lambda c: unfiled.filed(c, NAME, mark, None))
        assert await forget_once(store, "samples", now - 60 * DAY) == 1

    with_store(database, work)


def test_a_file_of_any_size_goes(tmp_path: Path, lake: Lake) -> None:
    there = objects.at(lake.options.to, Path(lake.options.key) if lake.options.key else None)
    body = np.random.default_rng(1).bytes(6_000_000)
    for whole in (body, body[:7]):
        there.store("device=a/x.parquet", io.BytesIO(whole))
        assert lake.files() == {"device=a/x.parquet": whole}


def test_what_is_wrong_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plane.yaml"
    for text, words in (
        ("{to: 'https://s3.example'}", "a folder, or https://s3.example/BUCKET"),
        ("{to: 'https://me:very-secret@s3.example/b'}", "a folder, or https://s3.example/BUCKET"),
        ("{to: 'ftp://a/b'}", "a folder, or https://s3.example/BUCKET"),
        ("{to: ''}", "parquet.lake.to"),
        ("{}", "parquet.lake.to: is missing"),
        ("{to: /x, kinds: []}", "unknown option 'kinds'"),
    ):
        path.write_text(f"parquet:\n  lake: {text}\n", "utf-8")
        faults = "\n".join(load(path).faults)
        assert words in faults and f"{path}:2:" in faults and "very-secret" not in faults, faults
    none: Any = None
    with pytest.raises(ConfigFault, match="no-key"):
        Filing(none, NAME, ParquetOptions(to="https://s3.example/b", key=str(tmp_path / "no-key")))
    (tmp_path / "key").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigFault, match="it is no text"):
        Filing(none, NAME, ParquetOptions(to="https://s3.example/b", key=str(tmp_path / "key")))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(LinesideError, match="needs the package pyarrow") as fault:
        Filing(none, NAME, folder(tmp_path / "lake").options)
    assert "lineside[parquet]" in fault.value.hint


def test_the_page_names_every_option() -> None:
    page = (Path(__file__).parents[2] / "docs" / "plane-forwarding.md").read_text("utf-8")
    for name in ParquetOptions.model_fields:
        assert f"`{name}`" in page, name
