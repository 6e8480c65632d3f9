"""Template comparison, as a function and as a stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge import ConfigFault, Event, Frame, FramePool, ManualClock, Picture, TagTable
from edge.flow import Flow
from edge.health import Health
from edge.rehearse import Kept
from edge.stage import Setting
from models.vision.compare import Rules, compare
from models.vision.template import Template, TemplateConfig


def board() -> np.ndarray:
    image = np.full((200, 240), 230, np.uint8)
    for x in range(20, 220, 20):
        cv2.line(image, (x, 20), (x, 180), 20, 6)
    cv2.circle(image, (120, 100), 30, 20, -1)
    return image


def moved(image: np.ndarray, dx: int, dy: int) -> np.ndarray:
    shift = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    return cv2.warpAffine(image, shift, image.shape[::-1], borderMode=cv2.BORDER_REPLICATE)


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (2, -1), (-3, 3), (4, 4)])
def test_a_good_part_that_lies_off_has_no_difference(dx: int, dy: int) -> None:
    found = compare(moved(board(), dx, dy), board(), Rules())
    assert found.shift == (dx, dy) and not len(found.boxes)


def test_a_blot_where_the_template_has_nothing_has_a_strength_that_is_a_number() -> None:
    bare = np.full((200, 240), 230, np.uint8)
    part = bare.copy()
    part[90:100, 110:120] = 20
    found = compare(part, bare, Rules())
    assert found.areas.tolist() == [100] and 100 < found.strengths[0] <= 100 * (200**2 + 240**2) * 1.001


def test_a_gap_and_a_blot_are_found_where_they_are() -> None:
    part = board()
    part[60:70, 36:46] = 230  # an open line
    cv2.circle(part, (190, 150), 5, 20, -1)  # copper between two lines
    found = compare(moved(part, 2, 1), board(), Rules())
    centres = {(int(a + c) // 2, int(b + d) // 2) for a, b, c, d in found.boxes}
    assert len(centres) == 2
    assert all(min(np.hypot(x - u, y - v) for x, y in centres) < 5 for u, v in ((42, 66), (192, 151)))


def stretched(image: np.ndarray, by: int) -> np.ndarray:
    """Wider by `by` pixels from the middle to each side, as an uneven scan makes it."""
    h, w = image.shape
    x = np.arange(w, dtype=np.float32) - by * (2 * np.arange(w, dtype=np.float32) / w - 1)
    return cv2.remap(
        image, np.tile(x, (h, 1)), np.tile(np.arange(h, dtype=np.float32)[:, None], (1, w)), cv2.INTER_LINEAR
    )


def test_an_uneven_scan_is_no_difference_and_hides_none() -> None:
    assert len(compare(stretched(board(), 3), board(), Rules(local=0)).boxes)
    assert not len(compare(stretched(board(), 3), board(), Rules()).boxes)
    part = board()
    part[60:70, 36:46] = 230
    found = compare(stretched(part, 3), board(), Rules())
    assert len(found.boxes) == 1 and found.boxes[0][0] < 40 < found.boxes[0][2]


def test_what_is_deep_is_stronger_than_what_is_long() -> None:
    part = board()
    part[40:160, 43:47] = 20  # an edge that runs off by three pixels for a long way
    cv2.circle(part, (190, 150), 5, 20, -1)
    found = compare(part, board(), Rules(local=0))
    long, deep = sorted(range(2), key=lambda k: found.boxes[k][0])
    assert found.areas[long] > found.areas[deep] and found.strengths[deep] > found.strengths[long]


def test_a_mask_takes_out_its_pixels_and_no_more() -> None:
    part, mask = board(), np.full((200, 240), 255, np.uint8)
    part[60:70, 36:46] = 230
    part[100:110, 176:186] = 230
    mask[55:75, 30:50] = 0
    found = compare(part, board(), Rules(), mask)
    assert len(found.boxes) == 1 and found.boxes[0][1] > 80
    mask[55:75, 40:50] = 255  # half of the first gap shows again
    assert len(compare(part, board(), Rules(), mask).boxes) == 2


def test_another_size_is_no_pair() -> None:
    with pytest.raises(ValueError, match="its template"):
        compare(board(), board()[:-1], Rules())


def stage(folder: Path, **options: Any) -> tuple[Flow, list[Any]]:
    clock, kept = ManualClock(), Kept()
    seen: list[Any] = []

    def keep(batches: Any = (), events: Any = (), pictures: Any = (), snapshots: Any = None) -> None:
        seen.extend([*events, *pictures])

    kept.append = keep  # type: ignore[method-assign]
    one = Template(TemplateConfig(stage="template", camera="top", **options), Setting("board", TagTable(), folder))
    return Flow(TagTable(), [("board", one)], kept, clock, Health(clock)), seen


def shown(flow: Flow, image: np.ndarray, part: int = 1) -> FramePool:
    pool = FramePool(image.shape, 1)
    buffer = pool.take()
    assert buffer is not None
    buffer[:] = image
    flow.accept(Frame("top", 1, 10**18, buffer, part, 0, pool.give, 1))
    return pool


def test_verdicts_pictures_and_buffers(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "good.png"), board())
    flow, seen = stage(tmp_path, template="good.png")
    part = board()
    part[60:70, 36:46] = 230
    assert len(shown(flow, board(), 7)) == len(shown(flow, part, 8)) == 1  # the buffers are back
    events = [x for x in seen if isinstance(x, Event)]
    assert [(e.state, e.data["part"], len(e.data["boxes"])) for e in events] == [("ok", 7, 0), ("ng", 8, 1)]
    pictures = [x for x in seen if isinstance(x, Picture)]
    assert len(pictures) == 1 and events[1].refs == (pictures[0].digest,)


def test_what_is_no_such_part_is_looked_at_again(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "good.png"), board())
    flow, seen = stage(tmp_path, template="good.png")
    shown(flow, 255 - board())
    shown(flow, board()[:100])
    assert [(e.state, "fit" in e.text or "cannot be judged" in e.text) for e in seen if isinstance(e, Event)] == [
        ("recheck", True),
        ("recheck", True),
    ]


def test_the_second_channel_is_the_template_where_no_file_is_given(tmp_path: Path) -> None:
    flow, seen = stage(tmp_path, keep="none")
    shown(flow, np.dstack([moved(board(), 1, 1), board()]))
    shown(flow, board())
    assert [e.state for e in seen] == ["ok", "recheck"]


def test_an_absent_template_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigFault, match="no picture"):
        stage(tmp_path, template="none.png")
