"""Recipes that are well formed and could judge no part, or not as they read: they are refused before a part comes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from models.vision.recipe import Recipe, Refused, load

VIEW = "recipe: a\nviews:\n  top:\n    camera: cam\n    size: [120, 160]\n"
BLOBS = "    tools: {d: {tool: blob, level: 9}, l: {tool: blob, level: 200, lighter: true}}\nrules:\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    board = np.full((120, 160), 230, np.uint8)
    cv2.line(board, (40, 10), (40, 110), 20, 6)
    cv2.imwrite(str(tmp_path / "thing.png"), board[20:60, 20:60])
    inner = np.zeros((120, 160), np.uint8)
    cv2.circle(inner, (80, 60), 30, 255, -1, cv2.LINE_AA)
    for name, mask in {"inner": inner, "black": inner * 0, "ones": inner // 255, "grey": inner // 2}.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), mask)
    cv2.imwrite(str(tmp_path / "inner.jpg"), inner, [cv2.IMWRITE_JPEG_QUALITY, 50])
    return tmp_path


def said(folder: Path, text: str) -> str:
    (folder / "a.yaml").write_text(text)
    found = load(folder / "a.yaml")
    return " | ".join(found.faults).replace(f"{folder}/", "") if isinstance(found, Refused) else ""


@pytest.mark.parametrize(
    ("rest", "place", "words"),
    [
        ("tools: {a: {tool: presence, picture: thing.png}}", "", ""),
        (
            "region: [0, 0, 160, 39]\n    tools: {a: {tool: presence, picture: thing.png}}",
            "tools.a",
            "thing.png is 40 x 40",
        ),
        (
            "region: [0, 0, 39, 120]\n    tools: {a: {tool: count, picture: thing.png, least: 1, most: 1}}",
            "tools.a",
            "what is judged 39 x 120",
        ),
        ("tools: {a: {tool: edge, unit: mm, least: 1}}", "tools.a", "the view does not say `mm:`"),
        ("mm: 0.1\n    tools: {a: {tool: edge, unit: mm, least: 1}}", "", ""),
        ("tools: {a: {tool: caliper, unit: mm, least: 1}}", "tools.a", "the view does not say `mm:`"),
        ("tools: {a: {tool: classify, model: washer}}", "tools.a", "the model wants 240 x 240"),
        (
            "tools: {a: {tool: blob, level: 9}}\n    shadow: {a: {tool: classify, model: washer}}",
            "shadow.a",
            "what is judged is 160 x 120",
        ),
        (
            "lasts: 1s\n    tools: {a: {tool: lamps, lamps: {low: {at: [155, 0, 9, 9], on: []}}}}",
            "tools.a",
            "the lamp low lies outside of the picture of 160 x 120",
        ),
        (
            "lasts: 1s\n    tools: {a: {tool: lamps, lamps: {low: {at: [0, 0, 9, 9], on: [[1s, 2s]]}}}}",
            "tools.a",
            "low has to be lit from 1.1 s on, and the view `lasts` 1 s",
        ),
        (
            "lasts: 1s\n    tools: {a: {tool: lamps, lamps: {low: {at: [0, 0, 9, 9], on: [[0.2s, 0.95s]]}}}}",
            "tools.a",
            "low has to be dark from 1.05 s on",
        ),
        ("lasts: 1s\n    tools: {a: {tool: lamps, lamps: {low: {at: [0, 0, 9, 9], on: [[0.2s, 0.8s]]}}}}", "", ""),
        ("mask: inner.png\n    tools: {a: {tool: blob, level: 9}}", "", ""),
        ("mask: inner.jpg\n    tools: {a: {tool: blob, level: 9}}", "", ""),
        ("mask: black.png\n    tools: {a: {tool: blob, level: 9}}", "mask", "black all over"),
        ("mask: ones.png\n    tools: {a: {tool: blob, level: 9}}", "mask", "black is not judged and white is"),
        ("mask: grey.png\n    tools: {a: {tool: blob, level: 9}}", "mask", "neither black nor white"),
        (
            "region: [0, 0, 30, 30]\n    mask: inner.png\n    tools: {a: {tool: blob, level: 9}}",
            "mask",
            "nothing is judged",
        ),
    ],
)
def test_a_view_that_could_judge_no_part_is_refused(folder: Path, rest: str, place: str, words: str) -> None:
    found = said(folder, f"{VIEW}    {rest}\n")
    assert words in found if words else not found
    assert f"views.top.{place}" in found or not place


def test_what_is_left_of_black_in_a_mask_saved_as_jpeg_is_not_judged(folder: Path) -> None:
    (folder / "a.yaml").write_text(f"{VIEW}    mask: inner.jpg\n    tools: {{a: {{tool: blob, level: 128}}}}\n")
    found = load(folder / "a.yaml")
    assert isinstance(found, Recipe)
    image = np.full((120, 160), 230, np.uint8)
    image[:30] = 0
    near = cv2.imread(str(folder / "inner.jpg"), cv2.IMREAD_GRAYSCALE)
    assert near is not None and (near[:30] > 0).any()
    assert found.views["top"](image).findings["a"].state == "ok"
    image[60:70, 80:90] = 0
    assert found.views["top"](image).findings["a"].state == "ng"


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (
            ["label: [dark], then: ok", "label: [dark], longer_px: 50, then: ng"],
            "line 8 holds for all of it, and says ok",
        ),
        (["label: [dark], longer_px: 50, then: ng", "label: [dark], then: ok"], ""),
        (["label: [dark, light], then: ok", "label: [dark], view: top, then: ng"], "rules.1: is never asked"),
        (["label: [dark], then: ok", "label: [dark, light], then: ng"], ""),
        (["label: [dark], then: ok", "score_above: 0.5, then: ng"], ""),
        (
            ["score_above: 0.5, then: ok", "label: [dark], score_above: 0.6, then: ng"],
            "put the narrower one before it",
        ),
        (["score_above: 0.5, then: ok", "label: [dark], score_above: 0.4, then: ng"], ""),
        (["shorter_px: 9, then: ok", "label: [dark], then: ng"], ""),
        (["inside: [0, 0, 50, 50], then: ok", "inside: [10, 10, 40, 40], then: ng"], "rules.1: is never asked"),
        (["inside: [0, 0, 50, 50], then: ok", "inside: [10, 10, 41, 40], then: ng"], ""),
        (["view: top, then: ok", "label: [dark], then: ng"], ""),
        (["label: [dark], then: ok", "label: [dark], longer_px: 50, then: ok"], ""),
        (["longer_px: 10, shorter_px: 10, then: ng"], "no defect has longer_px 10 and shorter_px 10"),
        (["score_above: 0.9, score_below: 0.1, then: ok"], "it holds for nothing"),
        (["inside: [320, 0, 9, 9], then: ng"], "rules.0.inside: lies outside of what is judged: top 320 x 240"),
        (["inside: [319, 0, 9, 9], then: ng"], ""),
        (["inside: [0, 0, 0, 9], then: ng"], "rules.0.inside"),
    ],
)
def test_a_rule_that_never_decides_is_refused(folder: Path, rules: list[str], words: str) -> None:
    text = VIEW.replace("[120, 160]", "[240, 320]") + BLOBS
    found = said(folder, text + "".join(f"  - {{{rule}}}\n" for rule in rules))
    assert words in found if words else not found


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("label: [stain], shorter_px: 20, then: ok", "rules.0: asks where or how large 'stain' is"),
        ("label: [stain], inside: [0, 0, 320, 240], then: ok", "its box is the whole view"),
        ("label: [stain], longer_mm: 1, then: ok", "`classify` tells neither"),
        ("label: [stain], score_above: 0.9, then: ok", ""),
        ("label: [stain], then: ok", ""),
        ("label: [dark], shorter_px: 20, then: ok", ""),
        ("shorter_px: 20, then: ok", ""),
    ],
)
def test_a_rule_about_the_place_of_what_a_classifier_says_is_refused(folder: Path, rule: str, words: str) -> None:
    pytest.importorskip("ai_edge_litert", reason="no TFLite engine is installed: make setup brings LiteRT")
    tools = "    mm: 0.1\n    tools: {d: {tool: blob, level: 9}, plate: {tool: classify, model: washer}}\nrules:\n"
    found = said(folder, VIEW.replace("[120, 160]", "[240, 320]") + tools + f"  - {{{rule}}}\n")
    assert words in found if words else not found
