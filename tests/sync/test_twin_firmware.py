"""An image that the plane wants: given to the board's updater, and told after the restart whether it runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

pytest.importorskip("tuf", reason="needs the updates extra")

from edge import LinesideError
from edge.config.layers import document
from edge.config.load import load_text
from sync.device import twin_firmware
from sync.device.twin import Want
from sync.device.twin_firmware import FirmwareConfig, FirmwareHandler
from sync.updates.manifest import UpdateRefused

WANT = Want("firmware", "box", "2", "run", 7)


class Board:
    """Its updater is a script; the version that runs is in a file."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **more: Any) -> None:
        self.folder = folder
        (folder / "updates").mkdir()
        (folder / "runs").write_text("1\n")
        (folder / "boot").write_text("first")
        (folder / "bundle").write_bytes(b"image two")
        monkeypatch.setattr(twin_firmware, "BOOT", folder / "boot")
        copy = ["cp", "{file}", str(folder / "slot")]
        config = FirmwareConfig(**{"install": copy, "version": ["cat", str(folder / "runs")]} | more)
        self.told: list[tuple[str, str]] = []
        self.handler = FirmwareHandler(cast(Any, self), cast(Any, self.brought), config)
        self.journal = self

    async def brought(self, want: Want, tell: Any) -> Path:
        return self.folder / "bundle"

    async def commit(self) -> bool:
        return True

    def take(self, want: Want = WANT) -> tuple[str, str]:
        try:
            asyncio.run(self.handler(want, lambda *said: self.told.append(said)))
        except LinesideError as error:
            return ("waiting" if isinstance(error, UpdateRefused) else "refused"), str(error)
        return self.told[-1]


def test_it_is_installed_once_and_runs_after_the_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(tmp_path, monkeypatch, confirm=["touch", str(tmp_path / "good")])
    assert board.take() == ("waiting", "it is installed, and runs after the next restart")
    assert (tmp_path / "slot").read_bytes() == b"image two" and board.handler.running("box") == "1"
    (tmp_path / "slot").unlink()
    assert board.take()[0] == "waiting" and not (tmp_path / "slot").exists(), "once"
    (tmp_path / "runs").write_text("2\n")
    (tmp_path / "boot").write_text("second")
    assert board.take() == ("running", "it runs, and its updater was told that it is good")
    assert (tmp_path / "good").exists() and board.handler.running("box") == "2"


def test_a_board_that_fell_back_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(tmp_path, monkeypatch, restart=["touch", str(tmp_path / "restarted")])
    assert board.take()[0] == "waiting" and (tmp_path / "restarted").exists()
    (tmp_path / "boot").write_text("second")
    assert board.take() == ("rolled_back", "the board was started anew, and 1 runs")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"install": ["sh", "-c", "echo 'no slot' {file}; exit 3"]}, "sh ended with 3: no slot"),
        ({"install": ["/nowhere/rauc", "{file}"]}, "/nowhere/rauc cannot be started: No such file"),
    ],
)
def test_what_the_updater_says_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], said: str
) -> None:
    state, reason = Board(tmp_path, monkeypatch, **more).take()
    assert state == "refused" and said in reason


def test_a_site_says_how_and_a_wrong_way_is_named() -> None:
    site = (
        "device: {id: d}\nsync: {url: 'https://x', installs: [firmware], firmware: {install: [rauc], version: [v]}}\n"
    )
    assert "one word has to hold {file}" in str(load_text(site).problems[0])
    handler = FirmwareHandler(cast(Any, None), cast(Any, None), None)
    with pytest.raises(LinesideError, match="does not say how its board takes an image"):
        asyncio.run(handler(WANT, lambda state, reason: None))


def test_no_plane_names_a_command_that_runs_here() -> None:
    sent = document("sync: {firmware: {install: [rm, '{file}'], version: [v]}}\n", "sent.yaml")
    assert "sync.firmware: belongs to the device" in str(sent.problems[0])
