"""The two counterparts of `lineside bench opcua`, each a process of its own.

`python -m drivers.opcua.bench serve PORT NODES RATE`: a server; a line with seconds on standard input makes RATE changes a
second, one node after another, each one up; then it says how many. `... bare PORT NODES`: the subscription of asyncua alone;
counts what comes.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from asyncua import Client, Server, ua

STEP = 0.02  # seconds between two groups of changes
EVERY = 200.0  # ms, as in the site of the bench
QUEUE = 100
FOLDER = 100  # nodes in a folder; asyncua looks at all of one for each that comes


async def serve(port: int, count: int, rate: int) -> None:
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    await server.register_namespace("urn:bench")
    nodes = [ua.NodeId(ua.Int32(k), ua.Int16(2)) for k in range(1, count + 1)]
    for k, node in enumerate(nodes):
        if k % FOLDER == 0:
            folder = await server.nodes.objects.add_folder(ua.NodeId(ua.String(f"f{k}"), ua.Int16(2)), f"2:f{k}")
        await folder.add_variable(node, f"t{k}", 0.0)
    async with server:
        print("ready", flush=True)
        loop, values, k = asyncio.get_running_loop(), [0.0] * count, 0
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            wanted = round(float(line) * rate)
            began, made = loop.time(), 0
            while made < wanted:
                await asyncio.sleep(STEP)
                due = min(wanted, round((loop.time() - began) * rate))
                for _ in range(made, due):
                    values[k] += 1.0
                    value = ua.DataValue(ua.Variant(values[k], ua.VariantType.Double))
                    await server.iserver.aspace.write_attribute_value(nodes[k], ua.AttributeIds.Value, value)
                    k = (k + 1) % count
                made = due
            print(f"made {made}", flush=True)


class _Counter:
    def __init__(self) -> None:
        self.came = 0

    def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
        self.came += 1


async def bare(port: int, count: int) -> None:
    """Says how many values came whenever a line comes in."""
    counter = _Counter()
    async with Client(f"opc.tcp://127.0.0.1:{port}", timeout=30) as client:
        subscription = await client.create_subscription(EVERY, counter)
        nodes = [client.get_node(ua.NodeId(ua.Int32(k), ua.Int16(2))) for k in range(1, count + 1)]
        for k in range(0, count, 1000):
            await subscription.subscribe_data_change(
                nodes[k : k + 1000], queuesize=QUEUE, sampling_interval=ua.Double(EVERY)
            )
        while await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
            print(f"came {counter.came}", flush=True)


if __name__ == "__main__":
    what, *numbers = sys.argv[1:]
    asyncio.run(serve(*map(int, numbers)) if what == "serve" else bare(*map(int, numbers)))
