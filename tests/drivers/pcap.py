"""TCP payloads of a classic capture file (Ethernet, IPv4), as recorded frames: parser input for the tests."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from edge import WireFrame


def payloads(path: Path, port: int = 502) -> dict[tuple[bytes, ...], list[WireFrame]]:
    """By connection (client address and port, server address): what went to `port` is "out", what came from it "in"."""
    found: dict[tuple[bytes, ...], list[WireFrame]] = {}
    for ts, frame in packets(path.read_bytes()):
        if len(frame) < 34 or frame[12:14] != b"\x08\x00" or frame[23] != 6:
            continue
        ip = frame[14:]
        header, total = 4 * (ip[0] & 15), int.from_bytes(ip[2:4])
        tcp = ip[header : max(total, header)]
        if len(tcp) < 20:
            continue
        data = tcp[4 * (tcp[12] >> 4) :]
        source, target = int.from_bytes(tcp[0:2]), int.from_bytes(tcp[2:4])
        if data and target == port:
            found.setdefault((ip[12:16], tcp[0:2], ip[16:20]), []).append(WireFrame(ts, "out", data))
        elif data and source == port:
            found.setdefault((ip[16:20], tcp[2:4], ip[12:16]), []).append(WireFrame(ts, "in", data))
    return found


def packets(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """(ns, bytes of the frame) of each packet; ends where the file is cut off."""
    order = {b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">"}[raw[:4]]
    at = 24
    while at + 16 <= len(raw):
        seconds, micros, size, _ = struct.unpack_from(f"{order}IIII", raw, at)
        if at + 16 + size > len(raw):
            return
        yield seconds * 10**9 + micros * 1000, raw[at + 16 : at + 16 + size]
        at += 16 + size
