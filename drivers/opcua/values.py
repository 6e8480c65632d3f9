"""OPC UA values, status codes and times as columns."""

from __future__ import annotations

import datetime
import enum
from typing import Any

from edge import Quality

LARGEST = 2**53  # beyond it float64 no longer holds every integer


def quality_of(status: Any) -> Quality:
    """The cause behind a status code (OPC UA part 4, 7.39): good, uncertain, or why it is bad."""
    name = status.name
    if status.is_good():
        return Quality.GOOD
    if name.startswith("Uncertain"):
        return Quality.RANGE if "Range" in name or "EngineeringUnits" in name else Quality.SUBSTITUTED
    if any(word in name for word in ("NodeId", "NotReadable", "AttributeId", "Denied", "NotSupported")):
        return Quality.EXCEPTION
    if any(word in name for word in ("Timeout", "NoCommunication", "NotConnected")):
        return Quality.TIMEOUT
    return Quality.BAD


def number_of(value: Any) -> tuple[float, Quality | None]:
    """(float, None), or (nan, cause) for what is no number. A bool is 0 or 1, an enum its number."""
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, bool | int | float):
        if isinstance(value, int) and abs(value) > LARGEST:
            return float(value), Quality.RANGE
        return float(value), None
    return float("nan"), Quality.BAD


def nanoseconds(moment: datetime.datetime | None) -> int:
    """UTC nanoseconds in whole microseconds; 0 for none."""
    if moment is None or moment.year < 1971:
        return 0
    aware = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    whole = int(aware.replace(microsecond=0).timestamp())
    return (whole * 1_000_000 + aware.microsecond) * 1000
