"""Rules that compare text: by == and != with a string, and nothing else."""

from __future__ import annotations

import random

import pytest

from edge import Batch, Quality, Tag, TagTable
from edge.clock import SECOND
from edge.commands.sim import level
from edge.config.load import load_text
from edge.config.site import Simulation
from edge.evaluator import Evaluator
from edge.expressions import ExpressionFault, compile_expression
from edge.rehearse import rehearse
from edge.tags import TagTable as Table

RECIPE, SPEED = Tag("plc.recipe", type="text", source="plc"), Tag("plc.speed", source="plc")


def table() -> Table:
    return TagTable.numbered([RECIPE, SPEED])


def judged(text: str, known: Table, shown: str | None, speed: float = 5.0) -> tuple[float, int]:
    """What an expression makes of one batch; None: a string that found no room."""
    number = float("nan") if shown is None else known.texts.value(1, shown)
    quality = [Quality.RANGE if shown is None else Quality.GOOD, Quality.GOOD]
    ((_, _, value, cause),) = Evaluator([compile_expression(text)], known)(
        Batch.of("plc", [1, 2], [number, speed], SECOND, quality)
    )
    return float(value[-1]), int(cause[-1])


@pytest.mark.parametrize(
    ("text", "a7", "b2"),
    [
        ('plc.recipe == "A7"', 1, 0),
        ("'A7' == plc.recipe", 1, 0),
        ('plc.recipe != "A7"', 0, 1),
        ('not (plc.recipe == "A7")', 0, 1),
        ('plc.recipe == "A7" or plc.recipe == "B2"', 1, 1),
        ('plc.recipe == "A7" and plc.speed > 4', 1, 0),
        ('where(plc.recipe == "A7", plc.speed, 9)', 5, 9),
        ('9 if plc.recipe == "B2" else plc.speed', 5, 9),
        ('plc.recipe == "never seen"', 0, 0),
        ('plc.recipe != "never seen"', 1, 1),
    ],
)
def test_a_text_is_compared_with_strings(text: str, a7: float, b2: float) -> None:
    known = table()
    assert judged(text, known, "A7") == (a7, Quality.GOOD) and judged(text, known, "B2") == (b2, Quality.GOOD)


@pytest.mark.parametrize("text", ['plc.recipe == "A7"', 'plc.recipe != "A7"'])
def test_a_text_without_value_is_neither_equal_nor_different(text: str) -> None:
    value, quality = judged(text, table(), None)
    assert value != value and quality == Quality.RANGE


def test_a_string_is_known_from_its_first_sample_on() -> None:
    known = table()
    evaluate = Evaluator([compile_expression('plc.recipe == "C3"')], known)
    times = iter((SECOND, 2 * SECOND, 3 * SECOND))
    for shown, truth in (("A7", 0.0), ("C3", 1.0), ("A7", 0.0)):
        ((_, _, value, _),) = evaluate(Batch.of("plc", [1], [known.texts.value(1, shown)], next(times)))
        assert value.tolist() == [truth]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('plc.recipe < "A7"', "has no order"),
        ('"A7" >= plc.recipe', "has no order"),
        ('plc.recipe + "x"', "is no number"),
        ('plc.recipe == "A7" == plc.other', "with one tag only"),
        ('"A7" == "A7"', "with one tag only"),
        ('plc.speed + 1 == "A7"', "with one tag only"),
        ('abs("A7")', "is no number"),
        ('"A7"', "is no number"),
        ('true == "A7"', "with one tag only"),
    ],
)
def test_what_a_text_cannot_be_asked(text: str, said: str) -> None:
    with pytest.raises(ExpressionFault, match=said):
        compile_expression(text)


SITE = """
device: {{id: d}}
drivers:
  plc:
    driver: modbus
    url: tcp://127.0.0.1:502
    tags:
      recipe: {{address: "holding:0", type: text, length: 8}}
      other: {{address: "holding:8", type: text, length: 8}}
      speed: {{address: "holding:20"}}
      lamp: {{address: "coil:1", writable: {{range: [0, 1]}}}}
      mode: {{address: "holding:30", type: text, length: 4, writable: {{one_of: [AUTO, HAND]}}}}
{rules}
"""


@pytest.mark.parametrize(
    ("rules", "place", "said"),
    [
        ('tags: {t: {expression: "plc.recipe * 2"}}', "tags.t.expression", "plc.recipe is text"),
        ('alarms: {a: {when: "plc.recipe > 3"}}', "alarms.a.when", "plc.recipe is text"),
        ('alarms: {a: {when: "plc.recipe == plc.other"}}', "alarms.a.when", "plc.other is text"),
        ("alarms: {a: {when: plc.recipe}}", "alarms.a.when", "plc.recipe is text"),
        (
            "alarms: {a: {when: 'plc.speed > 3', clear: 'plc.speed == \"A7\"'}}",
            "alarms.a.clear",
            'plc.speed is a number and never "A7"',
        ),
        ("alarms: {a: {when: 'plc.recipe < \"A7\"'}}", "alarms.a.when", "has no order"),
        ("alarms: {a: {when: plc.speed, then: {plc.mode: auto}}}", "alarms.a.then", "'auto' is none of 'AUTO', 'HAND'"),
        ("alarms: {a: {when: plc.speed, then: {plc.mode: 1}}}", "alarms.a.then", "1.0 is not a string"),
        ("alarms: {a: {when: plc.speed, then: {plc.lamp: AUTO}}}", "alarms.a.then", "'AUTO' is not a number"),
        (
            "alarms: {a: {when: plc.speed, then: {plc.recipe: A7}}}",
            "alarms.a.then",
            "with `writable: {one_of: [A, B]}`",
        ),
        ("simulate: {plc.recipe: {mean: 3}}", "simulate.plc.recipe", "say what it shows"),
        ("simulate: {plc.speed: {texts: [A7]}}", "simulate.plc.speed", "is a number"),
        ("tests: [{name: t, given: {plc.recipe: [A7, 3]}, expect: []}]", "tests.0.given", "write 3 in quotes"),
        ("tests: [{name: t, given: {plc.speed: [A7]}, expect: []}]", "tests.0.given", "is a number"),
        ("tests: [{name: t, given: {}, expect: [{tag: plc.recipe, value: 3}]}]", "tests.0.expect", "is text"),
        ("tests: [{name: t, given: {}, expect: [{write: plc.lamp, value: on}]}]", "tests.0.expect", "is a number"),
    ],
)
def test_a_site_that_mistakes_a_text_for_a_number_is_told_where(rules: str, place: str, said: str) -> None:
    problems = load_text(SITE.format(rules=rules)).problems
    assert len(problems) >= 1, "no fault"
    found = [str(p) for p in problems]
    assert any(said in text for text in found), found
    assert any(".".join(map(str, p.path)).startswith(place) for p in problems), [p.path for p in problems]


RULES = """
tags:
  nominal: {expression: 'where(plc.recipe == "A7", 100, 80)'}
alarms:
  wrong: {when: 'plc.recipe != "A7" and plc.speed > 90', for: 2s, then: {plc.lamp: 1, plc.mode: HAND}, on_clear: {plc.lamp: 0}}
tests:
  - name: another recipe at full speed
    every: 1s
    given: {plc.recipe: [A7, B2, B2, B2, B2, A7], plc.speed: [95, 95, 95, 95, 95, 95]}
    expect:
      - {event: wrong, state: raised}
      - {write: plc.lamp, value: 1}
      - {write: plc.mode, value: HAND}
      - {event: wrong, state: cleared}
      - {tag: nominal, value: 100}
      - {tag: plc.recipe, value: A7}
  - name: fails
    given: {plc.recipe: [A7]}
    expect: [{tag: plc.recipe, value: B2}]
"""


def test_the_tests_of_a_site_give_strings() -> None:
    config = load_text(SITE.format(rules=RULES))
    assert not config.problems, config.problems
    good, bad = (rehearse(config, test).faults for test in config.tests)
    assert good == [] and bad == ["expected plc.recipe = B2 at the end, it is A7"]


def test_a_simulated_text_takes_turns() -> None:
    move = Simulation(texts=["A7", "B2", "C3"], period=30.0)
    assert [level(move, t, random.Random(1)) for t in (0, 9.9, 10, 29, 30)] == ["A7", "A7", "B2", "C3", "A7"]
    pulse = Simulation(mean=7, pulse=20.0, period=60.0)
    assert [level(pulse, t, random.Random(1)) for t in (0, 19.9, 20, 59, 60)] == [8, 8, 7, 7, 8]
