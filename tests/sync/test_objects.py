"""Pictures in a folder or at an S3 server: each is somewhere at every moment, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import select

from edge import LinesideError
from edge.bench.process import free_port
from edge.cli import main
from sync import wire
from sync.control_plane import loose, objects, tables
from sync.control_plane.database import insert_new
from sync.control_plane.objects import Folder, Objects, ObjectsFault, name_of
from sync.control_plane.pictures import Pictures
from sync.control_plane.store import Store
from sync.control_plane.where import Where, objects_of
from tests.sync.buckets import bucket, moto
from tests.sync.stored import with_store

BODY = bytes(range(256)) * 40
DIGEST = wire.digest(BODY)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    (tmp_path / "key").write_text("me\nvery-secret\n")
    return tmp_path / "key"


@pytest.fixture(params=["folder", "bucket", "moto"])
def kept(request: pytest.FixtureRequest, tmp_path: Path, key: Path) -> Iterator[Objects]:
    if request.param == "folder":
        yield objects.at(str(tmp_path / "objects"))
        return
    pytest.importorskip("minio", reason="needs the s3 extra")
    if request.param == "bucket":
        with bucket() as (url, _):
            yield objects.at(f"{url}/pictures", key)
    else:
        with moto() as url:
            yield objects.at(f"{url}/pictures", key)


def test_what_is_put_is_there_until_it_is_dropped(kept: Objects) -> None:
    name = name_of(DIGEST)
    assert objects.NAME.fullmatch(name) and name != name_of(DIGEST)
    kept.put(name, BODY)
    assert kept.get(name) == (len(BODY), BODY)
    assert kept.get(name, 250, 20) == (len(BODY), BODY[250:270])
    assert kept.get(name, len(BODY) - 3, 20) == (len(BODY), BODY[-3:])
    assert kept.get(name, len(BODY), 20) == kept.get(name, 0, 0) == (len(BODY), b"")
    kept.drop(name)
    kept.drop(name)
    with pytest.raises(ObjectsFault):
        kept.get(name)


async def comes(store: Store, body: bytes = BODY, stored: float = 1000.0) -> None:
    row = {"digest": wire.digest(body), "media": "image/png", "body": body, "stored": stored}
    await store.write(lambda c: insert_new(c, tables.picture, [row]))


async def place(store: Store, digest: str = DIGEST) -> Any:
    t = tables.picture
    return await store.read(lambda c: c.execute(select(t.c.place, t.c.body).where(t.c.digest == digest)).first())


def test_a_picture_moves_out_and_is_read_and_forgotten_as_before(database: str, kept: Objects) -> None:
    async def work(store: Store) -> None:
        pictures = Pictures(store, kept)
        await comes(store)
        await comes(store, b"", 3000.0)
        before = await pictures.whole(DIGEST), await pictures.part(DIGEST, 7, 9)
        assert await pictures.move_once() == 1 and await pictures.move_once() == 0
        name, body = await place(store)
        assert objects.NAME.fullmatch(name) and bytes(body) == b""
        assert (await pictures.whole(DIGEST), await pictures.part(DIGEST, 7, 9)) == before
        assert await pictures.whole(wire.digest(b"")) == ("image/png", b"")
        assert await pictures.whole("none") is None and await pictures.part("none", 0, 1) is None
        await comes(store)  # once more: it is here already
        assert await pictures.move_once() == 0
        assert await pictures.forget(2000.0) == 1
        with pytest.raises(ObjectsFault):
            kept.get(name)
        assert await pictures.whole(DIGEST) is None

    with_store(database, work)


class Away(Folder):
    """A store that is away at first."""

    away = True

    def put(self, name: str, body: bytes) -> None:
        if self.away:
            raise ObjectsFault("it is away")
        super().put(name, body)


def test_a_store_that_is_away_costs_room_in_the_database_only(database: str, tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        away = Away(tmp_path / "objects")
        pictures = Pictures(store, away)
        await comes(store)
        with pytest.raises(ObjectsFault):
            await pictures.move_once()
        assert await pictures.whole(DIGEST) == ("image/png", BODY)
        away.away = False
        assert await pictures.move_once() == 1
        assert await pictures.whole(DIGEST) == ("image/png", BODY)

    with_store(database, work)


def test_an_object_that_is_another_one_is_not_shown(database: str, tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        pictures = Pictures(store, Folder(tmp_path / "objects"))
        await comes(store)
        await pictures.move_once()
        name, _ = await place(store)
        (tmp_path / "objects" / name).write_bytes(BODY[:-1] + b"x")
        with pytest.raises(ObjectsFault, match="damaged"):
            await pictures.whole(DIGEST)
        with pytest.raises(ObjectsFault, match="not told of"):
            await Pictures(store).whole(DIGEST)

    with_store(database, work)


def test_who_moves_the_same_picture_later_leaves_nothing_behind(database: str, tmp_path: Path) -> None:
    """Two workers for a moment, or a picture that is forgotten and comes anew while it is moved."""

    async def work(store: Store) -> None:
        class Slow(Folder):
            def put(self, name: str, body: bytes) -> None:
                super().put(name, body)
                asyncio.run_coroutine_threadsafe(Pictures(store, quick).move_once(), loop).result(20)

        loop, quick = asyncio.get_running_loop(), Folder(tmp_path / "objects")
        await comes(store)
        assert await Pictures(store, Slow(tmp_path / "objects")).move_once() == 1
        name, _ = await place(store)
        files = [str(file.relative_to(tmp_path / "objects")) for file in (tmp_path / "objects").rglob("*-*")]
        assert files == [name]
        assert await Pictures(store, quick).whole(DIGEST) == ("image/png", BODY)

    with_store(database, work)


class Killed(BaseException):
    """What comes after it does not happen."""


def test_what_a_kill_left_behind_is_swept_and_nothing_else(
    database: str, kept: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(store: Store) -> None:
        pictures, put = Pictures(store, kept), list[str]()
        stored, drop = kept.put, kept.drop

        def killed(name: str, body: bytes) -> None:
            stored(name, body)
            put.append(name)
            raise Killed

        kept.put(stranger := name_of("f" * 64), b"not ours")
        await comes(store)
        monkeypatch.setattr(kept, "put", killed)
        with pytest.raises(Killed):
            await pictures.move_once()
        monkeypatch.setattr(kept, "put", stored)
        assert await pictures.move_once() == 1
        name, _ = await place(store)
        now = time.time()
        assert await pictures.sweep_once(now - 3600) == 0, "it may be on its way"
        assert kept.get(put[0]) == (len(BODY), BODY)
        assert await pictures.sweep_once(now + 1) == 1 and await pictures.sweep_once(now + 1) == 0
        with pytest.raises(ObjectsFault):
            kept.get(put[0])
        assert await pictures.whole(DIGEST) == ("image/png", BODY) and kept.get(stranger)[1] == b"not ours"

        def away(name: str) -> None:
            raise ObjectsFault("it is away")

        monkeypatch.setattr(kept, "drop", away)
        with pytest.raises(ObjectsFault):
            await pictures.forget(2000.0)
        assert kept.get(name)[1] == BODY and await pictures.whole(DIGEST) is None
        monkeypatch.setattr(kept, "drop", drop)
        assert await pictures.sweep_once(now + 3600) == 1
        with pytest.raises(ObjectsFault):
            kept.get(name)

    with_store(database, work)


def test_an_object_that_is_swept_is_given_to_no_picture(database: str, tmp_path: Path) -> None:
    """A process that was frozen for a day, after it put an object and before it said where."""

    async def work(store: Store) -> None:
        class Frozen(Folder):
            def put(self, name: str, body: bytes) -> None:
                super().put(name, body)
                swept = store.write(lambda c: loose.claimed(c, time.time() + 1))
                assert asyncio.run_coroutine_threadsafe(swept, loop).result(20) == [name]
                quick.drop(name)  # and the sweep is killed here

        loop, quick = asyncio.get_running_loop(), Folder(tmp_path / "objects")
        await comes(store)
        with pytest.raises(ObjectsFault, match="dropped again"):
            await Pictures(store, Frozen(tmp_path / "objects")).move_once()
        assert await Pictures(store, quick).whole(DIGEST) == ("image/png", BODY)
        assert await Pictures(store, quick).move_once() == 1
        assert await Pictures(store, quick).whole(DIGEST) == ("image/png", BODY)

    with_store(database, work)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("https://s3.example", "is no address"),
        ("ftp://s3.example/b", "is no address"),
        ("https://me:very-secret@s3.example/b", "is no address"),
        ("https://s3.example/b?x=1", "is no address"),
        ("https://s3.example/b", "no key for s3.example: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set"),
    ],
)
def test_a_store_that_cannot_be_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, address: str, words: str
) -> None:
    for name in objects.SECRETS:
        monkeypatch.delenv(name, raising=False)
    assert main(["plane", "--folder", str(tmp_path), "--port", "0", "--page-port", "0", "--objects", address]) == 2
    said = capsys.readouterr().err
    assert words in said and "very-secret" not in said and "Traceback" not in said
    assert not (tmp_path / "objects").exists(), "only one that can be is remembered"


def test_a_store_that_says_no_is_named_and_its_key_is_not(tmp_path: Path, key: Path) -> None:
    pytest.importorskip("minio", reason="needs the s3 extra")
    away = objects.at(f"http://127.0.0.1:{free_port()}/bucket", key)
    with pytest.raises(ObjectsFault, match=r"127.0.0.1:\d+/bucket") as caught:
        away.put(name_of(DIGEST), BODY)
    assert "very-secret" not in str(caught.value) + repr(vars(caught.value))
    key.write_text("me\n")
    with pytest.raises(LinesideError, match="has not two lines"):
        objects.at("https://s3.example/bucket", key)


def test_the_folder_remembers_the_store(tmp_path: Path) -> None:
    assert objects_of(Where(tmp_path)) is None
    assert isinstance(objects_of(Where(tmp_path, objects=str(tmp_path / "o"))), Folder)
    assert isinstance(objects_of(Where(tmp_path)), Folder)
