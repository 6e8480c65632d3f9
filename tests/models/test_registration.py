"""Registration: where rendered parts lie, to the fraction of a pixel, and what is not placed."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from edge import ConfigFault
from models.vision.registration import NotPlaced, Registration, RegistrationConfig, composed, moved

from .rendered import SHAPE, WRONG, drawn, empty, part

CORNERS = np.array([[70, 50, 1], [330, 50, 1], [330, 250, 1], [70, 250, 1]], float)
MARKS = [(58, 38, 24, 24), (318, 238, 24, 24)]  # two corners of the plate
TEMPLATE = part(seed=0)
WAYS: list[tuple[dict[str, Any], float, float, float]] = [  # options, turn, scale, sub-pixel error that is met
    ({"by": "phase"}, 0, 0, 0.03),
    ({"by": "phase", "turn": 1, "scale": 0.01}, 1, 0.01, 0.05),
    ({"by": "feature"}, 0, 0, 0.03),
    ({"by": "feature", "turn": 180, "scale": 0.05}, 180, 0.05, 0.05),
    ({"by": "fiducial", "marks": MARKS[:1]}, 0, 0, 0.1),
    ({"by": "fiducial", "marks": MARKS, "turn": 4, "scale": 0.02}, 4, 0.02, 0.3),
]


def registration(**options: Any) -> Registration:
    return Registration(RegistrationConfig(**{"search": 15, **options}), TEMPLATE)


@pytest.mark.parametrize(
    ("options", "turn", "scale", "error"), WAYS, ids=lambda x: x.get("by") if isinstance(x, dict) else ""
)
def test_a_part_is_found_where_it_lies(options: dict[str, Any], turn: float, scale: float, error: float) -> None:
    place = registration(**options)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        dx, dy, by, size = (
            rng.uniform(-12, 12),
            rng.uniform(-12, 12),
            rng.uniform(-turn, turn),
            rng.uniform(-scale, scale),
        )
        found = place(part(dx, dy, by, size, seed + 10, light=0.85))
        true = composed(dx, dy, by, size, SHAPE)
        assert np.abs(CORNERS @ (found.matrix - true).T).max() < error
        assert abs(found.dx - dx) < error and abs(found.dy - dy) < error and abs(found.turn - by) < 0.1
        inner = found.seen[20:-20, 20:-20] > 0
        differs = np.abs(found.image.astype(float) / 0.85 - TEMPLATE)[20:-20, 20:-20][inner]
        assert differs.mean() < 3  # noise of 2, and little of the shift


@pytest.mark.parametrize("options", [w[0] for w in WAYS])
@pytest.mark.parametrize(
    ("image", "why"),
    [
        (empty(), "\\w"),
        (255 - TEMPLATE, "\\w"),
        (part(60, 0), "\\w"),
        (np.zeros(SHAPE, np.uint8), "\\w"),
        (TEMPLATE[:-1], "the picture is 400 x 299"),
        (TEMPLATE.astype(np.uint16), "uint16"),
    ],
    ids=["absent", "inverted", "far off", "black", "other size", "16 bit"],
)
def test_what_is_not_there_is_never_placed_by_a_guess(options: dict[str, Any], image: np.ndarray, why: str) -> None:
    with pytest.raises(NotPlaced, match=why):
        registration(**options)(image)


@pytest.mark.parametrize("by", ["phase", "feature"])
def test_a_wrong_part_of_the_same_outline_is_not_placed(by: str) -> None:
    with pytest.raises(NotPlaced, match=r"like the template by 0\.\d+ only|corners are where"):
        registration(by=by)(part(kind=WRONG))


def test_grain_around_a_small_part_says_nothing() -> None:
    rng = np.random.default_rng(8)
    template, image = (np.clip(rng.normal(40, 3, (900, 1200)), 0, 255).astype(np.uint8) for _ in range(2))
    template[300:600, 400:800], image[304:604, 395:795] = part(seed=1), part(seed=2)
    place = Registration(RegistrationConfig(search=15), template)
    found = place(image)
    assert (found.dx, found.dy) == pytest.approx((-5, 4), abs=0.05) and found.quality > 0.9
    image[304:604, 395:795] = part(kind=WRONG)
    with pytest.raises(NotPlaced, match="like the template by"):
        place(image)


@pytest.mark.parametrize("by", ["phase", "feature"])
def test_a_large_picture_is_placed_as_exactly_and_gated_as_well(by: str) -> None:
    template = drawn()[:1101, :1507]  # more than COARSE, and odd
    shift = composed(7.3, -4.6, 0, 0, template.shape)
    right, wrong = (
        cv2.warpAffine(drawn(kind)[:1101, :1507], shift, template.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
        for kind in (5, WRONG)
    )
    place = Registration(RegistrationConfig(by=by, search=15), template)
    found = place(cv2.add(right, np.random.default_rng(2).integers(0, 6, right.shape, np.uint8)))
    assert (found.dx, found.dy) == pytest.approx((7.3, -4.6), abs=0.03) and found.quality > 0.9
    with pytest.raises(NotPlaced, match=r"like the template by 0\.\d+ only|corners are where"):
        place(wrong)


def test_a_shift_alone_is_what_any_other_move_is() -> None:
    rng = np.random.default_rng(3)
    image = np.dstack([part(seed=k) for k in range(3)])
    for dx, dy in [(0, 0), (3, -5), (14.4, -14.6), *rng.uniform(-15, 15, (12, 2))]:
        shift = np.array([[1, 0, dx], [0, 1, dy]])
        quick, seen = moved(image, shift)
        other, there = moved(image, np.add(shift, [[1e-9, 0, 1e-6], [0, 0, 1e-6]]))
        differs = np.abs(quick.astype(int) - other)  # OpenCV may round the place to 1/32 px
        assert differs.max() <= 4 and differs.mean() < 0.3 and np.array_equal(seen, there)


def test_a_part_with_a_defect_is_placed() -> None:
    found = registration()(part(3.3, -2.6, defect=True))
    assert abs(found.dx - 3.3) < 0.03 and abs(found.dy + 2.6) < 0.03


@pytest.mark.parametrize(
    ("options", "image", "why"),
    [
        ({"by": "feature", "turn": 5}, part(turn=12), "turned by 1[12]\\.\\d degrees, 5 are allowed"),
        ({"by": "feature", "scale": 0.01}, part(scale=0.06), r"\+\d\.\d% in size, 1\.0% is allowed"),
        ({"by": "feature"}, part(19, 0), "no such part within 15 px: what is most like it lies 19, 0 px off"),
        ({"by": "fiducial", "marks": MARKS}, part(turn=4), "the marks lie up to"),
    ],
)
def test_limits_are_told(options: dict[str, Any], image: np.ndarray, why: str) -> None:
    with pytest.raises(NotPlaced, match=why):
        registration(**options)(image)


def test_what_the_picture_does_not_show_is_marked_unseen() -> None:
    found = registration()(part(12, 0))
    assert (found.seen[:, -11:] == 0).all() and (found.seen[20:-20, :-14] > 0).all()


def test_a_mark_that_is_there_twice_is_ambiguous() -> None:
    image = np.full(SHAPE, 40, np.uint8)
    cv2.circle(image, (100, 100), 8, 200, -1)
    place = Registration(RegistrationConfig(by="fiducial", marks=[(88, 88, 25, 25)], search=40), image)
    assert place(image).dx == pytest.approx(0, abs=0.01)
    cv2.circle(image, (130, 100), 8, 200, -1)
    with pytest.raises(NotPlaced, match="there twice"):
        place(image)


def test_a_pattern_that_repeats_is_placed_within_the_search() -> None:
    rows, columns = np.indices(SHAPE)
    grid = np.where((rows // 10 + columns // 10) % 2, 200, 60).astype(np.uint8)
    place = Registration(RegistrationConfig(search=6), grid)
    found = place(np.roll(grid, (2, -3), (0, 1)))
    assert (found.dx, found.dy) == pytest.approx((-3, 2), abs=0.05)


def test_a_colour_picture_stays_one() -> None:
    found = registration()(np.dstack([part(2, 1)] * 3))
    assert found.image.shape == (*SHAPE, 3) and abs(found.dx - 2) < 0.03


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"by": "fiducial"}, "go together"),
        ({"by": "phase", "marks": MARKS}, "go together"),
        ({"by": "fiducial", "marks": MARKS[:1], "turn": 3}, "one mark tells no turn"),
        ({"by": "phase", "turn": 10}, "use feature"),
        ({"quality": 0.0}, "greater than or equal"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        RegistrationConfig(**options)


@pytest.mark.parametrize(
    ("options", "template", "why"),
    [
        ({}, np.full(SHAPE, 90, np.uint8), "one grey only"),
        (
            {"by": "feature"},
            np.repeat(np.arange(400, dtype=np.uint16)[None] // 2, 300, 0).astype(np.uint8),
            "corners in the template",
        ),
        ({"by": "fiducial", "marks": [(390, 10, 20, 20)]}, TEMPLATE, "within the 400 x 300"),
        ({"by": "fiducial", "marks": [(2, 2, 20, 20)]}, TEMPLATE, "shows one grey only"),
    ],
)
def test_a_template_to_hold_on_to_is_needed(options: dict[str, Any], template: np.ndarray, why: str) -> None:
    with pytest.raises(ConfigFault, match=why):
        Registration(RegistrationConfig(**options), template)
