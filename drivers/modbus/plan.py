"""Tags -> the fewest requests, and the words of their answers -> one column."""

from __future__ import annotations

import math
import struct
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from edge import AnswerContradicts, Quality, joined

from .address import BITS, WORDS, Address, ratio
from .cover import Range, fewest, outermost
from .rules import Rules, breaks, sorts

FUNCTIONS = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
LARGEST_POWER = 30  # of ten, that a scale factor may say
_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Item:
    """One tag as the planner sees it."""

    unit: int
    address: Address
    type: str
    order: str = "ABCD"
    scale: float = 1.0
    offset: float = 0.0
    none: tuple[int, ...] = ()  # the raw numbers that say "not available"; of bits, their whole register
    length: int = 0  # registers of a text
    encoding: str = "ascii"
    every: float = 0.0  # seconds between two reads; no request serves two periods

    @property
    def span(self) -> tuple[int, int]:
        """First address and the one after the last."""
        return self.address.number, self.address.number + (self.length or WORDS[self.type])


@dataclass(frozen=True, slots=True)
class Request:
    """One read. Its answer fills words[at : at + count]; a bit takes one word, so that all tables decode alike."""

    unit: int
    function: int
    start: int
    count: int
    at: int
    every: float = field(default=0.0, compare=False)  # seconds

    @property
    def pdu(self) -> bytes:
        return struct.pack(">BHH", self.function, self.start, self.count)

    @property
    def table(self) -> str:
        return next(name for name, code in FUNCTIONS.items() if code == self.function)

    @property
    def span(self) -> tuple[int, int]:
        """First address and the one after the last."""
        return self.start, self.start + self.count

    def __str__(self) -> str:
        return f"unit {self.unit} {self.table}:{self.start}..{self.start + self.count - 1}"


class ShortAnswer(AnswerContradicts):
    """`given` registers or bits came where `request` asked for more."""

    def __init__(self, request: Request, given: int) -> None:
        super().__init__(f"{request}: answered {given} where {request.count} belong")
        self.request, self.given = request, given


@dataclass(frozen=True, slots=True)
class Group:
    """Tags that decode alike: `rows` in the output column, `words` [rows, words] in the answer."""

    type: str
    order: str
    rows: np.ndarray | slice
    words: np.ndarray | slice
    bit: np.ndarray
    top: np.ndarray  # of bits: the largest number that they hold


class Plan:
    """`requests`, how many `words` they fill, and `request_of` each tag (in the given order of the items). No plan under the
    same rules has fewer requests, and of those none reads fewer registers. Items of different periods share no request."""

    def __init__(
        self,
        items: Sequence[Item],
        rules: Mapping[int, Rules] = MappingProxyType({}),
        powers: Sequence[tuple[int, int]] = (),
    ) -> None:
        """`rules` by unit number; `powers`: (item, item that holds its power of ten)."""
        self.items = list(items)
        self.requests: list[Request] = []
        self.request_of = np.zeros(len(items), np.int64)
        first = np.zeros(len(items), np.int64)
        self.words = 0
        tables: dict[tuple[int, str, float], list[int]] = {}
        for i, item in enumerate(items):
            tables.setdefault((item.unit, item.address.table, item.every), []).append(i)
        for (unit, table, every), members in sorted(tables.items()):
            self._table(unit, table, every, members, rules.get(unit, Rules()), first)
        self.first = first  # word of each item; strings are decoded from there, elsewhere
        self._texts = np.array([i for i, item in enumerate(items) if item.type == "text"], np.int64)
        self._groups = self._decode_groups(first)
        scale = [ratio(item.scale) for item in items]
        self._times = np.array([s[0] for s in scale])
        self._over = np.array([s[1] for s in scale])
        self._plus = np.array([item.offset * over for item, (_, over) in zip(items, scale, strict=True)])
        self._scaled = bool((self._times != 1).any() or (self._over != 1).any() or (self._plus != 0).any())
        whole = {"bool", "int16", "uint16", "int32", "uint32", "int64", "uint64"}
        self._fractions = self._scaled or bool(powers) or not {item.type for item in items} <= whole
        self._wide = np.array([i for i, item in enumerate(items) if item.type in ("int64", "uint64")], np.int64)
        self._none = Missing(self.items, first)
        self._raised = np.array(powers, np.int64).reshape(-1, 2).T

    def _table(self, unit: int, table: str, every: float, members: list[int], rules: Rules, first: np.ndarray) -> None:
        """The requests of one table of a unit in one period, whose items are `members`."""
        spans = [self.items[i].span for i in members]
        kinds = sorts(spans, table, rules)
        runs = [_runs([spans[k] for k in kind], spans, table, rules) for kind in kinds]
        where: dict[tuple[int, Range], int] = {}
        for (start, end), n in sorted((run, n) for n, mine in enumerate(runs) for run in mine):
            where[n, (start, end)] = len(self.requests)
            self.requests.append(Request(unit, FUNCTIONS[table], start, end - start, self.words, every))
            self.words += end - start
        for n, kind in enumerate(kinds):
            starts = [start for start, _ in runs[n]]
            for k in kind:
                i, start = members[k], spans[k][0]
                request = self.request_of[i] = where[n, runs[n][bisect_right(starts, start) - 1]]
                first[i] = self.requests[request].at + start - self.requests[request].start

    def _decode_groups(self, first: np.ndarray) -> list[Group]:
        kinds: dict[tuple[str, str], list[int]] = {}
        for i, item in enumerate(self.items):
            if item.type != "text":
                kind = (
                    "bool" if item.address.bit is not None else item.type
                )  # a number in some bits is read as one bit is
                kinds.setdefault((kind, item.order), []).append(i)
        groups = []
        for (kind, order), rows in kinds.items():
            at = np.array(rows)
            words = first[at][:, None] + np.arange(WORDS[kind])
            bit = np.array([self.items[i].address.bit or 0 for i in rows], np.uint16)
            top = np.array([self.items[i].address.top for i in rows], np.uint16)
            groups.append(Group(kind, order, joined(at), words if WORDS[kind] > 1 else joined(words[:, 0]), bit, top))
        return groups

    def decode(self, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """uint16[words] -> (float64[n], quality uint8[n]) in the order of the items. 64-bit integers past 2^53, and float
        codes that are no number, are marked RANGE; what the device calls not available is BAD."""
        n = len(self.items)
        value = np.empty(n)
        value[self._texts] = np.nan
        for group in self._groups:
            value[group.rows] = _numbers(words[group.words], group)
        quality = np.zeros(n, np.uint8)
        if self._wide.size:
            quality[self._wide[np.abs(value[self._wide]) > 2**53]] = Quality.RANGE
        missing = self._none.rows(words, value)
        if self._scaled:
            with np.errstate(over="ignore"):  # said as RANGE
                value *= self._times
            value += self._plus
            value /= self._over
        if missing.size:
            value[missing] = np.nan
        if self._raised.size:
            self._raise(value)
        if (self._fractions or missing.size) and (odd := ~np.isfinite(value)).any():
            quality[odd] = Quality.RANGE
            quality[missing] = Quality.BAD
            self.spread(value, quality)
        return value, quality

    def _raise(self, value: np.ndarray) -> None:
        """Scale by powers of ten that stand in other items; divided where negative, so that 1234 at -1 is 123.4. What is no
        power that a device could mean (0x8000: SunSpec's "not implemented") makes no value."""
        rows, power = self._raised[0], value[self._raised[1]]
        power[~(np.abs(power) <= LARGEST_POWER)] = np.nan
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # said as RANGE
            value[rows] *= 10.0 ** np.maximum(power, 0)
            value[rows] /= 10.0 ** np.maximum(-power, 0)

    def spread(self, value: np.ndarray, quality: np.ndarray) -> None:
        """A value whose power of ten is not known is not known either, for the same cause."""
        if self._raised.size:
            rows, cause = self._raised[0], quality[self._raised[1]]
            quality[rows] = np.maximum(quality[rows], cause)
            value[rows[cause > Quality.CLOCK_UNSURE]] = np.nan

    def members(self, request: int) -> list[int]:
        """Indices of the items that a request serves, by address."""
        return sorted(np.flatnonzero(self.request_of == request).tolist(), key=lambda i: self.items[i].span)


def _runs(spans: Sequence[Range], among: Sequence[Range], table: str, rules: Rules) -> list[Range]:
    """What requests have to read for tags of one sort, of which others lie `among` them."""
    most = rules.bits if table in BITS else rules.registers
    blocks = outermost(spans)
    others = [start for start, _ in sorted({*outermost(among)} - {*blocks})]
    runs = fewest(blocks, most, breaks(blocks, table, rules, rules.gap, others))
    if rules.bridge > rules.gap:
        runs = fewest(runs, most, breaks(runs, table, rules, rules.bridge, others))
    return runs


class Missing:
    """Which items hold the number that their device sends for "not available"."""

    def __init__(self, items: Sequence[Item], first: np.ndarray) -> None:
        pairs = [(i, code) for i, item in enumerate(items) for code in item.none]
        bits = [(i, code) for i, code in pairs if items[i].type == "bool" or items[i].address.bit is not None]
        whole = [(i, code) for i, code in pairs if items[i].type != "bool" and items[i].address.bit is None]
        self._rows, self._codes = (
            np.array([i for i, _ in whole], np.int64),
            np.array([float(code) for _, code in whole]),
        )
        self._bits = np.array([i for i, _ in bits], np.int64)
        self._words, self._registers = first[self._bits], np.array([code for _, code in bits], np.uint16)

    def rows(self, words: np.ndarray, raw: np.ndarray) -> np.ndarray:
        """`raw`: the numbers as they stand in the registers. Bits are not available when their whole register has the code."""
        found = self._rows[raw[self._rows] == self._codes] if self._rows.size else self._rows
        if not self._bits.size:
            return found
        return np.concatenate([found, self._bits[words[self._words] == self._registers]])


def _numbers(words: np.ndarray, group: Group) -> np.ndarray:
    kind = group.type
    if kind == "bool":
        return (words >> group.bit) & group.top
    if group.order in ("BADC", "DCBA"):
        words = words.byteswap()
    if words.ndim == 1:
        return words.view(np.int16) if kind == "int16" else _signed(words) if kind == "signmag16" else words
    if group.order in ("CDAB", "DCBA"):
        words = words[:, ::-1]
    raw = np.ascontiguousarray(words.astype(">u2")).view(f">u{2 * words.shape[1]}")[:, 0]
    native = raw.astype(raw.dtype.newbyteorder("="))
    if kind == "float32":
        with np.errstate(invalid="ignore"):  # a code that is no number may be a signalling one
            return native.view(kind).astype(np.float64)
    if kind == "signmag32":
        return _signed(native)
    return native if kind.startswith("uint") else native.view(kind)


def _signed(raw: np.ndarray) -> np.ndarray:
    """The highest bit is the sign, the others are the amount."""
    sign = raw.dtype.type(1 << (8 * raw.itemsize - 1))
    amount = (raw & ~sign).astype(np.float64)
    return np.where(raw & sign, 0.0 - amount, amount)


def encode_value(item: Item, value: float) -> list[int]:
    """The words that a value of this item is written as. Raises ValueError when it does not fit its type."""
    times, over = ratio(item.scale)
    raw = (value - item.offset) * over / times
    if math.isnan(value) and item.none and item.type != "bool" and item.address.bit is None:
        raw = item.none[0]
    if not math.isfinite(raw) or (item.type == "float32" and abs(raw) > _LARGEST_FLOAT32):
        raise ValueError(f"{value:g} does not fit into {item.type}")
    if item.type == "bool":
        if raw not in (0, 1):
            raise ValueError(f"{value:g} does not fit into {item.type}, which is 0 or 1")
        return [int(raw)]
    kind = np.dtype(item.type.replace("signmag", "uint"))
    if item.type.startswith("signmag"):
        sign = 1 << (8 * kind.itemsize - 1)
        raw = abs(round(raw)) + (sign if raw < 0 else 0) if abs(round(raw)) < sign else 2 * sign
    if item.address.last is not None and raw > item.address.top:
        raise ValueError(f"{value:g} does not fit into {item.address}")
    if kind.kind in "iu":
        raw = round(raw)
        info = np.iinfo(kind)
        if not info.min <= raw <= info.max:
            raise ValueError(f"{value:g} does not fit into {item.type}")
    words = np.frombuffer(np.array([raw], kind).astype(kind.newbyteorder(">")).tobytes(), ">u2").astype(np.uint16)
    if item.order in ("CDAB", "DCBA"):
        words = words[::-1]
    if item.order in ("BADC", "DCBA"):
        words = words.byteswap()
    return [int(word) for word in words]
