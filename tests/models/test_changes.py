"""Change points of the pump rig, judged by its benchmark's own rules: cases counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from models.benchmarks.changes import found, scores, told

Scores = tuple[float, float, float]


def scored(true: list[float], said: list[float], window: float = 60) -> Scores:
    figures = scores([found(np.array(true), np.array(said), window)])
    return figures["standard"], figures["low_fp"], figures["low_fn"]


@pytest.mark.parametrize(
    ("true", "said", "expected"),
    [
        ([100], [], (0, 0, 0)),
        ([100], [100], (100, 100, 100)),
        ([100], [160], (44.5, 39, 63)),  # (1 - fp - 1 + fn) / (1 + fn): the right end is worth -fp
        ([100], [130], (72.25, 69.5, 81.5)),  # half way: (1 - fp) / 2
        ([100], [100, 110, 159], (100, 100, 100)),  # the earliest counts, the others cost nothing
        ([100], [99, 161], (-11, -22, -7.33)),  # both outside: -2 fp
        ([100, 400], [100], (50, 50, 50)),
        ([100, 130], [100, 159], (50, 50, 50)),  # the second window is 160 to 190: nothing told there
        ([100, 130], [100, 160], (100, 100, 100)),
        ([100, 130], [160], (72.25, 69.5, 81.5)),  # the end of one window, the beginning of the other
    ],
)
def test_what_a_change_is_worth(true: list[float], said: list[float], expected: Scores) -> None:
    assert scored(true, said) == pytest.approx(expected, abs=0.005)


def test_changes_of_several_recordings_count_together() -> None:
    seconds = np.arange(200.0)
    flag = (seconds >= 70) & (seconds < 110)
    said = told(seconds, flag)
    assert said.tolist() == [70, 110] and told(seconds, ~flag).tolist() == [0, 70, 110]
    one, other = found(np.array([60.0, 110]), said), found(np.array([]), said)
    figures = scores([one, other])
    assert (figures["changes"], figures["found"], figures["false"], figures["window_s"]) == (2, 1, 2, 60)
    assert figures["delay_s"] == 10  # the second window begins at 120, after the change that was told at 110
    assert scores([other])["standard"] is None and scores([other])["delay_s"] is None
