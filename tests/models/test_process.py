"""Hours out of the ordinary and the lengths that a process holds, from the records of parts alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge import Event
from edge.cli import main
from models.quality.ledger import Part
from models.quality.lots import Lots
from models.quality.process import lengths, odd_lots
from tests.models.stored import journal, last_json

HOUR = 3_600_000_000_000
T0 = 497_000 * HOUR


def parts(*hours: tuple[int, int]) -> list[Part]:
    """(NG, of) of each hour."""
    out = []
    for hour, (ng, of) in enumerate(hours):
        out += [Part(f"{hour}.{n}", "aoi", n, T0 + hour * HOUR + n, "ng" if n < ng else "ok") for n in range(of)]
    return out


def test_an_hour_that_is_out_of_the_ordinary_is_named_with_its_rule() -> None:
    (odd,) = odd_lots(parts((2, 100), (1, 100), (3, 100), (20, 100), (2, 100), (1, 100)), HOUR)
    assert (odd.ts, odd.ng, odd.of, odd.rules) == (T0 + 3 * HOUR, 20, 100, ["1 beyond 3 sigma"])
    assert odd.usual == pytest.approx(29 / 600)
    assert not odd_lots(parts((2, 100), (3, 100), (1, 100), (2, 100)), HOUR)
    assert not odd_lots(parts((2, 100), (3, 100), (3, 4)), HOUR), "three of four parts are no lot"
    assert not odd_lots([], HOUR)


def measured(number: int, width: float, most: float | None = 12.0, **more: Any) -> Event:
    told = {"top.gap": {"tool": "caliper", "unit": "mm", "least": 10.0, "most": most}}
    values = {"top.gap.width_mm": width, "top.gap.width_px": 20 * width, "top.gap.width_least_mm": 1.0} | more
    data = {"part": number, "recipe": "plate", "tools": told, "measured": values}
    return Event("inspection", "aoi", "ok", T0 + number, data=data, id=f"i{number}")


def test_a_length_is_held_against_the_limits_of_its_tool() -> None:
    events = [measured(n, 11 + 0.1 * (-1) ** n) for n in range(40)]
    (length,) = lengths(events)
    assert (length.name, length.low, length.high, length.parts) == ("top.gap.width_mm", 10.0, 12.0, 40)
    assert length.can.cpk == pytest.approx(1 / (3 * 0.2 / 1.128)) and length.can.mean == pytest.approx(11)
    (tighter,) = lengths([*events, measured(41, 11.0, most=11.5), measured(42, 11.2, most=11.5)])
    assert (tighter.high, tighter.parts) == (11.5, 2), "parts under other limits do not count"
    assert not lengths(
        [Event("inspection", "aoi", "ok", data={"tools": 3, "measured": {"a": 1}}), measured(1, 1.0, x="?")][:1]
    )


def test_an_audit_tells_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = [measured(n, 11.0) for n in range(30)]
    events += [
        Event("inspection", "aoi", p.verdict, p.ts, data={"part": 1}, id=f"h{p.id}")
        for p in parts((0, 200), (0, 200), (20, 200))
    ]
    state = journal(tmp_path, [], events)
    words = ["audit", str(tmp_path / "site.yaml"), "--state", str(state)]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "aoi from 2026-09-12T10:00Z: 20 of 200 parts NG, 10.0%, where 3.2% are usual: rule 1 beyond 3 sigma" in out
    assert "aoi top.gap.width_mm: mean 11.000 of 30 parts, limits 10 to 12, Cpk inf, Ppk inf" in out
    assert main([*words, "--json", "--lot", "24h"]) == 0
    told = last_json(capsys.readouterr().out)
    assert told["odd_lots"] == [] and told["lengths"][0]["can"]["cpk"] is None
    assert main([*words, "--lot", "soon"]) == 2 and "'soon'" in capsys.readouterr().err


def day(lots: Lots, first: int, *hours: tuple[int, int]) -> list[Event]:
    """(NG, of) of each hour, from hour `first` on."""
    told: list[Event] = []
    for hour, (ng, of) in enumerate(hours, first):
        told += lots.look(T0 + hour * HOUR)
        for n in range(of):
            lots.part("ng" if n < ng else "recheck" if n % 7 == 0 else "ok")
    return told + list(lots.look(T0 + (first + len(hours)) * HOUR))


def test_an_odd_hour_is_told_once_and_once_that_it_is_over() -> None:
    lots, usual = Lots("aoi", HOUR), [(2, 100), (3, 100), (1, 100), (2, 100)]
    assert not day(lots, 0, *usual, *usual)
    (odd,) = day(lots, 8, (20, 100), (25, 100))
    assert (odd.kind, odd.key, odd.state, odd.severity) == ("station", "aoi", "unusual", "medium")
    assert odd.text.startswith("20 of 100 parts NG, 20.0%, where 4.0% are usual: rule 1 beyond 3 sigma")
    assert odd.data["since"] == T0 + 8 * HOUR and odd.data["rules"] == ["1 beyond 3 sigma"]
    assert not day(lots, 10, (19, 19)), "so few parts end nothing"
    (over,) = day(lots, 11, *usual, *usual, *usual, *usual)
    assert (over.state, over.data["rules"]) == ("usual", []) and over.data["usual"] == pytest.approx(0.02)


def test_the_first_hours_say_what_is_usual_and_are_not_odd() -> None:
    assert not day(Lots("aoi", HOUR), 0, (0, 100), (40, 100), (0, 100))
    assert not day(Lots("aoi", HOUR), 0, *[(0, 100)] * 30, (1, 100), *[(0, 100)] * 30), (
        "one part in a good week is chance"
    )


def test_what_was_told_of_an_hour_survives_a_restart() -> None:
    lots = Lots("aoi", HOUR)
    assert [e.state for e in day(lots, 0, *[(2, 100), (3, 100)] * 5, (30, 100))] == ["unusual"]
    lots.part("ng")
    kept = json.loads(json.dumps(lots.snapshot()))
    assert len(json.dumps(kept)) < 1000 and Lots("aoi", HOUR, kept).snapshot() == lots.snapshot()
    (over,) = day(Lots("aoi", HOUR, kept), 11, (2, 100))
    assert over.state == "usual" and over.data["of"] == 101
    (over,) = day(Lots("aoi", HOUR // 2, kept), 30, (2, 100))
    assert over.state == "usual", "lots of another length know nothing of the old ones, and end what they told"
    assert not day(Lots("aoi", HOUR, kept), 11, (30, 100)), "nothing is told twice"
