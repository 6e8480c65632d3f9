"""Fast signals whose waveform, bands and damage are known, and the stage that follows them."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from edge import Batch, Job, LinesideError, Quality, Tag, TagTable
from edge.stage import Setting
from models.series import vibration
from models.series.diagnosis import fit
from models.series.fast import Bearing, bands, envelope, prominence, waveform
from models.series.vibration import Vibration, VibrationConfig

RATE = 12_000.0
SKF = Bearing(9, 0.3126 / 1.537)


def sine(hz: float, amplitude: float = 1.0, n: int = 4096) -> np.ndarray:
    return np.asarray(amplitude * np.sin(2 * np.pi * hz * np.arange(n) / RATE))


def damaged(hz: float, n: int = 4096) -> np.ndarray:
    """A resonance of 3 kHz that is struck `hz` times a second, in noise."""
    at = np.arange(n) / RATE
    since = at % (1 / hz)
    return np.asarray(
        np.exp(-since * 900) * np.sin(2 * np.pi * 3000 * since) + np.random.default_rng(1).normal(0, 0.05, n)
    )


def test_a_sine_on_a_line_of_the_spectrum() -> None:
    x = 5 + sine(375, 2.0)
    form = waveform(x)
    assert form["rms"] == pytest.approx(2**0.5, rel=1e-6) and form["peak"] == pytest.approx(2, rel=1e-3)
    assert form["crest"] == pytest.approx(2**0.5, rel=1e-3) and form["kurtosis"] == pytest.approx(1.5, rel=1e-3)
    found = bands(x, RATE, {"low": (0, 200), "at": (300, 450), "high": (1000, 6000)})
    assert found["at"] == pytest.approx(2**0.5, rel=1e-3) and found["low"] < 1e-3 > found["high"]
    still = waveform(np.full(64, 3.0))
    assert still["rms"] == 0 and np.isnan(still["crest"]) and np.isnan(still["kurtosis"])


def test_bands_that_touch_hold_all_the_power_there_is_and_several_blocks_give_each_their_own() -> None:
    x = np.random.default_rng(2).normal(0, [[1.0], [3.0]], (2, 65536))
    found = bands(x, RATE, {"a": (0, 2000), "b": (2000, 6001)})
    np.testing.assert_allclose(np.hypot(found["a"], found["b"]), [1, 3], rtol=0.02)
    np.testing.assert_allclose(waveform(x)["kurtosis"], 3, atol=0.1)


def test_frequencies_of_a_bearing_of_which_the_maker_publishes_them() -> None:
    """6205-2RS JEM SKF: 3.5848, 5.4152, 0.39828 and twice 2.357 times the shaft."""
    found = SKF.frequencies(1.0)
    assert found["outer"] == pytest.approx(3.5848, abs=1e-3) and found["inner"] == pytest.approx(5.4152, abs=1e-3)
    assert found["cage"] == pytest.approx(0.39828, abs=1e-4) and found["ball"] == pytest.approx(4.7135, abs=2e-3)


def test_the_envelope_of_a_modulated_tone_is_what_modulates_it() -> None:
    found = envelope(sine(3000) * (1 + 0.5 * sine(46.875)), RATE, (2000, 4000))
    np.testing.assert_allclose(found, 1 + 0.5 * sine(46.875), atol=0.01)


@pytest.mark.parametrize("part", ["outer", "inner", "ball"])
def test_what_is_struck_stands_out_of_the_envelope_and_nothing_else(part: str) -> None:
    asked = SKF.frequencies(30.0)
    names = ["outer", "inner", "ball"]
    found = prominence(envelope(damaged(asked[part]), RATE, (1500, 6000)), RATE, [asked[name] for name in names])
    assert names[int(np.argmax(found))] == part and np.max(found) > 25
    assert np.sort(found)[-2] < np.max(found) - 10
    noise = np.random.default_rng(3).normal(size=4096)
    assert np.max(prominence(envelope(noise, RATE, (1500, 6000)), RATE, [asked[name] for name in names])) < 10


def test_a_frequency_that_a_block_cannot_hold_is_not_answered() -> None:
    found = prominence(np.random.default_rng(1).normal(size=4096), RATE, [5.0, 100.0, 5900.0])
    assert np.isnan(found).tolist() == [True, False, True]


def test_a_diagnosis_tells_classes_that_lie_apart() -> None:
    rng = np.random.default_rng(5)
    centre = {"ball": [0, 0, 0], "inner": [3, 0, 0], "outer": [0, 3, 0]}
    labels = [name for name in centre for _ in range(40)]
    known, asked = (np.array([centre[name] for name in labels]) + rng.normal(0, 0.7, (120, 3)) for _ in range(2))
    model = fit(known, labels)
    odds = model(asked)
    np.testing.assert_allclose(odds.sum(axis=1), 1)
    assert np.mean(np.array(model.labels)[odds.argmax(axis=1)] == labels) > 0.9
    with pytest.raises(ValueError, match="two classes"):
        fit(known[:40], labels[:40])


# The stage

BEARING = {"balls": 9, "ratio": 0.2034}


def stage(**options: Any) -> Vibration:
    given = {"tag": "v.x", "rate": RATE, "block": 2048, "bearing": BEARING, "speed": 1800.0, **options}
    config = VibrationConfig(stage="vibration", **given)
    made = [f"h.{name}" for name in config.points()]
    names = ["v.x", "v.rpm", *made]
    return Vibration(config, Setting("h", TagTable([Tag(name, i) for i, name in enumerate(names, 1)]), Path(".")))


def block(x: np.ndarray, first: int = 0, quality: Any = 0) -> Batch:
    ts = np.round((first + np.arange(len(x))) * 1e9 / RATE).astype(np.int64)
    return Batch.of("v", np.full(len(x), 1), x, ts, np.full(len(x), quality))


def told(one: Vibration, *batches: Batch) -> list[dict[str, float]]:
    out = [made for batch in batches for made in one(batch) if len(made) > 1]
    return [dict(zip(one.config.points(), made.value.tolist(), strict=True)) for made in out]


def test_a_block_is_judged_when_it_is_full_however_it_comes() -> None:
    x = damaged(SKF.frequencies(30.0)["inner"], 5000)
    whole = told(stage(bands={"low": (10, 1000)}), block(x))
    pieces = told(stage(bands={"low": (10, 1000)}), *(block(x[at : at + 700], at) for at in range(0, 5000, 700)))
    assert len(whole) == 2
    for a, b in zip(whole, pieces, strict=True):
        np.testing.assert_equal(a, b)
    assert whole[0]["inner"] > 20 > max(whole[0]["outer"], whole[0]["ball"]) and whole[0]["rms"] == pytest.approx(
        x[:2048].std()
    )
    assert whole[0]["low"] < 0.2 * whole[0]["rms"]
    (last,) = list(stage()(block(x[:2048])))
    assert last.ts[0] == round(2047e9 / RATE) and set(last.quality[:4]) == {Quality.GOOD}


def test_a_large_block_is_a_job_for_the_pool_and_says_the_same() -> None:
    x = np.random.default_rng(3).normal(size=65_536)
    small, large = stage(block=32_768), stage(block=65_536)
    (one, other), (job,) = small(block(x)), large(block(x))
    assert isinstance(one, Batch) and isinstance(other, Batch) and isinstance(job, Job)
    large(block(np.full(65_536, np.nan), 65_536))  # what comes meanwhile changes nothing
    (made,) = job.run()
    rms = [float(batch.value[0]) for batch in (one, other, made)]
    assert made.ts[0] == other.ts[0] and made.quality[0] == 0
    assert rms[2] ** 2 == pytest.approx((rms[0] ** 2 + rms[1] ** 2) / 2, rel=0.01)


def slipping(hz: float, n: int) -> np.ndarray:
    """Struck as rolling elements do, that slip by a hundredth."""
    rng, rings = np.random.default_rng(3), np.arange(200) / RATE
    at = np.cumsum(RATE / hz * (1 + rng.normal(0, 0.01, round(n * hz / RATE) + 2)))
    x = np.bincount(at[at < n].astype(int), minlength=n).astype(float)
    return np.convolve(x, np.exp(-rings * 900) * np.sin(2 * np.pi * 3000 * rings))[:n]


def test_whitened_it_hears_what_a_tone_drowns() -> None:
    n, hz = 16_384, SKF.frequencies(30.0)
    tone = np.sin(2 * np.pi * 2400 * np.arange(n) / RATE) * (1 + 0.4 * sine(hz["outer"], n=n))
    x = slipping(hz["inner"], n) + 5 * tone + np.random.default_rng(2).normal(0, 0.2, n)
    (drowned,), (heard,) = (told(stage(block=n, whiten=on), block(x)) for on in (False, True))
    assert drowned["outer"] > 15 > drowned["inner"], "a tone that swells is taken for damage"
    assert heard["inner"] > 18 > 15 > max(heard["outer"], heard["ball"])


def test_a_lost_or_bad_sample_begins_a_new_block() -> None:
    x = np.random.default_rng(4).normal(size=6000)
    one = stage()
    assert told(one, block(x[:1000]), block(x[1001:2500], 1001)) == [] and one.dropped == 1000
    (only,) = list(one(block(x[3000:3100], 3000)))
    assert only.value.tolist() == [2499] and len(only.tag) == 1  # where no block is told: what was dropped
    one = stage()
    assert told(one, block(x[:1000]), block(x[1001:2500], 1001)) == []
    assert len(told(one, block(x[2500:3100], 2500))) == 1
    bad = np.zeros(3000, np.uint8)
    bad[1500] = Quality.BAD
    one = stage()
    assert told(one, block(x[:3000], 0, bad)) == [] and len(told(one, block(x[3000:3600], 3000))) == 1


def test_a_block_that_takes_long_to_gather_goes_on_after_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    x, before, again, late = damaged(100, 5000), stage(), stage(), stage()
    whole = told(stage(), block(x))
    told(before, block(x[:3000]))
    assert before.snapshot() is None, "2,048 samples are a moment"
    monkeypatch.setattr(vibration, "WORTH", 0)
    state = before.snapshot()
    assert state is not None
    again.restore(state)
    np.testing.assert_equal(told(again, block(x[3000:], 3000)), whole[1:])
    late.restore(state)
    assert not told(late, block(x[3100:], 3100)) and late.dropped == 3000 - 2048, (
        "what does not follow begins a new one"
    )
    with pytest.raises(ValueError, match=r"it is of v\.x in blocks of 2048 at .* Hz, not of v\.x in blocks of 1024"):
        stage(block=1024).restore(state)
    with pytest.raises(zipfile.BadZipFile):
        stage().restore(state.replace(x[2048:2049].tobytes(), np.array([np.nan]).tobytes()))


def test_the_speed_may_be_a_tag_and_damage_is_unknown_while_that_is_not() -> None:
    x = damaged(SKF.frequencies(25.0)["outer"], 2048)
    one = stage(speed="v.rpm")
    (unknown,) = told(one, block(x))
    assert np.isnan([unknown[name] for name in ("outer", "inner", "ball", "cage")]).all() and unknown["rms"] > 0
    (known,) = told(one, Batch.of("v", [2], [1500.0], 0), block(x, 2048))
    assert known["outer"] > 20 > known["inner"]
    (again,) = told(one, Batch.of("v", [2], [1500.0], 0, Quality.TIMEOUT), block(x, 4096))
    assert np.isnan(again["outer"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bands": {"top": (5000, 7000)}}, "no band below half of the rate, 6000 Hz"),
        ({"bands": {"thin": (100, 105)}}, "lines of a block lie 5.8"),
        ({"bands": {"rms": (10, 1000)}}, "a tag that the stage makes itself"),
        ({"speed": None}, "`bearing` and `speed` belong together"),
        ({"speed": 0.0}, "a shaft that stands"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        stage(**options)


def test_a_tag_that_nobody_has_is_refused() -> None:
    with pytest.raises(LinesideError, match="no tag is called"):
        stage(tag="v.y")
