"""An OPC UA server made from the same YAML as the driver that reads it, on a real socket."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from asyncua import Server, ua
from asyncua.ua.uaerrors import UaError

from edge import DeviceRefused, WriteRefused, log

from .nodesets import in_order, load
from .options import OpcUaConfig, OpcUaPoint
from .trust import fingerprint, own
from .values import native, node_of, text_of


class OpcUaSim:
    """A variable (Double) for each tag, and what `nodesets:` bring. `set(tag, value)` moves a tag's; `await get(tag)` shows what
    was written."""

    def __init__(self, name: str, config: OpcUaConfig) -> None:
        self.name, self.config = name, config
        parts = urlsplit(config.url)
        self.host, self.port, self._path = parts.hostname or "127.0.0.1", parts.port or 4840, parts.path
        self._server: Server | None = None
        self._nodes: dict[str, Any] = {}
        self._kinds: dict[str, ua.VariantType] = {}
        self._called: dict[str, float | str] = {}  # methods, by tag
        self._moves: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. Port 0 is not possible here: the address is part of what a server says about itself."""
        logging.getLogger("asyncua").setLevel(logging.CRITICAL)
        files = in_order(self.config.nodesets)
        server = Server()
        await server.init()
        server.set_endpoint(f"opc.tcp://{self.host}:{self.port}{self._path}")
        await self._secure(server)
        await load(server, files)
        points = self.config.tags.items()
        methods = {name: point for name, point in points if point.method}
        texts = {name: point.node for name, point in points if point.node}
        await self._register(server, [t for p in self.config.tags.values() for t in (p.node, p.method, p.object) if t])
        namespaces = await server.get_namespace_array()
        for name, text in texts.items():
            await self._add_variable(server, name, text, namespaces)
        for name, point in methods.items():
            await self._add_method(server, name, point, namespaces)
        await server.start()
        self._server = server
        log.info("%s: simulated OPC UA server on %s:%d", self.name, self.host, self.port)

    async def _secure(self, server: Server) -> None:
        """What the site's `security` asks for, with a certificate of its own, made anew at each start; any client is let in."""
        kinds = [ua.SecurityPolicyType.NoSecurity]
        if self.config.security != "None":
            policy = (self.config.policy or "Basic256Sha256").replace("_", "")
            kinds.append(ua.SecurityPolicyType[f"{policy}_{self.config.security}"])
            with tempfile.TemporaryDirectory() as folder:
                mine = await asyncio.to_thread(own, Path(folder))
            await server.set_application_uri(mine.uri)
            await server.load_certificate(mine.certificate)
            await server.load_private_key(mine.key, format="pem")
            log.info("%s: its certificate has SHA-256 %s", self.name, fingerprint(mine.certificate))
        server.set_security_policy(kinds)

    async def _register(self, server: Server, texts: Sequence[str]) -> None:
        """Every namespace that a node of the site lives in."""
        plain = [ua.NodeId.from_string(text).NamespaceIndex for text in texts if not text.startswith("nsu=")]
        for k in range(2, max(plain, default=0) + 1):
            await server.register_namespace(f"urn:lineside:sim:{k}")
        for text in texts:
            if text.startswith("nsu="):
                await server.register_namespace(text.removeprefix("nsu=").partition(";")[0])

    async def _add_variable(self, server: Server, name: str, text: str, namespaces: Sequence[str]) -> None:
        """A Double, or the variable that another tag or a NodeSet2 file brought, with its own type."""
        node = node_of(text, namespaces)
        assert node is not None
        known = node in server.iserver.aspace
        if known and node.NamespaceIndex == 0:
            raise DeviceRefused(f"{name}: node {text} is the server's own, it cannot be simulated")
        self._nodes[name] = server.get_node(node)
        if not known:
            first = "" if self.config.tags[name].type == "text" else 0.0
            await server.nodes.objects.add_variable(node, name, first)
        elif await self._nodes[name].read_node_class() != ua.NodeClass.Variable:
            raise DeviceRefused(f"{name}: node {text} is no variable")
        try:
            self._kinds[name] = await self._nodes[name].read_data_type_as_variant_type()
        except UaError:  # an abstract type, as Number
            self._kinds[name] = ua.VariantType.Double
        if self.config.tags[name].writable:
            await self._nodes[name].set_writable()

    async def _add_method(self, server: Server, name: str, point: OpcUaPoint, namespaces: Sequence[str]) -> None:
        """A method with one number or text, which `get` shows."""

        async def called(_: Any, given: ua.Variant) -> list[ua.Variant]:
            self._called[name] = given.Value
            return []

        owner, method = node_of(point.object, namespaces), node_of(point.method, namespaces)
        assert owner is not None and method is not None
        try:
            parent = await server.nodes.objects.add_object(owner, f"{name}_object")
        except UaError:
            parent = server.get_node(owner)  # two methods of one object
        kind = ua.VariantType.String if point.type == "text" else ua.VariantType.Double
        await parent.add_method(method, name, called, [kind], [])

    def set(self, tag: str, value: float | str) -> None:
        if tag not in self._nodes:
            raise ValueError("is a method and stands still")
        try:
            kind = self._kinds[tag]
            variant = ua.Variant(value if isinstance(value, str) else native(kind, float(value)), kind)
        except WriteRefused as error:
            raise ValueError(str(error)) from None
        move = asyncio.ensure_future(self._nodes[tag].write_value(variant))
        self._moves.add(move)
        move.add_done_callback(self._moves.discard)

    async def get(self, tag: str) -> float | str:
        if tag in self._called:
            return self._called[tag]
        value = await self._nodes[tag].read_value()
        text = text_of(value)
        return float(value) if text is None else text

    async def stop(self) -> None:
        await asyncio.gather(*self._moves, return_exceptions=True)
        if self._server is not None:
            await self._server.stop()
            self._server = None
