"""Numbers in some bits of a register, and numbers whose highest bit is the sign."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from drivers.modbus.address import parse_address
from drivers.modbus.options import ModbusConfig
from drivers.modbus.plan import Plan
from drivers.modbus.sim import ModbusSim
from edge import Quality
from edge.cli import main


def config(**tags: dict[str, Any]) -> ModbusConfig:
    return ModbusConfig.model_validate({"driver": "modbus", "url": "tcp://x", "tags": tags})


def decoded(words: list[int], **tags: dict[str, Any]) -> list[tuple[float, int]]:
    plan: Plan = config(**tags).plan()
    value, quality = plan.decode(np.array(words, np.uint16))
    return list(zip(value.tolist(), quality.tolist(), strict=True))


def test_each_part_of_a_register_is_its_own_number() -> None:
    assert decoded(
        [0xA5C3],
        low={"address": "holding:1.0..3"},
        middle={"address": "holding:1.4..11", "scale": 0.1, "offset": -1},
        high={"address": "holding:1.12..15"},
        bit={"address": "holding:1.15"},
        one={"address": "holding:1.0..0"},
        whole={"address": "holding:1"},
    ) == [(3, 0), (8.2, 0), (0xA, 0), (1, 0), (1, 0), (0xA5C3, 0)]


def test_parts_are_not_available_when_their_register_says_so() -> None:
    part, bit = {"address": "holding:1.8..11", "none": 0xFFFF}, {"address": "holding:1.8", "none": 0xFFFF}
    assert [quality for _, quality in decoded([0xFFFF], part=part, bit=bit)] == [Quality.BAD, Quality.BAD]
    assert decoded([0x0FFF], part=part, bit=bit) == [(15, 0), (1, 0)]


@pytest.mark.parametrize(
    ("words", "options", "value"),
    [
        ([0x8001], {"type": "signmag16"}, -1),
        ([0x7FFF], {"type": "signmag16", "scale": 0.001}, 32.767),
        ([0xFFFF], {"type": "signmag16"}, -32767),
        ([0x8000], {"type": "signmag16"}, 0),
        ([0x0180], {"type": "signmag16", "order": "BADC"}, -1),
        ([0x8000, 0x05DC], {"type": "signmag32", "scale": 0.001}, -1.5),
        ([0x05DC, 0x8000], {"type": "signmag32", "order": "CDAB", "scale": 0.001}, -1.5),
        ([0xFFFF, 0xFFFF], {"type": "signmag32"}, -(2**31 - 1)),
        ([0x0000, 0x0007], {"type": "signmag32"}, 7),
    ],
)
def test_the_highest_bit_is_the_sign(words: list[int], options: dict[str, Any], value: float) -> None:
    (found,) = decoded(words, x={"address": "holding:0", **options})
    assert found == (value, Quality.GOOD) and str(found[0]) != "-0.0"


def test_the_simulator_puts_a_part_beside_the_others() -> None:
    device = ModbusSim("x", config(a={"address": "holding:1.8..11"}, b={"address": "holding:1.0..7"}))
    device.set("b", 200)
    device.set("a", 9)
    assert (device.get("a"), device.get("b")) == (9, 200)
    with pytest.raises(ValueError, match=r"16 does not fit into holding:1\.8\.\.11"):
        device.set("a", 16)


def test_what_does_not_fit_a_sign_and_an_amount_is_refused() -> None:
    device = ModbusSim("x", config(a={"address": "holding:1", "type": "signmag16"}))
    for value in (-32767.0, 32767.0, -0.2):
        device.set("a", value)
        assert device.get("a") == round(value)
    for value in (32768.0, -32768.0):
        with pytest.raises(ValueError, match="does not fit into signmag16"):
            device.set("a", value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"address": "holding:1.11..8"}, "runs backwards; write the lower bit first"),
        ({"address": "holding:1.8..16"}, "bits 0 to 15 exist"),
        ({"address": "coil:1.0..3"}, "bits 0 to 15 exist"),
        ({"address": "holding:1.8..11", "type": "bool"}, "its type can only be uint16"),
        ({"address": "holding:1.8..11", "type": "int16"}, "its type can only be uint16"),
        ({"address": "holding:1.8..11", "writable": {"range": [0, 3]}}, "cannot be written alone"),
        ({"address": "holding:1", "type": "signmag16", "none": 0x8000}, "`none` cannot be said of signmag16"),
        ({"address": "holding:65535", "type": "signmag32"}, "runs past the last register"),
        ({"address": "holding:1", "type": "signmag16", "writable": {"range": [0, 40000]}}, "does not fit"),
    ],
)
def test_what_cannot_be_is_said(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        config(x=options)


def test_an_address_is_shown_as_it_was_written() -> None:
    assert [str(parse_address(text)) for text in ("input:7.0..3", "holding:1.4..4", "holding:1.4")] == [
        "input:7.0..3",
        "holding:1.4",
        "holding:1.4",
    ]


def test_decode_finds_a_sign_bit_behind_a_display_below_zero(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decode", "holding:8", "--words", "0x05DC,0x8000", "--display=-1.500", "--name", "flow"]) == 0
    assert 'flow: {address: "holding:8", type: signmag32, order: CDAB, scale: 0.001}' in capsys.readouterr().out
    main(["decode", "holding:8", "--words", "0x0000,0x05DC", "--display", "1500"])
    assert "signmag" not in capsys.readouterr().out
