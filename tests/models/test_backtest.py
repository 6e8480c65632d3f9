"""Stored parts judged again: what the recipe changes is told from what the stored picture changes, and from what nobody knows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge.cli import main
from models.quality.calls import Call, compare
from models.quality.ledger import Part
from tests.models.stored import board, journal, judged, last_json, loaded, recipe_file, review, site_with


def call(number: int, said: str, now: str, again: str | None, truth: str = "") -> Call:
    return Call(Part(f"i{number}", "aoi", number, number, said, truth=truth), now, again)


def test_what_the_stored_picture_changes_is_no_change_of_the_recipe() -> None:
    calls = [call(1, "ok", "ng", "ok", "ng"), call(2, "ok", "ng", "ng", "ok"), call(3, "ng", "ok", None, "ok")]
    told = compare([*calls, call(4, "ok", "ok", "ok", "ok")], 0.004)
    assert told["changes"] == {"ng->ok": 1, "ok->ng": 1} and (told["unlike"], told["untried"]) == (1, 1)
    assert (told["before"]["escapes"].found, told["before"]["escapes"].of) == (1, 2)
    assert (told["after"]["escapes"].found, told["after"]["escapes"].of) == (0, 2)
    assert (told["before"]["false_calls"].found, told["after"]["false_calls"].found) == (1, 0)


def test_a_threshold_is_tried_on_what_the_journal_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    then, now = recipe_file(tmp_path / "then.yaml"), recipe_file(tmp_path / "now.yaml", area=60)
    parts = [judged(loaded(then), n, board(blot)) for n, blot in enumerate([0, 3, 6, 0, 3, 0])]
    unlike, pictures = parts[5]
    parts[5] = replace(unlike, state="ng"), pictures  # as where the JPEG of a part no longer shows what the camera saw
    parts.append(judged(loaded(then), 6, board(), keep="ng"))
    assert [event.state for event, _ in parts] == ["ok", "ng", "ng", "ok", "ng", "ng", "ok"]
    state = journal(
        tmp_path, parts, [review(1, "ok"), review(2, "ng", "short"), review(4, "ng", "spur"), review(0, "ok")]
    )
    words = ["backtest", str(site_with(tmp_path, "then.yaml")), "--state", str(state), "--recipe", str(now)]

    assert main([*words, "--json", "--page", str(tmp_path / "page.html")]) == 0
    told = last_json(capsys.readouterr().out)
    assert told["parts"] == 7 and told["compared"] == 5 and told["not_judged"] == {"no picture of top is kept": 1}
    assert told["changes"] == {"ng->ok": 2} and (told["unlike"], told["untried"]) == (1, 0)
    assert [(c["part"], c["said"], c["again"], c["now"], c["truth"]) for c in told["changed"]] == [
        (1, "ng", "ng", "ok", "ok"),
        (4, "ng", "ng", "ok", "ng"),
    ]
    assert [c["part"] for c in told["differ_as_stored"]] == [5]
    assert [told[when]["escapes"]["found"] for when in ("before", "after")] == [0, 1]
    assert [told[when]["false_calls"]["found"] for when in ("before", "after")] == [1, 0]
    assert told["after"]["escapes"]["of"] == 3 and told["after"]["escapes"]["below"] == pytest.approx(0.8647, abs=1e-4)

    html = (tmp_path / "page.html").read_text()
    assert html.count("<figure>") == 4 and "Part 4 of aoi: NG becomes OK; anna found it NG spur" in html
    assert "differs" in html and "<script" not in html

    assert main(words) == 0
    out = capsys.readouterr().out
    assert "calls that change: 2 NG -> OK" in out and "1 left out: the recipe of then says something else" in out
    assert "after   escapes:     1 of 3 audited parts that were called OK: below 86.465% at 95%" in out


def test_where_the_recipe_of_then_is_gone_nobody_can_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    then, now = recipe_file(tmp_path / "then.yaml"), recipe_file(tmp_path / "now.yaml", area=60)
    state = journal(tmp_path, [judged(loaded(then), n, board(3)) for n in range(2)])
    words = ["backtest", str(tmp_path / "site.yaml"), "--state", str(state), "--recipe", str(now)]
    assert main(words) == 0
    assert "2 of which nobody can tell: the recipe of then is not here (`--before FILE`)" in capsys.readouterr().out
    assert main([*words, "--before", str(then), "--json"]) == 0
    assert last_json(capsys.readouterr().out)["untried"] == 0


def test_faults_of_the_person(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    then = recipe_file(tmp_path / "then.yaml")
    state = journal(tmp_path, [judged(loaded(then), 1, board())])
    words = ["backtest", str(tmp_path / "site.yaml"), "--state", str(state)]
    assert main([*words, "--recipe", str(then), "--of", "board B"]) == 2
    assert "`--of NAME` takes those of another: board A" in capsys.readouterr().err
    then.write_text("recipe: x\nviews: {}\n")
    assert main([*words, "--recipe", str(then)]) == 2
    assert "then.yaml:2:" in capsys.readouterr().err
