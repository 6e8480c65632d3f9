"""A site that was sent: what of it runs, what stays with the device, and what is left of it wherever it is cut off."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from edge import sent as module
from edge.app import Daemon
from edge.config.load import load
from edge.errors import LinesideError
from edge.sent import Ended, Sent
from edge.testing import VirtualClock, virtual_run
from tests.edge.test_daemon import steady  # noqa: F401

OWN = """
device: {{id: d, site: here}}
drivers:
  a: {{driver: steady, every: 1s, value: {value}, tags: {{t: {{}}}}}}
sync: {{url: "https://plane.example:8443", installs: [config], a_day: 5MB, password: !secret word}}
"""
OTHER = """
drivers:
  a: {driver: steady, every: 1s, value: 7, tags: {t: {}}}
  b: {driver: steady, every: 1s, value: 8, tags: {t: {}}}
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "site.yaml"
    path.write_text(OWN.format(value=1).replace(", password: !secret word", ""))
    return path


async def with_daemon(own: Path, work: Any) -> Any:
    """One start of the daemon, as `lineside run` does it."""
    sent = Sent(own.parent, own)
    config = sent.chosen(load(own))
    assert not config.problems, config.problems
    daemon = Daemon(config, own.parent, VirtualClock(), sent)
    await daemon.start()
    try:
        return await work(daemon)
    finally:
        await daemon.stop()


def start(own: Path, work: Any) -> Any:
    return virtual_run(with_daemon(own, work))


def rewrite(path: Path, text: str) -> None:
    path.write_text(text)


def values(daemon: Daemon) -> dict[str, float]:
    return {tag.name: daemon.live.show(tag.name)["value"] for tag in daemon.table}


async def sends(daemon: Daemon, generation: int, text: str | None, version: str = "v2") -> Ended:
    await asyncio.sleep(5)
    return await daemon.sent.take(daemon, generation, version if text is not None else "", text)


def test_what_was_kept_runs_after_a_restart_and_the_file_stays_what_it_was(own: Path) -> None:
    said = own.read_text()

    async def first(daemon: Daemon) -> None:
        assert await sends(daemon, 1, OTHER) == Ended(1, "v2", "running", "")
        assert values(daemon) == {"a.t": 7, "b.t": 8}
        assert daemon.sent.running == "v2" and daemon.config.device.id == "d" and daemon.config.device.site == "here"
        assert daemon.config.sections["sync"].a_day == 5_000_000, "of what it does not speak of nothing is lost"

    async def second(daemon: Daemon) -> None:
        await asyncio.sleep(3)
        assert values(daemon) == {"a.t": 7, "b.t": 8} and daemon.sent.running == "v2"
        assert await daemon.sent.take(daemon, 1, "v2", OTHER) == Ended(1, "v2", "running", ""), "it was done already"
        assert await sends(daemon, 2, None) == Ended(2, "", "running", "")
        assert values(daemon) == {"a.t": 1} and daemon.sent.running == ""

    start(own, first)
    start(own, second)
    start(own, lambda daemon: asyncio.sleep(0, daemon.sent.running == "" or pytest.fail()))
    assert own.read_text() == said


@pytest.mark.parametrize(
    ("text", "state", "reason"),
    [
        (OTHER + "  c: {driver: eye, sees: false}\n", "rolled_back", "c gave no good sample"),
        (OTHER.replace("value: 7", "value: 7, fails: connect"), "refused", "a: nobody there"),
        (OTHER.replace("value: 7", "valeu: 7"), "refused", "drivers.a.valeu: unknown option 'valeu'"),
        (OTHER + "sync: {url: 'https://elsewhere:8443'}", "refused", "sync.url: belongs to the device"),
        (OTHER + "sync: {installs: []}", "refused", "sync.installs: belongs to the device"),
        (OTHER + "device: {id: other}", "refused", "device.id: belongs to the device"),
        (OTHER + "tests: [{name: t, given: {a.t: [1]}, expect: [{event: x}]}]", "refused", "no alarm is called 'x'"),
        (OTHER + "alarms: {x: {when: !secret nothing}}", "refused", "no secret is called 'nothing'"),
        ("drivers: [", "refused", "not YAML"),
        ("journal: {keep: 24h}", "refused", "it says no `drivers`: all that is read here would end (a document is the"),
    ],
)
def test_what_is_not_kept_leaves_the_old_one(own: Path, text: str, state: str, reason: str) -> None:
    async def work(daemon: Daemon) -> None:
        ended = await sends(daemon, 1, text)
        assert (ended.state, reason in ended.reason) == (state, True), ended
        await asyncio.sleep(3)
        assert values(daemon) == {"a.t": 1} and daemon.sent.running == ""
        assert not list((own.parent / "site").glob("*.yaml")), "nothing of it stays"

    start(own, work)


class Cut(BaseException):
    """The power is gone."""


def test_cut_off_at_any_write_a_whole_site_runs_and_it_is_told(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each write to the folder in turn is the last one; half of the new file lies there then."""
    whole, outcomes = module._replace, []

    def sweep(cut_at: int, folder: Path) -> bool:
        path = folder / "site.yaml"
        folder.mkdir()
        path.write_text(own.read_text())
        count = 0

        def replace(where: Path, text: str) -> None:
            nonlocal count
            count += 1
            if count == cut_at:
                where.with_name(f"{where.name}.new").write_text(text[: len(text) // 2])
                raise Cut
            whole(where, text)

        async def work(daemon: Daemon) -> bool:
            monkeypatch.setattr(module, "_replace", replace)
            try:
                await sends(daemon, 1, OTHER)
            except Cut:
                return True
            finally:
                monkeypatch.setattr(module, "_replace", whole)
            return False

        async def after(daemon: Daemon) -> None:
            await asyncio.sleep(3)
            ended = daemon.sent.stands.ended
            outcomes.append((ended.state, values(daemon)))
            assert (await sends(daemon, 2, OTHER)).state == "running", "and the next one is taken"

        cut = bool(start(path, work))
        start(path, after)
        return cut

    cuts = 0
    while sweep(cuts + 1, own.parent / str(cuts)):
        cuts += 1
    assert cuts == 4
    old, new = {"a.t": 1}, {"a.t": 7, "b.t": 8}
    assert outcomes == [("", old)] * 3 + [("rolled_back", old), ("running", new)]


def test_a_trial_that_is_killed_is_over(own: Path) -> None:
    async def killed(daemon: Daemon) -> None:
        trial = asyncio.ensure_future(sends(daemon, 4, OTHER, "v2"))
        await asyncio.sleep(12)
        assert values(daemon) == {"a.t": 7, "b.t": 8} and not trial.done(), "it is on trial"
        trial.cancel()

    async def after(daemon: Daemon) -> None:
        await asyncio.sleep(3)
        assert values(daemon) == {"a.t": 1}
        assert daemon.sent.stands.ended[:3] == (4, "v2", "rolled_back") and "cut off" in daemon.sent.stands.ended.reason

    start(own, killed)
    start(own, after)


def test_who_asked_may_go_and_come_again(own: Path) -> None:
    async def work(daemon: Daemon) -> None:
        first = asyncio.ensure_future(sends(daemon, 1, OTHER))
        await asyncio.sleep(8)
        first.cancel()
        await asyncio.sleep(1)
        assert await daemon.sent.take(daemon, 1, "v2", OTHER) == Ended(1, "v2", "running", "")
        assert await sends(daemon, 2, OTHER + "#", "v3") == Ended(2, "v3", "running", "")

    start(own, work)


def test_a_file_that_is_edited_later_is_a_draft_that_runs_when_a_person_applies_it(own: Path) -> None:
    from edge.apply import apply_site

    text = own.read_text()

    async def edited(daemon: Daemon) -> None:
        assert daemon.sent.draft() is None
        await sends(daemon, 1, OTHER)
        assert daemon.sent.draft() is None, "it is what it was"
        rewrite(own, "# a comment\n" + text)
        assert daemon.sent.draft() is None
        rewrite(own, OWN.format(value=3))
        draft = daemon.sent.draft()
        assert draft and "secret" not in draft, "what belongs to the device is no part of it"
        assert daemon.sent.drift(draft) == [
            "drivers.a.value: 7 -> 3",
            "- drivers.b: {driver: steady, every: 1s, value: 8, tags: {t: {}}}",
            "+ device: {site: here}",
            "+ sync: {a_day: 5MB}",
        ]

    async def kept(daemon: Daemon) -> None:
        await asyncio.sleep(3)
        assert values(daemon)["a.t"] == 7 and daemon.sent.running == "v2", "an edit alone changes nothing"
        rewrite(own, OWN.format(value=3).replace(", password: !secret word", ""))
        await apply_site(daemon, own, 3)
        assert values(daemon)["a.t"] == 3 and daemon.sent.running == "" and daemon.sent.draft()

    async def runs(daemon: Daemon) -> None:
        await asyncio.sleep(3)
        assert values(daemon)["a.t"] == 3 and daemon.sent.running == "" and daemon.sent.draft()
        assert (await sends(daemon, 2, OTHER)).state == "running"
        assert values(daemon)["a.t"] == 7 and daemon.sent.draft() is None, "the plane wanted its own once more"

    start(own, edited)
    own.write_text(OWN.format(value=3).replace(", password: !secret word", ""))
    start(own, kept)
    start(own, runs)


def test_what_cannot_run_any_more_leaves_the_persons_file(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINESIDE_SECRET_LIMIT", "a.t > 100")

    async def first(daemon: Daemon) -> None:
        assert (await sends(daemon, 1, OTHER + "alarms: {x: {when: !secret limit}}")).state == "running"

    async def without(daemon: Daemon) -> None:
        assert daemon.sent.running == "" and "no secret is called 'limit'" in daemon.sent.trouble

    async def not_allowed(daemon: Daemon) -> None:
        assert daemon.sent.running == "" and "does not allow any more" in daemon.sent.trouble

    async def whole(daemon: Daemon) -> None:
        assert daemon.sent.running == "v2" and daemon.sent.trouble == ""

    start(own, first)
    assert "a.t > 100" not in "".join(p.read_text() for p in (own.parent / "site").iterdir()), "no secret is kept"
    monkeypatch.delenv("LINESIDE_SECRET_LIMIT")
    start(own, without)
    monkeypatch.setenv("LINESIDE_SECRET_LIMIT", "a.t > 100")
    start(own, whole)
    said = own.read_text()
    own.write_text(said.replace("installs: [config]", "installs: []"))
    start(own, not_allowed)
    own.write_text(said)
    start(own, whole)


def test_a_file_that_nobody_can_read_does_not_keep_the_device_from_running(own: Path) -> None:
    start(own, lambda daemon: sends(daemon, 1, OTHER))
    own.write_text("device: {id: d\n")
    sent = Sent(own.parent, own)
    config = sent.chosen(load(own))
    assert (
        not config.problems and set(config.drivers) == {"a", "b"} and config.device.id == "d" and sent.running == "v2"
    )


def test_a_link_that_a_person_changes_counts_at_once(own: Path) -> None:
    start(own, lambda daemon: sends(daemon, 1, OTHER))
    own.write_text(own.read_text().replace("plane.example", "new.example"))
    config = Sent(own.parent, own).chosen(load(own))
    assert config.sections["sync"].url == "https://new.example:8443" and "b" in config.drivers


@pytest.mark.parametrize("said", ["", "{", "[]", json.dumps({"running": "x"}), json.dumps({"ended": 1}), "\0"])
def test_a_record_that_says_nothing_leaves_the_persons_file(own: Path, said: str) -> None:
    (own.parent / "site").mkdir()
    (own.parent / "site" / "stands.json").write_text(said)
    config = load(own)
    assert Sent(own.parent, own).chosen(config) is config


def test_a_disk_that_is_full_changes_nothing_and_heals(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = module._replace

    async def work(daemon: Daemon) -> None:
        def full(where: Path, text: str) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(module, "_replace", full)
        with pytest.raises(LinesideError, match="No space left") as told:
            await sends(daemon, 1, OTHER)
        assert told.value.heals and values(daemon) == {"a.t": 1} and not daemon.sent.stands.trying
        monkeypatch.setattr(module, "_replace", whole)
        assert (await sends(daemon, 1, OTHER)).state == "running"

    start(own, work)
