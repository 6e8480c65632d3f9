"""What raw registers may mean: every type, order and place, and which of them a meter's display confirms."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edge import ConfigFault

from .address import ORDERS, WORDS, Address, ratio
from .plan import Item, Plan

OFFSETS = (0, -1, 1)  # as named, counted from zero; the named one counts from one; the neighbour after it
SCALES = (1.0, 0.1, 0.01, 0.001, 10.0, 100.0, 1000.0)
TYPES = ("uint16", "int16", "uint32", "int32", "float32", "uint64", "int64", "float64")
SIGN_BIT = ("signmag16", "signmag32")  # only a value below 0 tells them from the unsigned ones
NEAR = 0.005  # of the display's value: what it may have moved between the read and the look at it
_SIGNED = {"int16": "uint16", "int32": "uint32", "int64": "uint64"}
_ODD_ORDER = {"ABCD": 0, "CDAB": 1, "BADC": 3, "DCBA": 3}
_ODD_TYPE = {"float32": 0, "uint16": 0, "uint32": 1, "float64": 1, "uint64": 2}


@dataclass(frozen=True, slots=True)
class Look:
    """One raw read: registers from address `start` on."""

    start: int
    words: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Display:
    """What stood on a meter's display; `step` is the worth of its last digit."""

    value: float
    step: float

    @classmethod
    def parse(cls, text: str) -> Display:
        """`231.4`, `-12`, `231,4`. Raises ConfigFault."""
        found = re.fullmatch(r"\s*([+-]?\d{1,15})(?:[.,](\d{1,9}))?\s*", text)
        if found is None:
            raise ConfigFault(f"{text!r} is no number from a display", hint="write it as it stands there, as in 231.4")
        digits = found[2] or ""
        value = float(f"{found[1]}.{digits}")
        if value == 0:
            raise ConfigFault(
                "a display that shows 0 tells nothing: most registers are 0", hint="wait until it shows something"
            )
        return cls(value, 10.0 ** -len(digits))


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read: the value is the raw number, without a scale."""

    address: Address
    type: str
    order: str
    value: float


@dataclass(frozen=True, slots=True)
class Fit:
    """A reading that gives what the displays showed; `exact` to the last digit, else within half a percent. `also` is a type
    that cannot be told from it: the same number until it passes the sign."""

    address: Address
    type: str
    order: str
    scale: float
    offset: int
    exact: bool
    values: tuple[float, ...]
    also: str = ""

    def line(self, name: str) -> str:
        """The tag, ready to paste below `tags:`."""
        parts = [f'address: "{self.address}"']
        parts += [f"type: {self.type}"] if self.type != "uint16" else []
        parts += [f"order: {self.order}"] if self.order != "ABCD" else []
        parts += [f"scale: {self.scale:g}"] if self.scale != 1 else []
        return f"{name}: {{{', '.join(parts)}}}"


def readings(address: Address, look: Look) -> list[Reading]:
    """Every reading of a look around `address`, decoded as the driver does."""
    found = []
    for item, _ in _items(address):
        raw = _raw(item, look)
        if raw is not None:
            found.append(Reading(item.address, item.type, item.order, raw))
    return found


def fits(address: Address, looks: Sequence[tuple[Look, Display]]) -> list[Fit]:
    """The readings that give every display's value, the likeliest first."""
    found: dict[tuple[int, str, str, float], Fit] = {}
    below = any(display.value < 0 for _, display in looks)
    for item, offset in _items(address, TYPES + SIGN_BIT if below else TYPES):
        raw = [_raw(item, look) for look, _ in looks]
        for scale in SCALES if None not in raw else ():
            times, over = ratio(scale)
            values = tuple(value * times / over for value in raw if value is not None)
            away = max(_error(value, display) for value, (_, display) in zip(values, looks, strict=True))
            if away < 2:
                fit = Fit(item.address, item.type, item.order, scale, offset, away == 0, values)
                found[offset, item.type, item.order, scale] = fit
    return sorted(_merged(found), key=lambda fit: _oddness(fit, looks[0][1]))


def _items(address: Address, kinds: Sequence[str] = TYPES) -> Iterator[tuple[Item, int]]:
    for offset in OFFSETS:
        for kind in kinds:
            for order in ORDERS if WORDS[kind] > 1 else ("ABCD", "BADC"):
                if 0 <= address.number + offset <= 65536 - WORDS[kind]:
                    yield Item(0, Address(address.table, address.number + offset), kind, order), offset


def _raw(item: Item, look: Look) -> float | None:
    """The value of an item in a look; None where it lies outside or is no number."""
    first, end = item.span
    if first < look.start or end > look.start + len(look.words):
        return None
    words = np.array(look.words[first - look.start : end - look.start], np.uint16)
    value = float(Plan([item]).decode(words)[0][0])
    return value if np.isfinite(value) else None


def _error(value: float, display: Display) -> int:
    """0: the display's own digits; 1: it may have moved meanwhile; 2: another number."""
    away = abs(value - display.value)
    if away <= display.step * 0.500001:
        return 0
    return 1 if away <= max(1.5 * display.step, NEAR * abs(display.value)) else 2


def _merged(found: dict[tuple[int, str, str, float], Fit]) -> Iterator[Fit]:
    """Without the signed twin of an unsigned reading: both are one number until it passes the sign."""
    for (offset, kind, order, scale), fit in found.items():
        twin = (offset, _SIGNED.get(kind, ""), order, scale)
        if twin in found and found[twin].values == fit.values:
            continue
        signed = next((s for s, u in _SIGNED.items() if u == kind and (offset, s, order, scale) in found), "")
        yield Fit(**{**{name: getattr(fit, name) for name in Fit.__slots__}, "also": signed})


def _oddness(fit: Fit, display: Display) -> tuple[object, ...]:
    """The smaller, the likelier: exact before near, the named address before its neighbours, usual orders and scales."""
    floats = fit.type.startswith("float")
    usual = 1.0 if floats else display.step
    scale = 0 if fit.scale == usual else 1 if fit.scale < usual else 2
    kind = _ODD_TYPE.get(fit.type, _ODD_TYPE.get(_SIGNED.get(fit.type, ""), 3))
    return not fit.exact, _ODD_ORDER[fit.order] + 2 * abs(fit.offset) + 2 * scale + kind, fit.offset < 0, fit.scale
