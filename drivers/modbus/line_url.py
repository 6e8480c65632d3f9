"""Where a Modbus connection goes: tcp://, rtu+tcp://, rtu:// and ascii:// addresses, as a site writes them."""

from __future__ import annotations

import difflib
import os
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

LONGEST = 512  # characters of an address
BAUDS = (
    *(300, 600, 1200, 2400, 4800, 9600, 14400, 19200, 28800, 38400, 56000, 57600, 76800, 115200, 128000, 230400),
    *(250000, 256000, 460800, 500000, 576000, 921600, 1000000, 1152000, 1500000, 2000000, 2500000, 3000000, 4000000),
)
CHOICES = {"parity": ("none", "even", "odd"), "stop": ("1", "2"), "bits": ("7", "8"), "echo": ("strip",)}
_SAY = {
    "tcp": "tcp://192.168.1.10:502",
    "rtu+tcp": "rtu+tcp://192.168.1.10:4196",
    "rtu": "rtu:///dev/ttyUSB0?baud=9600&parity=even&stop=1",
    "ascii": "ascii:///dev/ttyUSB0?baud=9600&parity=even&stop=1",
}


class Where(NamedTuple):
    """A parsed address. `device` and what follows it are of serial lines, `host` and `port` of the others."""

    scheme: str
    host: str = ""
    port: int = 0
    device: str = ""
    baud: int = 0
    parity: str = "none"
    stop: int = 1
    bits: int = 8
    echo: bool = False  # the adapter sends back what it is sent, and that is taken away

    @property
    def serial(self) -> bool:
        return bool(self.device)

    @property
    def numbered(self) -> bool:
        """Whether answers carry the number of their request (Modbus TCP), so that a late one is known by it."""
        return self.scheme == "tcp"

    @property
    def character(self) -> float:
        """Seconds that one character takes on the line, 0 where the speed is not known."""
        return (1 + self.bits + (self.parity != "none") + self.stop) / self.baud if self.baud else 0.0

    @property
    def gap(self) -> float:
        """Seconds of silence that end an RTU frame: 3.5 characters, 1.75 ms above 19,200 baud (Modbus over Serial Line 1.02,
        2.5.1.1). Over TCP the gateway keeps it."""
        return 3.5 * self.character if self.baud <= 19200 else 0.00175

    @property
    def identity(self) -> str:
        """What no second entry may open too."""
        if self.serial:
            return os.path.realpath(self.device)
        return f"tcp://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def echoes(self) -> str:
        """What to say where what we send comes back."""
        or_strip = ", or write `echo=strip` into the url of the line" if self.serial else ""
        return f"the adapter sends back what it is sent: switch that off{or_strip}"

    def __str__(self) -> str:
        if not self.serial:
            return self.identity.replace("tcp", self.scheme, 1)
        bits = "" if self.bits == (7 if self.scheme == "ascii" else 8) else f"&bits={self.bits}"
        more = bits + ("&echo=strip" if self.echo else "")
        return f"{self.scheme}://{self.device}?baud={self.baud}&parity={self.parity}&stop={self.stop}{more}"


def parse_url(text: str) -> Where:
    """Raises ValueError with what is wrong and how it is written."""
    if len(text) > LONGEST:
        raise ValueError(f"an address of {len(text)} characters is none; write {_SAY['tcp']}")
    parts = urlsplit(text)
    if parts.scheme not in _SAY:
        raise ValueError(f"{text!r} is no address of a device; write {_SAY['tcp']} or {_SAY['rtu']}")
    if parts.fragment or "@" in parts.netloc:
        raise ValueError(f"{text!r} is no address of a device; write {_SAY[parts.scheme]}")
    return _line(text) if parts.scheme in ("rtu", "ascii") else _host(text)


def _host(text: str) -> Where:
    parts = urlsplit(text)
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError(f"{text!r}: the port must be a number from 1 to 65535")
    if not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise ValueError(f"{text!r} is no address of a device; write {_SAY[parts.scheme]}")
    return Where(parts.scheme, parts.hostname, port or 502)


def _line(text: str) -> Where:
    parts = urlsplit(text)
    if parts.netloc or not parts.path.strip("/"):
        raise ValueError(f"{text!r} names no port; write three slashes and its whole path, as in {_SAY[parts.scheme]}")
    given = _options(text, parts.query)
    if "baud" not in given:
        raise ValueError(f"{text!r} does not say how fast the line is; write {_SAY[parts.scheme]}")
    baud = int(given["baud"]) if given["baud"].isascii() and given["baud"].isdecimal() else 0
    if baud not in BAUDS:
        raise ValueError(f"baud={given['baud']} is no speed of a serial line; usual are 9600, 19200, 38400, 115200")
    bits = int(given.get("bits", "7" if parts.scheme == "ascii" else "8"))
    if parts.scheme == "rtu" and bits == 7:
        raise ValueError("bits=7 cannot carry RTU frames, only ascii:// ones")
    path = os.path.normpath("/" + parts.path.lstrip("/"))
    stop, echo = int(given.get("stop", "1")), "echo" in given
    return Where(parts.scheme, "", 0, path, baud, given.get("parity", "none"), stop, bits, echo)


def _options(text: str, query: str) -> dict[str, str]:
    known, given = ("baud", *CHOICES), {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=16)
    except ValueError:
        raise ValueError(f"{text!r}: write what follows the ? as baud=9600&parity=even&stop=1") from None
    for key, value in pairs:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise ValueError(f"{text!r}: unknown {key!r}, {hint}")
        if key in given:
            raise ValueError(f"{text!r} says {key!r} twice")
        if key in CHOICES and value not in CHOICES[key]:
            raise ValueError(f"{key}={value} is none of {', '.join(CHOICES[key])}; write {key}={CHOICES[key][0]}")
        given[key] = value
    return given
