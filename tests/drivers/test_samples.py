"""`lineside sample DRIVER`: what it prints is a site that can be tried at once, as its own comments say."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
from importlib import resources
from pathlib import Path

import pytest

pytest.importorskip("cv2", reason="needs the vision extra")

from edge import LinesideError, plugins
from edge.commands.check import connect
from edge.commands.sim import serve
from edge.config.load import load_text
from edge.rehearse import rehearse
from tests.waiting import first_reading, on_free_ports


def sample(driver: str) -> str:
    return (resources.files(f"drivers.{driver}") / "sample.yaml").read_text("utf-8")


@pytest.mark.parametrize("driver", sorted({*plugins.names("sims")} & {*plugins.names("drivers")}))
def test_its_simulator_answers_for_every_tag_at_the_first_reading(driver: str) -> None:
    config = on_free_ports(sample(driver))
    assert not config.problems and all(not rehearse(config, test).faults for test in config.tests)

    said = first_reading(config)
    assert len(said) >= 1 and not any(fault for _, _, fault in said), said


def test_the_replay_plays_the_table_that_its_comment_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (command,) = re.findall(r"^# +(\(.*)$", sample("replay"), re.M)
    subprocess.run(["sh", "-c", command], check=True)
    config = load_text(sample("replay"))
    assert not config.problems
    assert asyncio.run(connect(config)) == [("pump", "50 rows", False)]
    table = Path("pump.csv")
    table.write_text(table.read_text().replace(";49\n", ";?\n"))
    ((_, line, _),) = asyncio.run(connect(config))
    assert line == "50 rows; numbers that cannot be read: 1, the first in pump.csv:2"
    table.write_text(table.read_text().splitlines()[0])
    assert asyncio.run(connect(config)) == [("pump", "pump.csv holds no rows to replay", True)]


def test_a_tag_that_is_moved_beyond_its_type_is_said_once_and_the_others_move_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    site = """device: {id: d}
drivers:
  plc: {driver: modbus, url: "tcp://127.0.0.1:5020", tags: {a: {address: "holding:0"}, b: {address: "holding:1"}}}
simulate: {plc.a: {mean: -1, noise: 0.1}, plc.b: {ramp: 1, period: 100ms}}
"""
    config = on_free_ports(site)

    async def main() -> None:
        simulator = asyncio.create_task(serve(config))
        async with asyncio.timeout(120):
            while not simulator.done() and not any(
                re.search("b = [1-9]", line) for _, line, _ in await connect(config)
            ):
                await asyncio.sleep(0)
        simulator.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await simulator

    asyncio.run(main())
    assert caplog.text.count("simulate.plc.a: -") == 1 and "does not fit into uint16" in caplog.text


@pytest.mark.parametrize(
    ("driver", "said"),
    [
        ("camera, url: 'http://127.0.0.1:1/?ng=some'", "top: 'ng=some' cannot be rendered"),
        (
            "opcua, url: 'opc.tcp://127.0.0.1:5020', tags: {t: {node: i=2258}}",
            "top: t: node i=2258 is the server's own",
        ),
    ],
)
def test_a_site_that_only_a_real_device_can_serve_is_refused_in_words(driver: str, said: str) -> None:
    config = on_free_ports(f"device: {{id: d}}\ndrivers: {{top: {{driver: {driver}}}}}\n")
    assert not config.problems
    with pytest.raises(LinesideError) as fault:
        asyncio.run(serve(config))
    assert said in str(fault.value)


def test_what_cannot_be_simulated_says_what_to_do() -> None:
    for url, said in (
        ("tcp://192.0.2.1:5020", "write 127.0.0.1 into its url"),
        (None, "no device of this site can be simulated"),
    ):
        plc = f"{{driver: modbus, url: '{url}', tags: {{t: {{address: 'coil:0'}}}}}}"
        config = load_text(f"device: {{id: d}}\ndrivers: {{plc: {plc}}}\n" if url else "device: {id: d}\n")
        with pytest.raises(LinesideError) as fault:
            asyncio.run(serve(config))
        assert said in str(fault.value)
