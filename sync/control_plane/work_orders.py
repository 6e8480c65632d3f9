"""Work orders: opened by a person from an alarm, from what is due or by hand, and done with what was done and which parts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import ColumnElement, Connection, RowMapping, exists, or_, select, update

from edge import LinesideError

from . import hold, tables
from .asset import Deed, Line, Name, Note
from .asset_tables import asset as A
from .asset_tables import asset_part as P
from .asset_tables import work_order as W
from .assets import NotHere, do, found, number_of, reads, rules_of

STATES = ("open", "done", "dropped")
COLUMNS = (  # of an export; what is new comes last
    *("number", "state", "asset", "name", "place", "class", "origin", "about", "title", "note"),
    *("opened", "opened_by", "ended", "ended_by", "did", "installed", "removed"),
)


class Opening(BaseModel):
    """A new work order."""

    model_config = ConfigDict(extra="forbid")
    title: Name
    note: Note = ""
    origin: Literal["hand", "alarm", "due"] = "hand"
    about: Line = Field("", description="the key of the alarm, or the rule that is due")


class Ending(BaseModel):
    """What becomes of one: it is done, or is not to be done (`dropped`) and why."""

    model_config = ConfigDict(extra="forbid")
    state: Literal["done", "dropped"]
    deed: Deed = Field(description="what was done; of a dropped one: why not")


def open_one(connection: Connection, number: int, given: Opening, by: str) -> int:
    """A work order for an asset; its number. Raises LinesideError."""
    hold.assets(connection)
    row = found(connection, number)
    if given.origin == "due" and given.about not in [rule.what for rule in rules_of(row)]:
        raise LinesideError(f"{row['id']} has no rule {given.about!r}", hint="its rules say what is due")
    if given.origin == "alarm":
        t = tables.alarm
        known = exists().where(t.c.device == row["device"], t.c.key == given.about)
        if not reads(connection, row) or not connection.scalar(select(known)):
            raise LinesideError(
                f"{row['device'] or row['id']} never had an alarm {given.about!r}", hint="open it by hand"
            )
    if given.origin != "hand":
        same = (W.c.asset == number, W.c.state == "open", W.c.origin == given.origin, W.c.about == given.about)
        if (there := connection.scalar(select(W.c.number).where(*same))) is not None:
            raise LinesideError(f"work order {there} is open for {given.about!r} already")
    values = {"state": "open", "opened": time.time(), "opened_by": by[:80], "ended": 0.0, "ended_by": "", "did": ""}
    mine = number_of(connection, W)
    connection.execute(W.insert().values(number=mine, asset=number, **given.model_dump(), **values))
    return mine


def one(connection: Connection, number: int) -> RowMapping:
    """With the place of its asset. Raises NotHere."""
    rows = connection.execute(_wanted().where(W.c.number == number)).mappings().all()
    if not rows:
        raise NotHere("there is no such work order here")
    return rows[0]


def end(connection: Connection, number: int, given: Ending, by: str) -> None:
    """It is done, or will not be. What was done counts as maintenance of its asset. Raises LinesideError."""
    hold.assets(connection)
    row, deed = one(connection, number), given.deed
    if row["state"] != "open":
        raise LinesideError(f"work order {number} is {row['state']} already, by {row['ended_by']}")
    if given.state == "dropped" and (deed.parts or deed.rule):
        raise LinesideError(f"work order {number} is not to be done, so it changes no part and fulfils no rule")
    if given.state == "done":
        rule = deed.rule or (row["about"] if row["origin"] == "due" else "")
        still = rule in [rule.what for rule in rules_of(found(connection, row["asset_number"]))]
        do(
            connection,
            row["asset_number"],
            deed.model_copy(update={"rule": rule if still or deed.rule else ""}),
            by,
            number,
        )
    values = {"state": given.state, "ended": time.time(), "ended_by": by[:80], "did": deed.did}
    connection.execute(update(W).where(W.c.number == number).values(**values))


def _wanted() -> Any:
    its = [W.c[name] for name in ("number", "state", "origin", "about", "title", "note")]
    its += [W.c[name] for name in ("opened", "opened_by", "ended", "ended_by", "did")]
    whose = [A.c.id.label("asset"), A.c.number.label("asset_number"), A.c.name, A.c.place, A.c["class"]]
    return select(*its, *whose).join(A, A.c.number == W.c.asset)


def orders(
    connection: Connection, those: Sequence[ColumnElement[bool]], limit: int, state: str = "", before: int = 0
) -> list[dict[str, Any]]:
    """The newest first, with the parts that came and went by each; `before` goes on from the last one seen."""
    wanted = _wanted().where(*those)
    wanted = wanted.where(W.c.state == state) if state else wanted
    wanted = wanted.where(W.c.number < before) if before else wanted
    rows = [dict(row) for row in connection.execute(wanted.order_by(W.c.number.desc()).limit(limit)).mappings()]
    for k in range(0, len(rows), 500):
        _with_parts(connection, rows[k : k + 500])
    return rows


def since(when: float) -> ColumnElement[bool]:
    """Opened or ended from then on (s UTC)."""
    return or_(W.c.opened >= when, W.c.ended >= when)


def _with_parts(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """What was built in by each, and what was removed."""
    by_number = {row["number"]: row for row in rows}
    for column, name in ((P.c.installed_order, "installed"), (P.c.removed_order, "removed")):
        for row in rows:
            row[name] = []
        own = select(P, column.label("by")).where(column.in_(by_number)).order_by(P.c.number)
        for part in connection.execute(own).mappings():
            by_number[part["by"]][name].append({field: part[field] for field in ("position", "part", "serial")})
