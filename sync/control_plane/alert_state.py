"""How far the alarms of a route have come: no database, no clock. Times are ns UTC."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from edge import SECOND

from .alert_options import DAYS, HoursOptions, MuteOptions, RouteOptions, minutes
from .database import NO_CLOCK

NEVER = 2**62
LOOK_AGAIN = 60 * SECOND  # while an alarm is shelved


@dataclass(frozen=True, slots=True)
class Course:
    """`since` when it was raised, by the device's clock; `due` when there is something to say of it; `step` 0: nobody was told
    that it stands, 1: they were, more: so many steps of `escalate` less one; `told` when, `times` how often raised since."""

    epoch: str = ""
    active: bool = False
    since: int = 0
    due: int = NEVER
    step: int = 0
    told: int = 0
    times: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """How an alarm stands by all that has come of it."""

    active: bool
    acked: bool
    shelved_until: int


@dataclass(frozen=True, slots=True)
class Say:
    """`what`: raised, over (raised and cleared in one), cleared, unacked (nobody did), happened. `times`: how often since the
    last message."""

    what: str
    to: tuple[str, ...]
    times: int = 1


def raised(course: Course, route: RouteOptions, epoch: str, ts: int, now: int) -> Course:
    """One that stands already is not raised again; the clock of its device may go wrong, so it never waits longer than `hold`."""
    if course.active and course.epoch == epoch:
        return course
    due = max(min(ts, now) + _ns(route.hold), _quiet_until(course, route))
    return replace(course, epoch=epoch, active=True, since=ts, due=due, step=0, times=course.times + 1)


def happened(course: Course, route: RouteOptions, epoch: str, ts: int, now: int) -> Course:
    """What is no alarm and stands for no time."""
    if not _fresh(route, ts, now):
        return course
    due = max(now, _quiet_until(course, route))
    return replace(course, epoch=epoch, active=False, since=ts, due=due, step=0, times=course.times + 1)


def cleared(course: Course, route: RouteOptions, ts: int, now: int, muted: bool) -> tuple[Course, list[Say]]:
    """`over` is said where it came and went between two looks, or while the plane was away."""
    if not course.active:
        return course, []
    after = replace(course, active=False, due=NEVER)
    if course.step:
        steps = (name for step in route.escalate[: course.step - 1] for name in step.to)
        return after, [Say("cleared", _each(route.to, steps))] if route.clear else []
    stood = ts - course.since >= _ns(route.hold)
    if muted or not stood or not _fresh(route, ts, now) or now < _quiet_until(course, route):
        return after, []
    return replace(after, told=now, times=0), [Say("over", _each(route.to), course.times)]


def due(course: Course, route: RouteOptions, standing: Standing | None, now: int) -> tuple[Course, list[Say]]:
    """What is to be said at `course.due`, which has come."""
    if course.active and standing and standing.shelved_until > now:
        return replace(course, due=min(standing.shelved_until, now + LOOK_AGAIN)), []
    if not course.step:
        what = "raised" if course.active else "happened"
        after = replace(course, step=1, told=now, times=0)
        return _next(after, route), [Say(what, _each(route.to), course.times)]
    step = route.escalate[course.step - 1 : course.step]  # none where the file has changed
    if not step or standing is None or not standing.active or standing.acked:
        return replace(course, due=NEVER), []
    return _next(replace(course, step=course.step + 1), route), [Say("unacked", _each(step[0].to))]


def _next(course: Course, route: RouteOptions) -> Course:
    left = route.escalate[course.step - 1 :] if course.active else []
    return replace(course, due=course.told + _ns(left[0].after) if left else NEVER)


def _fresh(route: RouteOptions, ts: int, now: int) -> bool:
    return ts < NO_CLOCK or now - ts <= _ns(route.late)


def _quiet_until(course: Course, route: RouteOptions) -> int:
    return course.told + _ns(route.quiet) if course.told else 0


def _each(names: Sequence[str], more: Iterable[str] = ()) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*names, *more]))


def _ns(seconds: float) -> int:
    return round(seconds * SECOND)


def muted(times: Sequence[MuteOptions], now: int) -> bool:
    """Whether nothing is sent now."""
    return any(_mutes(one, datetime.fromtimestamp(now / SECOND, ZoneInfo(one.zone))) for one in times)


def _mutes(mute: MuteOptions, now: datetime) -> bool:
    return now.replace(tzinfo=None) < datetime.fromisoformat(mute.until) if mute.until else _within(mute, now)


def within(hours: Sequence[HoursOptions], now: int) -> bool:
    """Whether now is one of these hours."""
    return any(_within(one, datetime.fromtimestamp(now / SECOND, ZoneInfo(one.zone))) for one in hours)


def _within(hours: HoursOptions, now: datetime) -> bool:
    at, first, last = now.hour * 60 + now.minute, minutes(hours.from_), minutes(hours.to)
    if first < last:
        return first <= at < last and _is_of(hours, now)
    return (at >= first and _is_of(hours, now)) or (at < last and _is_of(hours, now - timedelta(days=1)))


def _is_of(hours: HoursOptions, day: datetime) -> bool:
    return not hours.days or DAYS[day.weekday()] in hours.days
