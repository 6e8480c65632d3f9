"""What is too large for one message goes in pieces, both ways; cut anywhere it goes on, and only the right one counts."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import func, select, update

from edge import AnswerContradicts, DeviceLost, LinesideError, Picture
from sync import wire
from sync.control_plane import pieces, tables
from sync.control_plane.broker import ask
from sync.control_plane.database import insert_new
from sync.control_plane.ingest import Ingest
from sync.control_plane.live import Hub
from sync.control_plane.objects import Folder
from sync.control_plane.pictures import Pictures
from sync.control_plane.store import Store
from sync.device.objects import Upload, fetch
from sync.device.pace import Pace
from sync.device.transport import Refused, TooLarge, understood
from tests.sync.stored import with_store
from tests.sync.test_spine import Rig, both_ways

BODY = random.Random(1).randbytes(300_000)
DIGEST = wire.digest(BODY)
EPOCH = "0" * 16


class Far:
    """The plane's handlers, behind a line that takes `most` bytes and breaks by the dice: before a message, or after it."""

    def __init__(self, store: Store, device: str = "d", breaks: float = 0.0, most: int = 10**9) -> None:
        self.ingest, self._device = Ingest(store, Hub(), None), device  # type: ignore[arg-type]
        self._rng, self._breaks, self._most = random.Random(2), breaks, most
        self.sent = self.got = self.broke = 0

    async def exchange(self, method: str, path: str, body: bytes = b"", timeout: float = 30.0) -> bytes:
        if len(body) > self._most:
            raise TooLarge("a proxy says no")
        self._perhaps()
        self.sent += len(body)
        status, said = await ask(self.ingest.app, self._device, f"{method} {path}", body, "")
        self._perhaps()
        self.got += len(said)
        understood(status, said, path, "x")
        return said

    def _perhaps(self) -> None:
        if self._rng.random() < self._breaks:
            self.broke += 1
            raise DeviceLost("cut")

    def close(self) -> None: ...


async def brought(far: Far, body: bytes = BODY) -> None:
    """As after restarts: each try begins with nothing known."""
    while True:
        upload, pace = await Upload.of(body), Pace()
        try:
            while not await upload.step(far, pace):
                pass
            await far.exchange("PUT", f"/d/v1/picture/{upload.digest}?epoch={EPOCH}&seq=1&whole={upload.digest}")
            return
        except DeviceLost:
            continue


async def held(store: Store) -> tuple[list[bytes], int]:
    """(pictures, pieces) of the plane."""
    found = await store.read(lambda c: c.execute(select(tables.picture.c.body)).scalars().all())
    return list(found), await store.read(lambda c: c.execute(select(func.count()).select_from(tables.piece)).scalar())


def test_a_picture_that_is_cut_goes_on_where_it_was(database: str) -> None:
    async def work(store: Store) -> None:
        far = Far(store, breaks=0.2)
        await brought(far)
        assert far.broke > 3 and await held(store) == ([BODY], 0)
        assert far.sent < len(BODY) + 32_000 * far.broke, "no more is sent again than what was under way at a break"

    with_store(database, work)


def test_what_the_plane_has_is_not_sent_again(database: str) -> None:
    async def work(store: Store) -> None:
        await brought(Far(store))
        other = Far(store, "e")
        await brought(other)
        assert other.sent == 0 and await held(store) == ([BODY], 0)

    with_store(database, work)


def test_pieces_that_do_not_make_what_their_digest_says_come_again(database: str) -> None:
    async def work(store: Store) -> None:
        far, upload, pace = Far(store), await Upload.of(BODY), Pace()
        while not await upload.step(far, pace):
            pass
        spoiled = update(tables.piece).where(tables.piece.c.at == 0).values(body=bytes(16_000))
        await store.write(lambda c: c.execute(spoiled))
        place = f"/d/v1/picture/{DIGEST}?epoch={EPOCH}&seq=1&whole={DIGEST}"
        with pytest.raises(Refused, match="did not make what their digest says") as told:
            await far.exchange("PUT", place)
        assert type(told.value) is Refused and told.value.heals and await held(store) == ([], 0)
        await brought(far)
        assert await held(store) == ([BODY], 0)

    with_store(database, work)


def test_an_upload_goes_on_from_what_the_plane_still_holds(database: str) -> None:
    """It was put back to a backup in the middle of it, or gave up pieces that nobody went on with."""

    async def work(store: Store) -> None:
        far, upload, pace = Far(store), await Upload.of(BODY), Pace()
        while (await held(store))[1] < 3:
            assert not await upload.step(far, pace)
        kept = select(func.min(tables.piece.c.at))
        await store.write(lambda c: c.execute(tables.piece.delete().where(tables.piece.c.at > kept.scalar_subquery())))
        with pytest.raises(DeviceLost, match="takes no more"):
            await upload.step(far, pace)
        while not await upload.step(far, pace):
            pass
        assert far.sent < 2 * len(BODY)
        await far.exchange("PUT", f"/d/v1/picture/{DIGEST}?epoch={EPOCH}&seq=1&whole={DIGEST}")
        assert await held(store) == ([BODY], 0)

    with_store(database, work)


def test_pieces_come_twice_and_in_any_order(database: str) -> None:
    async def work(store: Store) -> None:
        far, rng = Far(store), random.Random(3)
        cuts = [BODY[k : k + 50_000] for k in range(0, len(BODY), 50_000)]
        places = [(k * 50_000, piece) for k, piece in enumerate(cuts)] * 12
        rng.shuffle(places)
        for at, piece in [*places, *sorted(places)]:
            await far.exchange("PUT", f"/d/v1/piece/{DIGEST}?size={len(BODY)}&at={at}", piece)
        await brought(far)
        assert await held(store) == ([BODY], 0)

    with_store(database, work)


def test_what_is_no_piece_is_refused_and_what_nobody_goes_on_with_is_forgotten(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(store: Store) -> None:
        far = Far(store)
        for query in (
            "",
            "at=0",
            "at=0&size=x",
            "at=-1&size=9",
            f"at=0&size={10**9}",
            "at=5&size=4",
            "at=0&size=1",
            "at=0&size=4000",
        ):
            with pytest.raises(LinesideError, match="422"):
                await far.exchange("PUT", f"/d/v1/piece/{DIGEST}?{query}", b"xx")
        with pytest.raises(LinesideError, match="422"):
            await far.exchange("PUT", "/d/v1/piece/junk?at=0&size=2", b"xx")
        for k in range(pieces.MOST_WHOLES + 3):
            await far.exchange("PUT", f"/d/v1/piece/{k:064x}?at=0&size=4000", bytes(1000))
        assert (await held(store))[1] == pieces.MOST_WHOLES, "of one device, only a few at a time"
        await Far(store, "e").exchange("PUT", f"/d/v1/piece/{DIGEST}?at=0&size=4000", bytes(1000))
        assert (await held(store))[1] == pieces.MOST_WHOLES + 1, "others have their own"
        monkeypatch.setattr(pieces, "KEPT", -1.0)
        await far.exchange("PUT", f"/d/v1/piece/{9:064x}?at=0&size=4000", bytes(1000))
        assert (await held(store))[1] == 1

    with_store(database, work)


def test_an_object_that_is_cut_on_its_way_down_goes_on_where_it_was(database: str, tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        row = {"digest": DIGEST, "media": "x", "body": BODY}
        await store.write(lambda c: insert_new(c, tables.picture, [row]))
        far, path = Far(store, breaks=0.3), tmp_path / "model"
        while not path.exists():
            try:
                await fetch(far, Pace(), DIGEST, path, 10**6)
            except DeviceLost:
                continue
        assert path.read_bytes() == BODY and far.broke > 3 and os.listdir(tmp_path).count("model.part") == 0
        assert far.got < len(BODY) + 20_000, "nothing comes twice"
        with pytest.raises(Refused, match="404"):
            await fetch(Far(store), Pace(), "0" * 64, tmp_path / "none", 10**6)
        with pytest.raises(Refused, match="300,000 bytes, at most 1,000"):
            await fetch(Far(store), Pace(), DIGEST, tmp_path / "small", 1000)

    with_store(database, work)


class Says:
    """A plane that answers what it wants."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)

    async def exchange(self, method: str, path: str, body: bytes = b"", timeout: float = 30.0) -> bytes:
        answer = self._answers.pop(0)
        return answer if isinstance(answer, bytes) else msgpack.packb(answer)

    def close(self) -> None: ...


async def refused(work: Callable[[], Awaitable[Any]], fault: type[LinesideError], words: str) -> None:
    with pytest.raises(fault, match=words) as told:
        await work()
    assert told.value.heals


def test_a_plane_that_answers_nonsense_about_pieces(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "o"
        for answer in (b"\xc1", [1], ["x", b""], [-1, b""], [2**64 - 1, b""], [5, "text"], {"a": 1}, True):
            await refused(lambda a=answer: fetch(Says(a), Pace(), DIGEST, path, 10), AnswerContradicts, "no piece")  # type: ignore[misc]
        await refused(lambda: fetch(Says([4, b"xx"], [4, b""]), Pace(), DIGEST, path, 10), DeviceLost, "gives only 2")
        assert path.with_name("o.part").read_bytes() == b"xx"
        await refused(lambda: fetch(Says([4, b"xxx"]), Pace(), DIGEST, path, 10), Refused, "4 bytes, at most")
        await refused(lambda: fetch(Says([2, b"xx"]), Pace(), DIGEST, path, 10), Refused, "another one .*thrown away")
        assert not os.listdir(tmp_path)
        for answer in (b"", b"x", b"-1", b"9" * 30, b"300001"):
            await refused(
                lambda a=answer: Upload(BODY, DIGEST).step(Says(a), Pace()), AnswerContradicts, "no number of bytes"
            )  # type: ignore[misc]
        upload, far = Upload(BODY, DIGEST), Says(b"0", b"0")
        assert not await upload.step(far, Pace())
        await refused(lambda: upload.step(far, Pace()), DeviceLost, "takes no more")

    asyncio.run(main())


def test_something_on_the_way_that_takes_little_gets_little(database: str) -> None:
    async def work(store: Store) -> None:
        await brought(Far(store, most=5000))
        assert await held(store) == ([BODY], 0)
        with pytest.raises(TooLarge):
            await brought(Far(store, most=1000), BODY[1:])

    with_store(database, work)


@both_ways
def test_a_large_picture_arrives_whatever_the_line_takes_at_once(tmp_path: Path, way: str) -> None:
    """By a broker that takes 20 kB a message; killed in the middle of it."""

    async def work(it: Rig) -> None:
        body = BODY * 5
        it.daemon.journal.append(pictures=[Picture(wire.digest(body), "image/png", body)])
        await it.daemon.journal.commit()

        async def some() -> bool:
            return (await held(it.plane.store))[1] > 3

        async def there() -> bool:
            return body in (await held(it.plane.store))[0]

        if it.broker:
            await it.until(some)
            await asyncio.to_thread(it.broker.kill)
            await asyncio.to_thread(it.broker.start)
        await it.until(there, 60)
        assert await it.all_arrived() == it.daemon.journal.totals.appended

    class Narrow(Rig):
        def __init__(self, folder: Path, way: str) -> None:
            super().__init__(folder, way)
            if self.broker:
                self.broker.config.write_text(self.broker.config.read_text() + "max_packet_size 20000\n")

    async def main() -> None:
        async with Narrow(tmp_path, way) as it:
            await work(it)

    asyncio.run(main())


@pytest.mark.parametrize("way", ["whole", "pieces"])
def test_a_picture_that_comes_again_is_young_again_and_is_put_back_where_it_is_gone(
    database: str, tmp_path: Path, way: str
) -> None:
    async def comes(far: Far) -> None:
        if way == "pieces":
            await brought(far)
        else:
            await far.exchange("PUT", f"/d/v1/picture/{DIGEST}?epoch={EPOCH}&seq=1", BODY)

    async def work(store: Store) -> None:
        far, folder, t = Far(store), tmp_path / "objects", tables.picture
        far.ingest.pictures = pictures = Pictures(store, Folder(folder))

        async def ages() -> None:
            await store.write(lambda c: c.execute(update(t).values(stored=1000.0)) and None)

        async def moves() -> list[Path]:
            await pictures.move_once()
            assert (await held(store)) == ([b""], 0) and await pictures.whole(DIGEST) == (wire.media(BODY), BODY)
            return [file for file in folder.rglob("*") if file.is_file()]

        for _ in range(2):
            await comes(far)
            await ages()
        await comes(far)
        assert await pictures.forget(2000.0) == 0
        (file,) = await moves()
        await ages()
        await comes(far)
        assert await pictures.forget(2000.0) == 0
        assert await moves() == [file], "one that is still there stays where it is"
        file.unlink()
        await comes(far)
        assert await pictures.whole(DIGEST) == (wire.media(BODY), BODY)
        (anew,) = await moves()
        assert anew != file

    with_store(database, work)
