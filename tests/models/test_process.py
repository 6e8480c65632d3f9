"""Hours out of the ordinary and the lengths that a process holds, from the records of parts alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge import Event
from edge.cli import main
from models.quality.ledger import Part
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
    assert main([*words, "--json", "--lot", "3h"]) == 0
    told = last_json(capsys.readouterr().out)
    assert told["odd_lots"] == [] and told["lengths"][0]["can"]["cpk"] is None
    assert main([*words, "--lot", "soon"]) == 2 and "'soon'" in capsys.readouterr().err
