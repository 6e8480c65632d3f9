"""What people ask of a device is answered once, or said why not; nothing of it changes anything there."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import urllib3

pytest.importorskip("fastapi", reason="needs the plane extra")
cv2 = pytest.importorskip("cv2", reason="needs the vision extra")

from edge import Batch, Event, Frame, Tag, TagTable, encode_event, plugins, png
from edge.cli import main
from edge.clock import ManualClock
from edge.diagnosis import MASK, Diagnosis, masked
from edge.live import Live
from edge.log import log, recent
from sync import wire
from sync.control_plane import questions
from sync.control_plane.messages import Message
from sync.control_plane.queued import queue
from sync.control_plane.store import Store
from sync.device.asked import AT_ONCE, Asked, unanswered
from sync.device.lease import Lease
from tests.edge.test_journal import with_journal
from tests.sync import test_spine as spine
from tests.sync.stored import with_store
from tests.sync.test_spine import Rig

CAMERA = '  top: {{driver: camera, url: "pattern:parts", every: 100ms}}\n'
SECRET = 'metrics: {{listen: "127.0.0.1:0", password: hunter2}}\n'


def rig(folder: Path, work: Callable[[Rig], Awaitable[None]], sync: str = "", live: str = "200ms") -> None:
    site = spine.SITE.replace("alarms:\n", f"{CAMERA}alarms:\n").replace("live: 100ms", f"live: {live}{sync}")

    async def main() -> None:
        async with Rig(folder) as it:
            path = folder / "dev" / "site.yaml"
            path.write_text(site.format(port=it.sim.port, url=it.plane.url))
            it.daemon.config.path = path
            await work(it)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spine, "SITE", site)
        asyncio.run(main())


async def asked(it: Rig, verb: str, **about: Any) -> dict[str, Any]:
    """The order, once it has ended."""
    question = questions.Question.model_validate({"verb": verb, **about})
    number = await it.plane.ingest.command("dev-1", verb, question.data("anna"))
    return await ended(it, number)


async def ended(it: Rig, number: int) -> dict[str, Any]:
    async def end() -> Any:
        (one,) = await it.plane.store.read(lambda c: questions.told(c, "dev-1", 1, number))
        return one if one["state"] in questions.ENDS else None

    return dict(await it.until(end))


def test_each_question_is_answered(tmp_path: Path) -> None:
    plugins.register("proofs", "models", lambda: iter([("leaf", ""), ("stem", "golden vector 0 is off")]))

    async def work(it: Rig) -> None:
        it.sim.set("temp", 42)

        async def read() -> Any:
            return it.daemon.live.show("plc.temp")["value"] == 42

        await it.until(read)
        one = await asked(it, "read", tags=["plc.temp"], id="a")
        assert (one["state"], one["by"], one["id"]) == ("done", "anna", "a")
        (value,) = one["answer"]["values"]
        assert (value["value"], value["quality"]) == (42.0, "GOOD") and value["age"] < 60

        one = await asked(it, "capture", camera="top")
        assert one["state"] == "done" and one["pictures"] == [one["answer"]["picture"]]

        async def picture() -> Any:
            return await it.plane.pictures.whole(one["pictures"][0])

        media, body = await it.until(picture)
        assert media == "image/png"
        assert list(cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED).shape) == one["answer"]["size"]

        log.warning("a line of the log")
        one = await asked(it, "tail", n=200)
        assert any(event["kind"] == "command" for event in one["answer"]["events"])
        assert any(line.endswith("a line of the log") for line in one["answer"]["log"])

        one = await asked(it, "selftest")
        found = {finding["what"]: finding for finding in one["answer"]["findings"]}
        assert one["state"] == "done" and not one["answer"]["passed"]
        assert found["model leaf"]["state"] == "ok" and found["model stem"]["how"] == "golden vector 0 is off"
        assert {"clock", "disk", "sqlite"} <= found.keys()

    rig(tmp_path, work)


def test_a_support_bundle_has_no_secret(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        path = it.daemon.config.path
        assert path is not None
        (path.parent / "secrets.yaml").write_text("mail: swordfish\n")
        more = f"forward: {{url: 'mqtts://anna:hunter2@broker:8883', password: !secret mail, user: anna}}\n{SECRET}"
        path.write_text(path.read_text() + more.replace("{{", "{").replace("}}", "}"))
        key = json.loads((it.folder / "dev" / "identity.json").read_text())
        log.warning("a stranger's part says https://anna:hunter2@broker/?token=hunter2&x=1")
        one = await asked(it, "support")
        assert one["state"] == "done", one["text"]

        async def bundle() -> Any:
            return await it.plane.pictures.whole(one["answer"]["bundle"])

        _, body = await it.until(bundle)
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            files = {m.name: tar.extractfile(m).read() for m in tar.getmembers()}  # type: ignore[union-attr]
        assert {f"support/{name}" for name in one["answer"]["files"]} == files.keys()
        everything = b"".join(files.values()).decode()
        for secret in ("hunter2", "swordfish", key["secret"], key["key"][40:80]):
            assert secret not in everything
        site = json.loads(files["support/site.json"])
        assert site["forward"]["password"] == "!secret mail" and site["metrics"]["password"] == MASK
        assert site["drivers"]["plc"]["tags"]["temp"]["address"] == "holding:0"
        assert json.loads(files["support/status.json"])["device"] == "dev-1"

    rig(tmp_path, work)


def test_what_cannot_be_answered_is_said(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        one = await asked(it, "read", tags=["plc.tempp"])
        assert one["state"] == "failed" and "no tag plc.tempp" in one["text"]
        one = await asked(it, "capture", camera="bottom")
        assert one["state"] == "failed" and "no driver is called 'bottom'" in one["text"]
        one = await asked(it, "capture", camera="plc", within=0.01)
        assert one["state"] == "failed" and "no picture of plc came" in one["text"]
        one = await asked(it, "live", tags=["plc.temp"])
        assert one["state"] == "refused" and "sync: {commands: [..., live]}" in one["text"]

    rig(tmp_path, work, sync=", commands: [read, capture]")


def test_the_same_id_is_the_same_order(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        data = questions.Question(verb="read", tags=["plc.temp"], id="once").data("anna")
        numbers = {await it.plane.ingest.command("dev-1", "read", data) for _ in range(3)}
        assert len(numbers) == 1
        assert (await ended(it, numbers.pop()))["state"] == "done"
        states = [s for k, s in await it.events("command") if k == "read"]
        assert states == ["accepted", "done"]

    rig(tmp_path, work)


def test_live_mode_brings_chosen_tags_often_and_ends(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        one = await asked(it, "live", tags=["plc.temp"], every=0.1, seconds=600)
        assert one["state"] == "done" and one["answer"] == {"tags": ["plc.temp"], "every": 0.1, "seconds": 600.0}
        it.sim.set("temp", 7)

        async def there() -> Any:
            newest = it.plane.hub.devices.get("dev-1")
            return newest and any(value[0] == 7 for value in newest.values.values())

        await it.until(there)
        one = await asked(it, "live", tags=["plc.temp"], seconds=0)
        assert one["state"] == "done"

    rig(tmp_path, work, live="1h")


def test_over_the_api(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        base, session = it.plane.link.split("/login")[0], it.plane.people.login(it.plane.people.key)

        def ask(method: str, path: str, body: Any = None) -> tuple[int, Any]:
            with urllib3.PoolManager(retries=False, timeout=60) as page:
                url, headers = f"{base}/api/devices/dev-1/commands{path}", {"Cookie": f"session={session}"}
                answer = page.request(method, url, json=body, headers=headers)
                return answer.status, answer.json()

        status, said = await asyncio.to_thread(ask, "POST", "", {"verb": "read", "tags": ["plc.temp"]})
        assert status == 202 and said["state"] == "queued"
        await ended(it, said["number"])
        status, one = await asyncio.to_thread(ask, "GET", f"/{said['number']}")
        assert status == 200 and one["state"] == "done" and one["answer"]["values"][0]["tag"] == "plc.temp"
        status, several = await asyncio.to_thread(ask, "GET", "")
        assert status == 200 and several == [{**one, "age": several[0]["age"]}] and several[0]["age"] >= one["age"] >= 0
        assert (await asyncio.to_thread(ask, "GET", "/7"))[0] == 404
        for wrong in (
            {"verb": "shell", "n": 1},
            {"verb": "read"},
            {"verb": "tail", "tags": ["plc.temp"]},
            {"verb": "capture", "camera": "top", "within": 1e9},
            {"verb": "tail", "do": "rm"},
            {"verb": "tail", "id": "a/b"},
        ):
            assert (await asyncio.to_thread(ask, "POST", "", wrong))[0] == 422, wrong

    rig(tmp_path, work)


def test_at_the_command_line_beside_a_running_plane(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def work(it: Rig) -> None:
        folder = ("--folder", str(tmp_path / "plane"))

        async def command(*words: str) -> tuple[int, str]:
            capsys.readouterr()
            code = await asyncio.to_thread(main, ["plane", *words, *folder])
            said = capsys.readouterr()
            return code, said.out + said.err

        code, said = await command("command", "dev-1", "read", "--tag", "plc.temp", "--wait", "100")
        assert code == 0 and "plc.temp = " in said and " done " in said, said
        out = tmp_path / "picture.png"
        code, said = await command("command", "dev-1", "capture", "--camera", "top", "--wait", "100", "--out", str(out))
        assert code == 0 and out.read_bytes()[:4] == b"\x89PNG"
        code, said = await command("command", "dev-1", "tail")
        assert code == 0 and "is queued" in said
        code, said = await command("commands", "dev-1", "--json")
        assert code == 0 and '"verb": "capture"' in said
        code, said = await command("command", "nobody", "tail")
        assert code == 2 and "nobody is not enrolled here" in said
        code, said = await command("command", "dev-1", "read")
        assert code == 2 and "read needs `tags`" in said

    rig(tmp_path, work)


# The device alone


def device(journal: Any, allowed: tuple[str, ...] = ("read", "tail")) -> tuple[Asked, list[Event]]:
    clock, said = ManualClock(), list[Event]()
    host: Any = SimpleNamespace(clock=clock, journal=journal, accept=said.append, live=SimpleNamespace(table={}))
    return Asked(host, allowed, Lease(clock)), said


def test_an_order_whose_time_is_over_is_not_begun(tmp_path: Path) -> None:
    async def work(journal: Any) -> None:
        asked, said = device(journal)
        asked.take(1, "tail", {"age": 301.0})
        asked.take(2, "tail", {"age": 31.0, "expires": 30.0})
        asked.take(3, "tail", {"age": "long ago"})
        asked.take(4, "tail", {"age": 0.0, "expires": True})
        assert [(e.state, e.data["number"]) for e in said] == [("expired", n) for n in (1, 2, 3, 4)]
        asked.take(5, "tail", {"age": 29.0, "expires": 30.0})
        assert said[-1].state == "accepted"
        asked.stop()

    with_journal(tmp_path, work)


def test_more_at_once_than_are_answered_are_refused(tmp_path: Path) -> None:
    async def work(journal: Any) -> None:
        asked, said = device(journal)
        for number in range(AT_ONCE + 2):
            asked.take(number, "tail", {})
        assert [e.state for e in said] == ["accepted"] * AT_ONCE + ["refused"] * 2
        asked.stop()

    with_journal(tmp_path, work)


def test_what_was_accepted_before_a_stop_failed(tmp_path: Path) -> None:
    async def work(journal: Any) -> None:
        for number, state in ((1, "accepted"), (2, "accepted"), (2, "done"), (3, "refused")):
            journal.append(
                events=[Event("command", "tail", state, 1, data={"number": number, "id": f"x{number}"}, id="e")]
            )
        await journal.commit()
        assert [number for number, _, _ in await journal.ask(unanswered)] == [1]
        asked, said = device(journal)
        await asked.resume()
        assert [(e.state, e.data) for e in said] == [("failed", {"number": 1, "id": "x1"})]

    with_journal(tmp_path, work)


def test_live_mode_ends_by_itself() -> None:
    clock = ManualClock()
    lease = Lease(clock)
    assert lease.only(10) is None and not lease.runs
    lease.begin([3, 1, 3], 0.5, 60)
    clock.advance(10)
    assert lease.only(10) is None, "everything goes as often as before"
    clock.advance(0.5)
    assert lease.only(10) is not None and lease.only(10).tolist() == [1, 3]  # type: ignore[union-attr]
    clock.advance(60)
    assert not lease.runs and lease.only(10) is None


def test_chosen_tags_leave_the_others_changed() -> None:
    table = TagTable.numbered([Tag(f"plc.t{k}", source="plc") for k in range(3)])
    live = Live(table)
    live(Batch.of("plc", [1, 2, 3], [1.0, 2.0, 3.0], [5, 5, 5]))
    assert live.take(only=np.array([1])).tag.tolist() == [2]
    assert live.take().tag.tolist() == [1, 3]
    assert live.take().tag.tolist() == []


@pytest.mark.parametrize("shape", [(2, 3, 1), (2, 3, 3), (1700, 2600, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_picture_is_what_was_seen(shape: tuple[int, ...], dtype: Any) -> None:
    image = np.random.default_rng(1).integers(0, 256, shape).astype(dtype)
    image = image << 8 if dtype == np.uint16 else image
    seen = cv2.imdecode(np.frombuffer(png(image), np.uint8), cv2.IMREAD_UNCHANGED)
    step = 2 if shape[0] > 1000 else 1
    assert np.array_equal(
        seen.reshape(image[::step, ::step].shape), (image >> 8 if dtype == np.uint16 else image)[::step, ::step]
    )


def test_what_looks_like_a_secret_is_masked() -> None:
    site = {
        "url": "rtsp://admin:p@w@10.0.0.1/a?user=x&password=y&z=1",
        "headers": {"Authorization": "Bearer x", "api-key": "x"},
        "password": "x",
        "api_key": ["a"],
        "webhook": "https://x",
        "list": [{"token": 5, "keep": "72h"}],
        "keys": 3,
    }
    assert masked(site) == {
        "url": f"rtsp://{MASK}@10.0.0.1/a?user=x&password={MASK}&z=1",
        "headers": {"Authorization": MASK, "api-key": MASK},
        "password": MASK,
        "api_key": MASK,
        "webhook": MASK,
        "list": [{"token": MASK, "keep": "72h"}],
        "keys": 3,
    }


def test_the_newest_lines_are_known() -> None:
    log.warning("one more")
    assert recent(1)[0].endswith("one more") and len(recent(100_000)) <= 400


# The plane alone


def test_what_was_not_heard_of_in_time_is_expired_until_it_is(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(store: Store) -> None:
        data = questions.Question(verb="tail", expires=60, id="x").data("anna")
        number = await store.write(lambda c: queue(c, "dev-1", "tail", data))

        async def state() -> str:
            return str((await store.read(lambda c: questions.told(c, "dev-1", 1, number)))[0]["state"])

        assert await state() == "queued"
        created = (await store.read(lambda c: questions.told(c, "dev-1")))[0]["created"]
        monkeypatch.setattr(questions, "time", SimpleNamespace(time=lambda: created + 61))
        assert await state() == "expired"
        for seq, said in ((1, "accepted"), (2, "done"), (3, "accepted")):
            body = encode_event(Event("command", "tail", said, seq, data={"number": number}))
            await store.write(Message("dev-1", [wire.Frame("0" * 16, "event", seq, seq, seq, 1, body)]))
        assert await state() == "done"
        assert await store.write(lambda c: queue(c, "dev-1", "tail", data)) == number
        assert await store.write(lambda c: queue(c, "dev-2", "tail", data)) != number

    with_store(database, work)


def test_a_frame_that_nobody_waits_for_is_not_kept(tmp_path: Path) -> None:
    freed: list[Any] = []
    diagnosis = Diagnosis(SimpleNamespace(drivers={"top": None}))  # type: ignore[arg-type]

    async def main() -> None:
        waits = asyncio.ensure_future(diagnosis.frame("top", 60))
        await asyncio.sleep(0)
        frame = Frame("top", 1, 1, np.zeros((1, 1, 1), np.uint8), on_free=freed.append)
        diagnosis.saw(frame)
        frame.release()
        assert not freed
        (await waits).release()
        assert len(freed) == 1
        frame = Frame("top", 2, 1, np.zeros((1, 1, 1), np.uint8), on_free=freed.append)
        diagnosis.saw(frame)
        frame.release()
        assert len(freed) == 2

    asyncio.run(main())
