"""Scalars a field engineer writes: durations, sizes, names."""

from __future__ import annotations

import ipaddress
import keyword
import re
import unicodedata
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ValidationInfo, WithJsonSchema

_UNITS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def seconds(text: Any) -> float:
    """'100ms', '5s', '2min', '72h', '30d' -> seconds. Raises ValueError; a bare number has no unit and is refused."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zµ]+)\s*", str(text))
    if not match or match[2] not in _UNITS:
        raise ValueError(f"{text!r} is no duration; write a number and a unit, as in 100ms, 5s, 2min, 72h, 30d")
    return float(match[1]) * _UNITS[match[2]]


def _duration(given: Any, info: ValidationInfo) -> float:
    return given if isinstance(given, float) and not written_by_hand(info) else seconds(given)


def written_by_hand(info: ValidationInfo) -> bool:
    """Whether a model is filled from a site file; code may give a duration as seconds."""
    return bool(info.context and info.context.get("site"))


def site_folder(info: ValidationInfo) -> Path:
    """The folder of the site file, from which the paths in it are taken; the working directory for a model made in code."""
    return Path((info.context or {}).get("folder", ""))


def octets(text: Any) -> int:
    """'4GB', '500MB', '64KiB' -> bytes. Raises ValueError."""
    if isinstance(text, int) and not isinstance(text, bool) and text > 0:
        return text
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", str(text))
    if not match or match[2] not in _SIZES:
        raise ValueError(f"{text!r} is no size; write a number and a unit, as in 500MB or 4GB")
    return round(float(match[1]) * _SIZES[match[2]])


def listen_at(text: str) -> tuple[str, int]:
    """(address, port) of '127.0.0.1:9464' or '[::1]:9464'. Raises ValueError."""
    address, _, port = text.rpartition(":")
    number = int(port) if port.isdecimal() and port.isascii() and len(port) < 6 else 0
    try:
        if not 0 < number < 65536:
            raise ValueError
        return str(ipaddress.ip_address(address.removeprefix("[").removesuffix("]"))), number
    except ValueError:
        raise ValueError(f"{text!r} is no address to listen on; write address:port, as in 127.0.0.1:9464") from None


def only_here(text: str) -> bool:
    """Whether nobody outside this machine reaches such an address."""
    return ipaddress.ip_address(listen_at(text)[0]).is_loopback


def _listen(text: str) -> str:
    listen_at(text)
    return text


def _identifier(text: str) -> str:
    if not re.fullmatch(r"[^\W\d]\w*", text):
        raise ValueError(f"{text!r} is no name: use letters, digits and _, and do not start with a digit")
    if keyword.iskeyword(text) or text in ("true", "false"):
        raise ValueError(f"{text!r} is a word of the expressions; write {text + '_'!r}")
    if (plain := unicodedata.normalize("NFKC", text)) != text:  # expressions are read in this form
        raise ValueError(f"{text!r} is written with full-width or compatibility letters; write {plain!r}")
    return text


def _positive(number: float) -> float:
    if not number > 0:
        raise ValueError("must be longer than zero")
    return number


def as_duration(number: float) -> str:
    """Seconds -> the shortest way to write them: '100ms', '5s', '72h'."""
    for unit in ("h", "min", "s"):
        if number >= _UNITS[unit] and number % _UNITS[unit] == 0:
            return f"{number / _UNITS[unit]:g}{unit}"
    return f"{number * 1000:g}ms" if 0 < number < 1 else f"{number:g}s"


def as_size(number: int) -> str:
    """Bytes -> '4GB', '500MB'."""
    unit = next((unit for unit in ("GB", "MB", "kB") if number >= _SIZES[unit] and number % _SIZES[unit] == 0), "B")
    return f"{number // _SIZES[unit]}{unit}"


DURATION = r"^\s*\d+(\.\d+)?\s*(us|µs|ms|s|min|m|h|d)\s*$"
SIZE = r"^\s*\d+(\.\d+)?\s*\w+\s*$"
_DURATION_SCHEMA = WithJsonSchema({"type": "string", "pattern": DURATION})
Duration = Annotated[float, BeforeValidator(_duration), _DURATION_SCHEMA]
Period = Annotated[float, BeforeValidator(_duration), AfterValidator(_positive), _DURATION_SCHEMA]
Size = Annotated[int, BeforeValidator(octets), WithJsonSchema({"type": "string", "pattern": SIZE})]
Listen = Annotated[str, AfterValidator(_listen)]
Identifier = Annotated[str, AfterValidator(_identifier)]
