"""Versions of models and how far each has come: draft, validated, shadow, canary, production, retired. What devices said and what
rollouts did decide what may be next; only who moved what when, and why, is kept here.

A model of which no version was ever moved is nobody's business here: it is rolled out like anything else.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, case, func, select

from edge import Event, LinesideError

from ..updates.manifest import PATH
from . import hold, tables
from .own import tell

STAGES = ("draft", "validated", "shadow", "canary", "production", "retired")
LEAST_PARTS = 100  # that a version has to have seen in shadow, on all devices together
MAY = {"shadow": ("shadow", "canary", "production"), "run": ("canary", "production")}  # stages, by what a rollout does
LONGEST_NOTE = 500
MOST_NAMED = 20  # devices that refused a version
S = tables.model_stage


class Stage(NamedTuple):
    """Where a version stands, since when (s UTC), by whom, and what they said."""

    name: str
    version: str
    stage: str
    at: float
    by: str
    note: str


def parted(what: str) -> tuple[str, str]:
    """'washer-3' or 'model/washer-3' -> name, version. Raises LinesideError."""
    found = PATH.fullmatch(what if what.startswith("model/") else f"model/{what}")
    if found is None:
        raise LinesideError(f"{what[:80]!r} is no version of a model", hint="write NAME-VERSION as in washer-3")
    return found[2], found[3]


def history(connection: Connection, name: str = "", version: str = "") -> list[Stage]:
    """Every move, the oldest first."""
    asked = select(*(S.c[field] for field in Stage._fields)).order_by(S.c.number)
    asked = asked.where(S.c.name == name) if name else asked
    asked = asked.where(S.c.version == version) if version else asked
    return [Stage._make(row) for row in connection.execute(asked)]


def stage_of(connection: Connection, name: str, version: str) -> str:
    moves = history(connection, name, version)
    return moves[-1].stage if moves else "draft"


def move(
    connection: Connection, what: str, to: str, by: str, note: str, published: Sequence[str] | None = None
) -> Stage:
    """A version of a model comes into the stage `to` ("": the next one). Raises LinesideError where it may not, with what is
    missing. `published` are the artefacts (KIND/NAME-VERSION) that devices can get here."""
    name, version = parted(what)
    path = f"model/{name}-{version}"
    hold.orders(connection)
    now = stage_of(connection, name, version)
    if published is not None and path not in published and to != "retired":
        hint = "copy the repository with it into `updates` of the plane's folder, see docs/updates.md"
        raise LinesideError(f"{path} is not among the updates of this plane", hint=hint)
    following = STAGES[STAGES.index(now) + 1] if now != "retired" else ""
    if not following:
        raise LinesideError(f"{path} is retired: it stays so", hint="sign the same files under a new version")
    to = to or following
    if to not in STAGES:
        raise LinesideError(f"{to[:40]!r} is no stage of a model", hint=f"there are {', '.join(STAGES)}")
    if to not in (following, "retired"):
        raise LinesideError(f"{path} is {now}: it can be {following} next, and not {to}", hint="no stage is skipped")
    if why := _lacks(connection, name, version, to, note):
        raise LinesideError(f"{path} cannot be {to}: {why[0]}", hint=why[1])
    moved = Stage(name, version, to, time.time(), by[:80], note[:LONGEST_NOTE])
    number = (connection.execute(select(func.max(S.c.number))).scalar() or 0) + 1
    connection.execute(S.insert().values(number=number, **moved._asdict()))
    said = {"name": name, "version": version, "before": now, "by": by[:80]}
    tell(connection, [Event("model", f"{name}-{version}", to, time.time_ns(), "info", f"by {by[:80]}: {note}", said)])
    return moved


def _lacks(connection: Connection, name: str, version: str, to: str, note: str) -> tuple[str, str] | None:
    """What is missing for a stage, and what to do."""
    said = standing(connection, name, version)
    if to == "validated" and not note:
        return "nobody says what it was validated by", "--note 'mAP 98.9 on the October boards, see card.md'"
    if to == "canary":
        if said["shadow_parts"] < LEAST_PARTS:
            told = f"it has seen {said['shadow_parts']} parts in shadow, {LEAST_PARTS} are needed"
            return told, f"`lineside plane rollout start model/{name}-{version} --shadow ...`"
        if said["shadow_faults"]:
            return f"it could not judge {said['shadow_faults']} parts in shadow", "look at the events `shadow`"
    if to in ("canary", "production") and said["failed"]:
        named = ", ".join(said["failed"][:5])
        return f"{named} refused it or went back from it", "`lineside plane rollout show N` of its rollout says why"
    if to == "production":
        if not said["running"]:
            return "no device runs it", f"`lineside plane rollout start model/{name}-{version} --waves 1,2%% ...`"
        if open_ := said["rollouts"]:
            return f"rollout {open_[0]} of it is not done", f"`lineside plane rollout show {open_[0]}`"
    if to == "retired":
        if said["wanted"]:
            return f"{said['wanted']} devices are to run it", "bring another version to them first"
        if going := said["gives"]:
            return f"rollout {going[0]} brings it to devices", f"`lineside plane rollout halt {going[0]}` ends that"
    return None


def standing(connection: Connection, name: str, version: str) -> dict[str, Any]:
    """What devices and rollouts say of a version."""
    path = f"model/{name}-{version}"
    h, w, r, t = tables.shadowed, tables.want, tables.rollout, tables.told_twin
    d = tables.rollout_device
    own = (t.c.kind == "model", t.c.name == name)
    running, in_shadow = t.c.running == version, and_(t.c.state == "shadow", t.c.tried == version)
    counts = select(*(func.coalesce(func.sum(case((one, 1), else_=0)), 0) for one in (running, in_shadow))).where(*own)
    runs, beside = tuple(connection.execute(counts).one())
    wrong = select(t.c.device).where(*own, t.c.state.in_(("refused", "rolled_back")), t.c.tried == version)
    sums = [func.coalesce(func.sum(h.c[column]), 0) for column in ("parts", "agreed", "faults")]
    asked = select(*sums, func.max(h.c.p95_ms)).where(h.c.model == name, h.c.version == version)
    parts, agreed, faults, p95 = tuple(connection.execute(asked).one())
    mine = (w.c.kind == "model", w.c.name == name, w.c.version == version)
    wanted = connection.execute(select(func.count()).select_from(w).where(*mine)).scalar_one()
    under_way = (r.c.kind == "model", r.c.name == name, r.c.version == version)
    rolled = connection.scalars(
        select(r.c.number)
        .where(*under_way, r.c.state.not_in(("done", "returned")), r.c.kept == "")
        .order_by(r.c.number)
    )
    waits = select(d.c.device).where(d.c.rollout == r.c.number, d.c.state == "waits").exists()
    gives = (r.c.kept == "") & (r.c.state.in_(("planning", "running", "paused")) | ((r.c.state == "done") & waits))
    return {
        "what": path,
        "running": int(runs),
        "in_shadow": int(beside),
        "failed": list(connection.scalars(wrong.order_by(t.c.device).limit(MOST_NAMED))),
        "wanted": wanted,
        "rollouts": list(rolled),
        "gives": list(connection.scalars(select(r.c.number).where(*under_way, gives).order_by(r.c.number))),
        "shadow_parts": int(parts),
        "shadow_agreed": int(agreed),
        "shadow_faults": int(faults),
        "shadow_p95_ms": float(p95 or 0.0),
    }


def listed(connection: Connection, published: Iterable[str]) -> list[dict[str, Any]]:
    """Every version that devices can get here or that was ever moved, by name and the newest first."""
    moves = history(connection)
    known = {(move.name, move.version): move for move in moves}
    names = set(known) | {parted(path) for path in published}
    out = []
    for name, version in sorted(names, key=lambda key: (key[0], _order(key[1])), reverse=True):
        last = known.get((name, version), Stage(name, version, "draft", 0.0, "", ""))
        out.append({**last._asdict(), **standing(connection, name, version)})
    return out


def _order(version: str) -> list[tuple[int, str]]:
    """So that 10 comes after 9."""
    return [(int(piece) if piece.isdecimal() else -1, piece) for piece in version.replace("+", ".").split(".")]


def is_retired(connection: Connection, kind: str, name: str, version: str) -> bool:
    return kind == "model" and stage_of(connection, name, version) == "retired"


def raise_if_not_due(connection: Connection, kind: str, name: str, version: str, use: str) -> None:
    """A version goes to devices in the stages for it. Raises LinesideError; not where nobody moves versions of this model."""
    if kind != "model" or not history(connection, name):
        return
    if (now := stage_of(connection, name, version)) not in MAY[use]:
        wanted = MAY[use][0]
        hint = f"`lineside plane model promote {name}-{version}` moves it; it has to be {wanted} to {use}"
        raise LinesideError(f"model/{name}-{version} is {now}", hint=hint)
