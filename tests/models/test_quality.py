"""What counts prove: bounds against whole numbers, run rules against their own words, capability against hand-worked figures."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.bounds import below, by_chance, needed
from models.quality.charts import capability, of_rates, pareto, run_rules, tails


def at_most(found: int, of: int, p: float) -> Fraction:
    """The probability of at most `found` of `of`, without rounding."""
    q = Fraction(p)
    return sum((math.comb(of, k) * q**k * (1 - q) ** (of - k) for k in range(found + 1)), Fraction(0))


@settings(max_examples=60)
@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
def test_a_bound_is_where_the_tail_is_what_is_left_of_the_confidence(
    counts: tuple[int, int], confidence: float
) -> None:
    found, of = counts
    upper = below(found, of, confidence)
    assert found / of <= upper <= 1
    if found < of:
        assert float(at_most(found, of, upper)) == pytest.approx(1 - confidence, rel=1e-9)


def test_what_the_station_promises() -> None:
    assert below(0, 748) < 0.004 < below(0, 747)
    assert needed(0.004) == 748 and needed(0.001) == 2995
    assert below(1, needed(0.004, 1)) <= 0.004 < below(1, needed(0.004, 1) - 1)
    assert below(0, 0) == 1.0
    assert below(5000, 1_000_000) == pytest.approx(0.00512, abs=1e-5)


@pytest.mark.parametrize("counts", [(2, 1), (-1, 5), (0, -1)])
def test_counts_that_cannot_be(counts: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="parts cannot be"):
        below(*counts)


def test_rates_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="between 0 and 1, not 0"):
        needed(0)
    with pytest.raises(ValueError, match="a confidence is between"):
        below(0, 5, 1.0)
    with pytest.raises(ValueError, match="more than 100,000,000 parts"):
        needed(1e-9)


def broken(values: list[float]) -> dict[str, list[int]]:
    got = run_rules(np.array(values, float), -np.array(values, float))
    return {rule: np.flatnonzero(where).tolist() for rule, where in got.items() if where.any()}


def test_each_run_rule_and_no_other() -> None:
    assert broken([0.5, -0.5, 3.1, -0.2]) == {"1 beyond 3 sigma": [2]}
    assert broken([2.1, 0.1, 2.2, -0.1]) == {"2 of 3 beyond 2 sigma": [2]}
    assert broken([2.1, -2.1, 0.1]) == {}  # not on one side
    assert broken([1.1, 1.2, 0.5, 1.3, 1.1, -0.5]) == {"4 of 5 beyond 1 sigma": [4]}
    assert broken([-0.1] * 9) == {"8 on one side": [7, 8]}
    assert broken([0.0] * 20) == {}


def test_a_chart_of_rates_knows_how_many_parts_stood_behind_each() -> None:
    chart = of_rates(np.array([1, 0, 20, 0]), np.array([100, 100, 100, 0]), centre=0.01)
    assert len(chart.value) == 3 and np.flatnonzero(chart.broken["1 beyond 3 sigma"]).tolist() == [2]
    assert chart.sigma[0] == pytest.approx(math.sqrt(0.01 * 0.99 / 100))
    assert of_rates(np.array([3, 1]), np.array([100, 100])).centre == pytest.approx(0.02)
    perfect = of_rates(np.array([0, 0, 1]), np.array([9, 9, 9]), centre=0.0)
    assert np.flatnonzero(perfect.broken["1 beyond 3 sigma"]).tolist() == [2]
    with pytest.raises(ValueError, match="more defective parts than parts"):
        of_rates(np.array([2]), np.array([1]))


@settings(max_examples=60)
@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.001, 0.999))
def test_the_chances_of_a_count_are_the_binomial_ones(counts: tuple[int, int], rate: float) -> None:
    found, of = counts
    more, fewer = tails(found, of, rate)
    assert fewer == pytest.approx(float(at_most(found, of, rate)))
    assert more == pytest.approx(float(1 - at_most(found - 1, of, rate)))


@settings(max_examples=60)
@given(st.integers(1, 60), st.floats(0.001, 0.999), st.floats(0.0005, 0.2))
def test_more_than_chance_makes_is_what_has_less_than_this_chance(of: int, rate: float, chance: float) -> None:
    most = by_chance(rate, of, chance)
    assert float(1 - at_most(most - 1, of, rate)) >= chance * (1 - 1e-9)
    assert most == of or float(1 - at_most(most, of, rate)) < chance * (1 + 1e-9)


def test_of_a_rate_that_is_sure_chance_makes_nothing_else() -> None:
    assert (by_chance(0.0, 100), by_chance(1.0, 100), by_chance(0.5, 0)) == (0, 100, 0)
    assert by_chance(0.001, 100) == 2 and by_chance(0.22, 50_000) == 11_279


def test_where_hardly_a_part_is_bad_chance_is_no_rule() -> None:
    ng = np.array([0] * 20 + [1] + [0] * 20)
    assert not np.any(list(of_rates(ng, np.full(41, 100)).broken.values()))
    ng[20] = 4
    assert np.flatnonzero(of_rates(ng, np.full(41, 100)).broken["1 beyond 3 sigma"]).tolist() == [20]


def test_capability_by_hand() -> None:
    got = capability(np.array([10.0, 12.0, 10.0, 12.0, 10.0]), 5.0, 20.0)
    assert got.mean == pytest.approx(10.8)
    assert got.cpk == pytest.approx(5.8 / (3 * 2 / 1.128)) and got.ppk == pytest.approx(5.8 / (3 * math.sqrt(1.2)))
    one_sided = capability(np.array([1.0, 2.0, np.nan, 3.0]), None, 5.0)
    assert one_sided.cpk == pytest.approx(3 / (3 / 1.128))
    assert capability(np.array([1.0]), 0.0, None).cpk is None
    assert capability(np.array([1.0, 1.0]), 0.0, None).cpk == math.inf
    with pytest.raises(ValueError, match="needs a tolerance"):
        capability(np.array([1.0, 2.0]), None, None)
    with pytest.raises(ValueError, match="not below the upper"):
        capability(np.array([1.0, 2.0]), 3.0, 2.0)


def test_pareto() -> None:
    assert pareto(["spur", "open", "open", "short"]) == [("open", 2, 0.5), ("short", 1, 0.75), ("spur", 1, 1.0)]
    assert pareto([]) == []
