"""No disturbed or wrong answer on an RTU line becomes a value that rules trust; what each checksum can and cannot tell."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator

import pytest

from drivers.modbus.line_frames import crc16

from .checksums import crc_misses, lrc_misses, poisson, random_frames, taken
from .judge import judge
from .line import LINE_MANNERS, LINE_PLANTS, LineAsked, LinePeer, crc


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)  # it has much to say of such a line
    yield
    logging.disable(logging.NOTSET)


def test_a_disturbed_line_brings_no_data_and_the_truth_between_it_does() -> None:
    it = judge(15_000, LinePeer(random.Random(20261126)))
    assert it.wrong == 0, it.first_wrong
    assert not it.peer.broke
    assert it.good > 5000, "honest answers are read"
    assert set(it.peer.told) == set(LINE_MANNERS) - {"silence", "honest", "honest dribble"}
    assert min(it.peer.told.values()) > 500


@pytest.mark.parametrize("check", LINE_PLANTS)
def test_a_reader_that_lacks_a_check_is_found(check: str) -> None:
    assert judge(3000, LinePeer(random.Random(1), check)).wrong > 0


def test_the_crc_finds_all_that_it_must() -> None:
    """Up to three flipped bits, and bursts of up to 16, in the longest frame: all of them, not a sample."""
    assert crc_misses() == {"1 bit": 0, "2 bits": 0, "3 bits": 0, "bursts to 16 bits": 0}
    rng = random.Random(1)
    for size in range(256):
        body = rng.randbytes(size)
        assert crc16(body) == crc(body), "the reader counts as the standard says"


def test_of_all_checksums_one_passes() -> None:
    asked = LineAsked(0, 1, 3, 0, 2)
    body = bytes([asked.unit]) + asked.lie
    passed = [end for end in range(65536) if taken(asked, body + end.to_bytes(2, "little"))]
    assert passed == [crc(body)]
    found = random_frames(50_000, seed=1)
    assert found["as_expected"] and found["expected"] == 0.8


def test_the_interval_of_a_count() -> None:
    """Against the exact one, as tables of the Poisson distribution have it."""
    for count, low, high in ((0, 0.0, 3.69), (1, 0.03, 5.57), (10, 4.80, 18.39), (100, 81.36, 121.63)):
        assert poisson(count, 1.96) == (pytest.approx(low, abs=0.1), pytest.approx(high, abs=0.1))


def test_what_the_lrc_of_ascii_does_not_find_is_known() -> None:
    """It adds bytes up: it sees neither their order nor what one bit adds and another takes away."""
    found = {what: tuple(map(int, text.split(" of "))) for what, text in lrc_misses().items()}
    assert found["1 bit"][0] == 0 and found["2 bits of one character, which parity does not see"][0] == 0
    assert 0 < found["2 bits"][0] < found["2 bits"][1] / 100
    exchanged = found["two bytes exchanged"]
    assert exchanged[0] == exchanged[1] > 0
