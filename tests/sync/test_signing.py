"""The person who signs: keys that a passphrase protects, two signatures of three, and a folder that a plane serves."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import os
import shutil
from pathlib import Path

import msgpack
import pytest

pytest.importorskip("tuf", reason="needs the updates extra")
pytest.importorskip("fastapi", reason="needs the plane extra")

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Timestamp

from edge import LinesideError
from edge.cli import main
from sync.control_plane.invite import Wish, invited
from sync.control_plane.plane import Plane
from sync.control_plane.updates import Updates
from sync.control_plane.where import Where
from sync.device.certificate import Certificate
from sync.device.enrolment import enroll
from sync.device.identity import Identity
from sync.device.transport import Https, Refused
from sync.invitation import token
from sync.updates import keys
from sync.updates.repository import ROLES, Repository
from tests.sync.signers import Signers

WORDS = "four small grey words"


@pytest.fixture
def signers(tmp_path: Path) -> Signers:
    return Signers(tmp_path / "updates").begin()


def names(folder: Path) -> set[str]:
    return {path.name for path in (folder / "metadata").iterdir()}


def test_a_person_signs_by_the_command_line_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LINESIDE_PASSPHRASE", WORDS)
    monkeypatch.chdir(tmp_path)
    owners = {"root": ("anna", "ben", "carl"), "online": ("online",)}
    given = [(role, name) for role in ROLES for name in owners.get(role, (f"{role}s",))]
    for role, name in given:
        assert main(["sign", "key", name, *(["--bare"] if role == "online" else [])]) == 0
        assert (Path(name).stat().st_mode & 0o777) == 0o600 and keys.is_sealed(Path(name)) == (role != "online")
    words = [word for role, name in given for word in ("--role", f"{role}={name}.pub")]
    assert main(["sign", "init", "repo", *words]) == 0
    assert main(["sign", "approve", "repo", "--key", "anna"]) == 0
    assert "needs more signatures" in capsys.readouterr().out and not Path("repo/metadata").exists()
    assert main(["sign", "approve", "repo", "--key", "anna"]) == 0, "the same one twice is one"
    assert "needs more signatures" in capsys.readouterr().out and not Path("repo/metadata").exists()
    assert main(["sign", "approve", "repo", "--key", "ben"]) == 0
    Path("washer.zip").write_bytes(b"weights")
    assert main(["sign", "add", "repo", "washer.zip", "model/washer-3", "--key", "models", "--for", "press"]) == 0
    assert main(["sign", "approve", "repo", "--key", "online"]) == 0
    assert main(["sign", "show", "repo"]) == 0
    said = capsys.readouterr().out
    assert "model/washer-3: 7 bytes, for press" in said and "root 1, until " in said
    assert names(Path("repo")) == {
        "1.root.json",
        "1.targets.json",
        "1.model.json",
        "1.snapshot.json",
        "timestamp.json",
    }
    assert main(["sign", "drop", "repo", "model/washer-3", "--key", "models"]) == 0
    assert main(["sign", "show", "repo"]) == 0
    assert "washer" not in capsys.readouterr().out.partition("withdrawn")[2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["key", "anna"], "File exists"),
        (["init", "repo"], "holds a repository already"),
        (["approve", "elsewhere", "--key", "anna"], "nothing that key"),
        (["approve", "repo", "--key", "stranger"], "nothing that key"),
        (["approve", "repo", "--key", "anna.pub"], "is it a key"),
        (["add", "repo", "anna", "model/washer", "--key", "models"], "is no name of an artefact"),
        (["add", "repo", "anna", "model/../x-1", "--key", "models"], "is no name of an artefact"),
        (["add", "repo", "anna", "config/press-1", "--key", "models"], "does not sign artefacts of kind config"),
        (["add", "repo", "anna", "model/press-1", "--key", "anna"], "does not sign artefacts of kind model"),
        (["add", "repo", "nothing", "model/press-1", "--key", "models"], "No such file"),
        (["add", "repo", "anna", "model/press-1", "--key", "models", "--for", "no class"], "is no class of devices"),
        (["drop", "repo", "model/press-1", "--key", "models"], "is not published here"),
        (["rotate", "repo", "--role", "root=stranger.pub"], "root has 1 different keys"),
        (["rotate", "repo", "--role", "model=anna.pub"], "a key stands in two of"),
        (["rotate", "repo", "--role", "online=models.pub"], "a key stands in two of"),
        (["rotate", "repo", "--role", "boss=anna.pub"], "is no role with its key"),
        (["rotate", "repo", "--role", "model=anna"], "is no public key"),
    ],
)
def test_what_cannot_be_signed_says_why(
    tmp_path: Path,
    signers: Signers,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LINESIDE_PASSPHRASE", WORDS)
    signers.folder.rename("repo")
    for name, signer in (("anna", signers.masters[0]), ("models", signers.kinds["model"]), ("stranger", None)):
        made = keys.make(Path(name), "")
        if signer is not None:
            Path(name).write_bytes(signer.private_bytes)
            public = signer._private_key.public_key()  # type: ignore[attr-defined]
            Path(f"{name}.pub").write_bytes(keys.pem(public))
        assert made
    before = names(Path("repo"))
    assert main(["sign", *words]) == 2
    told = capsys.readouterr().err
    assert said in told and "Traceback" not in told
    assert names(Path("repo")) == before and not list(Path("repo/draft").glob("*"))


def test_a_key_is_opened_by_its_passphrase_alone(tmp_path: Path) -> None:
    with pytest.raises(LinesideError, match="fewer than 12"):
        keys.make(tmp_path / "key", "short")
    keys.make(tmp_path / "key", WORDS)
    for wrong in ("", "four small grey word"):
        with pytest.raises(LinesideError, match="the passphrase right"):
            keys.signer(tmp_path / "key", wrong)
    assert keys.signer(tmp_path / "key", WORDS).public_key == keys.public(tmp_path / "key.pub")


def test_a_new_root_needs_two_of_the_old_and_two_of_the_new(signers: Signers) -> None:
    old, fresh = signers.masters, [CryptoSigner.generate_ed25519() for _ in range(3)]
    signers.repository.rotate({"root": [one.public_key for one in fresh]})
    with pytest.raises(LinesideError, match="still waits for signatures"):
        signers.repository.rotate({})
    for signer in (fresh[0], old[0], fresh[1]):
        signers.repository.approve(signer)
        assert "2.root.json" not in names(signers.folder), "one of the old is missing"
    assert "root 2 is signed" in signers.repository.approve(old[1])
    root: Metadata[Root] = Metadata.from_file(str(signers.folder / "metadata" / "2.root.json"))
    assert set(root.signed.roles["root"].keyids) == {one.public_key.keyid for one in fresh}
    assert {one.public_key.keyid for one in old}.isdisjoint(root.signed.keys)
    with pytest.raises(LinesideError, match="nothing that key"):
        signers.repository.approve(old[0])


def test_the_same_name_is_never_given_to_other_bytes(signers: Signers) -> None:
    signers.add("config/press-1", b"one")
    signers.add("config/press-1", b"one", ["press"])
    with pytest.raises(LinesideError, match="published with other bytes"):
        signers.add("config/press-1", b"two")


def version(signers: Signers) -> int:
    return Metadata[Timestamp].from_file(str(signers.folder / "metadata" / "timestamp.json")).signed.version


def test_a_plane_says_anew_what_is_newest_and_only_when_it_is_due(signers: Signers) -> None:
    plane = Updates(signers.folder.parent)
    assert not plane.refresh(), "it has no key"
    (signers.folder.parent / "updates.key").write_bytes(signers.online.private_bytes)
    before = version(signers)
    assert not plane.refresh() and version(signers) == before
    signers.add("model/washer-1", b"weights", publish=False)
    assert plane.refresh() and version(signers) == before + 1 and not plane.refresh()
    signers.now = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=4)
    signers.repository.refresh(signers.online)
    assert plane.refresh() and version(signers) == before + 3


@pytest.mark.parametrize("whole", [False, True])
def test_a_repository_that_was_signed_elsewhere_and_copied_over_is_never_older_to_devices(
    signers: Signers, whole: bool
) -> None:
    plane, elsewhere = Updates(signers.folder.parent), signers.folder.parent / "repo"
    shutil.copytree(signers.folder, elsewhere)
    (signers.folder.parent / "updates.key").write_bytes(signers.online.private_bytes)
    shown = []
    for k in range(4):  # as it goes on for weeks
        signers.add(f"model/washer-{k}", b"weights", publish=False)
        assert plane.refresh()
        shown.append(signers.repository.stands())
    author = dataclasses.replace(signers, folder=elsewhere)
    for k in range(4):
        author.add(f"model/lid-{k}", b"weights", publish=k == 3)
    if whole:
        shutil.rmtree(signers.folder)
    shutil.copytree(elsewhere, signers.folder, dirs_exist_ok=True)
    assert signers.repository.stands().timestamp < shown[-1].timestamp
    assert plane.refresh() and not plane.refresh()
    now = signers.repository.stands()
    assert now.timestamp > shown[-1].timestamp and now.snapshot > shown[-1].snapshot
    shutil.copytree(elsewhere, signers.folder, dirs_exist_ok=True)
    assert Updates(signers.folder.parent).refresh() and signers.repository.stands().timestamp > now.timestamp


def test_a_plane_serves_the_folder_and_nothing_beside_it(tmp_path: Path) -> None:
    async def work() -> None:
        folder = tmp_path / "plane"
        plane = Plane(Where(folder, device_port=0, page_port=0))
        await plane.start()
        try:
            line = await enrolled(plane, tmp_path / "state")
            with pytest.raises(Refused, match="no such file"):
                await line.exchange("GET", "/d/v1/updates/metadata/1.root.json?at=0&most=100")
            signers = Signers(folder / "updates").begin()
            signers.add("model/washer-3", body := os.urandom(3000))
            (found,) = (folder / "updates" / "targets" / "model").iterdir()
            at = f"/d/v1/updates/targets/model/{found.name}"
            for start, most, wanted in ((0, 1000, body[:1000]), (2500, 1000, body[2500:]), (9000, 1000, b"")):
                answer = msgpack.unpackb(await line.exchange("GET", f"{at}?at={start}&most={most}"))
                assert answer == [3000, wanted]
            (folder / "updates" / "draft" / "root.json").write_bytes(b"{}")
            for path in ("../ca.key", "%2e%2e/ca.key", "draft/root.json", "metadata", "metadata/../../ca.key", ""):
                with pytest.raises(Refused, match=r"404"):
                    await line.exchange("GET", f"/d/v1/updates/{path}?at=0&most=100")
            with pytest.raises(Refused, match="are numbers"):
                await line.exchange("GET", f"{at}?at=-1&most=1")
            line.close()
            stranger = Https(Identity("d", plane.url, "guessed", plane.authority.pem, ""))
            with pytest.raises(Refused, match="does not know this device"):
                await stranger.exchange("GET", f"{at}?at=0&most=1")
            stranger.close()
        finally:
            await plane.stop()

    asyncio.run(work())


async def enrolled(plane: Plane, state: Path, device: str = "press-4") -> Https:
    text = token(plane.url, plane.authority.fingerprint, await invited(plane.store, Wish()))
    me = await asyncio.to_thread(enroll, text, device, state)
    return Https(me, Certificate(state, me))


def test_a_repository_that_is_damaged_says_which_file(signers: Signers) -> None:
    (signers.folder / "metadata" / "1.root.json").write_bytes(b"[" * 100_000)
    with pytest.raises(LinesideError, match=r"1\.root\.json cannot be read"):
        Repository(signers.folder).refresh(signers.online)
