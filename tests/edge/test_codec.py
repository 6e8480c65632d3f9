"""Blocks come back bit for bit, whatever was in them; damaged ones are refused."""

import base64
import tracemalloc
from typing import Any

import msgpack
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge import Batch, Event, Quality
from edge.codec import MOST_SAMPLES, CodecFault, decode, decode_event, encode, encode_event, pieces
from sync import wire

START = 1_700_000_000_000_000_000


def same(a: Batch, b: Batch) -> bool:
    order = np.argsort(a.tag, kind="stable") if not np.array_equal(a.tag, b.tag) else slice(None)
    return all(
        np.array_equal(getattr(a, c)[order].view(np.uint8), getattr(b, c).view(np.uint8))
        for c in ("tag", "ts", "value", "quality")
    )


def scans(m: int, k: int, values: np.ndarray) -> Batch:
    ts = START + np.arange(m).repeat(k) * 10**9
    return Batch.of("plc", np.tile(np.arange(1, k + 1), m), values.ravel(), ts)


def golden(version: int) -> Batch:
    """What the golden block of a version holds."""
    tenths, seven = np.round(np.arange(8) * 0.1, 6), np.full(8, 7.0)
    raw = np.array([1e300, -0.0, 1, 2, 3, 4, np.inf, 6])
    if version == 1:
        return scans(8, 3, np.stack([tenths, seven, raw], axis=1))
    listed = np.array([0.25, 1000.125, -77.5, 0.25, 1000.125, 0.25, -77.5, 0.25])
    return scans(8, 3, np.stack([tenths.astype(np.float32), listed, raw], axis=1))


def test_quantised_scans_are_small() -> None:
    rng = np.random.default_rng(3)
    values = np.round(np.cumsum(rng.integers(-2, 3, (60, 200)), axis=0) * 0.1 + 50, 1)
    batch = scans(60, 200, values)
    body = encode(batch)
    assert same(batch, decode("plc", body))
    assert len(body) / len(batch) <= 0.7


@settings(max_examples=120)
@given(
    hnp.arrays(np.float64, st.integers(0, 60), elements=st.floats(width=64)),
    st.integers(1, 5),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_any_values_come_back(values: np.ndarray, tags: int, regular: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = len(values)
    tag = np.arange(n) % tags if regular else rng.integers(0, tags, n)
    ts = START + np.sort(rng.integers(-(2**40), 2**40, n))
    batch = Batch.of("x", tag, values, ts, rng.integers(0, 9, n) * rng.integers(0, 2))
    assert same(batch, decode("x", encode(batch)))


@settings(max_examples=60)
@given(
    st.lists(
        st.decimals(allow_nan=False, allow_infinity=False, min_value=-9999, max_value=9999, places=3),
        min_size=4,
        max_size=80,
    )
)
def test_decimals_come_back(numbers: list[object]) -> None:
    batch = scans(len(numbers), 1, np.array([float(str(x)) for x in numbers]))
    assert same(batch, decode("plc", encode(batch)))


@settings(max_examples=80)
@given(
    st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=300, unique=True),
    st.integers(1, 400),
    st.integers(1, 3),
    st.integers(0, 2**32),
)
def test_few_values_that_lie_far_apart_come_back(steps: list[int], m: int, k: int, seed: int) -> None:
    picked = np.random.default_rng(seed).integers(0, len(steps), (m, k))
    batch = scans(m, k, np.array(steps)[picked] / 1e6)
    assert same(batch, decode("plc", encode(batch)))


@settings(max_examples=80)
@given(
    st.lists(
        st.floats(width=32, allow_nan=False, allow_infinity=False)
        | st.integers(-9999, 9999).map(lambda n: float(np.float32(n / 100))),
        min_size=1,
        max_size=90,
    )
)
def test_what_a_device_holds_in_32_bits_comes_back(numbers: list[float]) -> None:
    batch = scans(len(numbers), 1, np.array(numbers))
    assert same(batch, decode("plc", encode(batch)))


def test_decimals_of_32_bits_cost_what_decimals_cost() -> None:
    rng = np.random.default_rng(3)
    values = np.round(np.cumsum(rng.integers(-2, 3, (60, 200)), axis=0) * 0.1 + 50, 1)
    batch = scans(60, 200, values.astype(np.float32).astype(float))
    body = encode(batch)
    assert body[0] == 2 and same(batch, decode("plc", body))
    assert len(body) / len(batch) <= 0.7


def test_a_converter_of_few_steps_costs_its_places() -> None:
    rng = np.random.default_rng(5)
    levels = np.round(np.arange(12) * 0.327927 - 1.9, 6)
    batch = scans(60, 40, levels[rng.integers(0, 12, (60, 40))])
    body = encode(batch)
    assert body[0] == 2 and same(batch, decode("plc", body))
    assert len(body) / len(batch) < 1.2, "log2(12) bits are 0.45 bytes, the lists of 60 samples each the rest"


GOLDEN = {
    1: "ASi1L/0grn0DAIIGFyOQKemPBbwfzVd3bAYUcKK3oKKt/vU+iC6l3ZH4Xyuv5m47BRcfiJhwHCka3NGGMSOG3HiCvbf5+gw49SZY87I+Z2ZCFUH9LxSZC63b"
    "Ah0uTjXy29/8FSiDYkkSCRAAAw88YIkxH7TEnAoBCg==",
    2: "Aii1L/0gxTUEACKIHCeAS9IB5oEoWUFjwimZTD7YdTrqFchSEI72hF5ApGpgl/t2mbaE7BT3IZwKGYwrgGElD/LeS1AP6Yrc14Y7I47suPJ6L4"
    "4MZ8iOOjk/HMVSHUHQmm1qrc7MtC4Q/jMWngdFt8Y6bChs9bef/Rhow9IkSgoQAAMPPGCJ4TU0mc1SRQsF",
}


@pytest.mark.parametrize("version", GOLDEN)
def test_every_version_that_was_ever_written_is_read(version: int) -> None:
    body = base64.b64decode(GOLDEN[version])
    assert body[0] == version
    assert same(golden(version), decode("plc", body))


@pytest.mark.parametrize("bad", [b"", b"\x01", b"\x07abc", b"\x01" + b"\x00" * 40])
def test_garbage_is_refused(bad: bytes) -> None:
    with pytest.raises(CodecFault):
        decode("x", bad)


def test_every_truncation_and_flip_is_refused_or_decodes() -> None:
    body = encode(scans(20, 3, np.arange(60.0)))
    for cut in range(len(body)):
        with pytest.raises(CodecFault):
            decode("x", body[:cut])
    rng = np.random.default_rng(1)
    for _ in range(300):
        flipped = bytearray(body)
        flipped[rng.integers(len(body))] ^= 1 << rng.integers(8)
        try:
            decode("x", bytes(flipped))
        except CodecFault:
            continue


def test_events() -> None:
    event = Event("alarm", "oil_hot", "raised", START, "high", "油温过高", {"value": 81.5, "n": None}, ("ab",), "id1")
    assert decode_event(encode_event(event)) == event
    with pytest.raises(CodecFault):
        encode_event(Event("a", "b", data={"x": object()}))
    with pytest.raises(CodecFault):
        decode_event(encode_event(event)[:-3])


def test_bad_values_keep_their_cause() -> None:
    batch = Batch.of("x", [1, 2], [np.nan, 3.0], START, [Quality.TIMEOUT, Quality.GOOD])
    back = decode("x", encode(batch))
    assert list(back.quality) == [Quality.TIMEOUT, Quality.GOOD] and np.isnan(back.value[0])


def block(*header: Any) -> bytes:
    return b"\1" + zstandard.compress(msgpack.packb(list(header)))


def test_a_block_of_pure_noise_fits_a_message() -> None:
    rng, n = np.random.default_rng(1), 1_000_000
    values, times = rng.standard_normal(n), rng.integers(0, 2**61, n)
    noise = Batch.of("x", rng.integers(0, 20, n), values, times, rng.integers(0, 7, n))
    assert max(len(encode(piece)) for piece in pieces(noise)) <= wire.MOST_BODY


@pytest.mark.parametrize(
    "tag",
    [
        np.concatenate([np.ones(260_000), np.arange(2, 2002)]),
        np.random.default_rng(1).zipf(1.5, 200_000) % 5000,
        np.tile(np.arange(100), 2 * MOST_SAMPLES // 100),
        np.zeros(4),
    ],
    ids=["one fast tag among slow ones", "tags of every rate", "a long replay", "one tag"],
)
def test_what_is_taken_in_comes_back_in_pieces_of_bounded_size(tag: np.ndarray) -> None:
    n = len(tag)
    batch = Batch.of("x", tag, np.arange(n) * 0.1, START + np.arange(n) * 10**6)
    tracemalloc.start()
    back = [decode("x", encode(piece)) for piece in pieces(batch)]
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 600e6 and len(back) <= 20
    for column in ("tag", "ts", "value"):
        here = getattr(batch, column)[np.argsort(batch.tag, kind="stable")]
        every, tags = (np.concatenate([getattr(b, c) for b in back]) for c in (column, "tag"))
        assert np.array_equal(every[np.argsort(tags, kind="stable")], here)


FEW, NO_VALUES = b"\1\0\0\0", [b"\0", b"\0", b"\0" * 8, [b""] * 4]
TIMES = [b"\x80", 1, 2**14, 1, bytes(14 + 2**14)]
LISTED = [b"\0" * 2**16, b"\x21" * 2**16, bytes(8 * 2**16), [b"\0" * 2**16, b"", b"", b""], [b"\xff" * 2**16, 8, b""]]


@pytest.mark.parametrize(
    "bomb",
    [
        b"\1" + zstandard.compress(bytes(65 * 2**20)),
        block(10**12, 1, "m", FEW, [b"\x80", 1, 10**12, 0, bytes(16)], NO_VALUES, b""),
        block(4_000_000_000, 1, "r", FEW + b"\xff" * 4, [1, 2, 1, bytes(16)], NO_VALUES, b""),
        block(2, 1, "r", FEW + b"\xff" * 4, [1, 2, 1, bytes(16)], NO_VALUES, b""),
        block(2, 1, "m", FEW, [b"\x80", 1, 2**40, 0, bytes(16)], NO_VALUES, b""),
        block(0, 10**9, "m", FEW, [b"\x80", 1, 0, 0, b""], NO_VALUES, b""),
        block("9" * 100, 1, "m", FEW, [b"\x80", 1, 2, 0, bytes(16)], NO_VALUES, b""),
        b"\1" + zstandard.compress(b"\x91" * 100_000),
        block(2**14, 1, "m", FEW, TIMES, [b"\0", b"\0", bytes(8 * 4000), [b""] * 4], b""),
        block(2**20, 1, "m", FEW * 2**16, TIMES, NO_VALUES, b""),
        block(2**14, 1, "r", FEW + b"\0\x40\0\0" * 2**15, TIMES[1:], NO_VALUES, b""),
        block(2**14, 1, "m", FEW, [b"\x80", [1] * 2**14, 2**14, 1, bytes(14 + 2**14)], NO_VALUES, b""),
        block(2**14, 1, "m", FEW, [b"\x80", 1, 2, 0, bytes(2**22)], NO_VALUES, b""),
        b"\2" + block(2**16, 2**16, "m", FEW * 2**16, [bytes(2**13), 1, 1, 0, bytes(8)], LISTED, b"")[1:],
        b"\1" + zstandard.compress(b"\xdd\x00\x80\x00\x00" + b"\1" * 2**23),
    ],
)
def test_a_bomb_is_refused_before_it_takes_memory(bomb: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(CodecFault):
            decode("plc", bomb)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


def test_an_event_has_its_size() -> None:
    with pytest.raises(CodecFault, match="at most"):
        encode_event(Event("k", "large", text="x" * 2_000_000))
    with pytest.raises(CodecFault, match="at most"):
        decode_event(b"\1" + zstandard.compress(bytes(2_000_000)))
