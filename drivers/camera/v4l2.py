"""Cameras on this machine: what each /dev/video* says about itself (Video for Linux 2)."""

from __future__ import annotations

import fcntl
import os
import struct
from dataclasses import dataclass
from pathlib import Path

QUERYCAP = 0x80685600  # _IOR('V', 0, struct v4l2_capability)
CAPTURE, CAPTURE_MPLANE, STREAMING, DEVICE_CAPS = 0x1, 0x1000, 0x04000000, 0x80000000
_CAPABILITY = struct.Struct("=16s32s32sIII12x")  # driver, card, bus, version, capabilities, device's own


@dataclass(frozen=True, slots=True)
class Device:
    path: Path
    name: str
    bus: str
    captures: bool  # it gives pictures; metadata and output devices do not


def capability(path: Path, answer: bytes) -> Device:
    """What VIDIOC_QUERYCAP answered."""
    _, card, bus, _, all_of_it, own = _CAPABILITY.unpack(answer)
    can = own if all_of_it & DEVICE_CAPS else all_of_it
    name, where = (text.split(b"\0")[0].decode("utf-8", "replace") for text in (card, bus))
    return Device(path, name, where, bool(can & (CAPTURE | CAPTURE_MPLANE) and can & STREAMING))


def query(path: Path) -> Device:
    """Raises OSError where it cannot be opened, or is no such device."""
    device = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        answer = bytearray(_CAPABILITY.size)
        fcntl.ioctl(device, QUERYCAP, answer)
        return capability(path, bytes(answer))
    finally:
        os.close(device)


def devices(folder: Path = Path("/dev")) -> tuple[list[Device], list[str]]:
    """The devices that give pictures, and what was said of those that could not be asked."""
    found, said = [], []
    for path in sorted(folder.glob("video*"), key=lambda p: (len(p.name), p.name)):
        try:
            device = query(path)
        except OSError as error:
            hint = "; the user has to be in the group video" if isinstance(error, PermissionError) else ""
            said.append(f"{path}: {error.strerror}{hint}")
            continue
        if device.captures:
            found.append(device)
    return found, said
