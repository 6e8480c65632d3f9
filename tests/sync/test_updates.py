"""The device's side of signed updates: what it believes, of whom, since when; from a folder such as a USB stick."""

from __future__ import annotations

import asyncio
import datetime
import errno
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("tuf", reason="needs the updates extra")

from tuf.api.metadata import Metadata, Targets

from edge import SECOND, LinesideError, ManualClock
from edge.cli import main
from sync.control_plane.invite import Wish, invited
from sync.device import floor as floors
from sync.device import update_source
from sync.device.allowance import Allowance, Counted
from sync.device.floor import FILE, Floors
from sync.device.update_source import AtPlane, InFolder
from sync.device.updates import BUILT, Updates
from sync.updates.manifest import UpdateRefused
from tests.sync.signers import Signers

DAY = 86_400
BODY = os.urandom(3_000_000)


class Stick:
    """A repository in a folder, and a device that trusts its first root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.signers = Signers(folder / "repo").begin()
        self.signers.add("model/washer-1", BODY)
        self.clock = ManualClock(time.time_ns())
        self.updates = self.device()
        self.updates.trust(self.root())

    def root(self) -> bytes:
        return (self.folder / "repo" / "metadata" / "1.root.json").read_bytes()

    def device(self, *takes: str) -> Updates:
        kept = Floors((self.folder / "state", self.folder / "second"))
        return Updates(self.folder / "state" / "updates", kept, self.clock, takes)

    @property
    def source(self) -> InFolder:
        return InFolder(self.folder / "repo")

    def take(self, path: str) -> Path:
        self.updates.refresh(self.source)
        return self.updates.bring(self.source, path)

    def again(self) -> None:
        """The device's state is as it was when it was made, and only the second copy of the floor is as it is."""
        shutil.rmtree(self.folder / "state")
        self.updates.trust(self.root())


@pytest.fixture
def stick(tmp_path: Path) -> Stick:
    return Stick(tmp_path)


def test_what_was_signed_comes_whole(stick: Stick) -> None:
    assert stick.take("model/washer-1").read_bytes() == BODY
    assert stick.updates.verified("model/washer-1") == stick.take("model/washer-1")


def test_a_flipped_bit_is_found_under_way_and_on_the_disk(stick: Stick) -> None:
    place = stick.take("model/washer-1")
    spoiled = bytearray(BODY)
    spoiled[1_234_567] ^= 4
    place.write_bytes(spoiled)
    with pytest.raises(UpdateRefused, match="was changed on this disk since it came"):
        stick.updates.verified("model/washer-1")
    assert not place.exists()
    (found,) = (stick.folder / "repo" / "targets" / "model").iterdir()
    found.write_bytes(spoiled)
    with pytest.raises(UpdateRefused, match="arbitrary software"):
        stick.take("model/washer-1")
    found.write_bytes(BODY)
    assert stick.take("model/washer-1") == place and place.read_bytes() == BODY


class Cut(LinesideError):
    pass


class Breaking(InFolder):
    """A stick that is pulled after so many reads of an artefact."""

    def __init__(self, folder: Path, lasts: int) -> None:
        super().__init__(folder)
        self.lasts, self.asked = lasts, list[int]()

    def read(self, path: str, at: int) -> tuple[int, bytes]:
        if path.startswith("targets/"):
            if len(self.asked) == self.lasts:
                raise Cut("pulled")
            self.asked.append(at)
        return super().read(path, at)


def test_what_broke_is_gone_on_with(stick: Stick) -> None:
    stick.updates.refresh(stick.source)
    with pytest.raises(Cut):
        stick.updates.bring(Breaking(stick.folder / "repo", 2), "model/washer-1")
    rest = Breaking(stick.folder / "repo", 9)
    assert stick.updates.bring(rest, "model/washer-1").read_bytes() == BODY
    assert rest.asked == [2 * update_source.PIECE]


def test_a_part_that_was_spoiled_meanwhile_is_not_built_upon(stick: Stick) -> None:
    stick.updates.refresh(stick.source)
    with pytest.raises(Cut):
        stick.updates.bring(Breaking(stick.folder / "repo", 1), "model/washer-1")
    (part,) = (stick.folder / "state" / "updates" / "store").glob("*.part")
    part.write_bytes(b"x" * part.stat().st_size)
    with pytest.raises(UpdateRefused, match="not what was signed; thrown away"):
        stick.updates.bring(stick.source, "model/washer-1")
    assert stick.updates.bring(stick.source, "model/washer-1").read_bytes() == BODY


def test_a_device_that_slept_for_three_new_roots_follows(stick: Stick) -> None:
    stick.updates.refresh(stick.source)
    for _ in range(3):
        stick.signers.rotate("root", "online", "model")
    stick.signers.add("model/washer-2", b"after three years")
    assert stick.take("model/washer-2").read_bytes() == b"after three years"
    stick.again()
    assert stick.take("model/washer-1").read_bytes() == BODY, "also from the very first root"


def test_one_root_key_and_the_online_key_change_nothing(stick: Stick) -> None:
    """Below the threshold: whoever stole them makes a root that names themselves."""
    stick.updates.refresh(stick.source)
    thief = Signers(stick.folder / "thief").begin()
    thief.masters[0] = stick.signers.masters[0]
    shutil.rmtree(thief.folder)
    thief.begin()
    root = Metadata.from_file(str(thief.folder / "metadata" / "1.root.json"))
    root.signed.version = 2
    root.sign(stick.signers.masters[0])
    for master in thief.masters[1:]:
        root.sign(master, append=True)
    (stick.folder / "repo" / "metadata" / "2.root.json").write_bytes(root.to_bytes())
    with pytest.raises(UpdateRefused, match="not signed by those this device trusts"):
        stick.updates.refresh(stick.source)
    (stick.folder / "repo" / "metadata" / "2.root.json").unlink()
    assert stick.take("model/washer-1").read_bytes() == BODY


def test_a_mirror_that_gives_nothing_is_told(stick: Stick) -> None:
    stick.updates.refresh(stick.source)
    (stick.folder / "repo" / "metadata" / "timestamp.json").unlink()
    with pytest.raises(UpdateRefused, match=r"incomplete: .* has no metadata/timestamp\.json"):
        stick.updates.refresh(stick.source)


def test_a_kind_signs_only_what_it_is_for(stick: Stick) -> None:
    """The key of models names firmware: nobody takes it for signed."""
    path = stick.folder / "repo" / "metadata" / "2.model.json"
    role: Metadata[Targets] = Metadata.from_file(str(path))
    target = role.signed.targets["model/washer-1"]
    role.signed.targets["firmware/washer-1"] = target
    role.signed.version = 3
    role.sign(stick.signers.kinds["model"])
    path.with_name("3.model.json").write_bytes(role.to_bytes())
    stick.signers.repository.approve(stick.signers.online)
    with pytest.raises(UpdateRefused, match="nobody signed firmware/washer-1"):
        stick.take("firmware/washer-1")


@pytest.mark.parametrize("lost", ["state", "second"])
def test_the_floor_holds_where_one_of_its_copies_is_lost(stick: Stick, lost: str) -> None:
    shutil.copytree(stick.folder / "repo", stick.folder / "old")
    stick.signers.add("model/washer-2", b"newer")
    stick.updates.refresh(stick.source)
    if lost == "state":
        stick.again()
    else:
        shutil.rmtree(stick.folder / "second")
        shutil.rmtree(stick.folder / "state" / "updates" / "metadata")
    with pytest.raises(UpdateRefused, match=r"rollback: timestamp \d+ is older than timestamp"):
        stick.updates.refresh(InFolder(stick.folder / "old"))
    assert stick.take("model/washer-2").read_bytes() == b"newer"
    assert (stick.folder / lost / FILE).exists(), "both are there again"


def test_an_older_root_is_not_believed_again(stick: Stick) -> None:
    shutil.copytree(stick.folder / "repo", stick.folder / "old")
    stick.signers.rotate("root", "online", "model")
    stick.updates.refresh(stick.source)
    stick.again()
    with pytest.raises(UpdateRefused, match="rollback: root 1 is older than root 2"):
        stick.updates.refresh(InFolder(stick.folder / "old"))


def test_a_damaged_floor_is_read_from_the_other_copy_and_two_damaged_ones_are_told(stick: Stick) -> None:
    stick.updates.refresh(stick.source)
    one, two = (stick.folder / place / FILE for place in ("state", "second"))
    one.write_text("{")
    stick.updates.refresh(stick.source)
    assert one.read_text() == two.read_text()
    one.write_text("{")
    two.write_text('{"root": []}')
    with pytest.raises(UpdateRefused, match="is damaged: how old an update may be is not known"):
        stick.updates.refresh(stick.source)


def test_no_second_place_no_updates(stick: Stick) -> None:
    (stick.folder / "second").write_text("a file where a folder should be")
    with pytest.raises(UpdateRefused, match=r"LINESIDE_FLOOR names another folder"):
        stick.updates.refresh(stick.source)


def test_after_a_stolen_online_key_was_exchanged_counting_begins_anew(stick: Stick) -> None:
    for _ in range(3):
        stick.signers.repository.refresh(stick.signers.online)
    stick.updates.refresh(stick.source)
    (stick.folder / "repo" / "metadata" / "timestamp.json").unlink()  # so that its versions begin at one
    stick.signers.rotate("online")
    stick.signers.add("model/washer-2", b"newer")
    stick.again()
    assert stick.take("model/washer-2").read_bytes() == b"newer"


# Time


def test_a_clock_that_says_1970_strands_nobody(stick: Stick) -> None:
    stick.clock = ManualClock(12 * SECOND)
    stick.updates = stick.device()
    assert stick.take("model/washer-1").read_bytes() == BODY
    kept = stick.updates._floors.load()
    assert kept.time > 0 and stick.updates.now(kept).timestamp() == max(BUILT, kept.time)


def test_a_stick_out_of_date_is_taken_only_where_somebody_agrees_and_never_an_older_one(stick: Stick) -> None:
    shutil.copytree(stick.folder / "repo", stick.folder / "old")
    stick.signers.add("model/washer-2", b"newer")
    stick.clock.advance(40 * DAY)
    with pytest.raises(UpdateRefused, match=r"freeze: .* expired; .*--expired"):
        stick.updates.refresh(stick.source)
    stick.updates.refresh(stick.source, expired=True)
    assert stick.updates.bring(stick.source, "model/washer-2").read_bytes() == b"newer"
    with pytest.raises(UpdateRefused, match="rollback"):
        stick.updates.refresh(InFolder(stick.folder / "old"), expired=True)


def test_a_kind_whose_time_is_over_holds_up_no_other(stick: Stick) -> None:
    stick.updates.refresh(stick.source)
    stick.clock.advance(400 * DAY)
    stick.signers.now = datetime.datetime.fromtimestamp(stick.clock.utc() / SECOND, datetime.UTC)
    stick.signers.add("config/press-1", b"options")
    assert stick.take("config/press-1").read_bytes() == b"options"
    with pytest.raises(UpdateRefused, match="the time of kind model is over"):
        stick.take("model/washer-1")
    stick.signers.add("model/washer-2", b"signed again")
    assert stick.take("model/washer-2").read_bytes() == b"signed again"


def test_a_time_that_one_stolen_key_says_is_not_believed(stick: Stick) -> None:
    path = stick.folder / "repo" / "metadata" / "2.model.json"
    role: Metadata[Targets] = Metadata.from_file(str(path))
    role.signed.expires = role.signed.expires.replace(year=2099)
    role.signed.unrecognized_fields["x-lineside-signed"] = "2098-01-01T00:00:00Z"
    role.signed.version = 3
    role.sign(stick.signers.kinds["model"])
    path.with_name("3.model.json").write_bytes(role.to_bytes())
    stick.signers.repository.approve(stick.signers.online)
    stick.updates.refresh(stick.source)
    assert stick.updates.now(stick.updates._floors.load()).year < 2098


# Trust and refusals


def test_trust_begins_once(stick: Stick) -> None:
    other = Signers(stick.folder / "other").begin()
    with pytest.raises(UpdateRefused, match="trusts another root already"):
        stick.updates.trust((other.folder / "metadata" / "1.root.json").read_bytes())
    for nonsense in (b"", b"{}", b"[" * 100_000, (other.folder / "metadata" / "1.targets.json").read_bytes()):
        with pytest.raises(UpdateRefused, match="no root to trust"):
            stick.updates.trust(nonsense)
    assert stick.updates.trust(stick.root()) == 1


def test_without_a_root_nothing_is_taken(stick: Stick) -> None:
    (stick.folder / "state" / "updates" / "root.json").unlink()
    with pytest.raises(UpdateRefused, match="knows nobody whose updates"):
        stick.updates.refresh(stick.source)


def test_an_artefact_for_another_class_is_not_even_fetched(stick: Stick) -> None:
    stick.signers.add("config/press-1", b"options", ["press", "kiln"])
    stick.updates = stick.device("oven")
    stick.updates.refresh(stick.source)
    untouched = Breaking(stick.folder / "repo", 0)
    with pytest.raises(
        UpdateRefused, match=r"wrong device: config/press-1 is for press, kiln \(this device is of class oven"
    ):
        stick.updates.bring(untouched, "config/press-1")
    stick.updates = stick.device("oven", "kiln")
    assert stick.updates.bring(stick.source, "config/press-1").read_bytes() == b"options"


def test_what_is_no_file_on_a_stick_is_not_read(stick: Stick) -> None:
    for make in (os.mkfifo, lambda path: path.symlink_to("/etc/passwd"), Path.mkdir):
        path = stick.folder / "repo" / "metadata" / "timestamp.json"
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        make(path)
        with pytest.raises(UpdateRefused, match=r"is no file|cannot be read"):
            stick.updates.refresh(stick.source)


def test_a_full_disk_is_told_before_anything_is_fetched(stick: Stick, monkeypatch: pytest.MonkeyPatch) -> None:
    stick.updates.refresh(stick.source)
    monkeypatch.setattr("sync.device.download.SPARE", 2**60)
    with pytest.raises(UpdateRefused, match="no room for model/washer-1: it has 3,000,000 bytes"):
        stick.updates.bring(Breaking(stick.folder / "repo", 0), "model/washer-1")


def test_a_disk_that_fills_up_under_way_ends_it_before_it_is_full(
    stick: Stick, monkeypatch: pytest.MonkeyPatch
) -> None:
    stick.updates.refresh(stick.source)

    class Filling(Breaking):
        def read(self, path: str, at: int) -> tuple[int, bytes]:
            if at:  # others have written meanwhile
                monkeypatch.setattr("sync.device.download.SPARE", 2**60)
            return super().read(path, at)

    source = Filling(stick.folder / "repo", 9)
    with pytest.raises(UpdateRefused, match="no room for model/washer-1"):
        stick.updates.bring(source, "model/washer-1")
    assert len(source.asked) == 2


def test_what_a_full_disk_left_of_it_is_given_back(stick: Stick) -> None:
    class Full(Breaking):
        def read(self, path: str, at: int) -> tuple[int, bytes]:
            if at:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().read(path, at)

    stick.updates.refresh(stick.source)
    with pytest.raises(OSError, match="No space"):
        stick.updates.bring(Full(stick.folder / "repo", 9), "model/washer-1")
    assert not list((stick.folder / "state" / "updates" / "store").iterdir())


def test_what_broke_and_is_wanted_no_more_does_not_stay_for_ever(stick: Stick) -> None:
    stick.signers.add("model/washer-2", BODY[1:])
    stick.updates.refresh(stick.source)
    for path in ("model/washer-1", "model/washer-2"):
        with pytest.raises(Cut):
            stick.updates.bring(Breaking(stick.folder / "repo", 1), path)
    store = stick.folder / "state" / "updates" / "store"
    assert len(list(store.glob("*.part"))) == 2, "both may be gone on with"
    for part in store.iterdir():
        os.utime(part, (0, 0))
    with pytest.raises(Cut):
        stick.updates.bring(Breaking(stick.folder / "repo", 1), "model/washer-1")
    assert len(list(store.glob("*.part"))) == 1


# The command line and the line


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LINESIDE_FLOOR", str(tmp_path / "second"))
    path = tmp_path / "site.yaml"
    path.write_text('device: {id: press-4}\nsync: {url: "https://127.0.0.1:1", takes: [press]}\n')
    return path


def test_by_hand_from_a_stick(stick: Stick, site: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    stick.signers.add("config/kiln-1", b"options", ["kiln"])
    words = ["update", str(site), "--state", str(tmp_path / "fresh"), "--from", str(stick.folder / "repo")]
    assert main(words) == 2 and "knows nobody" in capsys.readouterr().err
    root = stick.folder / "repo" / "metadata" / "1.root.json"
    assert main([*words, "--trust", str(root)]) == 0
    said = capsys.readouterr().out
    assert "root 1 is trusted" in said and "model/washer-1: 3,000,000 bytes" in said
    assert "config/kiln-1: not for this device: wrong device" in said
    assert main([*words, "--take", "model/washer-1"]) == 0
    assert Path(capsys.readouterr().out.strip()).read_bytes() == BODY
    assert main([*words, "--take", "washer"]) == 2 and "is no name of an artefact" in capsys.readouterr().err


def test_who_enrols_trusts_the_root_of_the_plane_and_takes_what_it_gives(
    stick: Stick, site: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("fastapi", reason="needs the plane extra")
    from sync.control_plane.plane import Plane
    from sync.control_plane.where import Where
    from sync.invitation import token

    async def work() -> None:
        shutil.copytree(stick.folder / "repo", tmp_path / "plane" / "updates")
        plane = Plane(Where(tmp_path / "plane", device_port=0, page_port=0))
        await plane.start()
        try:
            point(site, plane.url)
            text = token(plane.url, plane.authority.fingerprint, await invited(plane.store, Wish()))
            where = [str(site), "--state", str(tmp_path / "fresh")]
            assert await asyncio.to_thread(main, ["enroll", *where, text]) == 0
            assert "updates are taken that those sign whom its root 1 names" in capsys.readouterr().out
            assert await asyncio.to_thread(main, ["update", *where, "--take", "model/washer-1"]) == 0
        finally:
            await plane.stop()

    asyncio.run(work())
    assert Path(capsys.readouterr().out.strip()).read_bytes() == BODY


def point(site: Path, url: str) -> None:
    site.write_text(site.read_text().replace("https://127.0.0.1:1", url))


def test_an_artefact_waits_for_tomorrow_where_the_bytes_of_today_are_spent(stick: Stick) -> None:
    async def work() -> None:
        allowance = Allowance(100_000, [], stick.clock, stick.folder)
        turns: list[Callable[[], bool]] = []

        async def turn() -> None:
            turns.append(lambda: True)
            if why := allowance.holds(pictures=True):
                raise UpdateRefused(why)

        source = AtPlane(Counted(Folder(stick.folder), allowance, much=True), turn)
        await asyncio.to_thread(stick.updates.refresh, source)
        assert not turns, "metadata always comes"
        with pytest.raises(UpdateRefused, match="wait until midnight"):
            await asyncio.to_thread(stick.updates.bring, source, "model/washer-1")
        (part,) = (stick.folder / "state" / "updates" / "store").glob("*.part")
        before = part.stat().st_size
        assert 0 < before < 100_000
        stick.clock.advance(2 * DAY)
        with pytest.raises(UpdateRefused, match="wait until midnight"):
            await asyncio.to_thread(stick.updates.bring, source, "model/washer-1")
        assert part.stat().st_size > before

    asyncio.run(work())


class Folder:
    """The plane's answers from a folder, without a socket between."""

    def __init__(self, folder: Path) -> None:
        from sync.control_plane.updates import Updates as Served

        self._served = Served(folder)
        self._served._folder = folder / "repo"

    async def exchange(self, method: str, path: str, body: bytes = b"", timeout: float = 30.0) -> bytes:
        import msgpack

        name, _, query = path.removeprefix("/d/v1/updates/").partition("?")
        at, most = (int(part.partition("=")[2]) for part in query.split("&"))
        found = self._served.part(name, at, most)
        if found is None:
            refusal = update_source.Refused("none")
            refusal.status = 404
            raise refusal
        return bytes(msgpack.packb(found))

    def close(self) -> None: ...


def test_the_higher_of_two_floors_counts() -> None:
    one = floors.Floor(2, {"timestamp": (5, "a"), "model": (3, "m")}, 10)
    two = floors.Floor(1, {"timestamp": (9, "b"), "model": (4, "m")}, 20)
    both = floors.Floor(2, {"timestamp": (5, "a"), "model": (4, "m")}, 20)
    assert one.raised(two) == two.raised(one) == both
