"""Expressions: a small subset of Python's own syntax, compiled once to numpy over whole columns."""

from __future__ import annotations

import ast
import json
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .errors import LinesideError

Column = np.ndarray | float
MOST_CHARACTERS = 2_000
MOST_DEPTH = 60


class ExpressionFault(LinesideError):
    """An expression that says something this small language does not have; `column` counts from one."""

    def __init__(self, message: str, column: int = 1, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.column = column


FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "abs": (np.abs, 1, 1),
    "sqrt": (np.sqrt, 1, 1),
    "exp": (np.exp, 1, 1),
    "log": (np.log, 1, 1),
    "log10": (np.log10, 1, 1),
    "sin": (np.sin, 1, 1),
    "cos": (np.cos, 1, 1),
    "floor": (np.floor, 1, 1),
    "ceil": (np.ceil, 1, 1),
    "round": (lambda x, digits=0: np.round(x, int(digits)), 1, 2),
    "min": (lambda *xs: _fold(np.minimum, xs), 2, 16),
    "max": (lambda *xs: _fold(np.maximum, xs), 2, 16),
    "clip": (np.clip, 3, 3),
    "where": (lambda test, a, b: _choose(test, a, b), 3, 3),
    "bit": (lambda x, n: (np.asarray(x).astype(np.int64) >> int(n)) & 1, 2, 2),
}
WHOLE = {"round": (-15, 15), "bit": (0, 62)}  # the second value decides what is computed, so it is no column
_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: np.true_divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod,
    ast.Pow: np.power,
}
_COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def _fold(function: Callable[[Any, Any], Any], columns: tuple[Any, ...]) -> Any:
    out = columns[0]
    for column in columns[1:]:
        out = function(out, column)
    return out


# What has no value (a division by zero) is neither true nor false: NaN, unless the other side decides alone.


def _truth(column: Any) -> Any:
    return np.where(np.isfinite(column), np.asarray(column) != 0, np.nan)


def _both(a: Any, b: Any) -> Any:
    return np.where((a == 0) | (b == 0), 0.0, np.where(np.isnan(a) | np.isnan(b), np.nan, 1.0))


def _either(a: Any, b: Any) -> Any:
    return np.where((a == 1) | (b == 1), 1.0, np.where(np.isnan(a) | np.isnan(b), np.nan, 0.0))


def _choose(test: Any, then: Any, other: Any) -> Any:
    truth = _truth(test)
    return np.where(np.isnan(truth), np.nan, np.where(truth == 1, then, other))


@dataclass(frozen=True)
class Expression:
    """`names` are the tags it reads; `evaluate({name: float64[n]})` gives float64[n]; comparisons give 0 and 1, or
    NaN where a side has no value.

    A text tag is compared with a string by `==` or `!=` only; `texts` are these pairs, and `columns` also holds the number of
    each pair's string, as `column_of(name, string)`. `numbers` are the names that are used in any other way.

    `limit` is (name, sign, bound) when the whole expression says `sign * tag > bound`, so that a table of limits can
    hold it as one row; else None.
    """

    text: str
    names: frozenset[str]
    evaluate: Callable[[Mapping[str, Column]], np.ndarray]
    limit: tuple[str, float, float] | None = None
    texts: frozenset[tuple[str, str]] = frozenset()
    numbers: frozenset[str] = frozenset()


@dataclass(slots=True)
class Found:
    """What the compiler meets on its way: tags read as numbers, and (tag, string) that are compared."""

    numbers: set[str] = field(default_factory=set)
    texts: set[tuple[str, str]] = field(default_factory=set)


def column_of(name: str, text: str) -> str:
    """Where the number of a string stands among the columns; no tag has such a name."""
    return f"{name} {text!r}"


def compile_expression(text: str) -> Expression:
    """Compile. Raises ExpressionFault with the column of the fault."""
    if len(text) > MOST_CHARACTERS:
        raise ExpressionFault(f"longer than {MOST_CHARACTERS} characters")
    try:
        body = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        column = getattr(error, "offset", None) or 1
        raise ExpressionFault(f"cannot read {text!r}: {getattr(error, 'msg', error)}", column) from None
    if _depth(body) > MOST_DEPTH:
        raise ExpressionFault("nested too deeply", hint="split it into several tags")
    found = Found()
    function = _compile(body, found)

    def evaluate(columns: Mapping[str, Column]) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray(function(columns), np.float64)

    names = frozenset(found.numbers | {name for name, _ in found.texts})
    return Expression(text, names, evaluate, _as_limit(body), frozenset(found.texts), frozenset(found.numbers))


def expression_names(text: str) -> frozenset[str]:
    """The tags an expression reads; none where it cannot be read."""
    try:
        return compile_expression(text).names
    except ExpressionFault:
        return frozenset()


def _depth(node: ast.AST) -> int:
    """How deep a tree is, found without recursion."""
    depth, row = 0, [node]
    while row:
        depth, row = depth + 1, [child for parent in row for child in ast.iter_child_nodes(parent)]
    return depth


def _number(node: ast.Constant) -> float:
    try:
        return float(node.value)  # type: ignore[arg-type]
    except OverflowError:
        raise ExpressionFault("this number is too large", node.col_offset + 1) from None


def dotted(node: ast.AST) -> str | None:
    """`a.b.c` as written, or None."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return f"{head}.{node.attr}" if head else None
    return None


def _constant(node: ast.AST) -> float | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return _number(node)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        inner = _constant(node.operand)
        return None if inner is None else (-inner if isinstance(node.op, ast.USub) else inner)
    return None


def _as_limit(node: ast.AST) -> tuple[str, float, float] | None:
    if not (isinstance(node, ast.Compare) and len(node.ops) == 1):
        return None
    left, right, op = node.left, node.comparators[0], type(node.ops[0])
    mirrored = {ast.Gt: ast.Lt, ast.Lt: ast.Gt, ast.GtE: ast.LtE, ast.LtE: ast.GtE}
    if op not in mirrored:
        return None
    name, bound = dotted(left), _constant(right)
    if name is None or bound is None:
        name, bound, op = dotted(right), _constant(left), mirrored[op]
    if name is None or bound is None or name in ("true", "false"):
        return None
    sign = 1.0 if op in (ast.Gt, ast.GtE) else -1.0
    bound *= sign
    return name, sign, float(np.nextafter(bound, -np.inf)) if op in (ast.GtE, ast.LtE) else bound


def _text_comparison(node: ast.Compare, found: Found) -> Callable[[Mapping[str, Column]], Any] | None:
    """`tag == "string"`, either way round; None where no string stands on either side. Raises ExpressionFault."""
    sides = [node.left, *node.comparators]
    texts = [side for side in sides if isinstance(side, ast.Constant) and isinstance(side.value, str)]
    if not texts:
        return None
    at, shown = texts[0].col_offset + 1, json.dumps(texts[0].value, ensure_ascii=False)
    if not isinstance(node.ops[0], (ast.Eq, ast.NotEq)):
        raise ExpressionFault(f"{shown} is text, which has no order", at, hint="compare it by == or !=")
    name = dotted(sides[0] if texts[0] is sides[1] else sides[1])
    if len(sides) > 2 or name is None or name in ("true", "false", "True", "False"):
        raise ExpressionFault(f"{shown} can be compared with one tag only", at, hint=f"as in plc.recipe == {shown}")
    text, op = str(texts[0].value), _COMPARE[type(node.ops[0])]
    found.texts.add((name, text))
    column = column_of(name, text)

    def compare(columns: Mapping[str, Column]) -> Any:
        value = columns[name]
        return np.where(np.isfinite(value), op(value, columns[column]), np.nan)

    return compare


def _compile(node: ast.AST, found: Found) -> Callable[[Mapping[str, Column]], Any]:
    at = getattr(node, "col_offset", 0) + 1
    name = dotted(node)
    if name in ("true", "false", "True", "False"):
        number = float(name.lower() == "true")
        return lambda _: number
    if name is not None:
        found.numbers.add(name)
        return lambda columns: columns[name]
    if isinstance(node, ast.Constant):
        if isinstance(node.value, (bool, int, float)):
            value = _number(node)
            return lambda _: value
        hint = 'a text tag can be compared with it, as in plc.recipe == "A7"' if isinstance(node.value, str) else ""
        raise ExpressionFault(f"{node.value!r} is no number", at, hint=hint)
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        op, left, right = _BINARY[type(node.op)], _compile(node.left, found), _compile(node.right, found)
        return lambda columns: op(left(columns), right(columns))
    if isinstance(node, ast.UnaryOp):
        inner = _compile(node.operand, found)
        if isinstance(node.op, ast.Not):
            return lambda columns: 1.0 - _truth(inner(columns))
        if isinstance(node.op, ast.USub):
            return lambda columns: -np.asarray(inner(columns), np.float64)
        if isinstance(node.op, ast.UAdd):
            return inner
    if isinstance(node, ast.BoolOp):
        parts = [_compile(value, found) for value in node.values]
        join = _both if isinstance(node.op, ast.And) else _either
        return lambda columns: _fold(join, tuple(_truth(part(columns)) for part in parts))
    if isinstance(node, ast.Compare) and (compare := _text_comparison(node, found)):
        return compare
    if isinstance(node, ast.Compare) and all(type(op) in _COMPARE for op in node.ops):
        terms = [_compile(term, found) for term in (node.left, *node.comparators)]
        ops = [_COMPARE[type(op)] for op in node.ops]

        def chain(columns: Mapping[str, Column]) -> Any:
            values = [term(columns) for term in terms]
            pairs = zip(ops, values, values[1:], strict=False)
            return _fold(
                _both, tuple(np.where(np.isfinite(a) & np.isfinite(b), op(a, b), np.nan) for op, a, b in pairs)
            )

        return chain
    if isinstance(node, ast.IfExp):
        test, then, other = (_compile(part, found) for part in (node.test, node.body, node.orelse))
        return lambda columns: _choose(test(columns), then(columns), other(columns))
    if isinstance(node, ast.Call):
        return _call(node, found, at)
    raise ExpressionFault(
        f"{type(node).__name__.lower()} is not part of this language", at, hint="arithmetic, comparisons, and, or, not"
    )


def _call(node: ast.Call, found: Found, at: int) -> Callable[[Mapping[str, Column]], Any]:
    called = dotted(node.func) or "?"
    if called not in FUNCTIONS:
        raise ExpressionFault(f"no function is called {called!r}", at, hint=f"there are {', '.join(sorted(FUNCTIONS))}")
    function, least, most = FUNCTIONS[called]
    if node.keywords or not least <= len(node.args) <= most:
        wanted = f"{least}" if least == most else f"{least} to {most}"
        raise ExpressionFault(f"{called}() takes {wanted} values", at)
    if called in WHOLE and len(node.args) > 1:
        low, high = WHOLE[called]
        whole = _constant(node.args[1])
        if whole is None or whole != int(whole) or not low <= whole <= high:
            raise ExpressionFault(f"{called}() needs a plain whole number from {low} to {high} as its second value", at)
    parts = [_compile(argument, found) for argument in node.args]
    return lambda columns: function(*(part(columns) for part in parts))
