"""`lineside report`: what is read against what is expected, the sheet, and its seal."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge import plugins, sheet
from edge.app import Daemon
from edge.cli import main
from edge.commands.report import _judged, expectations, expected
from edge.config.load import load
from edge.control import Control
from edge.errors import ConfigFault
from edge.log import log
from edge.poller import Poller
from sync.device.identity import Identity, keep


class Toy(Poller):
    """Two tags that answer, and one that gives no number."""

    async def poll(self) -> Any:
        return {"u1": 231.4, "state": 2.0, "gone": float("nan"), "half": 2.5}


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(plugins._extra, ("drivers", "toy"), Toy)
    before = log.handlers[:], log.propagate, log.level
    yield
    log.handlers[:], log.propagate, log.level = before


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.yaml"
    tags = 'u1: {unit: "V"}, state: {labels: {2: "<running>"}}'
    path.write_text(f"device: {{id: press-4}}\ndrivers:\n  m: {{driver: toy, every: 10ms, tags: {{{tags}}}}}\n")
    return path


def call(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, str, str]:
    code = main(["report", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out, said.err


def wants(folder: Path, *rows: str) -> Path:
    path = folder / "expected.csv"
    path.write_text("\n".join(("tag,value,tolerance", *rows)) + "\n", "utf-8")
    return path


def test_each_tag_is_compared_with_what_is_expected(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = ("--state", tmp_path / "state")
    code, out, _ = call(
        capsys, site, "--expected", wants(tmp_path, "m.u1,230,1%", "m.state,<running>,"), "--json", *state
    )
    *rows, last = map(json.loads, out.splitlines())
    assert code == 0 and [(row["tag"], row["verdict"]) for row in rows] == [("m.u1", "ok"), ("m.state", "ok")]
    assert last["summary"] == {"tags": 2, "good": 2, "compared": 2, "ok": 2, "faults": 0}
    code, out, _ = call(capsys, site, "--expected", wants(tmp_path, "m.u1,230,1"), *state)
    assert code == 1 and "expected 230 ±1: off" in out and out.splitlines()[-1].endswith("to be mended: 1")
    assert call(capsys, site, *state)[0] == 0


def test_a_number_between_two_names_of_an_enum_has_none(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site.write_text(site.read_text().replace("tags: {", 'tags: {half: {labels: {2: "two"}}, '))
    code, out, _ = call(capsys, site, "--json", "--state", tmp_path / "state")
    assert code == 0 and json.loads(out.splitlines()[0])["shown"] == "2.5"


def test_a_tag_without_a_good_value_is_a_fault(site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site.write_text(site.read_text().replace("tags: {", "tags: {gone: {}, "))
    code, out, _ = call(capsys, site, "--json", "--state", tmp_path / "state")
    row = json.loads(out.splitlines()[0])
    assert code == 1 and (row["tag"], row["verdict"], row["shown"]) == ("m.gone", "bad", "-")


@pytest.mark.parametrize(
    ("value", "tolerance", "read", "met"),
    [
        ("231.4", "", 231.44, True),
        ("231.4", "", 231.46, False),
        ("231.4", "0.5", 231.9, True),
        ("-100", "2%", -101.9, True),
        ("-100", "2%", -102.1, False),
        ("0", "", 0.4, True),
        ("5", "0", 5.0, True),
    ],
)
def test_tolerances(value: str, tolerance: str, read: float, met: bool) -> None:
    assert expected(value, tolerance).met(read, "") is met


@pytest.mark.parametrize(
    ("row", "wanted", "only_written", "verdict"),
    [
        ({"quality": "STALE", "ts": 1}, "", True, ""),
        ({"quality": "STALE", "ts": 1}, "5", True, "bad"),
        ({"quality": "STALE", "ts": 0}, "", True, "bad"),
        ({"quality": "STALE", "ts": 1}, "", False, "bad"),
        ({"quality": "TIMEOUT", "ts": 1}, "", True, "bad"),
        ({"quality": "GOOD", "ts": 1, "value": 7.0}, "5", True, "off"),
    ],
)
def test_what_is_only_written_may_wait_for_its_first_order(
    row: dict[str, Any], wanted: str, only_written: bool, verdict: str
) -> None:
    whole = {"tag": "top.trigger", "value": None, "unit": "", "label": "", **row}
    assert _judged(whole, expected(wanted, "") if wanted else None, only_written)["verdict"] == verdict


def test_a_text_is_compared_word_by_word() -> None:
    with pytest.raises(ValueError, match="write a point, or separate the columns with ;"):
        expected("231,4", "")
    assert expected("007", "").met("007", "007") and not expected("7", "").met("007", "007")


def test_the_faults_of_an_expectation_are_named_by_row(tmp_path: Path) -> None:
    path = wants(tmp_path, "m.u2,1,", "m.u1,,", "m.state,open,3", "m.u1,5,much", "", "m.u1,5", "m.u1,5")
    with pytest.raises(ConfigFault) as raised:
        expectations(path, ["m.u1", "m.state"])
    said = [line.removeprefix(f"{path}:") for line in str(raised.value).splitlines()]
    assert said == [
        "2: no tag is called 'm.u2', did you mean 'm.u1'?",
        "3: no value",
        "4: 'open' is no number, so it has no tolerance",
        "5: 'much' is no tolerance; write 0.5 or 2%",
        "8: m.u1 stands there twice",
    ]
    path.write_text("\ufefftag;value;tolerance\nm.u1;231,4;0,5\n", "utf-8")
    assert expectations(path, ["m.u1"])["m.u1"].value == 231.4, "as a German or Chinese Excel saves it"
    for text, wrong in ((b"", "first row"), (b"name,value\n", "first row"), (b"\xff\xfe", "not UTF-8")):
        path.write_bytes(text)
        with pytest.raises(ConfigFault, match=wrong):
            expectations(path, [])


def test_a_sheet_is_of_the_site_that_the_daemon_runs(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, text = ("--state", tmp_path / "state"), site.read_text()

    async def beside() -> None:
        daemon = Daemon(load(site), tmp_path / "state")
        control, up = Control(daemon), asyncio.Event()
        daemon.listeners.add(lambda item: up.set() if daemon.live.ts.all() else None)
        await daemon.start()
        await control.start()
        try:
            async with asyncio.timeout(120):
                await up.wait()
            code, out, _ = await asyncio.to_thread(call, capsys, site, "--json", *state)
            assert code == 0 and json.loads(out.splitlines()[-1])["summary"]["good"] == 2
            await asyncio.to_thread(site.write_text, text + "# changed\n")
            code, out, errors = await asyncio.to_thread(call, capsys, site, "--json", *state)
            assert code == 2 and not out and "as it stands (`lineside apply` it, then report)" in errors
        finally:
            await control.stop()
            await daemon.stop()

    asyncio.run(beside())


def test_a_sealed_sheet_tells_of_every_change(site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state, out = tmp_path / "state", tmp_path / "sheet.html"
    keep(Identity("press-4", "https://plane:8443", "a secret of this test", "", ""), state)
    code, _, errors = call(capsys, site, "--out", out, "--state", state, "--by", "Li <Wei>", "--language", "zh")
    assert code == 0 and "sealed" in errors
    text = out.read_text("utf-8")
    assert "调试验收单" in text and "Li &lt;Wei&gt;" in text and "<running>" not in text and "231.4" in text
    code, said, _ = call(capsys, "--verify", out, "--state", state)
    assert code == 0 and "unchanged since press-4 sealed it" in said
    changes = {
        "the page": (text.replace('<td class="n">231.4</td>', '<td class="n">230.0</td>'), "what the page shows"),
        "the data": (text.replace('"value":231.4', '"value":230.0'), "the seal does not fit"),
        "the seal": (re.sub('"proof":"[0-9a-f]{8}', '"proof":"00000000', text), "the seal does not fit"),
        "no seal": (re.sub('"seal":{[^}]*}', '"seal":null', text), "NOT SEALED"),
    }
    for what, (changed, why) in changes.items():
        assert changed != text, what
        out.write_text(changed, "utf-8")
        code, said, _ = call(capsys, "--verify", out, "--state", state)
        assert code == 1 and why in said, what
    for damaged in (text[: len(text) // 2], text[:-20], text.replace('"record":', '"rec":'), "", text + text):
        out.write_text(damaged, "utf-8")
        code, _, errors = call(capsys, "--verify", out, "--state", state)
        assert code == 2 and ("no whole sheet" in errors or "damaged" in errors)
    out.write_text(text, "utf-8")
    keep(Identity("press-4", "https://plane:8443", "another secret", "", ""), state)
    assert call(capsys, "--verify", out, "--state", state)[0] == 1


def test_a_long_text_does_not_push_the_result_off_the_paper() -> None:
    row = {"tag": "m.a", "unit": "", "quality": "GOOD", "time": "", "tolerance": "", "verdict": "ok"}
    short, long = (
        sheet._row({**row, "shown": text, "expected": text}, {"ok": "fine"}, "") for text in ("1.5", "x" * 240)
    )
    assert short.count('class="n"') == 3 and long.count('class="n words"') == 2


def test_where_the_device_is_not_enrolled_the_sheet_says_so(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, out = ("--state", tmp_path / "state"), tmp_path / "sheet.html"
    code, _, errors = call(capsys, site, "--out", out, *state)
    assert code == 0 and "not sealed: this device is not enrolled" in errors
    assert "Not sealed: this device is not enrolled with a plane" in out.read_text("utf-8")
    code, said, _ = call(capsys, "--verify", out, *state)
    assert code == 1 and "NOT SEALED" in said
    assert call(capsys, site, "--out", out, "--language", "zh", *state)[0] == 0
    assert "未封存：本设备未在控制平面注册" in out.read_text("utf-8")


def test_what_a_sheet_shows_is_the_same_in_both_languages() -> None:
    assert all(len(both) == 2 and all(both) for both in sheet._WORDS.values())
    for name, both in sheet._WORDS.items():
        first, second = (re.findall(r"{\w+}", words) for words in both)
        assert first == second, name


def test_a_command_without_a_site_says_what_to_write(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, errors = call(capsys)
    assert code == 2 and "lineside report SITE" in errors
