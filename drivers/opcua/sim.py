"""An OPC UA server made from the same YAML as the driver that reads it, on a real socket."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from urllib.parse import urlsplit

from asyncua import Server, ua
from asyncua.ua.uaerrors import UaError

from edge import DeviceRefused, log

from .driver import OpcUaConfig
from .values import node_of


class OpcUaSim:
    """A variable (Double) for each tag. `set(tag, value)` moves it; `await get(tag)` shows what was written."""

    def __init__(self, name: str, config: OpcUaConfig) -> None:
        self.name, self.config = name, config
        parts = urlsplit(config.url)
        self.host, self.port, self._path = parts.hostname or "127.0.0.1", parts.port or 4840, parts.path
        self._server: Server | None = None
        self._nodes: dict[str, Any] = {}
        self._moves: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. Port 0 is not possible here: the address is part of what a server says about itself."""
        logging.getLogger("asyncua").setLevel(logging.CRITICAL)
        server = Server()
        await server.init()
        server.set_endpoint(f"opc.tcp://{self.host}:{self.port}{self._path}")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        texts = {name: point.node for name, point in self.config.tags.items()}
        plain = [ua.NodeId.from_string(text).NamespaceIndex for text in texts.values() if not text.startswith("nsu=")]
        for k in range(2, max(plain, default=0) + 1):
            await server.register_namespace(f"urn:lineside:sim:{k}")
        for text in texts.values():
            if text.startswith("nsu="):
                await server.register_namespace(text.removeprefix("nsu=").partition(";")[0])
        namespaces = await server.get_namespace_array()
        made: dict[ua.NodeId, Any] = {}  # two tags may be one node
        for name, text in texts.items():
            node = node_of(text, namespaces)
            assert node is not None
            if node not in made:
                first = "" if self.config.tags[name].type == "text" else 0.0
                try:
                    made[node] = await server.nodes.objects.add_variable(node, name, first)
                except UaError as error:
                    raise DeviceRefused(f"{name}: node {text} is the server's own, it cannot be simulated") from error
            self._nodes[name] = made[node]
            if self.config.tags[name].writable:
                await self._nodes[name].set_writable()
        await server.start()
        self._server = server
        log.info("%s: simulated OPC UA server on %s:%d", self.name, self.host, self.port)

    def set(self, tag: str, value: float | str) -> None:
        move = asyncio.ensure_future(self._nodes[tag].write_value(value if isinstance(value, str) else float(value)))
        self._moves.add(move)
        move.add_done_callback(self._moves.discard)

    async def get(self, tag: str) -> float:
        return float(await self._nodes[tag].read_value())

    async def stop(self) -> None:
        await asyncio.gather(*self._moves, return_exceptions=True)
        if self._server is not None:
            await self._server.stop()
            self._server = None
