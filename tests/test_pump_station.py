"""`docs/pump-station.md`, typed word for word on a small folder of the same layout, and on the recordings where they are."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shlex
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from edge.cli import main
from edge.commands.run import serve
from edge.config.check import raise_if_faulty
from edge.config.load import load
from tests.waiting import until

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "pump-station.md").read_text("utf-8")
SKAB = ROOT.parent / "shared" / "data" / "skab"
COLUMNS = re.findall(r"column: ([^,}]+)", PAGE)
LEVELS = (0.027, 0.04, 1.0, 0.05, 230, 32, 70)
NOISE = (0.001, 0.001, 0.2, 0.2, 8, 0.4, 0.1)


def recording(path: Path, start: int, rows: int, faults: range) -> None:
    """One row a second from `start` seconds after 10:00:00 on; a fault takes five litres of the flow."""
    values = np.random.default_rng(start).normal(LEVELS, NOISE, (rows, 7))
    values[faults.start : faults.stop, 5] -= 5
    lines = [";".join(["datetime", *COLUMNS, "changepoint"])]
    for i, row in enumerate(values):
        at = start + i
        cells = [f"2020-03-09 {10 + at // 3600}:{at % 3600 // 60:02}:{at % 60:02}", *(f"{v:.4f}" for v in row)]
        lines.append(";".join([*cells, str(float(i in faults)), "0.0"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\r\n".join(lines) + "\r\n")


def typed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> list[tuple[str, str, list[str]]]:
    """(command, what it said, what the page shows of that) of the page, in its order."""
    monkeypatch.chdir(folder)
    station = (ROOT / "configs" / "pump-station.yaml").read_text("utf-8")
    assert "    rows: 3600\n" in station
    (folder / "pump-station.yaml").write_text(station.replace("rows: 3600", "baseline: health.json"))
    shutil.copy(ROOT / "configs" / "pump-cases.csv", folder)
    ((name, text),) = re.findall(r"```yaml (\S+)\n(.*?)```", PAGE, re.S)
    (folder / name).write_text(text)
    found = []
    for block in re.findall(r"```console\n\$ lineside (.*?)```", PAGE, re.S):
        command, *shown = block.splitlines()
        capsys.readouterr()
        if command.startswith("run "):
            said = played(*shlex.split(command)[1:], caplog=caplog)
        else:
            assert main(shlex.split(command)) == 0, command
            said = capsys.readouterr().out
        found.append((command, said, shown))
    return found


def played(site: str, _: str, state: str, caplog: pytest.LogCaptureFixture) -> str:
    """The daemon in this process, ended as Ctrl-C does when the replay says that it has ended."""

    async def body() -> None:
        daemon = asyncio.create_task(serve(raise_if_faulty(load(Path(site))), Path(state)))
        async with asyncio.timeout(120):
            await until(lambda: daemon.done() or "the replay has ended" in caplog.text)
            if not daemon.done():
                os.kill(os.getpid(), signal.SIGINT)
            await daemon

    with caplog.at_level(logging.INFO, "lineside"):
        asyncio.run(body())
    return caplog.text


def test_every_command_of_the_page_works_on_such_a_folder(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recording(tmp_path / "skab" / "valve1" / "0.csv", 873, 700, range(620, 660))  # from 10:14:33 on
    recording(tmp_path / "skab" / "valve1" / "1.csv", 1573, 300, range(100, 140))
    said = {command.split()[0]: text for command, text, _ in typed(tmp_path, monkeypatch, caplog, capsys)}
    assert list(said) == ["run", "tail", "fit", "backtest"]
    assert "learned what is normal from 400 rows" in said["tail"]
    raised = r'"unlike_normal", "state": "raised".*"Look at the pump: unlike normal: pump\.flow -'
    assert len(re.findall(raised, said["tail"])) == 2
    assert "learned from 568 rows" in said["fit"]
    assert re.search(r"of 2 known faults \(fault_made\):\n.*\nunlike_normal +2 -> 2 +0 -> 0 ", said["backtest"])
    assert "health.score: " in (tmp_path / "changes.html").read_text()


@pytest.mark.skipif(
    not SKAB.is_dir(), reason="no recordings: put SKAB beside the checkout, as for make run-real DATA=FOLDER"
)
def test_the_page_shows_what_the_recordings_say(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "skab").symlink_to(SKAB)
    for command, said, shown in typed(tmp_path, monkeypatch, caplog, capsys):
        assert [line for line in shown if line not in said] == [], f"{command}: {said[-2000:]}"
