"""What a Sparkplug B node says, followed over births and deaths (specification 3.0, chapters 5 and 6). Pure.

An alias belongs to the birth that named it. After a gap in the sequence a birth may be among what was lost, so that values
by alias are no data until the next one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge import DeviceRefused, Quality, WriteRefused

from .payload import BOOLEAN, DATETIME, SIGNED, Metric, Payload, encode_payload
from .values import EARLIEST, LATEST, Sample

NAMESPACE = "spBv1.0"
MOST_ALIASES = 50_000
UNSIGNED = {5: 8, 6: 16, 7: 32, 8: 64}  # bits, by datatype
DOUBLE, FLOATS, STRINGS = 10, {9: "float", 10: "double"}, (12, 14)
LARGEST_FLOAT = (2 - 2**-23) * 2.0**127
REBIRTH = "Node Control/Rebirth"
_SAID = {192: Quality.GOOD, 500: Quality.STALE, 0: Quality.BAD}


@dataclass(slots=True)
class Node:
    """One edge node: what its last birth said."""

    born: bool = False
    whole: bool = False  # no message was missed since
    seq: int = -1
    stamp: int | None = None  # time of the message with that number
    session: Any = None  # bdSeq
    aliases: dict[int, tuple[str, str]] = field(default_factory=dict)  # alias -> (device, metric)
    types: dict[tuple[str, str], int] = field(default_factory=dict)


class Nodes:
    """All nodes of a connection. `tags` maps (node as "group/node", device or "", metric) to indices of tags."""

    def __init__(self, tags: Mapping[tuple[str, str, str], list[int]]) -> None:
        self.tags = tags
        self.nodes = {node: Node() for node, _, _ in tags}
        self.counts: Counter[str] = Counter()
        self.wanted: set[str] = set()  # nodes that should be born again, so that their values are known

    def filters(self) -> list[str]:
        """Topics to subscribe to."""
        return [f"{NAMESPACE}/{node.replace('/', '/+/', 1)}{end}" for node in self.nodes for end in ("", "/+")]

    def heard(self, topic: str, payload: Payload, now: int) -> list[Sample]:
        """The samples of one message; `now` (ns UTC) for those without a time. A topic of nobody's is left out."""
        parts = topic.split("/")
        if len(parts) not in (4, 5) or parts[0] != NAMESPACE:
            return []
        name, kind, device = f"{parts[1]}/{parts[3]}", parts[2], parts[4] if len(parts) == 5 else ""
        node = self.nodes.get(name)
        if node is None or bool(device) != kind.startswith("D"):
            return []
        if kind == "NDEATH":
            return self._died(name, node, payload, now)
        if kind == "NBIRTH":
            return self._born(name, node, payload, now)
        if kind not in ("NDATA", "DDATA", "DBIRTH", "DDEATH"):
            return []
        if not self._follow(name, node, payload):
            return []
        if kind == "DDEATH":
            return self._silent(name, now, device)
        if kind == "DBIRTH":
            self._learn(node, device, payload)
        return self._samples(name, node, device, payload, now)

    def order(self, key: tuple[str, str, str], value: float | str, now: int) -> tuple[str, bytes]:
        """(topic, body) of an order to the node or device of a metric, as the type that its birth named (6.4.22). Raises
        DeviceRefused, WriteRefused."""
        name, device, metric = key
        kind = self.nodes[name].types.get((device, metric))
        if kind is None:
            hint = "`rebirth: true` asks for one"
            raise DeviceRefused(f"no birth of {name} told what {metric} is, since we came", hint=hint)
        stored = stored_as(kind, value)
        group, node = name.split("/")
        topic = f"{NAMESPACE}/{group}/{'D' if device else 'N'}CMD/{node}" + (f"/{device}" if device else "")
        told = Metric(metric, timestamp=now // 10**6, datatype=kind, kind=stored[0], value=stored[1])
        return topic, encode_payload(Payload(now // 10**6, metrics=[told]))

    def forget(self) -> None:
        """The connection is new: what was known may have been replaced meanwhile."""
        for name in self.nodes:
            self.nodes[name] = Node()
        self.wanted |= set(self.nodes)

    # Life

    def _born(self, name: str, node: Node, payload: Payload, now: int) -> list[Sample]:
        if payload.seq not in (None, 0):
            self.counts["sequence_gap"] += 1
        session = next((m.value for m in payload.metrics if m.name == "bdSeq"), None)
        self.nodes[name] = node = Node(True, True, payload.seq or 0, payload.timestamp, session)
        self.wanted.discard(name)
        self._learn(node, "", payload)
        return self._samples(name, node, "", payload, now)

    def _died(self, name: str, node: Node, payload: Payload, now: int) -> list[Sample]:
        """The last will of an older session comes late: it says nothing about the one that lives."""
        session = next((m.value for m in payload.metrics if m.name == "bdSeq"), None)
        if node.born and session is not None and node.session is not None and session != node.session:
            self.counts["old_will"] += 1
            return []
        self.nodes[name] = Node()
        return self._silent(name, now)

    def _silent(self, name: str, now: int, device: str | None = None) -> list[Sample]:
        gone = (self.tags[key] for key in self.tags if key[0] == name and device in (None, key[1]))
        return [(i, now, math.nan, Quality.TIMEOUT) for tags in gone for i in tags]

    def _follow(self, name: str, node: Node, payload: Payload) -> bool:
        """False for a message that came twice, as a line at quality of service 1 may bring it."""
        same = (payload.seq, payload.timestamp) == (node.seq, node.stamp)
        if node.born and same and payload.timestamp is not None:
            self.counts["repeated"] += 1
            return False
        if node.born and payload.seq != (node.seq + 1) % 256:
            self.counts["sequence_gap"] += 1
            node.whole = False
        if not (node.born and node.whole):
            self.wanted.add(name)
        if payload.seq is not None:
            node.seq, node.stamp = payload.seq, payload.timestamp
        return True

    def _learn(self, node: Node, device: str, payload: Payload) -> None:
        for alias in [alias for alias, (owner, _) in node.aliases.items() if owner == device]:
            del node.aliases[alias]
        for metric in payload.metrics:
            if not metric.name or len(node.types) >= MOST_ALIASES:
                continue
            node.types[device, metric.name] = metric.datatype
            if metric.alias is not None:
                node.aliases[metric.alias] = device, metric.name

    # Values

    def _samples(self, name: str, node: Node, device: str, payload: Payload, now: int) -> list[Sample]:
        out: list[Sample] = []
        for metric in payload.metrics:
            called = metric.name
            if not called:
                owner, called = node.aliases.get(metric.alias if metric.alias is not None else -1, (device, ""))
                if not called or owner != device:
                    self.counts["unknown_alias"] += 1
                    continue
            tags = self.tags.get((name, device, called))
            if not tags:
                continue
            ts, unsure = self._time(metric, payload, now)
            kind = metric.datatype or node.types.get((device, called), 0)
            value, quality = self._judged(metric, kind)
            if not metric.name and not node.whole:
                value, quality = math.nan, Quality.STALE
                self.counts["after_gap"] += 1
            elif quality == Quality.GOOD:
                quality = Quality.LATE if metric.historical else unsure
            out += [(i, ts, value, quality) for i in tags]
        return out

    def _time(self, metric: Metric, payload: Payload, now: int) -> tuple[int, Quality]:
        told = metric.timestamp if metric.timestamp is not None else payload.timestamp
        ts = (told or 0) * 1_000_000
        if EARLIEST <= ts < LATEST:
            return ts, Quality.GOOD
        self.counts["no_time"] += 1
        return now, Quality.CLOCK_UNSURE

    def _judged(self, metric: Metric, kind: int) -> tuple[float | str, Quality]:
        said = Quality.GOOD if metric.quality is None else _SAID.get(metric.quality, Quality.BAD)
        if said != Quality.GOOD:
            return math.nan, said
        if metric.null:
            return math.nan, Quality.BAD
        if isinstance(metric.value, str):
            return metric.value, Quality.GOOD
        value = number_of(metric, kind)
        if value is None:
            self.counts["no_number"] += 1
            return math.nan, Quality.BAD
        if not math.isfinite(value) or (isinstance(value, int) and abs(value) > 2**53):
            return math.nan, Quality.RANGE
        return float(value), Quality.GOOD


def number_of(metric: Metric, kind: int) -> int | float | None:
    """The number behind a metric's value and datatype; None where it is none, or where nobody can tell its sign."""
    value = metric.value
    if value is None or isinstance(value, str):
        return None
    if metric.kind in ("float", "double"):
        return float(value)
    if metric.kind == "bool" or kind == BOOLEAN:
        return int(bool(value))
    if kind in SIGNED:  # two's complement in an unsigned field; some send 64 bits of it, some as many as the type has
        bits = SIGNED[kind]
        value &= 2**bits - 1
        return value - 2**bits if value >> bits - 1 else value
    if kind == DATETIME or 5 <= kind <= 8:
        return int(value)
    return None


def stored_as(kind: int, value: float | str) -> tuple[str, Any]:
    """How a payload stores a value of a datatype: (name of its field, what stands there). Raises WriteRefused."""
    if isinstance(value, str) or kind in STRINGS:
        if not isinstance(value, str) or kind not in STRINGS:
            raise WriteRefused(f"{value!r} is not what a metric of datatype {kind} holds")
        return "string", value
    if kind == BOOLEAN and value in (0, 1):
        return "bool", bool(value)
    if kind in FLOATS and (kind == DOUBLE or abs(value) <= LARGEST_FLOAT):
        return FLOATS[kind], value
    bits = SIGNED.get(kind) or UNSIGNED.get(kind, 0)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if kind in SIGNED else (0, 2**bits - 1)
    if not bits or value != int(value) or not low <= value <= high:
        raise WriteRefused(f"{value:g} does not fit the metric, which is of datatype {kind}")
    return ("long", int(value)) if bits == 64 else ("int", int(value) & 0xFFFFFFFF)


def rebirth(now: int) -> bytes:
    """The order to a node to be born again; `now` in ns UTC."""
    order = Metric(REBIRTH, timestamp=now // 10**6, datatype=BOOLEAN, kind="bool", value=True)
    return encode_payload(Payload(timestamp=now // 10**6, metrics=[order]))
