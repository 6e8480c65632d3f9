"""Expressions that mean harm, and what several sources make of one value."""

from __future__ import annotations

import numpy as np
import pytest

from edge import Batch, Quality
from edge.clock import SECOND
from edge.evaluator import Evaluator
from edge.expressions import MOST_CHARACTERS, ExpressionFault, compile_expression
from edge.tags import Tag, TagTable

HOSTILE = [
    "__import__('os').system('true')",
    "a.b.__class__(1)",
    "(lambda: 1)()",
    "[1, 2][0]",
    "{1: 2}",
    "'text' > 1",
    "f'{a.b}'",
    "a.b if",
    "",
    "a.b := 3",
    "abs(*a)",
    "abs(x=1)",
    "min(a.b)",
    "bit(a.b, a.c)",
    "bit(a.b, 99)",
    "bit(a.b, -1)",
    "round(a.b, a.c)",
    "9" * 400 + " > a.b",
    "a.b > " + "9" * 400,
    "-" * 900 + "a.b",
    "(" * 150 + "a.b" + ")" * 150 + " + " + "-" * 200 + "1",
    "not " * 400 + "a.b",
    "a" + ".b" * 900,
    "a.b" + " + 1" * 480,
    "a.b > 1\nand 1",
    "a.b\0",
    "x" * (MOST_CHARACTERS + 1),
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_not_this_language_is_a_fault(text: str) -> None:
    with pytest.raises(ExpressionFault):
        compile_expression(text)


@pytest.mark.parametrize("text", ["9**9**9**9", "a.b / 0", "log(0 - 1)", "sqrt(a.b - 99)", "a.b % 0", "a.b // 0"])
def test_what_has_no_value_is_never_dressed_as_data(text: str) -> None:
    table = TagTable.numbered([Tag("a.b")])
    evaluate = Evaluator([compile_expression(f"({text}) + 0 * a.b")], table)
    ((_, _, value, quality),) = evaluate(Batch.of("a", [1], [1.0], SECOND))
    assert not np.isfinite(value).any() and quality.tolist() == [Quality.RANGE]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a.x / a.y > 2", np.nan),
        ("not (a.x / a.y > 2)", np.nan),
        ("not a.x / a.y", np.nan),
        ("a.y != 0 and a.x / a.y > 2", 0),
        ("a.y == 0 or a.x / a.y > 2", 1),
        ("a.y == 0 and a.x / a.y > 2", np.nan),
        ("0 < a.x / a.y < 2", np.nan),
        ("1 if a.x / a.y > 2 else 0", np.nan),
        ("where(a.y == 0, 7, a.x / a.y)", 7),
        ("a.y / a.y == a.y / a.y", np.nan),
    ],
)
def test_a_comparison_with_what_has_no_value_is_neither_true_nor_false(text: str, value: float) -> None:
    columns = {"a.x": np.array([6.0]), "a.y": np.array([0.0])}
    np.testing.assert_array_equal(compile_expression(text).evaluate(columns), [value])


def several() -> Evaluator:
    table = TagTable.numbered([Tag("a.x", stale_after=3.0), Tag("b.x", stale_after=60.0)])
    return Evaluator([compile_expression("a.x + b.x")], table)


def give(evaluate: Evaluator, tag: int, value: float, second: float, quality: int = 0) -> list[tuple[float, int]]:
    out = evaluate(Batch.of("s", [tag], [value], round(second * SECOND), quality))
    return [(float(v), int(q)) for _, _, vs, qs in out for v, q in zip(vs, qs, strict=True)]


def test_the_last_value_of_the_other_source_holds() -> None:
    evaluate = several()
    assert give(evaluate, 1, 1, 1) == []
    assert give(evaluate, 2, 10, 2) == [(11, Quality.GOOD)]
    assert give(evaluate, 1, 2, 3) == [(12, Quality.GOOD)]


def test_an_input_beyond_its_age_makes_the_output_stale() -> None:
    evaluate = several()
    give(evaluate, 1, 1, 1)
    assert give(evaluate, 2, 10, 3.9) == [(11, Quality.GOOD)]
    assert give(evaluate, 2, 10, 5) == [(11, Quality.STALE)]


def test_the_worst_quality_wins() -> None:
    evaluate = several()
    give(evaluate, 1, np.nan, 1, Quality.TIMEOUT)
    assert [q for _, q in give(evaluate, 2, 10, 2, Quality.CLOCK_UNSURE)] == [Quality.TIMEOUT]


def test_a_late_sample_changes_nothing() -> None:
    evaluate = several()
    give(evaluate, 1, 1, 5)
    give(evaluate, 2, 10, 6)
    assert give(evaluate, 1, 100, 7, Quality.LATE) == []
    assert give(evaluate, 2, 20, 7) == [(21, Quality.GOOD)]


def test_an_input_whose_clock_was_set_back_goes_on() -> None:
    evaluate = several()
    give(evaluate, 1, 1, 3600)
    give(evaluate, 2, 10, 3600)
    give(evaluate, 2, 20, 5)
    assert give(evaluate, 1, 2, 5) == [(22, Quality.GOOD)]
    assert give(evaluate, 1, 3, 6) == [(23, Quality.GOOD)]
