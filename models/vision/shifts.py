"""When the shifts of a site begin, by its own clock."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, BaseModel, Field

from edge import SECOND

TimeOfDay = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


def zone_of(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)


def _known(name: str) -> str:
    try:
        zone_of(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        if not available_timezones():
            raise ValueError("this machine knows no time zones: install tzdata, or write UTC") from None
        raise ValueError(f"no time zone is called {name!r}; write one as Europe/Berlin, or UTC") from None
    return name


Zone = Annotated[str, AfterValidator(_known)]


class ShiftsConfig(BaseModel):
    """The times at which shifts begin."""

    model_config = {"extra": "forbid", "frozen": True}
    begin: list[TimeOfDay] = Field(
        min_length=1, max_length=24, description='times of day, as ["06:00", "14:00", "22:00"]'
    )
    zone: Zone = Field(
        description="time zone whose clock that is, as Asia/Shanghai or UTC; summer time is followed where the zone has it"
    )


class Shifts:
    """The shift of a moment. A time that summer time skips begins as much later, one that comes twice begins once."""

    def __init__(self, config: ShiftsConfig) -> None:
        self._at = [time.fromisoformat(at) for at in config.begin]
        self._zone = zone_of(config.zone)
        self._now = (1, 0)  # from, until, of the shift that was asked for last: none

    def since(self, utc: int) -> int:
        """When the shift that is under way at `utc` began; both ns UTC."""
        if not self._now[0] <= utc < self._now[1]:
            day = datetime.fromtimestamp(utc // SECOND, self._zone).date()
            days = (day + timedelta(days=n) for n in (-2, -1, 0, 1, 2))
            begins = [round(datetime.combine(d, at, self._zone).timestamp()) * SECOND for d in days for at in self._at]
            self._now = max(at for at in begins if at <= utc), min(at for at in begins if at > utc)
        return self._now[0]
