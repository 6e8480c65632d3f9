"""Tags -> the fewest requests, and the words of their answers -> one column."""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from edge import Quality

from .address import WORDS, Address, ratio

FUNCTIONS = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
MOST_REGISTERS, MOST_BITS = 125, 2000  # of one answer, Modbus Application Protocol 1.1b3, 6.1 to 6.4
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
    none: int | None = None  # the raw number that says "not available"; of a bit, its whole register

    @property
    def span(self) -> tuple[int, int]:
        """First address and the one after the last."""
        return self.address.number, self.address.number + WORDS[self.type]


@dataclass(frozen=True, slots=True)
class Request:
    """One read. Its answer fills words[at : at + count]; a bit takes one word, so that all tables decode alike."""

    unit: int
    function: int
    start: int
    count: int
    at: int

    @property
    def pdu(self) -> bytes:
        return struct.pack(">BHH", self.function, self.start, self.count)

    @property
    def table(self) -> str:
        return next(name for name, code in FUNCTIONS.items() if code == self.function)

    def __str__(self) -> str:
        return f"unit {self.unit} {self.table}:{self.start}..{self.start + self.count - 1}"


@dataclass(frozen=True, slots=True)
class Group:
    """Tags that decode alike: `rows` in the output column, `words` [rows, words] in the answer."""

    type: str
    order: str
    rows: np.ndarray
    words: np.ndarray
    bit: np.ndarray


class Plan:
    """`requests`, how many `words` they fill, and `request_of` each tag (in the given order of the items)."""

    def __init__(
        self,
        items: Sequence[Item],
        most_registers: int = MOST_REGISTERS,
        gap: int = 8,
        cuts: Collection[tuple[int, str, int]] = (),
        powers: Sequence[tuple[int, int]] = (),
    ) -> None:
        """`gap`: unused registers worth reading to save a request. `cuts`: (unit, table, address) before which a request
        must end, learned from a device that refused a longer one. `powers`: (item, item that holds its power of ten)."""
        self.items = list(items)
        self.requests: list[Request] = []
        self.request_of = np.zeros(len(items), np.int64)
        first = np.zeros(len(items), np.int64)
        self.words = 0
        blocked = set(cuts)
        order = sorted(range(len(items)), key=lambda i: (items[i].unit, items[i].address.table, items[i].span))
        members: list[int] = []
        for i in order:
            if members and not self._joins(items[members[0]], members, items[i], most_registers, gap, blocked):
                self._close(members, first)
                members = []
            members.append(i)
        if members:
            self._close(members, first)
        self._groups = self._decode_groups(first)
        scale = [ratio(item.scale) for item in items]
        self._times = np.array([s[0] for s in scale])
        self._over = np.array([s[1] for s in scale])
        self._plus = np.array([item.offset * over for item, (_, over) in zip(items, scale, strict=True)])
        self._scaled = bool((self._times != 1).any() or (self._over != 1).any() or (self._plus != 0).any())
        self._wide = bool({item.type for item in items} & {"int64", "uint64"})
        self._none = Missing(self.items, first)
        self._raised = np.array(powers, np.int64).reshape(-1, 2).T

    def _joins(
        self, head: Item, members: list[int], item: Item, most: int, gap: int, cuts: set[tuple[int, str, int]]
    ) -> bool:
        address = item.address
        if (head.unit, head.address.table) != (item.unit, address.table):
            return False
        start = head.address.number
        end = max(self.items[m].span[1] for m in members)
        limit = MOST_BITS if address.bits else most
        if max(end, item.span[1]) - start > limit or address.number - end > (gap * 16 if address.bits else gap):
            return False
        return (item.unit, address.table, address.number) not in cuts

    def _close(self, members: list[int], first: np.ndarray) -> None:
        head = self.items[members[0]]
        start, end = head.address.number, max(self.items[m].span[1] for m in members)
        for m in members:
            self.request_of[m] = len(self.requests)
            first[m] = self.words + self.items[m].address.number - start
        self.requests.append(Request(head.unit, FUNCTIONS[head.address.table], start, end - start, self.words))
        self.words += end - start

    def _decode_groups(self, first: np.ndarray) -> list[Group]:
        kinds: dict[tuple[str, str], list[int]] = {}
        for i, item in enumerate(self.items):
            kinds.setdefault((item.type, item.order), []).append(i)
        groups = []
        for (kind, order), rows in kinds.items():
            at = np.array(rows)
            words = first[at][:, None] + np.arange(WORDS[kind])
            bit = np.array([self.items[i].address.bit or 0 for i in rows])
            groups.append(Group(kind, order, at, words if WORDS[kind] > 1 else words[:, 0], bit))
        return groups

    def decode(self, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """uint16[words] -> (float64[n], quality uint8[n]) in the order of the items. 64-bit integers past 2^53, and float
        codes that are no number, are marked RANGE; what the device calls not available is BAD."""
        n = len(self.items)
        value = np.empty(n)
        for group in self._groups:
            value[group.rows] = _numbers(words[group.words], group)
        quality = np.zeros(n, np.uint8)
        if self._wide:
            wide = np.array([item.type in ("int64", "uint64") for item in self.items])
            quality[wide & (np.abs(value) > 2**53)] = Quality.RANGE
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
        odd = ~np.isfinite(value)
        if odd.any():
            quality[odd] = Quality.RANGE
            quality[missing] = Quality.BAD
            self.spread(value, quality)
        return value, quality

    def _raise(self, value: np.ndarray) -> None:
        """Scale by powers of ten that stand in other items; divided where negative, so that 1234 at -1 is 123.4."""
        rows, power = self._raised[0], value[self._raised[1]]
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


class Missing:
    """Which items hold the number that their device sends for "not available"."""

    def __init__(self, items: Sequence[Item], first: np.ndarray) -> None:
        rows = [i for i, item in enumerate(items) if item.none is not None]
        whole = [i for i in rows if items[i].type != "bool"]
        self._rows, self._codes = np.array(whole, np.int64), np.array([float(items[i].none or 0) for i in whole])
        self._bits = np.array([i for i in rows if items[i].type == "bool"], np.int64)
        self._words, self._registers = first[self._bits], np.array([items[i].none or 0 for i in self._bits], np.uint16)

    def rows(self, words: np.ndarray, raw: np.ndarray) -> np.ndarray:
        """`raw`: the numbers as they stand in the registers. A bit is not available when its whole register has the code."""
        found = self._rows[raw[self._rows] == self._codes] if self._rows.size else self._rows
        if not self._bits.size:
            return found
        return np.concatenate([found, self._bits[words[self._words] == self._registers]])


def _numbers(words: np.ndarray, group: Group) -> np.ndarray:
    kind = group.type
    if kind == "bool":
        return (words >> group.bit.astype(np.uint16)) & 1
    if group.order in ("BADC", "DCBA"):
        words = words.byteswap()
    if words.ndim == 1:
        return words.view(np.int16) if kind == "int16" else words
    if group.order in ("CDAB", "DCBA"):
        words = words[:, ::-1]
    raw = np.ascontiguousarray(words.astype(">u2")).view(f">u{2 * words.shape[1]}")[:, 0]
    native = raw.astype(raw.dtype.newbyteorder("="))
    if kind == "float32":
        with np.errstate(invalid="ignore"):  # a code that is no number may be a signalling one
            return native.view(kind).astype(np.float64)
    return native if kind.startswith("uint") else native.view(kind)


def encode_value(item: Item, value: float) -> list[int]:
    """The words that a value of this item is written as. Raises ValueError when it does not fit its type."""
    times, over = ratio(item.scale)
    raw = (value - item.offset) * over / times
    if math.isnan(value) and item.none is not None and item.type != "bool":
        raw = item.none
    if not math.isfinite(raw) or (item.type == "float32" and abs(raw) > _LARGEST_FLOAT32):
        raise ValueError(f"{value:g} does not fit into {item.type}")
    if item.type == "bool":
        if raw not in (0, 1):
            raise ValueError(f"{value:g} does not fit into {item.type}, which is 0 or 1")
        return [int(raw)]
    kind = np.dtype(item.type)
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
