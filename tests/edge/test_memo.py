"""Columns: what is the same said with less."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge.memo import distinct, joined, occurrences

numbers = st.lists(st.integers(-1, 12), max_size=30).map(lambda found: np.array(found, np.int64))


@given(numbers)
def test_distinct_is_unique(values: np.ndarray) -> None:
    assert distinct(values).tolist() == sorted(set(values.tolist()))


@given(numbers | st.tuples(st.integers(0, 9), st.integers(0, 9)).map(lambda ends: np.arange(ends[0], sum(ends))))
def test_joined_places_are_the_same_places(places: np.ndarray) -> None:
    """-1 stands for the last place here, as it does for tags that are not active."""
    there = np.arange(20) * 3
    found = joined(places)
    assert there[found].tolist() == there[places].tolist()
    assert isinstance(found, slice) == (
        len(places) > 0 and places.tolist() == list(range(places[0], places[-1] + 1)) and places[0] >= 0
    )


@given(numbers)
def test_occurrences_count_each_tag(tag: np.ndarray) -> None:
    found = occurrences(tag)
    expected = [tag[:i].tolist().count(number) for i, number in enumerate(tag.tolist())]
    assert (found is None and not any(expected)) or (found is not None and found.tolist() == expected)
