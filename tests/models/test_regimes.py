"""A machine that runs in several ways, each with its own normal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from edge import SECOND, Batch, LinesideError, ManualClock, Quality, Tag, TagTable
from edge.flow import Flow
from edge.health import Health
from edge.rehearse import Kept
from edge.stage import Setting
from models.series.anomaly import Anomaly, AnomalyConfig
from tests.models.test_anomaly import TAGS, normal, scores
from tests.models.test_renewal import order

NAMES = ["p.a", "p.b", "h.score", "h.alarm", "p.speed"]
OFFSET = {1.0: 0.0, 2.0: 30.0, 3.0: 60.0}  # of both tags, at each speed


def table(**speed: Any) -> TagTable:
    tags = [Tag(name, i, source=name[0]) for i, name in enumerate(NAMES[:4], 1)]
    return TagTable([*tags, Tag("p.speed", 5, source="p", **speed)])


def rig(tags: TagTable | None = None, folder: Path = Path(), **options: Any) -> tuple[Flow, Kept, Anomaly]:
    given = {"rows": 200, "span": 5, "by": "p.speed", "after": 5, "factor": 2.5, **options}
    kept, clock, tags = Kept(), ManualClock(), tags or table()
    stage = Anomaly(AnomalyConfig(stage="anomaly", tags=TAGS, **given), Setting("h", tags, folder))
    return Flow(tags, [("h", stage)], kept, clock, Health(clock)), kept, stage


def run(*visits: tuple[float, int], seed: int = 1) -> np.ndarray:
    """Rows of both tags and the speed; after a change the first three are from nowhere."""
    rows = [
        np.column_stack([normal(n, seed + i) + OFFSET[speed], np.full(n, speed)]) for i, (speed, n) in enumerate(visits)
    ]
    for one in rows[1:]:
        one[:3, :2] += 15
    return np.concatenate(rows)


def feed(flow: Flow, rows: np.ndarray, start: int = 0, size: int = 10_000) -> None:
    for at in range(0, len(rows), size):
        part = rows[at : at + size]
        ts = np.repeat((np.arange(len(part)) + start + at) * SECOND, 3)
        flow.accept(Batch.of("p", np.tile([1, 2, 5], len(part)), part.ravel(), ts))


def told(kept: Kept) -> list[tuple[str, int, str]]:
    return [(e.state, e.ts // SECOND, e.text) for e in kept.events]


LEARNS = run((1, 130), (2, 240), (1, 90))


def test_each_way_has_its_own_normal_and_an_unknown_one_is_said_and_does_not_alarm() -> None:
    faulty = run((1, 60), (2, 60), (3, 60), (1, 60), seed=9)
    faulty[90:120, 0] += 8  # at speed 2, up to its end
    stories = []
    for size in (7, 10_000):
        flow, kept, _ = rig()
        feed(flow, LEARNS, 0, size)
        assert [(state, text) for state, _, text in told(kept)] == [
            ("not_learned", "h at p.speed 1: nothing is known of that yet; it learns from 200 rows and does not alarm"),
            ("not_learned", "h at p.speed 2: nothing is known of that yet; it learns from 200 rows and does not alarm"),
            ("learned", "h at p.speed 2 learned what is normal from 200 rows"),
            ("learned", "h at p.speed 1 learned what is normal from 200 rows"),
        ]
        feed(flow, faulty, len(LEARNS), size)
        stories.append(told(kept)[4:])
    assert stories[0] == stories[1]
    (raised, began, why), (cleared, ended, gone), (unknown, _, said) = stories[0]
    assert raised == "raised" and 90 <= began - len(LEARNS) < 100 and why.startswith("unlike normal at p.speed 2: p.a")
    assert (cleared, gone, ended - len(LEARNS)) == ("cleared", "h: it runs at p.speed 3 now", 120)
    assert unknown == "not_learned" and said.startswith("h at p.speed 3: nothing is known")
    score, quality = scores(kept)
    at = slice(len(LEARNS), None)
    plain, other, _ = rig(by="", rows=460)
    feed(plain, np.concatenate([LEARNS, faulty]))
    assert [e.state for e in other.events] == ["learned"], "one normal for all of them is too wide for it"
    alone = np.isnan(score[at])
    assert alone[120:180].all() and (quality[at][alone] == Quality.SUBSTITUTED).all()
    assert alone[60:65].all() and not alone[65:120].any(), "rows after a change are let be"
    assert not scores(kept, 4)[0][at][np.r_[0:60, 65:90, 185:240]].any()


def test_a_restart_goes_on_with_each_and_other_regimes_begin_anew() -> None:
    flow, _, stage = rig()
    feed(flow, LEARNS[:400])  # of speed 1 160 rows less those after the change
    state = stage.snapshot()
    assert state is not None
    again, kept, second = rig()
    again.restore({"h": state})
    kept_rows = [json.loads(one or b"")["regimes"][0][1]["learning"]["rows"] for one in (state, second.snapshot())]
    assert kept_rows[0] == kept_rows[1] and len(kept_rows[0]) > 2000
    feed(again, LEARNS[400:], 400)
    assert [text for *_, text in told(kept)] == ["h at p.speed 1 learned what is normal from 200 rows"]
    odd = run((1, 30), seed=9) + np.array([9, 0, 0])
    feed(again, odd, 460)
    state = second.snapshot()
    assert kept.events[-1].state == "raised" and state is not None
    elsewhere, kept, _ = rig()
    elsewhere.restore({"h": state})
    feed(elsewhere, run((2, 20), seed=9), 500)
    assert [(state, text) for state, _, text in told(kept)] == [("cleared", "h: it runs at p.speed 2 now")]
    for other in ({"by": ""}, {"by": "p.a"}, {"edges": [1.5]}):
        with pytest.raises(ValueError, match="by other regimes, or by none"):
            rig(**other)[2].restore(state)


def test_a_restart_while_it_settles_lets_the_rest_be() -> None:
    flow, _, stage = rig()
    feed(flow, np.concatenate([LEARNS, run((2, 2), seed=9)]))
    again, kept, _ = rig()
    again.restore({"h": stage.snapshot() or b""})
    feed(again, run((2, 8), seed=8), 500)
    assert np.isnan(scores(kept)[0]).tolist() == [True] * 3 + [False] * 5


def test_bands_and_texts_are_called_as_people_call_them() -> None:
    flow, kept, _ = rig(edges=[1.5, 2.5])
    feed(flow, run((1, 5), (2, 5), (3, 5)))
    assert [text.partition(":")[0] for *_, text in told(kept)] == [
        f"h at p.speed {band}" for band in ("below 1.5", "1.5 to 2.5", "from 2.5 on")
    ]
    tags = table(type="text")
    flow, kept, _ = rig(tags)
    rows = run((1, 5))
    rows[:, 2] = tags.texts.value(5, "lid B")
    feed(flow, rows)
    assert kept.events[0].text.startswith("h at p.speed lid B: nothing")
    flow, kept, _ = rig()
    rows = np.column_stack([normal(40), np.arange(40)])
    feed(flow, rows)
    assert (
        len(kept.events) == 33 and "more than 32 values, and others are not judged; say `edges`" in kept.events[-1].text
    )


def test_what_a_person_says_is_of_the_way_in_which_it_runs() -> None:
    flow, kept, _ = rig()
    order(flow)
    assert kept.events[-1].state == "refused"
    feed(flow, LEARNS)
    there = run((1, 20), (2, 100), seed=5)
    there[20:, :2] += 12  # set up anew at speed 2
    feed(flow, there, len(LEARNS))
    assert kept.events[-1].state == "raised"
    order(flow)
    assert [e.state for e in kept.events[-2:]] == ["renewed", "cleared"]
    assert "h at p.speed 2: what it does now is normal" in kept.events[-2].text
    more = run((2, 60), (1, 60), seed=7)
    more[:60, :2] += 12
    feed(flow, more, 700)
    assert kept.events[-1].state == "cleared", "neither is in alarm now"


def test_it_is_fitted_from_the_journal_by_its_regimes(tmp_path: Path) -> None:
    def history(rows: np.ndarray) -> dict[str, Any]:
        return {
            name: (np.arange(len(rows)) * SECOND, rows[:, i], np.zeros(len(rows), np.uint8))
            for i, name in enumerate([*TAGS, "p.speed"])
        }

    options = {"baseline": "h.json", "span": 5, "by": "p.speed", "after": 5, "factor": 2.5}
    config = AnomalyConfig(stage="anomaly", tags=TAGS, **options)
    document = Anomaly.fit(config, history(run((1, 130), (2, 240), (1, 90), (3, 9))))
    assert document["rows"] == 450 and document.pop("told").splitlines() == [
        "learned at 1 (215 rows), 2 (235 rows)",
        "at 3 nothing is learned: 4 rows are too few for 2 tags; at least 20",
    ]
    (tmp_path / "h.json").write_text(json.dumps(document))
    flow, kept, _ = rig(folder=tmp_path, **options)
    bad = run((1, 60), (2, 60), (3, 20), seed=5)
    bad[80:120, 1] -= 8
    feed(flow, bad)
    assert [state for state, *_ in told(kept)] == ["raised", "cleared", "not_learned"]
    for other in ({"by": ""}, {"edges": [2.0]}):
        with pytest.raises(LinesideError, match="by other regimes, or by none"):
            rig(folder=tmp_path, **{**options, **other})
    named = Anomaly.fit(config, history(run((1, 130), (2, 240))), {1.0: "lid A", 2.0: "lid B"})
    assert [at for at, _ in named["regimes"]] == ["lid A", "lid B"] and "at lid A (130" in named["told"]
    (tmp_path / "h.json").write_text(json.dumps(named))
    tags = table(type="text")
    for text in ("x", "lid B", "lid A"):  # another device met them in another order
        tags.texts.value(5, text)
    with pytest.raises(LinesideError, match=r"knows 'lid A', and p\.speed is no text"):
        rig(folder=tmp_path, **options)
    flow, kept, _ = rig(tags, tmp_path, **options)
    numbered = run((2, 40), (3, 40), seed=5)
    numbered[40:, :2] -= OFFSET[3.0]
    feed(flow, numbered)
    assert not kept.events, "2 is lid B, 3 is lid A"
    with pytest.raises(ValueError, match="more than 32 regimes; say `edges`"):
        Anomaly.fit(config, history(np.column_stack([normal(400), np.arange(400) % 40])))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"edges": [1.0]}, "name it"),
        ({"by": "p.speed", "edges": [2.0, 2.0]}, "do not rise"),
        ({"by": "p.speed", "method": "network", "baseline": "h.json"}, "among `tags`"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        AnomalyConfig(stage="anomaly", tags=TAGS, **options)


def test_the_tag_that_says_how_it_runs_may_be_one_of_those_that_are_judged() -> None:
    flow, kept, _ = rig(by="p.a", edges=[20.0])
    feed(flow, run((1, 230), (2, 230)))
    assert [text[:24] for state, _, text in told(kept) if state == "learned"] == [
        "h at p.a below 20 learne",
        "h at p.a from 20 on lear",
    ]
