"""A person's word on what is normal, through the real flow, the local socket and the order of a plane."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from edge import SECOND, Batch, Event, ManualClock, Setting, plugins
from edge.app import Daemon
from edge.cli import main
from edge.codec import decode_event
from edge.config.load import load
from edge.control import Control
from edge.flow import Flow
from edge.health import Health
from edge.rehearse import Kept
from models.series.anomaly import Anomaly, AnomalyConfig
from models.series.baseline import Settings, fit
from models.series.refit import Refit
from models.series.renewal import lack
from models.series.scorer import Scorer
from tests.edge.test_daemon import Steady
from tests.models.test_anomaly import TAGS, feed, normal, rig, scores, table

FAR = np.array([30.0, 60.0])  # thirty spreads, where a row may count for eight


def order(flow: Flow, **said: Any) -> None:
    flow.accept(Event("command", "normal", ts=SECOND, data={"stage": "h", "by": "anna", **said}))


def told(kept: Kept) -> list[tuple[str, str]]:
    return [(e.kind, e.state) for e in kept.events if e.kind in ("model", "anomaly")]


def test_what_the_machine_does_now_is_normal_on_a_persons_word() -> None:
    flow, kept, _ = rig(factor=2.5)
    feed(flow, normal(200))
    feed(flow, normal(100, 2) + FAR, 200)
    assert scores(kept, 4)[0][-50:].all(), "set up anew, it stands in alarm"
    order(flow)
    assert told(kept)[-3:] == [("anomaly", "raised"), ("model", "renewed"), ("anomaly", "cleared")]
    renewed = kept.events[-2]
    assert renewed.data["by"] == "anna" and renewed.text.startswith("anna says of h: what it does now is normal")
    assert renewed.data["moved"]["p.b"] == pytest.approx([20, 80], abs=1)
    feed(flow, normal(400, 3) + FAR, 300)
    assert not scores(kept, 4)[0][300:].any() and "drifted" not in [e.state for e in kept.events[-3:]]
    feed(flow, normal(40, 4) + FAR + np.array([0, 3]), 700)
    assert scores(kept, 4)[0][-20:].all(), "it still judges"


def test_it_is_taken_back_and_survives_a_restart() -> None:
    flow, _, stage = rig(factor=2.5)
    feed(flow, normal(200))
    feed(flow, normal(100, 2) + FAR, 200)
    order(flow)
    state = stage.snapshot()
    assert state is not None
    again, other, _ = rig(factor=2.5)
    again.restore({"h": state})
    feed(again, normal(100, 3) + FAR, 300)
    assert not scores(other, 4)[0].any(), "after a restart"
    order(again, back=True)
    assert other.events[-1].state == "undone" and other.events[-1].data["moved"]["p.a"] == pytest.approx(
        [40, 10], abs=2
    )
    feed(again, normal(30, 4) + FAR, 400)
    assert scores(other, 4)[0][-5:].all(), "normal is what it was"
    order(again, back=True)
    assert other.events[-1].state == "refused" and "what it learned first" in other.events[-1].text


def test_an_order_that_cannot_be_carried_out_is_refused() -> None:
    flow, kept, _ = rig()
    order(flow)
    assert told(kept) == [("model", "refused")] and "learned nothing yet" in kept.events[-1].text
    flow.accept(Event("command", "normal", ts=SECOND, data={"stage": "other"}))
    flow.accept(Event("command", "normal", ts=SECOND, data={"stage": ["h"]}))
    assert len(told(kept)) == 1, "it is about another stage"
    feed(flow, normal(200))
    order(flow)
    assert "no good row" in kept.events[-1].text, "what was learned from tells nothing of now"


def test_what_a_network_knows_is_not_moved() -> None:
    scorer = Scorer(fit(normal(200), Settings("network", span=5)))
    assert "train it anew" in lack(scorer, None, normal(5), back=False)
    with pytest.raises(ValidationError, match="remove `refit`"):
        AnomalyConfig(stage="anomaly", tags=TAGS, method="network", baseline="h.json", refit=400)


def test_another_file_is_not_overruled_by_what_was_said_of_the_last_one(tmp_path: Path) -> None:
    config = AnomalyConfig(stage="anomaly", tags=TAGS, baseline="h.json", span=5, factor=2.5)
    setting = Setting("h", table(), tmp_path)

    def fitted(rows: np.ndarray) -> Anomaly:
        history = {t: (np.arange(len(rows)), rows[:, i], np.zeros(len(rows), np.uint8)) for i, t in enumerate(TAGS)}
        (tmp_path / "h.json").write_text(json.dumps(Anomaly.fit(config, history)))
        return Anomaly(config, setting)

    stage = fitted(normal(300))
    ids, ts = np.tile([1, 2], 100), np.repeat(np.arange(100) * SECOND, 2)
    list(stage(Batch.of("p", ids, (normal(100, 2) + FAR).ravel(), ts)))
    list(stage(Event("command", "normal", ts=SECOND, data={"stage": "h"})))
    state = stage.snapshot()
    assert state is not None
    same, other = Anomaly(config, setting), fitted(normal(300, 9))
    before = other.snapshot()
    same.restore(state)
    other.restore(state)
    assert same.snapshot() == state and other.snapshot() == before


def test_the_command_says_what_became_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(plugins._extra, ("drivers", "steady"), Steady)
    site = tmp_path / "site.yaml"
    drivers = "drivers: {p: {driver: steady, every: 1h, tags: {a: {}, b: {}}}}"
    stage = "{stage: anomaly, tags: [p.a, p.b], rows: 200, span: 5, factor: 2.5}"
    site.write_text(f"device: {{id: d}}\n{drivers}\nstages: {{h: {stage}}}\n")
    said = ["normal", str(site), "--state", str(tmp_path / "state")]
    assert main([*said, "h"]) == 2 and "no daemon runs" in capsys.readouterr().err

    async def work() -> list[Event]:
        (tmp_path / "state").mkdir()
        daemon = Daemon(load(site), tmp_path / "state")
        control, ids = Control(daemon), [daemon.table[name].id for name in TAGS]
        await daemon.start()
        await control.start()
        try:
            assert await asyncio.to_thread(main, [*said, "h"]) == 2
            rows = np.concatenate([normal(200), normal(50, 2) + FAR])
            ts = daemon.clock.utc() + np.repeat(np.arange(250) * SECOND, 2)
            daemon.accept(Batch.of("p", np.tile(ids, 250), rows.ravel(), ts))
            for words in (["h"], ["h", "--back"], ["h", "--learn", "400"], ["h", "--learn", "5"], ["p"]):
                assert await asyncio.to_thread(main, [*said, *words]) == (2 if words[-1] in ("p", "5") else 0)
            await daemon.journal.commit()
            found = [decode_event(r.body) for r in await daemon.journal.read("event", 0, 100)]
            return [e for e in found if e.state in ("renewed", "undone")]
        finally:
            await control.stop()
            await daemon.stop()

    events = asyncio.run(work())
    out, err = capsys.readouterr()
    assert [e.state for e in events] == ["renewed", "undone", "renewed"] and out.splitlines() == [
        e.text for e in events
    ]
    assert "learn from the next 400 rows" in events[-1].text and "5 rows are not from" in err
    assert "learned nothing yet" in err and "'p' is no detector" in err and "there are h" in err


def test_it_learns_anew_from_quiet_rows_on_a_persons_word() -> None:
    flow, kept, _ = rig(factor=2.5)
    feed(flow, normal(200))
    wide = np.array([3.0, 3.0])  # set up anew, everything moves three times as much
    feed(flow, 30 + (normal(100, 2) - 10) * wide, 200)
    order(flow, learn=20)
    assert kept.events[-1].state == "refused" and "20 rows are not from" in kept.events[-1].text
    order(flow, learn=800)
    assert "and to learn from the next 800 rows" in next(e for e in kept.events if e.state == "renewed").text
    for at in range(300, 1300, 100):
        feed(flow, 30 + (normal(100, at) - 10) * wide, at)
    learned = kept.events[-1]
    assert learned.state == "learned" and "from 600 rows" in learned.text and learned.data["by"] == "anna"
    before = sum(e.state == "raised" for e in kept.events)
    feed(flow, 30 + (normal(400, 3) - 10) * wide, 1300)
    assert sum(e.state == "raised" for e in kept.events) == before, "what it learned fits"
    order(flow, back=True)
    undone = next(e for e in kept.events if e.state == "undone")
    assert undone.data["moved"]["p.a"] == pytest.approx([30, 10], abs=1), "normal is what it was before the order"


def drifting(rows: int, seed: int = 2) -> np.ndarray:
    return normal(rows, seed) + np.linspace(0, 12, rows)[:, None] * np.array([1, 2])


def test_after_a_drift_it_learns_anew_where_the_site_says_so() -> None:
    flow, kept, stage = rig(adapt=50, factor=2.5, refit=400)
    feed(flow, normal(200))
    feed(flow, drifting(3000), 200)
    state = stage.snapshot()
    assert state is not None and json.loads(state)["refit"]["of"] == 400
    again, kept, _ = rig(adapt=50, factor=2.5, refit=400)
    again.restore({"h": state})  # a restart in the midst of it
    feed(again, normal(600, 5) + np.array([12, 24]), 3200)
    anew = [e for e in kept.events if e.kind == "model" and "anew from 300 rows" in e.text]
    assert [e.state for e in anew][-1:] == ["learned"] and "--back" in anew[-1].text and anew[-1].data == {}
    assert not scores(kept, 4)[0].any()
    order(again, back=True, by="bo")
    assert kept.events[-1].state == "undone" and kept.events[-1].data["by"] == "bo"
    _, kept, stage = rig(adapt=50, factor=2.5, refit=400)
    stage.restore(state)
    clock, stages = ManualClock(), [("h", stage)]
    busy = Flow(table(), stages, kept, clock, Health(clock), submit=lambda job, back: back(job.expired()))
    feed(busy, normal(600, 5) + np.array([12, 24]), 3200)
    assert "h stays as it was: learned anew not at all" in kept.events[-1].text, "the pool had no room"
    assert "refit" not in json.loads(stage.snapshot() or b""), "so that it can be asked for again"
    plain, other, _ = rig(adapt=50, factor=2.5)
    feed(plain, normal(200))
    feed(plain, drifting(3600), 200)
    assert "anew from" not in " ".join(e.text for e in other.events), "only where the site says so"


def test_rows_in_alarm_are_never_learned_and_a_candidate_that_alarms_is_dropped() -> None:
    refit = Refit(400, 2)
    rows, alarm = normal(300, 2), np.zeros(300, bool)
    alarm[100:150] = True
    rows[alarm] += 50
    assert not refit.gather(rows, alarm) and refit.gather(normal(500, 3), np.zeros(500, bool))
    good = refit.candidate(Settings(span=5, factor=2.5))
    assert good.scorer is not None and good.scorer.baseline.mean == pytest.approx([10, 20], abs=0.3)
    assert good.words.startswith("from 300 rows without an alarm (50 with one")
    refit = Refit(400, 2)
    refit.gather(np.concatenate([normal(300), normal(100, 2) + 9]), np.zeros(400, bool))
    bad = refit.candidate(Settings(span=5, factor=2.5))
    assert bad.scorer is None and "in the next 100 it alarms in" in bad.words
    still = Refit(400, 2)
    still.gather(np.ones((400, 2)), np.zeros(400, bool))
    assert still.candidate(Settings(span=5)).scorer is None


def test_the_same_rows_are_gathered_in_one_block_or_row_by_row() -> None:
    rows, alarm = normal(500, 2), np.zeros(500, bool)
    alarm[[0, 1, 200, 201, 202, 399]] = True
    one, many = Refit(400, 2), Refit(400, 2)
    assert one.gather(rows, alarm)
    assert not any(many.gather(rows[i : i + 1], alarm[i : i + 1]) for i in range(202))
    many = Refit.from_json(json.loads(json.dumps(many.as_json())), 2)  # a restart in an alarm, where it is cut anyway
    at = next(i for i in range(202, 500) if many.gather(rows[i : i + 1], alarm[i : i + 1]))
    assert at == 405
    a, b = (refit.candidate(Settings(span=5)) for refit in (one, many))
    assert a.words == b.words and a.scorer and b.scorer
    assert a.scorer.baseline.as_json() == b.scorer.baseline.as_json()
