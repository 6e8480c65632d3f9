"""Virtual tags: `tags: {oil_excess: {expression: "plc.oil_temp - 60"}}`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import Field

from .batch import Batch, concatenate
from .driver import Point
from .evaluator import Evaluator
from .expressions import compile_expression
from .stage import Item, Result, StatelessStage
from .tags import TagTable

SOURCE = "virtual"


class VirtualPoint(Point):
    """A tag computed from others."""

    expression: str = Field(description='such as "plc.oil_temp - 60"; + - * / // % **, comparisons, and, or, not')


class VirtualTags(StatelessStage):
    """One expression per tag, in the order in which they need each other."""

    Config = VirtualPoint

    def __init__(self, points: Mapping[str, VirtualPoint], table: TagTable) -> None:
        expressions = [compile_expression(point.expression) for point in points.values()]
        self._ids = [table[name].id for name in points]
        self._evaluate = Evaluator(expressions, table)
        self.inputs = frozenset().union(*(e.names for e in expressions)) if expressions else frozenset()
        self.outputs = frozenset(points)

    def __call__(self, item: Item) -> Iterable[Result]:
        if not isinstance(item, Batch):
            return ()
        parts = [
            Batch.of(SOURCE, [self._ids[i]] * len(ts), value, ts, quality, item.mono)
            for i, ts, value, quality in self._evaluate(item)
            if len(ts)
        ]
        return (concatenate(parts),) if parts else ()


def layered(points: Mapping[str, Any], table: TagTable) -> list[tuple[str, VirtualTags]]:
    """One stage per virtual tag, so that the flow can order those that read each other."""
    return [(f"tags.{name}", VirtualTags({name: point}, table)) for name, point in points.items()]
