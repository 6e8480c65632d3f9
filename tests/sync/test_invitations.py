"""What a token is good for: how many devices, which, how long; and as a picture that a camera reads."""

from __future__ import annotations

import asyncio
from pathlib import Path

import cv2
import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import select

from edge import LinesideError
from edge.cli import main
from sync.control_plane import invite as invites
from sync.control_plane import tables
from sync.control_plane.ca import Authority
from sync.control_plane.invite import Wish, trade
from sync.control_plane.keys import Known
from sync.control_plane.store import Store
from tests.sync.stored import with_store

ME = Known("secret", "key")


async def enrols(store: Store, invitation: str, device: str) -> str:
    return await store.write(lambda c: trade(c, invitation, device, ME))


async def rows(store: Store, table: str) -> list[dict[str, object]]:
    t = tables.metadata.tables[table]
    return [dict(row) for row in await store.read(lambda c: c.execute(select(t)).mappings().all())]


def test_one_is_for_one_device_and_any_name(database: str) -> None:
    async def work(store: Store) -> None:
        one = await invites.invited(store, Wish(kind="aoi", site="suzhou/line-3"))
        assert one not in str(await rows(store, "invite")), "only its hash is kept"
        assert await enrols(store, one, "a") == ""
        assert "used already" in await enrols(store, one, "a") and "used already" in await enrols(store, "guess", "a")
        (row,) = await rows(store, "device")
        assert (row["class"], row["site"], row["key"]) == ("aoi", "suzhou/line-3", "key")
        assert not await rows(store, "invite")
        again = await invites.invited(store, Wish(site="suzhou/line-3"))
        assert await enrols(store, again, "a") == "", "enrolled anew, where it stands"

    with_store(database, work)


def test_one_for_several_is_for_so_many_new_ones(database: str) -> None:
    async def work(store: Store) -> None:
        assert await enrols(store, await invites.invited(store, Wish()), "old") == ""
        several = await invites.invited(store, Wish(count=3))
        assert "old is enrolled already" in await enrols(store, several, "old")
        said = await asyncio.gather(*(enrols(store, several, f"d{k}") for k in range(8)))
        assert sorted(said)[:3] == ["", "", ""] and all("used already" in why for why in sorted(said)[3:])
        assert len(await rows(store, "device")) == 4 and not await rows(store, "invite")

    with_store(database, work)


def test_one_that_names_nobody_takes_no_device_of_another_place(database: str) -> None:
    async def work(store: Store) -> None:
        assert await enrols(store, await invites.invited(store, Wish(kind="aoi", site="acme/line-1")), "a") == ""
        for site in ("", "acme", "beta/line-1"):
            token = await invites.invited(store, Wish(site=site))
            assert "a is enrolled already" in await enrols(store, token, "a")
            assert await enrols(store, token, f"new-{site[:4]}") == "", "that used nothing up"
        assert await enrols(store, await invites.invited(store, Wish(device="a")), "a") == ""
        (row,) = [row for row in await rows(store, "device") if row["id"] == "a"]
        assert (row["class"], row["site"]) == ("aoi", "acme/line-1"), "it stays where it was"
        assert await enrols(store, await invites.invited(store, Wish(device="a", site="beta")), "a") == ""
        (row,) = [row for row in await rows(store, "device") if row["id"] == "a"]
        assert (row["class"], row["site"]) == ("aoi", "beta"), "who names it may move it"

    with_store(database, work)


def test_one_for_a_name_is_for_no_other_and_none_is_for_ever(database: str) -> None:
    async def work(store: Store) -> None:
        named = await invites.invited(store, Wish(device="press-4"))
        assert await enrols(store, named, "press-5") == "this invitation is for press-4"
        assert await enrols(store, named, "press-4") == "", "the wrong one used nothing up"
        late = await invites.invited(store, Wish(seconds=60))
        await store.write(lambda c: c.execute(tables.invite.update().values(expires=1.0)))
        assert "has expired" in await enrols(store, late, "b")

    with_store(database, work)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--count", "0"], "a token is for 1 to 1000"),
        (["--count", "2", "--device", "a"], "leave out --count"),
        (["--device", "a b"], "'a b' is no device id"),
        (["--valid", "soon"], "is no duration, as in 7d"),
        (["--valid", "1s"], "good for a minute at least"),
        (["--valid", "400d"], "90 days at most"),
        (["--class", "x" * 65], "up to 64 characters"),
        ([], "no plane has run in"),
    ],
)
def test_what_cannot_be_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert main(["plane", "invite", "--folder", str(tmp_path), *options]) == 2
    assert words in capsys.readouterr().err


def test_a_camera_reads_the_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Authority(tmp_path)
    (tmp_path / "url").write_text("https://plane.example:8443")
    file = tmp_path / "token.png"
    assert main(["plane", "invite", "--folder", str(tmp_path), "--qr", str(file)]) == 0
    text = capsys.readouterr().out.strip()
    assert (
        cv2.QRCodeDetectorAruco().detectAndDecode(cv2.imread(str(file)))[0] == text and file.stat().st_mode & 0o077 == 0
    )
    assert main(["plane", "invite", "--folder", str(tmp_path), "--qr"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 20
    assert main(["plane", "invite", "--folder", str(tmp_path), "--qr", "token.gif"]) == 2
    with pytest.raises(LinesideError, match="cannot write"):
        invites.picture("x", str(tmp_path / "none" / "a.png"))
