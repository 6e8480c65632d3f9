"""The tree of tenants: where a device stands is a path, enterprise/region/site/line as far down as somebody goes. A node is such a
path, or the beginning of one; "" is the platform, the root of all."""

from __future__ import annotations

import unicodedata
from typing import Any

from sqlalchemy import ColumnElement, false, or_

from edge import LinesideError

LONGEST, DEEPEST = 200, 8  # characters of a path, names in it
_AFTER = chr(ord("/") + 1)


def node(text: str) -> str:
    """A path as it is kept. Raises LinesideError with what is wrong with it."""
    path = unicodedata.normalize("NFC", text).strip()
    names = path.split("/") if path else []
    if len(path) > LONGEST or len(names) > DEEPEST:
        raise LinesideError(
            f"{text[:40]!r} is too long for a place", hint=f"{DEEPEST} names, {LONGEST} characters at most"
        )
    if any(not name.strip() or name in (".", "..") or not name.isprintable() for name in names):
        hint = "names with one / between them, as in acme/east/suzhou/line-3"
        raise LinesideError(f"{text!r} is no place in the tree", hint=hint)
    return "/".join(name.strip() for name in names)


def below(place: str, top: str) -> bool:
    """Whether a place is that node or stands below it."""
    return not top or place == top or place.startswith(f"{top}/")


def enterprise(place: str) -> str:
    """The first name of a path."""
    return place.partition("/")[0]


def above(place: str) -> tuple[str, ...]:
    """A place and the nodes above it, the root first."""
    names = place.split("/") if place else []
    return tuple("/".join(names[:n]) for n in range(len(names) + 1))


def is_below(column: Any, tops: tuple[str, ...]) -> ColumnElement[bool]:
    """The same of a column, of any of several nodes; by its index, letter by letter (a LIKE of SQLite takes Acme for acme)."""
    return or_(false(), *((column == top) | (column >= f"{top}/") & (column < f"{top}{_AFTER}") for top in tops))
