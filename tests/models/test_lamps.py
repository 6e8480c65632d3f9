"""The lamps of a car over time: the rendered car's programs, and every way in which a lamp fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drivers.camera import car
from models.vision.recipe import Recipe, Refused, load
from models.vision.rules import Rule, decide
from models.vision.tools.contract import Finding
from models.vision.tools.lamps import LampConfig, LampsConfig, LampsTool
from tests.bench.lamps import sequences

CONFIGS = Path(__file__).parents[2] / "configs/recipes"


def lit(*spans: tuple[float, float], until: float = 3.0, step: float = 0.1) -> list[tuple[float, Finding]]:
    """A film of one lamp that is lit in these spans."""
    times = np.arange(0, until, step)
    return [
        (float(t), Finding("ok", measured={"a": 90.0 if any(x <= t < y for x, y in spans) else 0.0})) for t in times
    ]


def judged(film: list[tuple[float, Finding]], *on: tuple[float, float]) -> Finding:
    lamp = LampConfig(at=(0, 0, 4, 4), on=[(float(begins), float(ends)) for begins, ends in on])
    return LampsTool(LampsConfig(tool="lamps", lamps={"a": lamp}), Path()).over_time(film)


@pytest.mark.parametrize(
    ("film", "state"),
    [
        (lit((1, 2)), "ok"),
        (lit((1.05, 2.05)), "ok"),
        (lit((1.4, 2)), "ng"),
        (lit((1, 2.4)), "ng"),
        (lit(), "ng"),
        (lit((0, 3)), "ng"),
        (lit((1, 2), (2.5, 2.51)), "ok"),
        (lit((1, 2), until=0.95), "recheck"),
        ([], "recheck"),
    ],
)
def test_a_lamp_has_to_be_lit_when_it_should_and_dark_when_not(film: list[tuple[float, Finding]], state: str) -> None:
    found = judged(film, (1, 2))
    assert found.state == state
    assert not found.boxes or (found.boxes[0][4] == "a" and "a is " in found.text)


def test_a_lamp_that_is_never_lit_is_to_stay_dark() -> None:
    assert judged(lit()).state == "ok" and judged(lit((1, 2))).state == "ng"


def test_a_short_span_in_which_it_has_to_be_lit_is_not_passed_over() -> None:
    assert judged(lit(step=0.4), (1.0, 1.1)).state == "recheck"


@pytest.mark.parametrize(
    "bad",
    [{"at": (0, 0, 0, 4), "on": []}, {"at": (0, 0, 4, 4), "on": [(2.0, 1.0)]}, {"at": (-1, 0, 4, 4), "on": []}],
)
def test_what_is_no_lamp_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        LampConfig.model_validate(bad)


@pytest.mark.parametrize("model", car.MODELS)
def test_the_shipped_recipes_are_the_programs_of_the_rendered_cars(model: str) -> None:
    recipe = load(CONFIGS / f"lamps-{model}.yaml")
    assert isinstance(recipe, Recipe), recipe
    lamps = recipe.views["front"].tools["lamps"].config.lamps  # type: ignore[attr-defined]
    assert {name: lamp.on for name, lamp in lamps.items()} == {
        name: [(pytest.approx(a), pytest.approx(b))] for name, (a, b) in car.program(model).items()
    }
    assert {name: lamp.at for name, lamp in lamps.items()} == car.LAMPS and len(lamps) == 22
    assert max(b for _, b in car.program(model).values()) <= 8


def test_cars_of_two_models_in_any_order_with_every_fault_are_told_right() -> None:
    done, wrong = sequences(8)
    assert done == 8 and not wrong


def test_a_tool_for_films_needs_a_film(tmp_path: Path) -> None:
    text = (CONFIGS / "lamps-suv.yaml").read_text()
    (tmp_path / "a.yaml").write_text(text.replace("    lasts: 8200ms\n", ""))
    found = load(tmp_path / "a.yaml")
    assert isinstance(found, Refused) and "say how long the view `lasts`" in found.faults[0]


def test_the_program_of_another_model_is_no_good_car() -> None:
    recipe = load(CONFIGS / "lamps-suv.yaml")
    assert isinstance(recipe, Recipe)
    view = recipe.views["front"]
    film = [(t, view(car.render("sedan", t))) for t in np.arange(0, 8.2, 0.16).tolist()]
    assert decide([view.over(film)], recipe.rules).state == "ng"
    assert decide([view.over(film)], [Rule(shorter_px=1000, then="ok")]).state == "ng", "no rule lights a lamp"


def test_a_film_of_another_size_says_so() -> None:
    recipe = load(CONFIGS / "lamps-suv.yaml")
    assert isinstance(recipe, Recipe)
    view = recipe.views["front"]
    other, same = view(np.zeros((480, 640), np.uint8)), view(np.zeros((240, 320), np.uint8))
    found = decide([view.over([(0.0, other), (0.1, other)])], recipe.rules)
    assert (found.state, found.text) == ("recheck", "front: the picture is 640 x 480, the recipe is for 320 x 240")
    assert "too few pictures" in decide([view.over([(0.0, other), (0.1, same)])], recipe.rules).text


def test_a_lamp_outside_of_the_picture_is_a_recheck() -> None:
    recipe = load(CONFIGS / "lamps-suv.yaml")
    assert isinstance(recipe, Recipe)
    tool = recipe.views["front"].tools["lamps"]
    from models.vision.tools.contract import View

    assert tool(View(np.zeros((100, 100), np.uint8))).state == "recheck"
