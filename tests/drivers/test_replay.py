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
from drivers.replay.table import read
from edge import SECOND, ConfigFault, Quality
from edge.config.load import load_text
from edge.testing import FakeSource


def replay(until: Callable[[FakeSource], bool], **options: Any) -> FakeSource:
    config = ReplayConfig(driver="replay", **options)

    async def main() -> FakeSource:
        source = FakeSource("r", list(config.tags))
        async with asyncio.timeout(20):
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


def test_what_cannot_be_read_is_bad_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("time,a\n1,1\n2,oops\n3\n4,4\n")
    source = replay(lambda s: sum(map(len, s.batches)) >= 4, url=f"csv:{path}", speed=0, tags={"a": {}})
    assert source.qualities("a") == [0, Quality.BAD, Quality.BAD, 0]
    assert source.counts["unreadable"] == 2


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
