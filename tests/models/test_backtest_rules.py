"""`lineside backtest SITE --rules`: another set of alarms over what the journal holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge import SECOND, Batch, ManualClock, Quality
from edge.app import Daemon
from edge.cli import main
from edge.config.load import load_text
from tests.waiting import run

T0 = 1_790_000_000 * SECOND // (86_400 * SECOND) * (86_400 * SECOND)  # midnight
SITE = """\
device: {id: press-4}
drivers:
  plc:
    driver: modbus
    url: tcp://127.0.0.1:1502
    every: 1s
    tags:
      temp: {address: "holding:0", type: int16, unit: K, deadband: 0.5}
      load: {address: "holding:1", type: int16}
      mode: {address: "holding:4", type: text, length: 4}
tags:
  excess: {expression: "plc.temp - 60"}
alarms:
"""
HOT = '  hot: {when: "plc.temp > 80"}\n'
Values = list[float]


def days(
    folder: Path, temp: Values, step: int = 10, alarms: str = HOT, stopped: int | None = None, seal: bool = True
) -> list[str]:
    """A journal of one value each `step` seconds from midnight on (a negative one is bad), with the alarms that the daemon raised
    itself; before the value number `stopped` the daemon ends, and begins anew five minutes later."""
    (folder / "site.yaml").write_text(SITE + alarms)
    clock = ManualClock(utc=T0)

    async def body() -> None:
        daemon = Daemon(load_text(SITE + alarms), folder, clock)
        daemon._start_driver = lambda *_, **__: None  # type: ignore[method-assign]
        await daemon.start()
        for k, value in enumerate(temp):
            if k == stopped:
                await daemon.stop()
                clock.advance(300)
                daemon = Daemon(load_text(SITE + alarms), folder, clock)
                daemon._start_driver = lambda *_, **__: None  # type: ignore[method-assign]
                await daemon.start()
            ids = [daemon.table["plc.temp"].id, daemon.table["plc.load"].id]
            how = Quality.BAD if value < 0 else Quality.GOOD
            daemon.accept(Batch.of("plc", ids, [abs(value), 5.0], clock.utc(), [how, Quality.GOOD]))
            if k == 0:
                mode = daemon.table["plc.mode"].id
                daemon.accept(Batch.of("plc", [mode], [daemon.table.texts.value(mode, "B8")], clock.utc()))
            if k == 0 and not seal:  # the first block is sealed at once
                await daemon.journal.commit()
            clock.advance(step)
            daemon._tick()
        await daemon.journal.commit(seal=seal)
        await daemon.stop()

    run(body)
    return [str(folder / "site.yaml"), "--state", str(folder), "--rules"]


def site(folder: Path, alarms: str) -> str:
    (folder / "new.yaml").write_text(SITE + alarms)
    return str(folder / "new.yaml")


def tried(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["backtest", *words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


PEAKS: Values = [70, 85, 70, 75, 70, 90, 90, 90, 70, 78, 70]


def test_the_same_rules_change_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = tried(capsys, *days(tmp_path, PEAKS))["alarms"]["hot"]
    assert (told["before"], told["now"], told["gained"], told["lost"]) == (2, 2, [], [])


def test_alarms_gained_and_lost_a_day(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = days(tmp_path, [*PEAKS, *[70.0] * 200, *PEAKS], step=600)  # over two days
    words[0] = site(tmp_path, '  hot: {when: "plc.temp > 80", for: 15min}\n  warm: {when: "excess > 16"}\n')
    found = tried(capsys, *words)
    assert found["before"] == "journal" and found["without"] == [] and found["samples"]["plc.temp"] == 222
    hot, warm = found["alarms"]["hot"], found["alarms"]["warm"]
    assert (hot["before"], hot["now"], len(hot["gained"]), len(hot["lost"])) == (4, 2, 0, 2)
    assert (warm["before"], warm["now"], len(warm["gained"])) == (0, 6, 6)
    first, last = "2026-09-21", "2026-09-22"
    assert hot["per_day"] == {first: [2, 1, 0, 1], last: [2, 1, 0, 1]}
    assert main(["backtest", *words, "--page", str(tmp_path / "page.html")]) == 0
    out = capsys.readouterr().out
    assert "hot                                  4       2       0       2" in out and "2.61 -> 1.3" in out
    page = (tmp_path / "page.html").read_text()
    assert page.count("<svg") == 2 and page.count('class="now" x=') == 8 and "plc.temp: 70 to 90" in page


def test_before_is_another_site_and_a_rule_that_left_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = days(tmp_path, PEAKS, alarms='  cold: {when: "plc.temp < 20"}\n')
    (tmp_path / "old.yaml").write_text(SITE + HOT)
    found = tried(capsys, *words, "--before", str(tmp_path / "old.yaml"))
    assert len(found["alarms"]["hot"]["lost"]) == 2 and found["alarms"]["cold"]["now"] == 0


def test_what_is_in_no_sealed_block_yet_is_tried_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = tried(capsys, *days(tmp_path, PEAKS[:4], step=2, seal=False))
    assert found["samples"] == {"plc.temp": 4} and found["alarms"]["hot"]["now"] == 1


def test_bad_values_and_the_time_without_a_daemon_count_for_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A value that nobody read for five minutes was not high for five minutes."""
    hot = '  hot: {when: "plc.temp > 80", for: 2min}\n'
    words = days(tmp_path, [70, 85, 85, 85, 70, 70], alarms=hot, stopped=2)
    assert tried(capsys, *words)["alarms"]["hot"]["now"] == 0
    other = tmp_path / "other"
    other.mkdir()
    words = days(other, [70, 85, *[-85.0] * 20, 85, 70], alarms=hot)
    assert tried(capsys, *words)["alarms"]["hot"]["now"] == 0


def test_time_passes_up_to_the_last_sample_of_any_tag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = days(tmp_path, [70, *[85.0] * 13])
    words[0] = site(tmp_path, '  hot: {when: "plc.temp > 80", for: 115s}\n')
    assert tried(capsys, *words)["alarms"]["hot"]["now"] == 1


def test_what_nobody_measured_is_said_and_a_text_decides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = days(tmp_path, PEAKS)
    words[0] = site(tmp_path, '  none: {when: "plc.temp > 80 and plc.mode == \'B8\'"}\n  far: {when: "plc.far > 1"}\n')
    text = (
        Path(words[0]).read_text().replace("      load:", '      far: {address: "holding:2", type: int16}\n      load:')
    )
    Path(words[0]).write_text(text)
    found = tried(capsys, *words)
    assert found["without"] == ["plc.far"] and found["alarms"]["far"]["now"] == 0
    assert found["alarms"]["none"]["now"] == 2
    assert main(["backtest", *words]) == 0
    out = capsys.readouterr().out
    assert "no sample of plc.far in that time" in out and "->" not in out, "two minutes say nothing of a day"


HEALTH = "stages: {health: {stage: anomaly, tags: [plc.temp, plc.load], rows: 120, span: 5, method: ewma, factor: 2}}\n"
WATCHED = """\
  odd: {when: "health.alarm > 0", text: the press is unlike it was}
  known: {when: "plc.mode == 'A7' or plc.temp > 99"}
"""


def noisy(faults: dict[int, float], n: int = 420) -> Values:
    values = np.random.default_rng(2).normal(50, 1, n)
    for at, by in faults.items():
        values[at : at + 40] += by
    return [float(value) for value in values]


def test_a_detector_runs_anew_over_old_samples_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The journal was written before anybody thought of the stage; one of its faults is so high that a person marked it."""
    words = days(tmp_path, noisy({220: 60.0, 320: -8.0}), alarms='  known: {when: "plc.temp > 99"}\n')
    words[0] = site(tmp_path, WATCHED + HEALTH)
    found = tried(capsys, *words, "--truth", "known")
    odd, stage = found["alarms"]["odd"], found["alarms"]["stage health"]
    assert (odd["before"], odd["now"], len(stage["gained"])) == (0, 2, 2) and "known" not in found["alarms"]
    assert odd["gained"][0][2].startswith("the press is unlike it was: unlike normal: plc.temp +")
    assert odd["gained"][1][2].startswith("the press is unlike it was: unlike normal: plc.temp -")
    assert "120 rows" in found["learned"][0][1] and found["samples"]["plc.load"] == 420
    scored = found["known"]
    assert (scored["by"], scored["faults"]) == ("known", 1)
    none = {"found": 0, "missed": 1, "delay_s": None, "false": 0, "false_a_day": None}
    assert scored["alarms"]["odd"]["before"] == none
    now = scored["alarms"]["odd"]["now"]
    assert (now["found"], now["missed"], now["false"]) == (1, 0, 1) and 0 <= now["delay_s"] <= 50
    assert main(["backtest", *words, "--truth", "known", "--page", str(tmp_path / "page.html")]) == 0
    out, page = capsys.readouterr().out, (tmp_path / "page.html").read_text()
    assert "of 1 known faults (known):" in out and "0 -> 1" in out and "unlike normal: plc.temp +" in out
    assert page.count("health.score: ") == 2 and "of 1 known faults" in page
    assert page.count('class="known" x=') == 2, "below the alarm and below the detector"


def test_a_changed_detector_is_compared_with_the_one_that_ran(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = days(tmp_path, noisy({220: 5.0, 320: 30.0}), alarms=WATCHED + HEALTH)
    same = tried(capsys, *words)["alarms"]
    assert (same["odd"]["before"], same["odd"]["now"], same["odd"]["gained"], same["odd"]["lost"]) == (2, 2, [], [])
    assert same["stage health"]["before"] == 2 and same["odd"]["later_s"] == 0
    words[0] = site(tmp_path, WATCHED.replace("> 0", "> 0 and plc.temp > 70") + HEALTH)
    fewer = tried(capsys, *words)["alarms"]
    assert len(fewer["odd"]["lost"]) == 1 and fewer["stage health"]["lost"] == []
    words[0] = site(tmp_path, WATCHED.replace('0"', '0", for: 60s') + HEALTH)
    assert tried(capsys, *words)["alarms"]["odd"]["later_s"] == 60
    baseline = HEALTH.replace("rows: 120", "baseline: none.json")
    words[0] = site(tmp_path, WATCHED + baseline)
    assert main(["backtest", *words]) == 2
    assert "`lineside fit SITE STAGE` writes it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "what is to be tried?"),
        (["--rules", "--recipe", "x.yaml"], "not allowed with argument"),
        (["--rules", "--since", "2031-01-01T00:00"], "holds no samples of that time"),
        (["--rules", "--truth", "nobody"], "no alarm is called 'nobody'"),
        (["--rules", "--truth", "hot", "--until", "2026-09-21T00:00:05"], "nothing is known to have been wrong"),
        (["--truth", "hot"], "--truth goes with --rules"),
        (["--rules", "--page", "/nowhere/at/all.html"], "cannot write"),
    ],
)
def test_refusals(words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site_, *state, _ = days(tmp_path, PEAKS[:2])
    assert main(["backtest", site_, *state, *words]) == 2
    assert says in capsys.readouterr().err


def test_a_site_with_faults_is_not_tried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = days(tmp_path, PEAKS[:2])
    words[0] = site(tmp_path, '  hot: {when: "plc.tmp > 80"}\n')
    assert main(["backtest", *words]) == 1
    assert "plc.tmp" in capsys.readouterr().err
    words[0] = site(tmp_path, "  {}\n")
    assert main(["backtest", *words]) == 2
    assert "has no alarms" in capsys.readouterr().err
