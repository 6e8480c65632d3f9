"""The command line: what it prints, where, and with which exit code."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from edge import SECOND, Batch, DeviceLost, Event, ManualClock, Quality, Tag, plugins
from edge.cli import main
from edge.commands.export import Follow, batches
from edge.commands.run import below
from edge.journal import Journal, JournalConfig
from edge.log import log, to_memory
from edge.poller import Poller
from edge.records import journal_of
from edge.service import notify
from edge.testing import virtual_run


class Toy(Poller):
    """A device in memory; `broken` says how."""

    class Config(Poller.Config):
        broken: str = ""

    kept: dict[str, float] = {}

    def __init__(self, config: Any, source: Any) -> None:
        if config.broken == "built":
            raise ValueError("planted")
        super().__init__(config, source)

    async def connect(self) -> None:
        if self.config.broken == "away":
            raise DeviceLost("nobody there")

    async def poll(self) -> Any:
        if self.config.broken == "refuses":
            return self.failed(Quality.EXCEPTION)
        return dict.fromkeys(self.source.tags, 4.0) | Toy.kept

    async def write(self, order: Any) -> None:
        name = next(name for name, tag in self.source.tags.items() if tag.id == order.tag)
        Toy.kept[name] = order.value


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(plugins._extra, ("drivers", "toy"), Toy)
    Toy.kept = {}
    before = log.handlers[:], log.propagate, log.level
    yield
    log.handlers[:], log.propagate, log.level = before


def site(folder: Path, *drivers: str, rules: str = "") -> Path:
    path = folder / "site.yaml"
    body = "\n".join(f"  {d}" for d in drivers)
    path.write_text(f"device: {{id: d}}\ndrivers:\n{body}\n{rules}\n")
    return path


GOOD = "good: {driver: toy, every: 10ms, tags: {t: {writable: {range: [0, 9]}}, u: {}}}"


def call(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, list[str], str]:
    code = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return code, said.out.splitlines(), said.err


def test_a_probe_says_all_and_none_hides_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = [f"{how}: {{driver: toy, broken: {how}, tags: {{t: {{}}}}}}" for how in ("built", "away", "refuses")]
    path = site(tmp_path, broken[0], GOOD, *broken[1:])
    code, lines, _ = call(capsys, "check", "--connect", "--json", path)
    said = [(row["driver"], row["said"], row["fault"]) for row in map(json.loads, lines)]
    assert code == 1
    assert said == [
        ("built", "ValueError: planted", True),
        ("good", "t = 4 (GOOD)", False),
        ("good", "u = 4 (GOOD)", False),
        ("away", "nobody there", True),
        ("refuses", "t = nan (EXCEPTION)", False),
        ("refuses", "not every tag has a good value", True),
    ]
    assert call(capsys, "check", "--connect", site(tmp_path, GOOD))[0] == 0


def test_a_faulty_site_does_not_hide_the_tests_of_the_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = """tags: {twice: {expression: good.t * 2, deadband: 5}}
alarms: {hot: {when: good.t > 50}}
tests:
  - {name: rises, given: {good.t: [0.1, 0.3]}, expect: [{tag: twice, value: 0.6}]}
  - {name: falls, given: {good.t: [60]}, expect: []}
"""
    path = site(tmp_path, GOOD, rules=rules)
    code, lines, errors = call(capsys, "test", tmp_path / "absent.yaml", path, "--json")
    assert code == 1 and "cannot read" in errors
    assert [(row["test"], row["ok"]) for row in map(json.loads, lines)] == [("rises", True), ("falls", False)]
    assert json.loads(lines[1])["faults"] == ["expected nothing; happened hot raised"]


def test_a_trigger_is_part_of_the_rules_that_are_tested(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = """tests:
  - {name: t, given: {good.t: [0, 1, 1, 0, 1]}, expect: [{write: top.trigger, value: 1}, {write: top.trigger, value: 2}]}
"""
    path = site(tmp_path, GOOD, 'top: {driver: camera, url: "pattern:parts", trigger: good.t}', rules=rules)
    assert call(capsys, "test", path)[0] == 0


METER = (
    "tags: {twice: {expression: good.t * 2}, meter: {expression: good.t * 308641.975}, zero: {expression: good.t * 0}}"
)


def test_where_no_daemon_runs_the_device_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, state = site(tmp_path, GOOD, rules=METER), tmp_path / "state"
    code, lines, errors = call(capsys, "read", path, "--state", state, "good.t", "twice", "--json")
    rows = {row["tag"]: row["value"] for row in map(json.loads, lines)}
    assert code == 0 and rows == {"good.t": 4, "twice": 8} and "asked directly" in errors
    _, lines, _ = call(capsys, "read", path, "--state", state, "meter", "zero", "good.t")
    assert [line.split()[1] for line in lines] == ["1234567.9", "0", "4"], "every digit before the point is kept"
    assert call(capsys, "write", path, "good.t=7", "--state", state)[0] == 0
    assert Toy.kept == {"t": 7}
    code, _, errors = call(capsys, "write", path, "good.t", "70", "--state", state)
    assert code == 2 and "70 is outside 0..9 of good.t" in errors and Toy.kept == {"t": 7}
    code, _, errors = call(capsys, "read", path, "good.tt", "--state", state)
    assert code == 2 and "did you mean 'good.t'?" in errors
    path = site(tmp_path, "gone: {driver: toy, broken: away, tags: {t: {}}}")
    code, lines, errors = call(capsys, "read", path, "--state", state)
    assert code == 1 and "STALE" in lines[0] and "nobody there" in errors


def test_several_tags_are_written_in_one_go_or_none_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    range_ = "writable: {range: [0, 9]}"
    path = site(tmp_path, f"good: {{driver: toy, every: 10ms, tags: {{t: {{{range_}}}, u: {{{range_}}}, v: {{}}}}}}")
    state = ("--state", tmp_path / "state")
    code, lines, _ = call(capsys, "write", path, "good.t=7", "good.u=2.5", "--json", *state)
    assert code == 0 and Toy.kept == {"t": 7, "u": 2.5}
    assert [json.loads(line) for line in lines] == [{"tag": "good.t", "value": 7}, {"tag": "good.u", "value": 2.5}]
    assert call(capsys, "write", path, "good.t", "8", *state)[:2] == (0, ["good.t = 8"])
    for words, said in {
        ("good.t=1", "good.u=99"): "99 is outside 0..9 of good.u",
        ("good.t=1", "good.v=1"): "good.v is read-only",
        ("good.t=1", "good.t=2"): "good.t stands there twice",
        ("good.t=1", "good.u="): "is no order",
        ("good.t=much",): "'much' is no number",
        ("good.t=nan",): "outside 0..9",
    }.items():
        code, _, errors = call(capsys, "write", path, *words, *state)
        assert code == 2 and said in errors, words
    assert Toy.kept == {"t": 8, "u": 2.5}


def test_who_reads_no_further_ends_a_command_without_a_word() -> None:
    reads, writes = os.pipe()
    os.close(reads)
    for words in (["--help"], ["schema"], ["schema", "--markdown"]):
        done = subprocess.run(
            [sys.executable, "-m", "edge.cli", *words], stdout=writes, stderr=subprocess.PIPE, check=False
        )
        assert (done.returncode, done.stderr) == (141, b""), words
    os.close(writes)


def test_a_site_that_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("read", "tail", "export"):
        code, _, errors = call(capsys, command, tmp_path / "absent.yaml")
        assert code == 2 and "cannot read" in errors, command


def test_the_last_log_lines_stand_under_the_screen_and_never_push_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINES", "8")
    monkeypatch.setenv("COLUMNS", "10")
    screen = "one\ntwo\nthree\n"
    assert below(screen, ["a", "b", "c", "d" * 20]) == screen + "".join(f"{x}\x1b[K\n" for x in ("b", "c", "d" * 9))
    assert below("line\n" * 7, ["a"]) == "line\n" * 7
    to = to_memory(2)
    for word in ("x", "y", "z"):
        log.warning(word)
    assert [line.split()[-1] for line in to] == ["y", "z"]


def test_a_service_manager_that_went_away_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert notify("READY=1") is False


def test_a_follower_sees_each_sample_once_through_seals_and_empty_tails(tmp_path: Path) -> None:
    async def work() -> None:
        clock = ManualClock()
        journal = Journal(tmp_path / "journal.db", clock, JournalConfig(block=3600.0))
        ids = journal.tag_ids([Tag(f"{s}.t", source=s) for s in ("a", "b")])

        def put(source: str, value: float) -> None:
            clock.advance(0.1)
            tag = ids["ab".index(source)]
            journal.append([Batch.of(source, [tag], [value], clock.utc())])

        put("a", 0)
        await journal.commit()
        db = journal_of(tmp_path / "journal.db")
        follow, seen = Follow(db, from_now=True), []
        for turn in range(1, 9):
            put("a", turn)
            if turn != 5:
                await journal.commit()
                if turn in (3, 4):
                    seen += follow.samples()
            put("b", turn)
            await journal.commit(seal=turn % 2 == 0)  # what was appended last goes straight into the block
            if turn != 7:
                seen += follow.samples()
        assert [row["value"] for row in seen if row["tag"] == "a.t"] == list(range(1, 9))
        assert [row["value"] for row in seen if row["tag"] == "b.t"] == list(range(1, 9))
        assert sum(map(len, batches(db))) == 17
        assert sum(map(len, batches(db, clock.utc() + SECOND))) == 0
        db.close()
        journal.close()

    virtual_run(work())


def test_what_a_tool_cannot_read_or_find_is_said_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = site(tmp_path, GOOD)
    asyncio.run(_kept(tmp_path))
    here = (path, "--state", tmp_path)
    for ends in (("--until", "9999-12-31"), ("--since", "0001-01-01")):
        code, lines, errors = call(capsys, "export", *here, *ends)
        assert (code, len(lines), errors) == (0, 2, ""), ends
    code, lines, errors = call(capsys, "export", *here, "--tag", "good.tt")
    assert code == 2 and not lines and "did you mean 'good.t'?" in errors
    code, _, errors = call(capsys, "apply", *here, "--trial", "nan")
    assert code == 2 and "a trial lasts" in errors
    for content in (b"", b"no journal" * 1000):
        (tmp_path / "journal.db").write_bytes(content)
        for command in (["export"], ["tail", "--once"]):
            code, _, errors = call(capsys, *command, *here)
            assert code == 2 and "journal.db cannot be read" in errors, command


def test_a_damaged_event_hides_no_other_from_tail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(_kept(tmp_path))
    db = apsw.Connection(str(tmp_path / "journal.db"))
    db.execute("UPDATE event SET body = x'01' WHERE seq = 1")
    db.close()
    code, lines, errors = call(capsys, "tail", site(tmp_path, GOOD), "--state", tmp_path, "--once", "--events")
    (second,) = [json.loads(line, parse_constant=pytest.fail) for line in lines]  # NaN is no JSON
    assert code == 0 and second["key"] == "second" and second["data"] == {"x": None}
    assert "event 1 is left out" in errors


async def _kept(folder: Path) -> None:
    """A journal with one sample and two events."""
    journal = Journal(folder / "journal.db", ManualClock())
    (number,) = journal.tag_ids([Tag("good.t", source="good")])
    journal.append(
        [Batch.of("good", [number], [1.0], 5)], [Event("k", "first"), Event("k", "second", data={"x": float("nan")})]
    )
    assert await journal.commit()
    journal.close()


def test_ctrl_c_before_a_command_is_found_leaves_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(group: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(plugins, "names", interrupted)
    assert main(["help"]) == 130
