"""`ingest` from a foreign device: the job of `lineside bench ingest`, read from a server on libmodbus (C).

    python -m tests.bench.ingest [SECONDS]

Values per CPU-second of the daemon with its children, where every value is judged by an alarm, journaled durable and acknowledged
by a plane. Beside it, from the same device in the same run: loops that only read, in blocks of 125 registers and with one request
for each tag, as gateways without a planner do it: around pymodbus' client, around its client for asyncio, and on a bare socket.
One JSON object a line.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from pymodbus.client import AsyncModbusTcpClient, ModbusTcpClient

from edge.bench.ingest import TAGS, bare, signals, site, words_of
from edge.bench.process import cpu, wait_for
from edge.bench.stack import stack

BLOCK = 125


def built(folder: Path) -> Path:
    """The device's program. Raises CalledProcessError or OSError where libmodbus or a C compiler is missing."""
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "libmodbus"], capture_output=True, text=True, check=True
    )
    program = folder / "device"
    source = Path(__file__).with_name("device.c")
    subprocess.run(["cc", "-O2", "-o", program, source, *flags.stdout.split()], check=True)
    return program


@contextmanager
def device(folder: Path, program: Path) -> Iterator[int]:
    """The port of the device in a process of its own."""
    table = folder / "rows"
    words_of(signals(), "int16").tofile(table)
    process = subprocess.Popen([program, table, str(TAGS)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def daemon(folder: Path, port: int, seconds: float) -> float:
    """Values per CPU-second of the daemon, from the fifth second after its start to the moment when all is durable."""
    with stack(folder, site(port, "int16")) as it:
        time.sleep(5)
        before, used = it.status()["durable"], cpu(it.pid)
        time.sleep(seconds)
        now = it.status()
        wait_for(lambda: it.status()["durable"] >= now["samples"], 30, "everything durable")
        return float((now["samples"] - before) / (cpu(it.pid) - used))


def pymodbus(port: int, block: int, seconds: float) -> float:
    """Values per CPU-second of a loop around pymodbus' client that reads all tags and makes arrays of them."""
    tags, began, end = 0, time.process_time(), time.monotonic() + seconds
    with ModbusTcpClient("127.0.0.1", port=port) as client:
        while time.monotonic() < end:
            for start in range(0, TAGS, block):
                answer = client.read_holding_registers(start, count=block)
                assert not answer.isError(), answer
                tags += len(np.array(answer.registers, float))
    return tags / (time.process_time() - began)


async def pymodbus_async(port: int, block: int, seconds: float) -> float:
    """The same on its client for asyncio, as gateways use it."""
    tags, began, end = 0, time.process_time(), time.monotonic() + seconds
    async with AsyncModbusTcpClient("127.0.0.1", port=port) as client:
        while time.monotonic() < end:
            for start in range(0, TAGS, block):
                answer = await client.read_holding_registers(start, count=block)
                assert not answer.isError(), answer
                tags += len(np.array(answer.registers, float))
    return tags / (time.process_time() - began)


def one_by_one(port: int, seconds: float) -> float:
    """Values per CPU-second of a bare socket that asks for each tag and waits for its answer: no request of its own is cheaper."""
    requests = [struct.pack(">HHHBBHH", tag, 0, 6, 1, 3, tag, 1) for tag in range(TAGS)]
    tags, began, end = 0, time.process_time(), time.monotonic() + seconds
    with socket.create_connection(("127.0.0.1", port)) as line:
        while time.monotonic() < end:
            for request in requests:
                line.sendall(request)
                struct.unpack(">H", line.recv(64)[9:11])
            tags += TAGS
    return tags / (time.process_time() - began)


def main(seconds: float) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with device(folder, built(folder)) as port:
            ours = daemon(folder / "blocks", port, seconds)
            beside = {
                "ingest_libmodbus_pymodbus_blocks": pymodbus(port, BLOCK, seconds / 3),
                "ingest_libmodbus_pymodbus_asyncio_blocks": asyncio.run(pymodbus_async(port, BLOCK, seconds / 3)),
                "ingest_libmodbus_bare_socket": bare(port, "int16", seconds / 3),
                "ingest_libmodbus_pymodbus_one_per_tag": pymodbus(port, 1, seconds / 3),
                "ingest_libmodbus_pymodbus_asyncio_one_per_tag": asyncio.run(pymodbus_async(port, 1, seconds / 3)),
                "ingest_libmodbus_socket_one_per_tag": one_by_one(port, seconds / 3),
            }
    for what, baseline in beside.items():
        line = {"bench": what, "value": ours, "unit": "values/cpu_s", "baseline": baseline, "ratio": ours / baseline}
        print(json.dumps({k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in line.items()}), flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]) if sys.argv[1:] else 30.0)
