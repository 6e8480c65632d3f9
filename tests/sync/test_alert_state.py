"""How far alarms have come on their way to people, on virtual time: nothing waits here."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from edge import SECOND
from sync.control_plane import alert_state
from sync.control_plane.alert_options import MuteOptions, RouteOptions
from sync.control_plane.alert_state import NEVER, Course, Say, Standing, muted

MINUTE, T0 = 60 * SECOND, 1_795_000_000 * SECOND
STANDS = Standing(True, False, 0)


class Alarm:
    """One alarm on one route; `at` is minutes."""

    def __init__(self, **route: Any) -> None:
        self.route = RouteOptions.model_validate({"to": ["a"], **route})
        self.course, self.said = Course(), list[tuple[float, str, tuple[str, ...], int]]()

    def raised(self, at: float, late: float = 0.0, epoch: str = "e") -> None:
        now = T0 + round(at * MINUTE)
        self.until(at)
        self.course = alert_state.raised(self.course, self.route, epoch, now - round(late * MINUTE), now)

    def cleared(self, at: float, late: float = 0.0, muted: bool = False) -> None:
        now = T0 + round(at * MINUTE)
        self.until(at)
        self.course, says = alert_state.cleared(self.course, self.route, now - round(late * MINUTE), now, muted)
        self._hear(at, says)

    def until(self, at: float, standing: Standing = STANDS) -> None:
        while self.course.due < T0 + at * MINUTE:
            now = self.course.due
            self.course, says = alert_state.due(self.course, self.route, standing, now)
            self._hear((now - T0) / MINUTE, says)

    def _hear(self, at: float, says: list[Say]) -> None:
        self.said += [(round(at, 3), say.what, say.to, say.times) for say in says]


def test_one_alarm_is_one_message_until_it_clears() -> None:
    it = Alarm()
    it.raised(0)
    it.raised(1)  # by a device that was started anew
    it.until(100)
    it.cleared(100)
    it.cleared(101)
    it.until(200)
    assert it.said == [(0, "raised", ("a",), 1), (100, "cleared", ("a",), 1)]


def test_an_alarm_that_flaps_floods_nobody_and_is_not_forgotten() -> None:
    it = Alarm(quiet="10min")
    for k in range(200):  # every six seconds, for three of them
        it.raised(k * 0.1)
        it.cleared(k * 0.1 + 0.05)
    it.raised(20)
    it.until(60)
    whats = [(what, times) for _, what, _, times in it.said]
    assert whats[:3] == [("raised", 1), ("cleared", 1), ("raised", 100)]
    assert len(whats) == 5, whats
    assert it.said[-1][1:] == ("raised", ("a",), 100)  # it stands, and that is what was said last
    assert it.said[-1][0] == pytest.approx(20, abs=0.2)


@pytest.mark.parametrize(("stood", "said"), [(0.4, []), (0.6, ["raised", "cleared"])])
def test_what_does_not_stand_as_long_as_hold_is_not_said(stood: float, said: list[str]) -> None:
    it = Alarm(hold="30s")
    it.raised(0)
    it.cleared(stood)
    assert [what for _, what, *_ in it.said] == said


def test_hold_is_of_the_devices_clock_and_never_longer_than_itself() -> None:
    it = Alarm(hold="10min")
    it.raised(20, late=15)  # it stood before the plane heard of it
    it.until(21)
    assert [what for _, what, *_ in it.said] == ["raised"] and it.said[0][0] <= 20
    it = Alarm(hold="10min")
    it.raised(0, late=-600)  # a clock that is ten hours ahead
    it.until(11)
    assert it.said == [(10, "raised", ("a",), 1)]


@pytest.mark.parametrize(("age", "said"), [(30, ["over"]), (90, [])])
def test_what_is_over_when_the_plane_hears_of_it_is_said_where_it_is_fresh(age: float, said: list[str]) -> None:
    it = Alarm(late="1h")
    it.course = alert_state.raised(it.course, it.route, "e", T0 - round((age + 1) * MINUTE), T0)
    it.course, says = alert_state.cleared(it.course, it.route, T0 - round(age * MINUTE), T0, False)
    assert [say.what for say in says] == said and it.course.due == NEVER


def test_what_nobody_acknowledges_goes_to_others() -> None:
    steps = [{"after": "15min", "to": ["b"]}, {"after": "1h", "to": ["c", "b"]}]
    it = Alarm(escalate=steps)
    it.raised(0)
    it.until(30)
    it.cleared(40)
    assert it.said == [(0, "raised", ("a",), 1), (15, "unacked", ("b",), 1), (40, "cleared", ("a", "b"), 1)]
    for standing in (Standing(True, True, 0), Standing(False, False, 0), None):
        it = Alarm(escalate=steps)
        it.raised(0)
        it.until(1)
        it.course, says = alert_state.due(it.course, it.route, standing, it.course.due)
        assert says == [] and it.course.due == NEVER, standing
    it = Alarm(escalate=steps)
    it.raised(0)
    it.until(200)
    assert [to for _, _, to, _ in it.said] == [("a",), ("b",), ("c", "b")]


def test_a_file_that_changed_meanwhile_breaks_nothing() -> None:
    it = Alarm(escalate=[{"after": "15min", "to": ["b"]}])
    it.raised(0)
    it.until(1)
    course, says = alert_state.due(it.course, RouteOptions.model_validate({"to": ["a"]}), STANDS, it.course.due)
    assert says == [] and course.due == NEVER


def test_a_device_without_a_clock_is_heard() -> None:
    route = RouteOptions.model_validate({"to": ["a"]})
    course, says = alert_state.cleared(alert_state.raised(Course(), route, "e", 5, T0), route, 6, T0, False)
    assert [say.what for say in says] == ["over"] and not course.active
    assert alert_state.happened(Course(), route, "e", 5, T0).due == T0


def test_what_is_shelved_waits_until_it_no_longer_is() -> None:
    it = Alarm()
    it.raised(0)
    shelved = Standing(True, False, T0 + 5 * MINUTE)
    it.until(5, shelved)
    assert it.said == []
    it.until(6)
    assert it.said == [(5, "raised", ("a",), 1)]


def test_what_clears_while_nothing_is_sent_is_not_said() -> None:
    it = Alarm()
    it.course = alert_state.raised(it.course, it.route, "e", T0, T0)
    it.course, says = alert_state.cleared(it.course, it.route, T0 + MINUTE, T0 + MINUTE, muted=True)
    assert says == []


def test_an_alarm_of_a_new_journal_is_another_one() -> None:
    it = Alarm(quiet="0s")
    it.raised(0)
    it.raised(1, epoch="f")
    it.until(2)
    assert [what for _, what, *_ in it.said] == ["raised", "raised"]


def test_what_is_no_alarm_is_said_and_counted() -> None:
    route = RouteOptions.model_validate({"to": ["a"], "kinds": ["gap"], "quiet": "10min"})
    course, says = Course(), list[tuple[str, int]]()
    for k in range(30):
        now = T0 + k * MINUTE
        course = alert_state.happened(course, route, "e", now, now)
        if course.due <= now:
            course, more = alert_state.due(course, route, None, now)
            says += [(say.what, say.times) for say in more]
    assert says == [("happened", 1), ("happened", 10), ("happened", 10)]
    assert alert_state.happened(Course(), route, "e", T0 - 61 * MINUTE, T0) == Course()


def at(text: str, zone: str = "Asia/Shanghai") -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * SECOND


@pytest.mark.parametrize(
    ("mute", "moment", "quiet"),
    [
        ({"from": "22:00", "to": "06:00"}, "2026-11-26 23:00", True),
        ({"from": "22:00", "to": "06:00"}, "2026-11-27 05:59", True),
        ({"from": "22:00", "to": "06:00"}, "2026-11-27 06:00", False),
        ({"from": "22:00", "to": "06:00", "days": ["fri"]}, "2026-11-28 05:00", True),  # it began on Friday
        ({"from": "22:00", "to": "06:00", "days": ["fri"]}, "2026-11-27 05:00", False),
        ({"days": ["sat", "sun"]}, "2026-11-28 00:00", True),
        ({"days": ["sat", "sun"]}, "2026-11-29 23:59", True),
        ({"days": ["sat", "sun"]}, "2026-11-30 00:00", False),
        ({"from": "12:00", "to": "13:00"}, "2026-11-26 12:59", True),
        ({"from": "12:00", "to": "13:00"}, "2026-11-26 13:00", False),
        ({"until": "2026-12-01 08:00"}, "2026-12-01 07:59", True),
        ({"until": "2026-12-01 08:00"}, "2026-12-01 08:00", False),
    ],
)
def test_mute_goes_by_the_clock_of_its_zone(mute: dict[str, Any], moment: str, quiet: bool) -> None:
    options = [MuteOptions.model_validate({"zone": "Asia/Shanghai", **mute})]
    assert muted(options, at(moment)) is quiet
    elsewhere = [MuteOptions.model_validate({"zone": "America/New_York", **mute})]
    assert muted(elsewhere, at(moment, "America/New_York")) is quiet
