"""Stored parts as a COCO file and back, and the choice of what is worth a look."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge import Event, LinesideError
from edge.cli import main
from models.quality.choice import DAY, choose
from models.quality.coco import Labelled, file_of, truth_of
from models.quality.ledger import Part, parts_of
from models.vision.coco import CocoPairs, pairs_in, read
from models.vision.dataset import Export
from tests.models.stored import T0, board, journal, judged, last_json, loaded, recipe_file, review, site_with

CROWD = """{{"images": [{{"id": 1, "file_name": "x.png", "template": "t"}}], "categories": [{{"id": 1, "name": "spur"}}],
"annotations": [{{"image_id": 1, "category_id": 1, "bbox": [{box}], "iscrowd": 1}}]}}"""
BOX = (10.0, 20.0, 30.0, 26.0, "spur", 0.9)


def labelled(*boxes: Any, truth: str = "", found: str = "", number: int = 1) -> Labelled:
    part = Part(f"i{number}", "aoi", number, 5, "ng", truth=truth, found=found, by="anna" if truth else "")
    return Labelled(part, "top", f"pictures/{number}.png", "templates/t.png", (64, 80), boxes)


@pytest.mark.parametrize(
    ("shown", "drawn", "wanted"),
    [
        (labelled(BOX, truth="ok"), 1, ([], True)),
        (labelled(BOX, truth="ng"), 1, ([BOX], True)),
        (labelled(BOX, truth="ng", found="open"), 1, ([(*BOX[:4], "open", 0.9)], True)),
        (labelled(BOX, BOX, truth="ng", found="open"), 2, ([BOX, BOX], False)),
        (labelled(BOX, BOX, truth="ng", found="spur"), 2, ([BOX, BOX], True)),
        (labelled(truth="ng"), 0, ([], False)),
        (labelled(BOX), 1, ([BOX], False)),
    ],
)
def test_what_a_person_said_holds_over_what_the_station_drew(shown: Labelled, drawn: int, wanted: Any) -> None:
    assert truth_of(shown, drawn) == wanted


def test_numbers_stay_when_parts_come_again_and_more_come() -> None:
    first = file_of([labelled(BOX, truth="ng")], ["open", "spur"])
    assert [kind["name"] for kind in first["categories"]] == ["open", "spur"]
    assert first["annotations"][0]["bbox"] == [10.0, 20.0, 20.0, 6.0] and first["annotations"][0]["area"] == 120
    more = file_of([labelled((*BOX[:4], "burr", 0.5), number=2)], ["spur", "short", "open"], first)
    assert [(kind["id"], kind["name"]) for kind in more["categories"]] == [
        (1, "open"),
        (2, "spur"),
        (3, "short"),
        (4, "burr"),
    ]
    assert first["images"][0] in more["images"] and first["annotations"][0] in more["annotations"]
    again = file_of([labelled(BOX, truth="ok")], [], more)
    assert len(again["images"]) == 2 and [n["category_id"] for n in again["annotations"]] == [4], "anna took it back"
    assert all(0 < image["id"] < 2**53 for image in again["images"])


def test_reviewed_parts_go_out_and_come_back_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    then = recipe_file(tmp_path / "then.yaml")
    parts = [judged(loaded(then), n, board(blot)) for n, blot in enumerate([0, 3, 6, 0, 3])]
    state = journal(
        tmp_path, parts, [review(0, "ok"), review(1, "ng", "spur"), review(2, "ng"), review(3, "ng"), review(4, "ok")]
    )
    out = tmp_path / "set"
    words = ["model", "dataset", str(site_with(tmp_path, "then.yaml")), "--state", str(state), "--out", str(out)]
    assert main([*words, "--json"]) == 0
    told = last_json(capsys.readouterr().out)
    assert (told["images"], told["annotations"], told["whole"], told["left_out"]) == (5, 2, 4, {})
    first = (out / "annotations.json").read_bytes()
    assert main(words) == 0 and (out / "annotations.json").read_bytes() == first
    assert "pictures 5, boxes 2, labels 2" in capsys.readouterr().out

    pairs = CocoPairs(out, "")
    assert len(pairs) == 4 and len(pairs.missing) == 1, "of part 3 nobody drew where it is bad"
    by_part = {image["file_name"]: image["part"] for image in json.loads(first)["images"]}
    found = {by_part[pair.id]: pair for pair in pairs}
    assert {number: pair.types for number, pair in found.items()} == {0: [], 1: ["spur"], 2: ["differs"], 4: []}
    x0, y0, x1, y1 = parts[1][0].data["boxes"][0][:4]
    said = [x0 - 8, y0 - 4, x1 - 8, y1 - 4]  # in the region that was judged
    assert found[1].boxes.tolist() == [said] and found[1].part.shape == found[1].template.shape == (56, 64)
    x0, y0, x1, y1 = said
    differs = np.abs(found[1].part.astype(int) - found[1].template) > 128
    assert differs[y0:y1, x0:x1].any() and not np.delete(differs, np.s_[y0:y1], axis=0).any()
    both = {part: set(CocoPairs(out, part).ids) for part in ("test", "trainval")}
    assert both["test"] | both["trainval"] == set(pairs.ids) and not both["test"] & both["trainval"]


def test_parts_whose_recipe_is_gone_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    then = recipe_file(tmp_path / "then.yaml")
    state = journal(tmp_path, [judged(loaded(then), 1, board())], [review(1, "ok")])
    words = ["model", "dataset", str(tmp_path / "site.yaml"), "--state", str(state), "--out", str(tmp_path / "set")]
    assert main(words) == 0
    assert "left out, the recipe that judged it is not here (`--recipe FILE`): 1" in capsys.readouterr().out
    assert main([*words, "--recipe", str(then)]) == 0 and "pictures 1," in capsys.readouterr().out
    assert main(words[:-2]) == 2 and "say where to" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "Invalid JSON"),
        ('{"images": [{"id": 1}]}', "images.0.file_name: Field required"),
        (CROWD.format(box="1, 2, 3, 4"), "no picture of the part"),
        (CROWD.format(box="1, 2, 3e300, 4"), "annotations.0.bbox.2: Input should be less than"),
        ("[" * 100_000, "Invalid JSON"),
        ('{"images": [], "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}]}', "category_id"),
        ('{"images": [{"id": 1, "file_name": "a.png"}]}', "an image needs `template`"),
        ('{"images": [{"id": 1, "file_name": "../x.png", "template": "t"}]}', "outside of its folder"),
        ('{"images": [{"id": 1, "file_name": "x.png", "template": "t"}]}', "cannot read"),
        ('{"images": [{"id": 1, "file_name": "annotations.json", "template": "t"}]}', "is no picture"),
        ('{"images": [{"id": 1, "file_name": "a\\u0000", "template": "t"}]}', "cannot read the picture"),
        (
            '{"images": [{"id": "1", "file_name": "a", "template": "t"}]}',
            "images.0.id: Input should be a valid integer",
        ),
    ],
)
def test_files_that_cannot_be_used(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "annotations.json").write_text(text)
    with pytest.raises(LinesideError) as refused:
        list(pairs_in(tmp_path, ""))
    assert words in f"{refused.value} {refused.value.hint}"


def test_a_file_of_another_program_is_read(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), board(3))
    cv2.imwrite(str(tmp_path / "good.png"), board())
    said = {
        "info": {"year": 2026},
        "images": [{"id": 7, "file_name": "a.png", "width": 80, "height": 64, "template": "good.png", "license": 1}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [1.5, 2, 3, 4], "segmentation": []}],
        "categories": [{"id": 3, "name": "毛刺", "supercategory": "x"}],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(said))
    (pair,) = pairs_in(tmp_path, "")
    assert pair.types == ["毛刺"] and pair.boxes.tolist() == [[1.5, 2.0, 4.5, 6.0]]
    assert read(tmp_path / "annotations.json").images[0].whole


def test_a_film_is_no_picture_to_learn_from(tmp_path: Path) -> None:
    recipe = loaded(recipe_file(tmp_path / "then.yaml"))
    event, pictures = judged(recipe, 1, board(3))
    film = replace(recipe, views={"top": replace(recipe.views["top"], lasts=1.0)})
    export = Export(tmp_path / "set", {recipe.digest: film}, {p.digest: p.body for p in pictures}.get)
    told = export([(event, parts_of([event])[0])])
    assert told["images"] == 0 and told["left_out"] == {"top was a film, of which one picture is kept": 1}


def part(number: int, state: str, score: float, day: int = 0, other: str = "") -> Event:
    findings = {"top.a": [state, score]} | ({"top.b": [other, 0.0]} if other else {})
    data = {"findings": findings, "digest": "d", "part": number}
    return Event("inspection", "aoi", state, T0 + day * DAY + number, data=data, id=f"i{number}")


def test_what_is_worth_a_look_by_turns_and_within_the_days_budget() -> None:
    events = [part(n, "ok", 0.001 * n) for n in range(40)] + [part(100 + n, "ng", 0.5 + 0.01 * n) for n in range(20)]
    events += [part(200 + n, "recheck", 0.3) for n in range(9)] + [part(300, "ng", 0.9, other="ok")]
    events += [part(400 + n, "recheck", 0.3, day=1) for n in range(3)]

    def chosen(budget: int, **more: Any) -> list[tuple[str, str]]:
        return [(one.id, one.why) for one in choose(events, lambda event: 100, budget, **more)]

    found = chosen(600, shadowed={"i7"})
    assert found[:6] == [
        ("i7", "shadow"),
        ("i200", "doubt"),
        ("i300", "tools"),
        ("i39", "near"),
        ("i201", "doubt"),
        ("i100", "near"),
    ]
    assert [which for which, _ in found[6:]] == ["i400", "i401", "i402"], "each day has its own budget"
    assert chosen(600, shadowed={"i7"}) == found
    assert ("i39", "near") not in chosen(600, known={"i39"}) and chosen(99) == []
    assert not choose(events, lambda event: None, 600), "what is not kept cannot be sent"
    odd = replace(events[0], id="odd", data={"findings": {"top.a": ["ok", None]}})
    assert [c.id for c in choose([*events[1:], odd], lambda event: 100, 600)][:2] == ["i200", "i300"]
    assert len(choose(events, lambda event: 100, 10**9)) < 40, "parts that tell nothing new are not chosen"


def test_the_hardest_parts_are_listed_with_their_reasons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    then = recipe_file(tmp_path / "then.yaml")
    odd = np.full((64, 80, 3), 20, np.uint8)  # no such part: the tool cannot judge it
    state = journal(tmp_path, [judged(loaded(then), n, odd if n == 2 else board()) for n in range(4)])
    words = ["model", "dataset", str(tmp_path / "site.yaml"), "--state", str(state), "--hardest"]
    assert main([*words, "1MB"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert "aoi part 2: its verdict was a doubt, RECHECK" in line
    assert main([*words, "5 apples"]) == 2 and "'5 apples'" in capsys.readouterr().err
