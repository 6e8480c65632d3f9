"""The method `network` of the stage anomaly: trained here, in int8, compared with float, and judged through the real flow."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

pytest.importorskip(
    "ai_edge_litert", reason="LiteRT, whose schema writes models, is not installed: make setup brings it"
)
from edge import SECOND, Batch, LinesideError, ManualClock, ModelRefused, Tag, TagTable
from edge.flow import Flow
from edge.health import Health
from edge.rehearse import Kept
from edge.stage import Setting
from models.series import reconstruction
from models.series.anomaly import Anomaly, AnomalyConfig, load
from models.series.baseline import Baseline, Settings, scaled, standard
from models.series.network import ends_of, train, windows
from models.series.scorer import Scorer
from tests.models.test_anomaly import normal

TAGS = ["m.speed", "m.flow", "m.current"]
CONFIG = AnomalyConfig(stage="anomaly", tags=TAGS, method="network", code=1, span=5, window=4, baseline="h.json")


def machine(n: int, seed: int) -> np.ndarray:
    """Set to another speed now and then; flow goes with its square, current with its cube."""
    rng = np.random.default_rng(seed)
    speed = np.convolve(np.repeat(rng.uniform(0.2, 1, n // 20 + 1), 20)[:n], np.ones(10) / 10, "same")
    return np.column_stack([speed, speed**2, speed**3]) + rng.normal(0, 0.005, (n, 3))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rows = tmp_path_factory.mktemp("fitted"), machine(800, 1)
    ts, quality = np.arange(800) * SECOND, np.zeros(800, np.uint8)
    document = Anomaly.fit(CONFIG, {tag: (ts, rows[:, i], quality) for i, tag in enumerate(TAGS)})
    (folder / "h.tflite").write_bytes(document.pop("files")[".tflite"])
    (folder / "h.json").write_text(json.dumps(document))
    return folder


@pytest.fixture
def copy(fitted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fitted, tmp_path / "copy"))


def change(folder: Path, **kept: Any) -> None:
    document = json.loads((folder / "h.json").read_text())
    document["network"] |= kept
    (folder / "h.json").write_text(json.dumps(document))


def test_it_sees_what_breaks_a_curve_and_says_which_tag(fitted: Path) -> None:
    names = [*TAGS, "h.score", "h.alarm"]
    table = TagTable([Tag(name, i, source=name.partition(".")[0]) for i, name in enumerate(names, 1)])
    kept, clock = Kept(), ManualClock()
    flow = Flow(table, [("h", Anomaly(CONFIG, Setting("h", table, fitted)))], kept, clock, Health(clock))
    rows = machine(400, 2)
    rows[200:300, 2] *= 0.5
    for at in range(0, 400, 100):
        ts = np.repeat((np.arange(100) + at) * SECOND, 3)
        flow.accept(Batch.of("m", np.tile([1, 2, 3], 100), rows[at : at + 100].ravel(), ts))
    told = [(e.state, e.ts // SECOND) for e in kept.events if e.kind == "anomaly"]
    assert told and told[0][0] == "raised" and 200 <= told[0][1] < 260
    raised = next(e for e in kept.events if e.state == "raised")
    shares = {r["tag"]: r["share"] for r in raised.data["reasons"]}
    assert max(shares, key=lambda tag: shares[tag]) == "m.current"
    plain = Scorer(reconstruction.fit_rows(machine(800, 1), Settings(span=5)))
    assert not plain(rows)[1].any(), "a straight line cannot see it"


def test_a_window_goes_on_over_a_restart(fitted: Path) -> None:
    names = [*TAGS, "h.score", "h.alarm"]
    table = TagTable([Tag(name, i, source=name.partition(".")[0]) for i, name in enumerate(names, 1)])
    rows = machine(120, 2)
    rows[40:, 2] += 0.03

    def scores(stage: Anomaly, begin: int, end: int) -> np.ndarray:
        ts = np.repeat(np.arange(begin, end) * SECOND, 3)
        out = stage(Batch.of("m", np.tile([1, 2, 3], end - begin), rows[begin:end].ravel(), ts))
        return np.concatenate([item.value for item in out if isinstance(item, Batch)])

    whole, first, second = (Anomaly(CONFIG, Setting("h", table, fitted)) for _ in range(3))
    expected, before = scores(whole, 0, 120), scores(first, 0, 81)
    second.restore(first.snapshot() or b"")
    np.testing.assert_allclose(np.concatenate([before, scores(second, 81, 120)]), expected, rtol=1e-5)


def test_rows_one_by_one_give_the_scores_of_blocks_and_int8_is_close_to_float(fitted: Path) -> None:
    document = json.loads((fitted / "h.json").read_text())
    baseline = Baseline.from_json(document)
    one, many = (reconstruction.loaded(baseline, document["network"], fitted / "h.json", True) for _ in range(2))
    rows = machine(90, 3)
    each = np.concatenate([*(one(rows[i : i + 1]) for i in range(30)), one(rows[30:]), one(rows[:0])])
    assert np.allclose(each, expected := many(rows))
    document["network"]["off"] = [2.0**30] * 3  # as of counters, of which float32 would not tell neighbours apart
    counters = reconstruction.loaded(baseline, document["network"], fitted / "h.json", True)
    assert np.abs(counters(rows + 2.0**30) - expected).max() < 0.05
    assert reconstruction.too_large(np.array([0, 2.0**30]), np.ones(2)).tolist() == [0, 2.0**30]
    assert 0 < document["network"]["lost"] < reconstruction.LOSES and document["rows"] == 800 - 3


def test_the_same_rows_give_the_same_network_and_windows_reach_across_no_gap() -> None:
    z = standard(machine(60, 1), *scaled(machine(60, 1)), 8)
    ends = ends_of(60, (0, 2, 30), 4)
    assert ends.tolist() == [*range(5, 30), *range(33, 60)]
    assert windows(z, ends, 4)[0].reshape(4, 3) == pytest.approx(z[2:6], rel=1e-5)
    one, two = (train(z, ends, 4, 1) for _ in range(2))
    assert all((a == b).all() for a, b in zip(one.layers[0], two.layers[0], strict=True))


def test_what_int8_cannot_say_is_refused_when_it_is_fitted() -> None:
    with pytest.raises(ValueError, match=r"int8 says [ab] otherwise than float by .* 0.1 are allowed"):
        reconstruction.fit(normal(120), ["a", "b"], Settings("network", clip=4000, window=4, span=2))
    with pytest.raises(ValueError, match="27 windows of 4 rows are too few for 2 tags; at least 40"):
        reconstruction.fit(normal(30), ["a", "b"], Settings("network", window=4))


def test_a_network_that_is_not_the_one_it_was_is_refused(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = json.loads((copy / "h.json").read_text())["network"]
    monkeypatch.setattr(reconstruction.proof, "WITHIN", 0.0)
    with pytest.raises(ModelRefused, match="did not answer"):
        load(copy / "h.json", CONFIG)
    monkeypatch.undo()
    change(copy, said=said["given"])
    with pytest.raises(ModelRefused, match=r"off by .* steps of what it said"):
        load(copy / "h.json", CONFIG)
    change(copy, said=said["said"], sha256="0" * 64)
    with pytest.raises(ModelRefused, match=r"h.tflite is not the file that h.json names"):
        load(copy / "h.json", CONFIG)
    (copy / "h.tflite").unlink()
    with pytest.raises(ModelRefused, match=r"there is no .*h.tflite"):
        load(copy / "h.json", CONFIG)
    change(copy, spread=[1, 1, 0])
    with pytest.raises(LinesideError, match="a damaged network"):
        load(copy / "h.json", CONFIG)
    document = json.loads((copy / "h.json").read_text())
    (copy / "h.json").write_text(json.dumps({k: v for k, v in document.items() if k != "network"}))
    with pytest.raises(LinesideError, match="it holds no network"):
        load(copy / "h.json", CONFIG)


def test_a_network_that_nobody_trained_is_refused_with_what_to_do() -> None:
    with pytest.raises(ValidationError, match=r"trained by `lineside fit`; say `baseline: NAME\.json`"):
        AnomalyConfig(stage="anomaly", tags=TAGS, method="network")
