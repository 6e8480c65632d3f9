"""What a simulated Modbus device costs that serves the load of `lineside bench ingest`: our responder against pymodbus' server.

    python -m tests.bench.responder [SECONDS]

Both hold the 1,000 holding registers of `ingest` and move them every millisecond. One JSON object a line: how many of the
eight requests of a scan are answered when they are sent together; registers read per CPU-second of the server, one request at
a time, as fast as it answers; and the same under the daemon of `ingest`, with the values a second that reached its journal. A
server that drops requests that come together gets them one by one there too.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.bench.ingest import EVERY, TAGS, serve, signals, site, words_of
from edge.bench.process import cpu, free_port, wait_for
from edge.bench.stack import stack

BLOCK = 125
REQUESTS = [struct.pack(">HHHBBHH", k, 0, 6, 1, 3, start, BLOCK) for k, start in enumerate(range(0, TAGS, BLOCK))]
ANSWER = 9 + 2 * BLOCK


async def serve_pymodbus(port: int) -> None:
    from pymodbus.server import ModbusTcpServer
    from pymodbus.simulator import DataType, SimData, SimDevice

    logging.disable(logging.CRITICAL)  # it prints its traffic when a client goes
    registers = SimData(0, values=[0] * TAGS, datatype=DataType.REGISTERS)
    server = ModbusTcpServer(SimDevice(id=1, simdata=[registers]), address=("127.0.0.1", port))
    await server.listen()
    rows = [row.tolist() for row in words_of(signals(), "int16")]
    loop = asyncio.get_running_loop()
    start, step = loop.time(), 0
    while True:
        await server.async_setValues(1, 16, 0, rows[step % len(rows)])
        step = max(step + 1, round((loop.time() - start) / EVERY))
        await asyncio.sleep(max(0.0, start + step * EVERY - loop.time()))


def connects(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def server(name: str) -> Iterator[tuple[int, int]]:
    """(port, process id) of a server in a process of its own."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.responder", "serve", name, str(port)])
    try:
        wait_for(lambda: connects(port), 20, f"the start of {name}")
        yield port, process.pid
    finally:
        process.kill()
        process.wait()


def together(port: int) -> int:
    """Requests of one scan that are answered when they come in one packet."""
    with socket.create_connection(("127.0.0.1", port), 1.0) as line:
        line.sendall(b"".join(REQUESTS))
        answer = b""
        try:
            while len(answer) < len(REQUESTS) * ANSWER:
                answer += line.recv(65536)
        except TimeoutError:
            pass
    return len(answer) // ANSWER


def one_by_one(port: int, pid: int, seconds: float) -> float:
    """Registers per CPU-second of the server."""
    scans, used, end = 0, cpu(pid), time.monotonic() + seconds
    with socket.create_connection(("127.0.0.1", port)) as line:
        while time.monotonic() < end:
            for request in REQUESTS:
                line.sendall(request)
                answer = b""
                while len(answer) < ANSWER:
                    answer += line.recv(4096)
            scans += 1
    return scans * TAGS / (cpu(pid) - used)


def daemon(port: int, pid: int, in_flight: int, seconds: float) -> tuple[float, float]:
    """(values a second that reached the journal, registers per CPU-second of the server) under the daemon of `ingest`."""
    text = site(port, "int16").replace("in_flight: 16", f"in_flight: {in_flight}")
    with tempfile.TemporaryDirectory() as folder, stack(Path(folder), text) as it:
        wait_for(lambda: it.status()["samples"] > 0, 20, "the first samples")
        before, used, began = it.status()["samples"], cpu(pid), time.monotonic()
        time.sleep(seconds)
        values, took = it.status()["samples"] - before, time.monotonic() - began
        return values / took, values / (cpu(pid) - used)


def main(seconds: float) -> None:
    for name in ("ours", "pymodbus"):
        with server(name) as (port, pid):
            answered, alone = together(port), one_by_one(port, pid, seconds)
            in_flight = 16 if answered == len(REQUESTS) else 1
            arrived, under = daemon(port, pid, in_flight, 2 * seconds)
        found = {"server": name, "answered_of_8": answered, "registers_per_cpu_s": round(alone)}
        found |= {
            "in_flight": in_flight,
            "ingest_values_per_s": round(arrived),
            "ingest_registers_per_cpu_s": round(under),
        }
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve_pymodbus(int(sys.argv[3])) if sys.argv[2] == "pymodbus" else serve(int(sys.argv[3]), "int16"))
    else:
        main(float(sys.argv[1]) if sys.argv[1:] else 10.0)
