"""What `lineside export` writes is what the journal holds, in either form."""

from __future__ import annotations

import asyncio
import csv
import datetime
import sys
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest

from edge import SECOND, Batch, Quality, Tag
from edge.cli import main
from edge.clock import ManualClock
from edge.commands.export import batches
from edge.journal import Journal

START = 1_800_000_000 * SECOND
SITE = "device: {id: press-4}\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site whose journal has sealed blocks and a tail, a text, and a tag that was defined anew with another unit."""

    async def fill() -> None:
        journal = Journal(tmp_path / "journal.db", ManualClock())
        temp, recipe = journal.tag_ids([Tag("plc.temp", unit="°C"), Tag("plc.recipe", type="text")])
        (anew,) = journal.tag_ids([Tag("plc.temp", unit="K")])
        a7 = journal.texts.value(recipe, 'A7, "x"')
        tags, values = [temp, recipe, anew, temp, recipe], [1.5, a7, 300.25, np.nan, np.nan]
        quality = [Quality.GOOD, Quality.GOOD, Quality.CLOCK_UNSURE, Quality.TIMEOUT, Quality.BAD]
        for k in range(3):
            ts = START + np.arange(5) * SECOND + k * 60 * SECOND + 1000
            journal.append([Batch.of("plc", tags, values, ts, quality)])
            await journal.commit(seal=k < 2)
        journal.close()

    asyncio.run(fill())
    path = tmp_path / "site.yaml"
    path.write_text(SITE)
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_csv_file_is_what_standard_output_says(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = ["export", str(site), "--state", str(site.parent)]
    assert main(here) == 0
    printed = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert main([*here, "--out", str(site.parent / "a.csv")]) == 0
    assert capsys.readouterr().out == "" and rows(site.parent / "a.csv") == printed
    assert len(printed) == 15 and printed[0] == {
        "time": "2027-01-15T08:00:00.000001Z",
        "tag": "plc.temp",
        "value": "1.5",
        "unit": "°C",
        "quality": "GOOD",
    }


def test_a_parquet_file_has_the_same_rows(site: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow (pip install 'lineside[parquet]')")
    here = ["export", str(site), "--state", str(site.parent)]
    assert main([*here, "--out", str(site.parent / "a.csv")]) == 0
    assert main([*here, "--out", str(site.parent / "a.parquet")]) == 0
    table = parquet.read_table(site.parent / "a.parquet")
    assert str(table.schema.field("time").type) == "timestamp[ns, tz=UTC]"
    found: list[dict[str, Any]] = table.to_pylist()

    def as_csv(row: dict[str, Any]) -> dict[str, str]:
        at = row["time"].to_pydatetime() if hasattr(row["time"], "to_pydatetime") else row["time"]
        shown = row["text"] if row["text"] is not None else "" if row["value"] is None else repr(row["value"])
        when = at.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {"time": when, "tag": row["tag"], "value": shown, "unit": row["unit"], "quality": row["quality"]}

    assert [as_csv(row) for row in found] == rows(site.parent / "a.csv")
    assert [p.name for p in site.parent.glob("*.part")] == []
    some = ["--tag", "plc.recipe", "--since", "2027-01-15T08:01", "--until", "2027-01-15T08:01:30"]
    assert main([*here, *some, "--out", str(site.parent / "b.parquet")]) == 0
    (first, second) = parquet.read_table(site.parent / "b.parquet").to_pylist()
    assert (first["text"], second["text"], second["quality"], first["value"]) == ('A7, "x"', None, "BAD", None)


def test_an_export_that_pauses_does_not_let_the_log_of_the_journal_grow(site: Path) -> None:
    writer = apsw.Connection(str(site.parent / "journal.db"))
    writer.execute(
        "INSERT INTO meta (key, value) VALUES ('written', 'meanwhile')"
    )  # so that there is a log to be folded in
    reader = apsw.Connection(str(site.parent / "journal.db"), flags=apsw.SQLITE_OPEN_READONLY)
    paused = batches(reader)
    next(paused)
    writer.execute("DELETE FROM meta WHERE key = 'written'")
    busy, _, _ = next(writer.execute("PRAGMA wal_checkpoint(TRUNCATE)"))
    assert not busy and len(list(paused)) == 2
    reader.close(), writer.close()


def test_what_cannot_be_written_is_said(
    site: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = ["export", str(site), "--state", str(site.parent)]
    for name in ("none/a.csv", "none/a.parquet"):
        if name.endswith("csv") or _installed():
            assert main([*here, "--out", str(site.parent / name)]) == 2
            assert "No such file or directory" in capsys.readouterr().err
    assert main([*here, "--tag", "plc.tmp", "--out", str(site.parent / "c.csv")]) == 2
    assert "did you mean 'plc.temp'?" in capsys.readouterr().err and not (site.parent / "c.csv").exists()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert main([*here, "--out", str(site.parent / "a.parquet")]) == 2
    assert "needs the package pyarrow" in capsys.readouterr().err


def _installed() -> bool:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        return False
    return True


def test_times_before_1970_and_within_a_microsecond_are_not_lost(tmp_path: Path) -> None:
    times = [-(10**18) - 1, -1, 0, 1, 2, START]

    async def fill() -> None:
        journal = Journal(tmp_path / "journal.db", ManualClock())
        (temp,) = journal.tag_ids([Tag("plc.temp")])
        journal.append([Batch.of("plc", [temp] * len(times), range(len(times)), times)])
        await journal.commit(seal=True)
        journal.close()

    asyncio.run(fill())
    (tmp_path / "site.yaml").write_text(SITE)
    here = ["export", str(tmp_path / "site.yaml"), "--state", str(tmp_path), "--out", str(tmp_path / "a.csv")]
    assert main(here) == 0
    found = [row["time"] for row in rows(tmp_path / "a.csv")]
    assert found[0] == "1938-04-24T22:13:19.999999999Z" and found[2] == "1970-01-01T00:00:00.000000Z"
    assert len(set(found)) == len(times)
    assert main([*here, "--since", "1970-01-01"]) == 0 and len(rows(tmp_path / "a.csv")) == 4


def test_a_record_with_a_wrong_checksum_is_left_out_and_named(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db = apsw.Connection(str(site.parent / "journal.db"))
    db.execute("UPDATE block SET crc = crc + 1 WHERE seq = 1")
    db.execute("UPDATE tail SET crc = crc + 1")
    db.close()
    assert main(["export", str(site), "--state", str(site.parent), "--out", str(site.parent / "a.csv")]) == 0
    assert len(rows(site.parent / "a.csv")) == 5
    assert capsys.readouterr().err.count("damaged row of") == 2
