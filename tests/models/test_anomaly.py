"""The anomaly stage through the real flow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge import SECOND, Batch, LinesideError, ManualClock, Quality, Tag, TagTable
from edge.alarms import AlarmConfig, Alarms
from edge.config.load import load_text
from edge.flow import Flow
from edge.health import Health
from edge.rehearse import Kept
from edge.stage import Setting
from models.series.anomaly import Anomaly, AnomalyConfig
from models.series.baseline import Baseline, Settings, fit
from models.series.scorer import Scorer

TAGS = ["p.a", "p.b"]


def table() -> TagTable:
    return TagTable(
        [
            Tag("p.a", 1, source="p"),
            Tag("p.b", 2, source="p"),
            Tag("h.score", 3, source="h"),
            Tag("h.alarm", 4, source="h"),
        ]
    )


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


def scores(kept: Kept, tag: int = 3) -> tuple[np.ndarray, np.ndarray]:
    mine = [b for b in kept.batches if b.source == "h"]
    value, quality, of = (np.concatenate([getattr(b, name) for b in mine]) for name in ("value", "quality", "tag"))
    return value[of == tag], quality[of == tag]


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
    alarm, _ = scores(kept, 4)
    assert not alarm[200:300].any() and alarm[-10:].all()
    (raised,) = [e for e in kept.events if e.kind == "anomaly"]
    assert (raised.state, raised.key) == ("raised", "h") and 300 < raised.ts / SECOND < 320
    shares = {r["tag"]: r["share"] for r in raised.data["reasons"]}
    assert shares and sum(shares.values()) == pytest.approx(1, abs=0.05) and "p.b" in raised.text
    feed(flow, normal(60, 4), 330)
    assert [e.state for e in kept.events if e.kind == "anomaly"] == ["raised", "cleared"]
    assert not scores(kept, 4)[0][-10:].any()


@pytest.mark.parametrize("method", ["mahalanobis", "pca", "ewma"])
def test_one_row_at_a_time_gives_the_same_scores_as_all_at_once(method: Any) -> None:
    rows = normal(700, 3)
    rows[400:450, 1] += 3 if method != "ewma" else 12  # an alarm begins, holds, ends and settles
    baseline = fit(rows[:200], Settings(method, span=7, adapt=50, factor=2))
    one, many = Scorer(baseline), Scorer(baseline)
    each = [one(rows[i : i + 1]) for i in range(200, 700)]
    score, alarm = many(rows[200:])
    assert np.allclose(np.concatenate([s for s, _ in each]), score)
    assert (np.concatenate([a for _, a in each]) == alarm).all() and alarm[205:250].all() and not alarm[:200].any()
    assert not alarm[-200:].any()
    assert [np.allclose(a, b) for a, b in zip(one.reasons(), many.reasons(), strict=True)] == [True, True]


def test_each_alarm_of_one_block_has_its_own_reasons_and_what_comes_behind_the_learned_rows_is_judged() -> None:
    rows = normal(700, 3)
    rows[300:340, 0] += 6
    rows[500:540, 1] += 9
    texts, learned = [], []
    for size in (1, 700):
        flow, kept, _ = rig(method="ewma", span=7, adapt=50, factor=2)
        for at in range(0, 700, size):
            feed(flow, rows[at : at + size], at)
        texts.append([(e.ts, e.text) for e in kept.events if (e.kind, e.state) == ("anomaly", "raised")])
        learned += [e.ts for e in kept.events if e.state == "learned"]
        value, quality = scores(kept)
        assert np.isnan(value[:200]).all() and np.isfinite(value[200:]).all()
        assert set(quality[:200]) == {Quality.SUBSTITUTED} and set(quality[200:]) == {0}
    assert texts[0] == texts[1] and learned == [199 * SECOND] * 2
    assert [text.partition(" ")[0] for text in (t.removeprefix("unlike normal: ") for _, t in texts[0])] == TAGS


def test_an_alarm_of_the_site_gives_the_reasons_of_what_it_looks_at() -> None:
    config = {"odd": AlarmConfig(when="h.alarm > 0", text="unlike it was"), "hot": AlarmConfig(when="p.a > 15")}
    kept, clock, stage = Kept(), ManualClock(), rig()[2]
    alarms = Alarms(config, table())
    flow = Flow(table(), [("h", stage), ("alarms", alarms)], kept, clock, Health(clock))
    feed(flow, normal(300))
    feed(flow, np.column_stack([np.full(30, 10.0), np.full(30, 22.0)]), 300)
    (odd,) = [e for e in kept.events if e.kind == "alarm"]
    (told,) = [e for e in kept.events if e.kind == "anomaly"]
    assert (
        odd.text == f"unlike it was: {told.text}" and odd.data["reasons"] == told.data["reasons"] and odd.ts == told.ts
    )
    again = Alarms(config, table())
    again.restore(alarms.snapshot())
    assert alarms.status()[0]["text"] == again.status()[0]["text"] == odd.text, "also after a restart"
    feed(flow, normal(60, 4), 330)
    feed(flow, normal(1) + np.array([9, 18]), 390)
    (cleared,) = [e for e in kept.events if e.state == "cleared" and e.key == "odd"]
    hot = next(e for e in kept.events if e.key == "hot")
    assert cleared.text == "unlike it was" and hot.text == "" and "reasons" not in hot.data, "nobody asked a detector"


def test_the_centre_follows_slow_drift_but_not_a_step_and_says_when_it_went_far() -> None:
    flow, kept, _ = rig(adapt=50, factor=2.5)
    feed(flow, normal(200))
    slow = normal(3000, 2) + np.linspace(0, 9, 3000)[:, None] * np.array([1, 2])
    feed(flow, slow, 200)
    assert not scores(kept, 4)[0][200:].any()
    drifted = [e for e in kept.events if e.state == "drifted"]
    assert {e.data["tag"] for e in drifted} == {"p.a", "p.b"} and "learned spreads" in drifted[0].text
    fixed, other, _ = rig(adapt=0, factor=2.5)
    feed(fixed, normal(200))
    feed(fixed, slow, 200)
    assert scores(other, 4)[0][-1000:].all(), "a centre that stays is left behind"


def test_a_centre_that_moved_is_kept_over_a_restart() -> None:
    flow, _, stage = rig(adapt=50, factor=2.5)
    feed(flow, normal(200))
    moved = normal(2000, 2) + np.linspace(0, 5, 2000)[:, None] * np.array([1, 2])
    feed(flow, moved, 200)
    state = stage.snapshot()
    assert state is not None
    again, kept, _ = rig(adapt=50, factor=2.5)
    again.restore({"h": state})
    feed(again, normal(200, 5) + np.array([5, 10]), 2200)
    assert not scores(kept, 4)[0].any()
    fresh, other, one = rig(adapt=50, factor=2.5)
    one.restore(json.dumps({**json.loads(state), "limits": [0]}).encode())
    feed(fresh, normal(200, 5) + np.array([5, 10]), 2200)
    assert scores(other, 4)[0][20:40].all(), "centres of another baseline are not taken up"


@pytest.mark.parametrize("rows", [303, 320])
def test_a_restart_in_an_alarm_is_as_none(rows: int) -> None:
    given = np.concatenate([normal(300), normal(60, 2) + np.array([5, -5]), normal(100, 3)])
    whole, at_once, _ = rig()
    feed(whole, given)
    flow, first, stage = rig()
    feed(flow, given[:rows])
    state = stage.snapshot()
    assert state is not None
    again, second, _ = rig()
    again.restore({"h": state})
    feed(again, given[rows:], rows)
    told = [(e.kind, e.state, e.ts, e.text) for e in (*first.events, *second.events)]
    assert told == [(e.kind, e.state, e.ts, e.text) for e in at_once.events]
    assert [state for _, state, *_ in told] == ["learned", "raised", "cleared"]
    for tag in (3, 4):
        both = np.concatenate([scores(first, tag)[0], scores(second, tag)[0]])
        np.testing.assert_allclose(both, scores(at_once, tag)[0])
    lost, later, _ = rig()  # one that is over by then ends
    lost.restore({"h": json.dumps({**json.loads(state), "state": None}).encode()})
    feed(lost, normal(40, 4), 400)
    assert [e.state for e in later.events] == ["cleared"]
    with pytest.raises(ValueError, match="another baseline"):
        rig()[2].restore(json.dumps({**json.loads(state), "state": {"before": [[1]], "lanes": []}}).encode())
    document = json.loads(state)
    for at, odd in (
        (0, -8),
        (1, float("nan")),
        (2, 8),
    ):  # steps of an age of -8, an alarm that never comes, and a step too long
        document["state"]["lanes"][0]["rows"][at], was = odd, document["state"]["lanes"][0]["rows"][at]
        anew, later, stage = rig()
        anew.restore({"h": json.dumps(document).encode()})
        document["state"]["lanes"][0]["rows"][at] = was
        feed(anew, normal(201))
        assert [e.state for e in later.events] == ["learned"], "nothing of it is used"


def test_tags_that_come_at_their_own_times_hold() -> None:
    flow, kept, _ = rig()
    feed(flow, normal(200))
    ts = np.array([0, 0, 1, 2, 2, 3]) * SECOND + 300 * SECOND
    flow.accept(Batch.of("p", [1, 2, 1, 1, 2, 2], [10, 20, 10, 11, 22, 20], ts, [0, 0, 0, 0, Quality.TIMEOUT, 0]))
    value, quality = scores(kept)
    assert quality[-4:].tolist() == [0, 0, Quality.TIMEOUT, 0] and np.isnan(value[-2]) and not np.isnan(value[-1])


def test_bad_values_are_no_rows_and_the_score_says_why() -> None:
    flow, kept, _ = rig()
    feed(flow, normal(200))
    feed(flow, normal(3), 200, Quality.TIMEOUT)
    value, quality = scores(kept)
    assert np.isnan(value[-3:]).all() and set(quality[-3:]) == {Quality.TIMEOUT}


def test_a_value_that_is_no_number_spoils_no_later_score() -> None:
    flow, kept, _ = rig()
    feed(flow, normal(200))
    feed(flow, np.array([[np.inf, 20.0], [10.0, np.nan], [3.4e38, 20.0]]), 200)  # the last: no reading in float32
    feed(flow, normal(20, 6), 203)
    value, _ = scores(kept)
    assert np.isnan(value[200:203]).all() and np.isfinite(value[203:]).all()
    late, other, _ = rig()
    feed(late, np.vstack([[[3.4e38, 20.0]], normal(200)]))
    np.testing.assert_allclose(scores(other)[0][-1:], np.nan)
    feed(late, normal(20, 6), 203)
    assert np.isfinite(scores(other)[0][-20:]).all(), "nor does one of those that are learned from"


def test_what_was_learned_survives_and_other_tags_do_not_inherit_it() -> None:
    flow, _, stage = rig()
    feed(flow, normal(200))
    state = stage.snapshot()
    assert state is not None
    again, kept, fresh = rig()
    again.restore({"h": state})
    assert fresh.snapshot() == state
    feed(again, normal(5, 5))
    assert not np.isnan(scores(kept)[0]).any()
    other = Anomaly(AnomalyConfig(stage="anomaly", tags=TAGS[::-1]), Setting("h", table(), Path(".")))
    with pytest.raises(ValueError, match="it is of other tags"):
        other.restore(state)
    with pytest.raises(ValueError, match="learned with other settings"):
        rig(hold=0.3)[2].restore(state)


def test_what_is_still_learning_goes_on_after_a_restart_or_says_why_not(caplog: pytest.LogCaptureFixture) -> None:
    given = normal(300)
    flow, _, stage = rig()
    feed(flow, given[:120])
    state = stage.snapshot()
    assert state is not None
    again, kept, second = rig()
    again.restore({"h": state})
    feed(again, given[120:], 120)
    assert [(e.state, e.ts, e.text[-8:]) for e in kept.events] == [("learned", 199 * SECOND, "200 rows")]
    learned = Baseline.from_json(json.loads(second.snapshot() or b"")["learned"])
    assert learned.as_json() == fit(given[:200], second.config.settings(), (0, 120)).as_json(), (
        "120 does not follow 119"
    )
    fewer, kept, _ = rig(rows=100)  # enough of them by now
    fewer.restore({"h": state})
    feed(fewer, given[120:], 120)
    assert [e.text[-8:] for e in kept.events] == ["120 rows"] and np.isfinite(scores(kept)[0]).all()
    document = json.loads(state)
    for change in (
        {"rows": "AAAA"},
        {"rows": document["learning"]["rows"][:-4]},
        {"starts": [0, 5, 5]},
        {"starts": [121]},
    ):
        broken, kept, _ = rig()
        broken.restore({"h": json.dumps({**document, "learning": {**document["learning"], **change}}).encode()})
        feed(broken, given[:199])
        assert "h: its saved state does not fit and is not used" in caplog.text and not kept.events
        caplog.clear()


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
    for damage in ('{"tags": ["p.x"]}', "[]", json.dumps({**document, "mean": [1]})):
        (tmp_path / "h.json").write_text(damage)
        with pytest.raises(LinesideError, match="lineside fit"):
            Anomaly(config, Setting("h", table(), tmp_path))
    with pytest.raises(LinesideError, match="there is no"):
        Anomaly(AnomalyConfig(stage="anomaly", tags=TAGS, baseline="none.json"), Setting("h", table(), tmp_path))


def test_tags_of_two_sources_are_learned_from_as_the_stage_sees_them() -> None:
    config, rows = AnomalyConfig(stage="anomaly", tags=TAGS), normal(400)
    ts, quality = np.arange(400) * SECOND, np.zeros(400, np.uint8)
    late = ts + SECOND // 50
    found = Anomaly.fit(config, {"p.a": (ts, rows[:, 0], quality), "p.b": (late, rows[:, 1], quality)})
    assert found["rows"] == 799  # all but the first, at which one was not known yet
    rare = ts[::10], rows[::10, 1], quality[::10]  # one that tells changes alone holds meanwhile
    assert Anomaly.fit(config, {"p.a": (ts, rows[:, 0], quality), "p.b": rare})["rows"] == 400
    later = ts + np.repeat([0, 9000], 200) * SECOND  # but not over a time of which nothing was read
    parts = {"p.a": (later, rows[:, 0], quality), "p.b": (later[:150], rows[:150, 1], quality[:150])}
    assert Anomaly.fit(config, parts)["rows"] == 200
    with pytest.raises(ValueError, match="at no time are all"):
        Anomaly.fit(config, {"p.a": (ts, rows[:, 0], quality), "p.b": (ts, rows[:, 1], quality + Quality.BAD)})
    pieces = ts + np.repeat(np.arange(20), 20) * 3600 * SECOND
    with pytest.raises(ValueError, match="no stretch without a gap"):
        Anomaly.fit(config, {t: (pieces, rows[:, i], quality) for i, t in enumerate(TAGS)})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rows": 103}, "103 are too few for 2 tags and span 17; at least 104"),
        ({"span": 1000}, "3600 are too few for 2 tags and span 1000; at least 6000"),
        ({"tags": [f"p.t{i}" for i in range(99)], "rows": 900}, "900 are too few for 99 tags .* at least 990"),
        ({"refit": 139}, "139 rows are too few to learn and to judge; at least 140"),
    ],
)
def test_rows_that_never_suffice_are_refused_before_it_starts(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        AnomalyConfig(**{"stage": "anomaly", "tags": TAGS, **options})
    AnomalyConfig(stage="anomaly", tags=TAGS, rows=104, refit=140)
    AnomalyConfig(stage="anomaly", tags=TAGS, rows=50, baseline="h.json")


def test_one_row_that_makes_a_tag_deaf_is_told() -> None:
    rows = normal(300)
    config, ts, quality = AnomalyConfig(stage="anomaly", tags=TAGS), np.arange(300) * SECOND, np.zeros(300, np.uint8)
    assert Anomaly.fit(config, {t: (ts, rows[:, i], quality) for i, t in enumerate(TAGS)})["told"] == ""
    rows[50, 1] = 65535
    said = Anomaly.fit(config, {t: (ts, rows[:, i], quality) for i, t in enumerate(TAGS)})["told"]
    assert said.startswith("p.b: one row, 65535, makes 100% of its spread") and "p.a" not in said


def test_a_damaged_baseline_is_refused() -> None:
    with pytest.raises(ValueError, match="no baseline"):
        Baseline.from_json({})
    document = fit(normal(100), Settings(span=5)).as_json()
    with pytest.raises(ValueError, match="no baseline: cannot convert float infinity"):
        Baseline.from_json({**document, "rows": json.loads("1e999")})
    long = [{**window, "rows": 10**12} for window in document["windows"]]  # no memory holds so long a window
    for damaged in ({"windows": long}, {"windows": []}, {"pace": [1e300, 0]}, {"pace": [-1, 0]}):
        with pytest.raises(ValueError, match="a damaged baseline"):
            Baseline.from_json({**document, **damaged})


def test_a_site_may_alarm_on_the_score() -> None:
    site = """
device: {id: a}
drivers: {p: {driver: modbus, url: "tcp://x:502", tags: {a: {address: "holding:1"}, b: {address: "holding:2"}}}}
stages: {h: {stage: anomaly, tags: [p.a, p.b]}}
alarms: {odd: {when: "h.score > 1"}}
"""
    assert not load_text(site).problems
    assert "p.c" in str(load_text(site.replace("[p.a, p.b]", "[p.a, p.c]")).problems[0])
    many = load_text(site.replace("[p.a, p.b]", f"[p.a, p.b], by: p.a, edges: {[*range(40)]}")).problems
    assert [one.message for one in many] == ["takes at most 31, not 40"]
