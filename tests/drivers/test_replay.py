"""Tables and pictures, replayed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2", reason="needs the vision extra")

from drivers.replay.driver import Replay, ReplayConfig
from drivers.replay.table import files, read, read_all
from edge import SECOND, ConfigFault, Quality
from edge.config.load import load_text
from edge.testing import FakeSource


def replay(until: Callable[[FakeSource], bool], **options: Any) -> FakeSource:
    config = ReplayConfig(driver="replay", **options)

    async def main() -> FakeSource:
        source = FakeSource("r", list(config.tags))
        async with asyncio.timeout(120):
            await source.collect(Replay(config, source), until=lambda: until(source))
        return source

    return asyncio.run(main())


def test_a_table_at_full_speed_keeps_times_and_values(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("when;Oil Temp;n\n" + "".join(f"2024-01-01 00:00:{i:02d};{i}.5;{i}\n" for i in range(60)))
    tags = {"oil": {"column": "Oil Temp"}, "n": {}}
    source = replay(
        lambda s: sum(map(len, s.batches)) >= 120, url=f"csv:{path}", time="when", separator=";", speed=0, tags=tags
    )
    assert source.values("oil") == [i + 0.5 for i in range(60)]
    stamps = np.concatenate([b.ts[b.tag == source.tags["n"].id] for b in source.batches])
    assert (np.diff(stamps) == SECOND).all() and stamps[0] == 1_704_067_200 * SECOND


def test_a_column_of_text_keeps_its_strings(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"time,recipe,a\n1,A7,1\n2,配方 2 ,oops\n3\n4,{'x' * 300},4\n5,A7,5\n")
    tags = {"recipe": {"type": "text"}, "a": {}}
    source = replay(lambda s: sum(map(len, s.batches)) >= 10, url=f"csv:{path}", speed=0, tags=tags)
    assert source.strings("recipe") == ["A7", "配方 2", None, None, "A7"]
    assert source.qualities("recipe") == [0, 0, Quality.BAD, Quality.RANGE, 0]
    assert source.qualities("a") == [0, Quality.BAD, Quality.BAD, 0, 0] and source.values("a")[-1] == 5


def test_what_cannot_be_read_is_bad_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("time,a\n1,1\n2,oops\n3\n4,4\n")
    source = replay(lambda s: sum(map(len, s.batches)) >= 4, url=f"csv:{path}", speed=0, tags={"a": {}})
    assert source.qualities("a") == [0, Quality.BAD, Quality.BAD, 0]
    assert source.counts["unreadable"] == 2


def test_recordings_one_after_the_other(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("time,a,recipe\n1,1,A7\n2,2,B8\n5,3,A7\n")
    (tmp_path / "a.csv").write_text("time,a,mark\n4,9,1\n5,9,1\n6,oops,1\n7,5,0\n")
    tags = {"a": {}, "mark": {}, "recipe": {"type": "text"}}
    source = replay(lambda s: sum(map(len, s.batches)) >= 15, url=f"csv:{tmp_path}/*.csv", speed=0, tags=tags)
    assert np.concatenate([b.ts for b in source.batches]).tolist() == [
        t * SECOND for t in (1, 2, 5, 6, 7) for _ in tags
    ]
    assert source.values("a")[:3] == [1, 2, 3] and source.values("a")[4] == 5 and source.counts["left_out"] == 2
    assert source.qualities("mark") == [Quality.BAD] * 3 + [0, 0], "the first recording has no such column"
    assert source.strings("recipe") == ["A7", "B8", "A7", None, None] and source.counts["unreadable"] == 1
    with pytest.raises(ConfigFault, match="none of 2 tables has a column 'flow'"):
        read_all(files(tmp_path / "*.csv"), "time", {"x": "flow"})
    (tmp_path / "c.csv").write_bytes(b"\xff")
    with pytest.raises(ConfigFault, match=r"c\.csv"):
        read_all(files(tmp_path / "*.csv"), "time", {"a": "a"})
    (tmp_path / "c.csv").write_text("when,a\n1,1\n")
    with pytest.raises(ConfigFault, match=r"c\.csv:1: no column is called 'time'"):
        read_all(files(tmp_path / "*.csv"), "time", {"a": "a"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("time,b\n1,1\n", "t.csv:1: no column is called 'a'"),
        ("time,a\nnoon,1\n", "t.csv:2: 'noon' is no time"),
        ("time,a\n5,1\n4,1\n", "t.csv:3: time runs backwards"),
        ("", "no column is called 'time'"),
    ],
)
def test_a_wrong_table_says_where(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ConfigFault, match=said.replace("(", "\\(")):
        read(tmp_path / "t.csv", "time", {"a": "a"})


def test_pictures_in_pairs_wait_for_a_free_buffer(tmp_path: Path) -> None:
    for i in range(6):
        cv2.imwrite(str(tmp_path / f"{i}_test.png"), np.full((8, 8), i, np.uint8))
        cv2.imwrite(str(tmp_path / f"{i}_temp.png"), np.full((8, 8), 100 + i, np.uint8))
    cv2.imwrite(str(tmp_path / "odd_test.png"), np.zeros((8, 8), np.uint8))
    seen = []

    def until(source: FakeSource) -> bool:
        for frame in source.frames[len(seen) :]:
            seen.append((frame.part, int(frame.image[0, 0, 0]), int(frame.image[0, 0, 1])))
            frame.release()
        return len(seen) == 6

    replay(until, url=f"pictures:{tmp_path}?pair=_test,_temp", speed=0, buffers=1)
    assert seen == [(i + 1, i, 100 + i) for i in range(6)]


def test_faults_of_a_site() -> None:
    site = "device: {{id: a}}\ndrivers:\n  r: {{driver: replay, url: '{}'}}\n"
    assert "neither csv:FILE" in str(load_text(site.format("ftp:x")).problems[0])
    said = "\n".join(map(str, load_text(site.format("csv:/none.csv")).problems))
    assert "there is no /none.csv" in said and "add `tags:`" in said
    assert "there is no /none/*.csv" in "\n".join(map(str, load_text(site.format("csv:/none/*.csv")).problems))
    for url, more, said in (
        ("csv:/tmp", "loop: true, tags: {a: {}}", "drivers.r.loop: only pictures begin again"),
        ("csv:/tmp", "tags: {a: {writable: {range: [0, 1]}}}", "tags.a.writable: the driver 'replay' cannot write"),
        ("pictures:/tmp", "tags: {a: {}}", "drivers.r.tags: a picture has no columns"),
        ("pictures:/tmp?pair=_test", "speed: 1", "?pair=_test says nothing here"),
        ("pictures:/tmp?pairs=_a,_b", "speed: 1", "?pairs=_a,_b says nothing here"),
    ):
        found = load_text(f"device: {{id: a}}\ndrivers:\n  r: {{driver: replay, url: '{url}', {more}}}\n").problems
        assert any(said in str(problem) for problem in found), found
    site = "device: {id: a}\ndrivers:\n  r: {driver: replay, url: 'csv:/tmp', tags: {a: {}}, speed: %s}\n"
    assert "/tmp is a folder" in str(load_text(site % 1).problems[0])
    assert "must be a finite number" in str(load_text(site % ".inf").problems[0])


@pytest.mark.parametrize("text", ["inf", "1700000000000", "1e300", "9999-12-31", "nan", ""])
def test_a_time_that_no_clock_shows_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.csv").write_text(f"time,a\n{text},1\n")
    with pytest.raises(ConfigFault, match=r"t\.csv:2: .* is no time"):
        read(tmp_path / "t.csv", "time", {"a": "a"})


def test_tables_as_other_programs_write_them(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b'\xef\xbb\xbftime,"a\r\nb",note\r\n1, 1e3 ,"two\r\nlines"\r\n\r\n2,inf,\r\n2,3')
    table = read(path, "time", {"x": "a\r\nb"})
    assert table.ts.tolist() == [SECOND, 2 * SECOND, 2 * SECOND] and table.unreadable == 1
    assert table.value[[0, 2], 0].tolist() == [1000, 3] and np.isnan(table.value[1, 0]) and table.first.endswith(":6")
    path.write_text("time,a\n")
    assert len(read(path, "time", {"a": "a"}).ts) == 0
    with pytest.raises(ConfigFault, match="Is a directory"):
        read(tmp_path, "time", {"a": "a"})
    path.write_bytes(b"time,a\n1,\xff\n")
    with pytest.raises(ConfigFault, match=r"t\.csv"):
        read(path, "time", {"a": "a"})


def test_pictures_that_cannot_be_read_are_left_out_and_counted(tmp_path: Path) -> None:
    for i in (1, 2):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((8, 8, 3), i, np.uint8))
    (tmp_path / "0.png").write_bytes(b"")
    (tmp_path / "1a.jpg").write_bytes(b"no picture")

    def until(source: FakeSource) -> bool:
        return len(source.frames) == 2

    source = replay(until, url=f"pictures:{tmp_path}", speed=0)
    assert [(f.part, int(f.image[0, 0, 0])) for f in source.frames] == [(2, 1), (4, 2)]
    assert source.counts["unreadable"] == 2
    for path in tmp_path.glob("[12].png"):
        path.unlink()
    with pytest.raises(ConfigFault, match="holds no pictures"):
        replay(until, url=f"pictures:{tmp_path}", speed=0, loop=True)
