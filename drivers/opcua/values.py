"""OPC UA values, status codes and times as columns."""

from __future__ import annotations

import datetime
import enum
import math
import struct
from collections.abc import Sequence
from typing import Any

from asyncua import ua
from asyncua.ua.ua_binary import nodeid_to_binary

from edge import Quality, WriteRefused

LARGEST = 2**53  # beyond it float64 no longer holds every integer
LARGEST_FLOAT = (2 - 2**-23) * 2.0**127
OVERFLOW = 0x480  # part 4, 7.39.1: the server's queue for this item ran over, values before this one were dropped
OVERRIDDEN = ua.StatusCodes.GoodLocalOverride  # somebody entered the value in place of the input's
BITS = {"SByte": 8, "Byte": 8, "Int16": 16, "UInt16": 16, "Int32": 32, "UInt32": 32, "Int64": 64, "UInt64": 64}


def node_of(text: str, namespaces: Sequence[str] = ()) -> ua.NodeId | None:
    """`ns=2;s=Name` as it is; `nsu=URI;s=Name` by where the URI stands among the server's namespaces, None where it does not.

    Raises ValueError for what is no node id.
    """
    uri, _, rest = text.removeprefix("nsu=").partition(";") if text.startswith("nsu=") else ("", "", text)
    try:
        node = ua.NodeId.from_string(rest)
        nodeid_to_binary(node)  # what cannot be sent would take the other nodes of its request along
    except (ua.UaStringParsingError, ValueError, KeyError, struct.error):
        node = None
    if type(node) is not ua.NodeId or (rest is not text and not uri):
        raise ValueError(f"{text!r} is no node id; write ns=2;s=Name, ns=2;i=1001 or nsu=urn:maker:plant;s=Name")
    if rest is text:
        return node
    return ua.NodeId(node.Identifier, ua.Int16(namespaces.index(uri)), node.NodeIdType) if uri in namespaces else None


def quality_of(status: Any) -> Quality:
    """The cause behind a status code (OPC UA part 4, 7.39; part 8, 6.3): good, uncertain, or why it is bad. The low half says
    more about a code, and is no part of its name."""
    code = status.value & 0xFFFF0000
    if code == OVERRIDDEN:
        return Quality.SUBSTITUTED
    if status.is_good():
        return Quality.GOOD
    name = ua.StatusCode(code).name
    if name.startswith("Uncertain"):
        return Quality.RANGE if "Range" in name or "EngineeringUnits" in name else Quality.SUBSTITUTED
    if any(word in name for word in ("NodeId", "NotReadable", "AttributeId", "Denied", "NotSupported")):
        return Quality.EXCEPTION
    if any(word in name for word in ("Timeout", "NoCommunication", "NotConnected")):
        return Quality.TIMEOUT
    return Quality.BAD


def overflowed(status: Any) -> bool:
    """Did the server drop values of this item before this one?"""
    return status is not None and bool(status.value & OVERFLOW == OVERFLOW)


def number_of(value: Any) -> tuple[float, Quality | None]:
    """(float, None), or (nan, cause) for what is no number. A bool is 0 or 1, an enum its number."""
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, bool | int | float):
        if (isinstance(value, int) and abs(value) > LARGEST) or not math.isfinite(value):
            return float(value), Quality.RANGE
        return float(value), None
    return float("nan"), Quality.BAD


def text_of(value: Any, variant: ua.Variant | None = None) -> str | None:
    """The string of a String (an empty one may come as null), a LocalizedText or a QualifiedName; None for anything else."""
    if value is None and variant is not None and variant.VariantType == ua.VariantType.String:
        return ""
    if isinstance(value, ua.LocalizedText):
        value = value.Text or ""
    elif isinstance(value, ua.QualifiedName):
        value = value.Name
    return value if isinstance(value, str) else None


def nanoseconds(moment: Any) -> int:
    """UTC nanoseconds in whole microseconds; 0 for none, and for the ends of OPC UA's calendar, which mean none."""
    if not isinstance(moment, datetime.datetime) or not 1971 <= moment.year <= 2261:
        return 0
    aware = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    whole = int(aware.replace(microsecond=0).timestamp())
    return (whole * 1_000_000 + aware.microsecond) * 1000


def moment_of(found: ua.DataValue, by_source: bool) -> int:
    """UTC nanoseconds at which a value was taken, or at which the server had it; the other where one is missing, 0 for none."""
    first, second = found.SourceTimestamp, found.ServerTimestamp
    if not by_source:
        first, second = second, first
    return nanoseconds(first) or nanoseconds(second)


def deadband_of(text: float | str | None) -> ua.DataChangeFilter | None:
    """`0.5` in units of the node, `2%` of its range (part 4, 7.22.2 and part 8, 6.2). Raises ValueError."""
    if text is None:
        return None
    kind = ua.DeadbandType.Percent if str(text).endswith("%") else ua.DeadbandType.Absolute
    size = float(str(text).removesuffix("%"))
    if not 0 < size < math.inf or (kind == ua.DeadbandType.Percent and size > 100):
        raise ValueError(f"{text!r} is no deadband; write 0.5 (in units of the node) or 2% (of its range)")
    trigger = ua.DataChangeTrigger.StatusValue
    return ua.DataChangeFilter(Trigger=trigger, DeadbandType=ua.UInt32(kind), DeadbandValue=ua.Double(size))


def kind_of(value: Any, text: bool = False) -> str:
    """What a value is that is not what its tag wants, a number or a text."""
    if text:
        return f"a {type(value).__name__}, not a text; take `type: text` away"
    if text_of(value) is not None:
        return f"a {type(value).__name__}, not a number; say `type: text`"
    if isinstance(value, list):
        return f"an array of {len(value)}, not one number; ask the server for a node of each element"
    return "empty" if value is None else f"a {type(value).__name__}, not a number"


def native(kind: ua.VariantType, value: float | str) -> Any:
    """`value` as the node's own type. Raises WriteRefused for what it does not hold."""
    if isinstance(value, str):
        if kind == ua.VariantType.LocalizedText:
            return ua.LocalizedText(value)
        if kind != ua.VariantType.String:
            raise WriteRefused(f"the node is a {kind.name}, not a text; take `type: text` away")
        return value
    if kind == ua.VariantType.Boolean:
        if value not in (0, 1):
            raise WriteRefused(f"{value:g} is neither 0 nor 1, which a Boolean wants")
        return bool(value)
    if kind in (ua.VariantType.Float, ua.VariantType.Double):
        if kind == ua.VariantType.Float and abs(value) > LARGEST_FLOAT:
            raise WriteRefused(f"{value:g} does not fit the node, a Float")
        return float(value)
    if kind.name not in BITS:
        raise WriteRefused(f"the node is a {kind.name}, not a number")
    if value != int(value):
        raise WriteRefused(f"{value:g} is no whole number, which the node wants")
    unsigned, bits = kind.name in ("Byte", "UInt16", "UInt32", "UInt64"), BITS[kind.name]
    low, high = (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if not low <= int(value) <= high:
        raise WriteRefused(f"{value:g} does not fit the node, a {kind.name} ({low} to {high})")
    return int(value)
