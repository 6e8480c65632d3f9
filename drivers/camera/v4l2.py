"""Cameras on this machine: what each /dev/video* says about itself (Video for Linux 2)."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

QUERYCAP = 0x80685600  # _IOR('V', 0, struct v4l2_capability)
CAPTURE, CAPTURE_MPLANE, STREAMING, DEVICE_CAPS = 0x1, 0x1000, 0x04000000, 0x80000000
G_CTRL = 0xC008561B  # _IOWR('V', 27, struct v4l2_control)
_CONTROL = struct.Struct("=Ii")  # id, value
CONTROLS = {  # by what a record calls them: id, and its unit
    "exposure_us": (0x009A0902, 100.0),  # V4L2_CID_EXPOSURE_ABSOLUTE, in 100 us
    "gain": (0x00980913, 1.0),  # V4L2_CID_GAIN, in steps of the camera
    "exposure_mode": (0x009A0901, 1.0),  # V4L2_CID_EXPOSURE_AUTO: 1 is manual, anything else adapts
}
NONE_SUCH = (errno.EINVAL, errno.ENOTTY, errno.EACCES)  # a control that this camera does not have
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


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    device = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield device
    finally:
        os.close(device)


def query(path: Path) -> Device:
    """Raises OSError where it cannot be opened, or is no such device."""
    with _opened(path) as device:
        answer = bytearray(_CAPABILITY.size)
        fcntl.ioctl(device, QUERYCAP, answer)
        return capability(path, bytes(answer))


def settings(path: Path) -> dict[str, float]:
    """What a device says of its exposure and gain now; a control that it does not have is absent. May block for as long as
    the camera takes to answer. Raises OSError for a device that went."""
    found: dict[str, float] = {}
    with _opened(path) as device:
        for name, (number, unit) in CONTROLS.items():
            answer = bytearray(_CONTROL.pack(number, 0))
            try:
                fcntl.ioctl(device, G_CTRL, answer)
            except OSError as error:
                if error.errno not in NONE_SUCH:
                    raise
                continue
            found[name] = _CONTROL.unpack(answer)[1] * unit
    return found


def identity(path: Path, system: Path = Path("/sys/class/video4linux")) -> dict[str, str]:
    """Name, place and serial number of the device behind `path`, as far as they are known. Raises OSError."""
    device = query(path)
    found = {"model": device.name, "bus": device.bus}
    with suppress(OSError):  # of a USB camera that has one
        found["serial"] = (
            (system / path.resolve().name / "device" / ".." / "serial").read_text("utf-8", "replace").strip()
        )
    return {name: text for name, text in found.items() if text}


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
