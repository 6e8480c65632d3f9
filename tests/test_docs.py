"""What `docs/writing-a-driver.md` says works, word for word."""

from __future__ import annotations

import asyncio
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from edge import plugins
from edge.app import Daemon
from edge.cli import main
from edge.config.load import load_text

PAGE = (Path(__file__).parent.parent / "docs" / "writing-a-driver.md").read_text("utf-8")


def pieces(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)


@pytest.fixture
def thermometer(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = types.ModuleType("thermometer")
    exec(pieces("python")[0], module.__dict__)
    monkeypatch.setitem(sys.modules, "thermometer", module)
    monkeypatch.setitem(plugins._extra, ("drivers", "thermometer"), module.Thermometer)
    return module.Thermometer


def test_it_is_short() -> None:
    code = [line for line in pieces("python")[0].splitlines() if line.strip()]
    assert len(code) <= 17


def test_the_test_on_the_page_passes(thermometer: Any) -> None:
    space: dict[str, Any] = {}
    exec(pieces("python")[1], space)
    space["test_reads_a_line"]()


def test_the_site_on_the_page_runs_in_a_real_daemon(thermometer: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"T=26.5\n")
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        config = load_text(pieces("yaml")[0].replace("7007", str(port)).replace("500ms", "20ms"))
        assert not config.problems, config.problems
        daemon = Daemon(config, tmp_path)
        await daemon.start()
        raised = asyncio.Event()
        daemon.listeners.add(
            lambda item: raised.set() if daemon.live.show("room.temperature")["value"] == 26.5 else None
        )
        async with asyncio.timeout(120):
            await raised.wait()
        server.close()
        await daemon.stop()
        assert daemon.journal.totals.durable > 0

    asyncio.run(main())


def test_it_has_no_sample_and_says_so(thermometer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "thermometer"]) == 2
    assert "the driver 'thermometer' brings no sample.yaml" in capsys.readouterr().err


def test_a_wrong_option_of_it_is_named(thermometer: Any) -> None:
    said = load_text(pieces("yaml")[0].replace("tcp:", "tpc:")).problems
    assert "unknown option 'tpc', did you mean 'tcp'?" in str(said[0])
