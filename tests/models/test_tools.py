"""The tools that measure, count and read, on rendered pictures whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from edge import ConfigFault
from models.vision.rules import Rule, Seen, decide
from models.vision.tools.code import read_codes
from models.vision.tools.contract import Finding, View
from models.vision.tools.table import TOOLS, tool

HERE = Path()


def found(
    name: str, image: np.ndarray, folder: Path = HERE, mask: Any = None, mm: float | None = None, **options: Any
) -> Finding:
    kind = tool(name)
    return kind(kind.Config(tool=name, **options), folder)(View(image, mask=mask, mm=mm))


def noisy(image: np.ndarray, seed: int = 1) -> np.ndarray:
    return np.clip(image + np.random.default_rng(seed).normal(0, 2, image.shape), 0, 255).astype(np.uint8)


def bar(left: float, right: float, width: int = 120, height: int = 40, taper: float = 0) -> np.ndarray:
    """A dark bar on light, its borders anywhere: a pixel is as dark as much of it is covered. It narrows by `taper` downwards."""
    x = np.arange(width)[None]
    end = right - taper * np.linspace(0, 1, height)[:, None]
    covered = np.clip(np.minimum(x + 1, end) - np.maximum(x, left), 0, 1)
    return noisy(cv2.GaussianBlur(200 - 150 * covered, (0, 0), 0.8))


@pytest.mark.parametrize(("left", "right"), [(30.0, 70.0), (30.25, 70.5), (41.7, 88.1), (20.5, 30.0)])
def test_edges_and_widths_are_measured_to_a_twentieth_of_a_pixel(left: float, right: float) -> None:
    image = bar(left, right)
    assert found("caliper", image).measured["width_px"] == pytest.approx(right - left, abs=0.05)
    assert found("edge", image).measured["edge_px"] == pytest.approx(left, abs=0.05)
    assert found("edge", image, to="light").measured["edge_px"] == pytest.approx(right, abs=0.05)
    assert found("edge", image, towards="left").measured["edge_px"] == pytest.approx(120 - right, abs=0.05)
    assert found("edge", image.T, towards="down").measured["edge_px"] == pytest.approx(left, abs=0.05)
    assert found("edge", image.T, towards="up").measured["edge_px"] == pytest.approx(120 - right, abs=0.05)
    assert found("caliper", 255 - image, thing="light").measured["width_px"] == pytest.approx(right - left, abs=0.05)


def test_limits_of_a_width_in_millimetres() -> None:
    image = bar(30, 70)
    ok = found("caliper", image, mm=0.05, unit="mm", least=1.9, most=2.1)
    assert (ok.state, ok.measured["width_mm"]) == ("ok", pytest.approx(2.0, abs=0.003))
    assert found("caliper", image, mm=0.05, unit="mm", most=1.98).text == "width 2.00 mm is above 1.98"
    low = found("caliper", image, mm=0.05, unit="mm", least=2.2)
    assert low.state == "ng" and low.score == pytest.approx(0.2, abs=0.01)
    unknown = found("caliper", image, unit="mm", least=2.2)
    assert unknown.state == "recheck" and "no scale" in unknown.text


def test_strips_see_a_taper_that_the_mean_does_not() -> None:
    image = bar(30, 72, taper=4)
    assert found("caliper", image, least=39.5).state == "ok"
    strips = found("caliper", image, strips=8, least=39.5)
    assert strips.state == "ng" and strips.measured["width_least_px"] == pytest.approx(38.25, abs=0.15)


@pytest.mark.parametrize("name", ["edge", "caliper"])
def test_what_shows_no_edge_is_looked_at_again(name: str) -> None:
    flat = noisy(np.full((40, 120), 90.0))
    assert found(name, flat).state == found(name, flat[:1, :2]).state == "recheck"
    mask = np.zeros((40, 120), np.uint8)
    mask[:, ::4] = 255
    assert found(name, bar(30, 70), mask=mask).state == "recheck"


def test_a_mask_hides_an_edge() -> None:
    mask = np.full((40, 120), 255, np.uint8)
    mask[:, :50] = 0
    assert found("edge", bar(30, 70), mask=mask).measured["edge_px"] == pytest.approx(70, abs=0.05)


def spots(*places: tuple[int, int, int], level: int = 30) -> np.ndarray:
    image = np.full((120, 160), 200, np.uint8)
    for x, y, side in places:
        image[y : y + side, x : x + side] = level
    return image


def test_blobs_are_told_by_their_size() -> None:
    image = spots((10, 10, 5), (50, 40, 10), (100, 80, 3))
    one = found("blob", image, level=100, mm=0.1)
    assert (one.state, one.measured["blobs"], one.measured["area_px"], one.measured["largest_px"]) == (
        "ng",
        2,
        125,
        100,
    )
    assert one.measured["area_mm2"] == pytest.approx(1.25) and (50, 40, 60, 50, "dark", 100.0) in one.boxes
    assert found("blob", image, level=100, largest=50, most=1).state == "ok"
    assert found("blob", image, level=100, area=5, least=3, most=3).state == "ok"
    assert found("blob", 255 - image, level=150, lighter=True).measured["blobs"] == 2
    assert (
        found("blob", spots(), level=100).state == "ok"
        and found("blob", spots(), level=100, least=1, most=1).state == "ng"
    )
    mask = np.zeros((120, 160), np.uint8)
    mask[:30] = 255
    assert found("blob", image, level=100, mask=mask).measured["blobs"] == 1


def test_a_colour_is_told_by_its_share() -> None:
    image = np.empty((50, 100, 3), np.uint8)
    image[:, :30], image[:, 30:] = (30, 40, 200), (200, 60, 30)  # red, blue as blue, green, red
    red = found("colour", image, colour="#c8281e", least=0.25, most=0.35)
    assert (red.state, red.measured["share"]) == ("ok", pytest.approx(0.3))
    assert found("colour", image, colour="#c8281e").text == "30.0% has the colour #c8281e; 50% to 100% wanted"
    assert found("colour", image[:, :30], colour="#1e28c8").state == "ng"
    mask = np.zeros((50, 100), np.uint8)
    mask[:, :30] = 1
    assert found("colour", image, colour="#c8281e", mask=mask).measured["share"] == 1
    assert found("colour", image[:, :, 0], colour="#c8281e").text == "the picture has no colours"


def screw() -> np.ndarray:
    image = np.full((24, 24), 120, np.uint8)
    cv2.circle(image, (12, 12), 9, 220, -1, cv2.LINE_AA)
    cv2.line(image, (6, 12), (18, 12), 40, 3)
    return image


def plate(*places: tuple[int, int], faint: float = 1.0) -> np.ndarray:
    image = np.full((150, 200), 120.0)
    for x, y in places:
        image[y : y + 24, x : x + 24] = 120 + faint * (screw().astype(float) - 120)
    return noisy(image)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    cv2.imwrite(str(tmp_path / "screw.png"), screw())
    return tmp_path


def test_things_are_counted(folder: Path) -> None:
    four = plate((10, 10), (100, 20), (60, 90), (150, 110))
    got = found("count", four, folder, picture="screw.png", least=4, most=4)
    assert (got.state, got.text, got.measured["count"]) == ("ok", "4 counted", 4)
    assert {box[:2] for box in got.boxes} == {(10, 10), (100, 20), (60, 90), (150, 110)}
    assert found("count", four, folder, picture="screw.png", least=5, most=6).text == "4 counted; 5 to 6 wanted"
    assert found("count", four, folder, picture="screw.png", least=0, most=3).state == "ng"
    faint = plate((10, 10), (60, 90))
    faint[:, 100:] = plate((150, 20), faint=0.04)[:, 100:]
    doubtful = found("count", faint, folder, picture="screw.png", least=3, most=3, doubt=0.5)
    assert (doubtful.state, doubtful.text) == ("recheck", "2 and 1 doubtful counted; 3 wanted")
    assert found("count", four[:20, :20], folder, picture="screw.png", least=1, most=1).state == "recheck"


def test_a_thing_is_there_or_rightly_absent(folder: Path) -> None:
    there, none = plate((60, 90)), plate()
    got = found("presence", there, folder, picture="screw.png")
    assert (got.state, got.measured["x_px"], got.measured["y_px"]) == ("ok", 72, 102)
    assert found("presence", none, folder, picture="screw.png").text.startswith("screw is absent")
    assert found("presence", none, folder, picture="screw.png", wanted="absent").state == "ok"
    assert found("presence", there, folder, picture="screw.png", wanted="absent").state == "ng"
    mask = np.full(there.shape, 255, np.uint8)
    mask[80:, 40:] = 0
    assert found("presence", there, folder, mask=mask, picture="screw.png").state == "ng"
    faint = found("presence", plate((60, 90), faint=0.04), folder, picture="screw.png")
    assert faint.state == "recheck" and "not sure" in faint.text


@pytest.mark.parametrize("rule", [Rule(shorter_px=1000, then="ok"), Rule(label=["one", "dark", "doubtful"], then="ok")])
def test_no_rule_makes_a_missing_thing_ok(folder: Path, rule: Rule) -> None:
    def state(finding: Finding) -> str:
        assert finding.boxes, "a rule is about boxes"
        return decide([Seen("top", {"tool": finding})], [rule]).state

    two, faint = plate((10, 10), (100, 20)), plate((60, 90), faint=0.04)
    assert state(found("count", two, folder, picture="screw.png", least=3, most=3)) == "ng"
    both = np.hstack([two, faint])
    assert state(found("count", both, folder, picture="screw.png", least=3, most=3, doubt=0.5)) == "recheck"
    assert state(found("presence", faint, folder, picture="screw.png")) == "recheck"
    assert state(found("blob", spots((50, 40, 10)), level=100, least=2, most=2)) == "ng"


def test_a_rule_may_allow_what_is_too_much(folder: Path) -> None:
    rules = [Rule(shorter_px=30, then="ok")]
    more = found("count", plate((10, 10), (100, 20)), folder, picture="screw.png", least=0, most=1)
    thing = found("presence", plate((60, 90)), folder, picture="screw.png", wanted="absent")
    speck = found("blob", spots((50, 40, 10)), level=100)
    for finding in (more, thing, speck):
        assert (finding.state, decide([Seen("top", {"tool": finding})], rules).state) == ("ng", "ok")


@pytest.mark.parametrize(("name", "options"), [("count", {"least": 1, "most": 1}), ("presence", {})])
def test_a_picture_to_look_for_is_needed(folder: Path, name: str, options: dict[str, Any]) -> None:
    (folder / "broken.png").write_bytes(b"\x89PNG")
    cv2.imwrite(str(folder / "flat.png"), np.full((20, 20), 90, np.uint8))
    for picture, why in (
        ("none.png", "is no picture"),
        ("broken.png", "is no picture of"),
        ("flat.png", "one grey only"),
    ):
        with pytest.raises(ConfigFault, match=why):
            found(name, plate(), folder, picture=picture, **options)


def qr(text: str) -> np.ndarray:
    code = np.asarray(cv2.QRCodeEncoder.create().encode(text))
    return cv2.copyMakeBorder(
        cv2.resize(code, None, fx=5, fy=5, interpolation=cv2.INTER_NEAREST),
        25,
        25,
        25,
        25,
        cv2.BORDER_CONSTANT,
        value=255,
    )


def ean13(digits: str, pixels: int) -> np.ndarray:
    """Of twelve digits; the last one is worked out. By GS1's tables."""
    left = [
        "0001101",
        "0011001",
        "0010011",
        "0111101",
        "0100011",
        "0110001",
        "0101111",
        "0111011",
        "0110111",
        "0001011",
    ]
    parity = ["LLLLLL", "LLGLGG", "LLGGLG", "LLGGGL", "LGLLGG", "LGGLLG", "LGGGLL", "LGLGLG", "LGLGGL", "LGGLGL"]
    right = [code.translate(str.maketrans("01", "10")) for code in left]
    number = [int(c) for c in digits]
    number.append((-sum(number[::2]) - 3 * sum(number[1::2])) % 10)
    first = "".join(
        (left if k == "L" else [r[::-1] for r in right])[n] for k, n in zip(parity[number[0]], number[1:7], strict=True)
    )
    bits = f"101{first}01010{''.join(right[n] for n in number[7:])}101"
    row = np.repeat(np.array([0 if bit == "1" else 255 for bit in bits], np.uint8), pixels)
    return cv2.copyMakeBorder(np.repeat(row[None], 150, axis=0), 60, 60, 60, 60, cv2.BORDER_CONSTANT, value=255)


def test_codes_are_read() -> None:
    one = noisy(qr("PART-48213"))
    assert found("code", one, kind="qr", expect="PART-?????").text == "PART-48213"
    assert found("code", one, expect="LOT-*").text == "it says PART-48213; LOT-* is wanted"
    label = noisy(qr("[)>06P48213"))
    assert found("code", label, expect="[)>06P*").state == found("code", label, expect="[*").state == "ok"
    assert found("code", label, expect="[[]*").state == "ng", "brackets are brackets"
    assert found("code", noisy(np.full((200, 200), 128.0))).text == "no code can be read"
    assert found("code", one, kind="barcode").state == "recheck"
    both = np.hstack([one, cv2.resize(noisy(qr("PART-48214")), one.shape[::-1])])
    several = found("code", both)
    assert several.text == "several codes may be meant: PART-48213, PART-48214" and several.firm
    assert found("code", both, expect="*4").text == "PART-48214"
    mask = np.zeros(both.shape, np.uint8)
    mask[:, : one.shape[1]] = 255
    assert found("code", both, mask=mask).text == "PART-48213"


@pytest.mark.parametrize("pixels", [2, 3, 4])
def test_barcodes_are_read_at_any_size(pixels: int) -> None:
    got = read_codes(noisy(ean13("400638133393", pixels)))
    assert [code.text for code in got] == ["4006381333931"]
    x0, y0, x1, y1 = got[0].box
    assert 20 <= x0 < 60 + 12 * pixels and 60 + 83 * pixels < x1 <= 100 + 95 * pixels and 60 <= y0 < y1 <= 210


def printed(text: str) -> np.ndarray:
    image = np.full((60, 40 * len(text) + 20), 210, np.uint8)
    for k, letter in enumerate(text):
        cv2.putText(image, letter, (12 + 40 * k, 45), cv2.FONT_HERSHEY_DUPLEX, 1.2, 30, 2, cv2.LINE_AA)
    return image


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    (tmp_path / "font").mkdir()
    for letter in "ABCLT0123456789":
        cv2.imwrite(str(tmp_path / "font" / f"{letter}.png"), printed(letter))
    return tmp_path


def test_printed_characters_are_read(letters: Path) -> None:
    options = {"characters": "font", "expect": "LAT????"}
    got = found("text", noisy(printed("LAT4827")), letters, **options)
    assert (got.state, got.text, got.measured["characters"]) == ("ok", "LAT4827", 7)
    smaller = cv2.resize(noisy(printed("LAT3159")), None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
    assert found("text", smaller, letters, **options).text == "LAT3159"
    assert found("text", noisy(printed("LAT48271")), letters, **options).text == "LAT48271; LAT???? is wanted"
    wrong = found("text", noisy(printed("BAT4827")), letters, **options)
    assert wrong.state == "ng" and wrong.firm
    assert (
        found("text", noisy(np.full((60, 300), 200.0)), letters, **options).text
        == "nothing is printed there, or too faintly"
    )
    unknown = found("text", noisy(printed("LAT48W7")), letters, **options)
    assert unknown.state == "recheck" and "character 6 is like" in unknown.text
    cv2.imwrite(str(letters / "font" / "8.png"), printed("B"))
    twin = found("text", noisy(printed("LATB827")), letters, **options)
    assert twin.state == "recheck" and "character 4 may be" in twin.text and twin.firm


def test_pictures_of_characters_are_needed(letters: Path) -> None:
    for options, why in (
        ({"characters": "none", "expect": "A"}, "holds 0 pictures"),
        ({"characters": "font", "expect": "AXZ"}, "no picture of X, Z"),
    ):
        with pytest.raises(ConfigFault, match=why):
            found("text", printed("A"), letters, **options)
    cv2.imwrite(str(letters / "font" / "dash.png"), printed("-"))
    with pytest.raises(ConfigFault, match="called as it, one letter"):
        found("text", printed("A"), letters, characters="font", expect="A")


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("blob", {"level": 90, "least": 2, "most": 1}, "no part would be good"),
        ("caliper", {"least": 5, "most": 1}, "no part would be good"),
        ("edge", {"least": float("nan")}, "finite number"),
        ("colour", {"colour": "#ff0000", "least": 0.9, "most": 0.1}, "no part would be good"),
        ("colour", {"colour": "red"}, "'red' is no colour; write red, green and blue as '#ff8000'"),
        ("count", {"picture": "a.png", "least": 1, "most": 1, "doubt": 0.9}, "no more than"),
        ("presence", {"picture": "a.png", "doubt": 0.9}, "would be both"),
        ("text", {"characters": "font", "expect": "A B"}, "blanks"),
        ("blob", {"level": 90, "colour": 1}, "Extra inputs"),
    ],
)
def test_options_that_do_not_fit_are_refused(name: str, options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        found(name, spots(), **options)


@pytest.mark.parametrize(
    ("image", "mask", "why"),
    [
        (np.zeros((0, 10), np.uint8), None, "cannot be judged"),
        (np.zeros((5, 0, 3), np.uint8), None, "cannot be judged"),
        (np.zeros((5, 5), np.uint16), None, "uint16"),
        (np.zeros((5, 5, 4), np.uint8), None, r"uint8\(5, 5, 4\)"),
        (np.zeros((5, 5), np.uint8), np.ones((5, 4), np.uint8), "the mask is"),
        (np.zeros((5, 5), np.uint8), np.zeros((5, 5), np.uint8), "leaves nothing"),
    ],
)
def test_what_is_no_picture_reaches_no_tool(image: np.ndarray, mask: np.ndarray | None, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        View(image, mask=mask)


def test_no_picture_makes_a_tool_raise(folder: Path, letters: Path) -> None:
    options: dict[str, dict[str, Any]] = {
        "blob": {"level": 90},
        "caliper": {"strips": 8},
        "code": {},
        "colour": {"colour": "#112233"},
        "count": {"picture": "screw.png", "least": 1, "most": 2},
        "edge": {},
        "presence": {"picture": "screw.png"},
        "template": {},
        "text": {"characters": "font", "expect": "A1"},
    }
    rng = np.random.default_rng(1)
    for shape in ((1, 1), (1, 1, 3), (2, 3), (1, 200), (200, 1, 3), (33, 64, 3)):
        noise = rng.integers(0, 256, shape, np.uint8)
        for image in (noise, np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8), np.asfortranarray(noise)[::-1]):
            for mask in (None, (rng.random(shape[:2]) > 0.5).astype(np.uint8)):
                for name, given in options.items():
                    if mask is None or mask.any():
                        finding = found(name, image, folder, mask, **given)
                        assert finding.state in ("ok", "ng", "recheck") and np.isfinite(finding.score)
                        assert all(np.isfinite(list(finding.measured.values())))


def test_a_tool_that_is_not_there_has_a_near_miss() -> None:
    with pytest.raises(ConfigFault, match="did you mean 'caliper'"):
        tool("calliper")
    assert all(field.description for kind in TOOLS.values() for field in kind.Config.model_fields.values())
