"""The anomaly stage through the real flow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge import SECOND, Batch, LinesideError, ManualClock, Quality, Tag, TagTable
from edge.config.load import load_text
from edge.flow import Flow
from edge.health import Health
from edge.rehearse import Kept
from edge.stage import Setting
from models.series.anomaly import Anomaly, AnomalyConfig
from models.series.baseline import Baseline, Scorer, Settings, fit

TAGS = ["p.a", "p.b"]


def table() -> TagTable:
    return TagTable([Tag("p.a", 1, source="p"), Tag("p.b", 2, source="p"), Tag("h.score", 3, source="h")])


def normal(n: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    a = rng.normal(10, 1, n)
    return np.column_stack([a, 2 * a + rng.normal(0, 0.1, n)])


def rig(**options: Any) -> tuple[Flow, Kept, Anomaly]:
    config = AnomalyConfig(stage="anomaly", tags=TAGS, **{"rows": 200, "span": 5, **options})
    kept, clock = Kept(), ManualClock()
    stage = Anomaly(config, Setting("h", table(), Path(".")))
    return Flow(table(), [("h", stage)], kept, clock, Health(clock)), kept, stage


def feed(flow: Flow, rows: np.ndarray, start: int = 0, quality: int = 0) -> None:
    n = len(rows)
    ts = np.repeat((np.arange(n) + start) * SECOND, 2)
    flow.accept(Batch.of("p", np.tile([1, 2], n), rows.ravel(), ts, np.full(2 * n, quality)))


def scores(kept: Kept) -> tuple[np.ndarray, np.ndarray]:
    mine = [b for b in kept.batches if b.source == "h"]
    return np.concatenate([b.value for b in mine]), np.concatenate([b.quality for b in mine])


def test_it_learns_then_tells_a_broken_relation_from_a_normal_row() -> None:
    flow, kept, _ = rig()
    feed(flow, normal(200))
    value, quality = scores(kept)
    assert np.isnan(value).all() and set(quality) == {Quality.SUBSTITUTED}
    assert [(e.kind, e.state) for e in kept.events] == [("model", "learned")]
    feed(flow, normal(100, 2), 200)
    feed(flow, np.column_stack([np.full(30, 10.0), np.full(30, 22.0)]), 300)  # each in its range, together wrong
    value, _ = scores(kept)
    assert np.mean(value[200:300] > 1) < 0.05 and (value[-10:] > 1).all()


def test_one_row_at_a_time_gives_the_same_scores_as_all_at_once() -> None:
    rows = normal(700, 3)
    settings = Settings(span=7, median=3)
    baseline = fit(rows[:200], settings)
    one, many = Scorer(baseline, settings), Scorer(baseline, settings)
    assert np.allclose(np.concatenate([one(rows[i : i + 1]) for i in range(700)]), many(rows))


def test_bad_values_are_no_rows_and_the_score_says_why() -> None:
    flow, kept, _ = rig()
    feed(flow, normal(200))
    feed(flow, normal(3), 200, Quality.TIMEOUT)
    value, quality = scores(kept)
    assert np.isnan(value[-3:]).all() and set(quality[-3:]) == {Quality.TIMEOUT}


def test_what_was_learned_survives_and_other_tags_do_not_inherit_it() -> None:
    flow, _, stage = rig()
    feed(flow, normal(200))
    state = stage.snapshot()
    assert state is not None
    again, kept, fresh = rig()
    again.restore({"h": state})
    feed(again, normal(5, 5))
    assert not np.isnan(scores(kept)[0]).any() and fresh.snapshot() == state
    other = Anomaly(AnomalyConfig(stage="anomaly", tags=TAGS[::-1]), Setting("h", table(), Path(".")))
    other.restore(state)
    assert other.snapshot() is None


def test_still_rows_are_not_learned() -> None:
    flow, kept, _ = rig()
    feed(flow, np.ones((200, 2)))
    assert [(e.state, e.severity) for e in kept.events] == [("not_learned", "medium")]


def test_fitted_from_history_and_kept_in_a_file(tmp_path: Path) -> None:
    rows = normal(300)
    ts = np.arange(300) * SECOND
    quality = np.zeros(300, np.uint8)
    quality[7] = Quality.BAD
    config = AnomalyConfig(stage="anomaly", tags=TAGS, baseline="h.json")
    document = Anomaly.fit(config, {t: (ts, rows[:, i], quality) for i, t in enumerate(TAGS)})
    (tmp_path / "h.json").write_text(json.dumps(document))
    assert document["rows"] == 299
    Anomaly(config, Setting("h", table(), tmp_path))
    for damage in ('{"tags": ["p.x"]}', "[]", json.dumps({**document, "limit": -1})):
        (tmp_path / "h.json").write_text(damage)
        with pytest.raises(LinesideError, match="lineside fit"):
            Anomaly(config, Setting("h", table(), tmp_path))
    with pytest.raises(LinesideError, match="there is no"):
        Anomaly(AnomalyConfig(stage="anomaly", tags=TAGS, baseline="none.json"), Setting("h", table(), tmp_path))


def test_a_damaged_baseline_is_refused() -> None:
    with pytest.raises(ValueError, match="no baseline"):
        Baseline.from_json({})


def test_a_site_may_alarm_on_the_score() -> None:
    site = """
device: {id: a}
drivers: {p: {driver: modbus, url: "tcp://x:502", tags: {a: {address: "holding:1"}, b: {address: "holding:2"}}}}
stages: {h: {stage: anomaly, tags: [p.a, p.b]}}
alarms: {odd: {when: "h.score > 1"}}
"""
    assert not load_text(site).problems
    assert "p.c" in str(load_text(site.replace("[p.a, p.b]", "[p.a, p.c]")).problems[0])
