"""A reader that shows the newest value of every tag and its history as an OPC UA server: to be read and subscribed to, never to be
written."""

from __future__ import annotations

import asyncio
import datetime
import gc
import hmac
import logging
from typing import Any

import numpy as np
from asyncua import Server, ua
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.user_managers import UserManager
from pydantic import BaseModel, Field, model_validator

from edge import (
    SECOND,
    DeviceLost,
    Host,
    Listen,
    Period,
    Quality,
    Tag,
    WriteRefused,
    listen_at,
    log,
    only_here,
    reason_of,
)

from .history import JournalHistory
from .trust import fingerprint, own
from .values import native

NAME = "opcua_server"
AT_ONCE = 500  # values written between two turns of others
BUILT_AT_ONCE = 10  # nodes, likewise: each takes about a millisecond
STATUS = {
    Quality.GOOD: ua.StatusCodes.Good,
    Quality.CLOCK_UNSURE: ua.StatusCodes.Good,
    Quality.LATE: ua.StatusCodes.Good,
    Quality.SUBSTITUTED: ua.StatusCodes.UncertainSubstituteValue,
    Quality.RANGE: ua.StatusCodes.BadOutOfRange,
    Quality.STALE: ua.StatusCodes.BadNoCommunication,
    Quality.TIMEOUT: ua.StatusCodes.BadTimeout,
    Quality.EXCEPTION: ua.StatusCodes.BadDeviceFailure,
    Quality.BAD: ua.StatusCodes.BadNotConnected,
}
KINDS = {  # of a node, by the type that holds every value of its tag
    "bool": ua.VariantType.Boolean,
    "int8": ua.VariantType.SByte,
    "int16": ua.VariantType.Int16,
    "int32": ua.VariantType.Int32,
    "int64": ua.VariantType.Int64,
    "uint8": ua.VariantType.Byte,
    "uint16": ua.VariantType.UInt16,
    "uint32": ua.VariantType.UInt32,
    "uint64": ua.VariantType.UInt64,
    "float32": ua.VariantType.Float,
}
BEGIN = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class OpcUaServerConfig(BaseModel):
    """Where OPC UA clients find the newest value of every tag."""

    model_config = {"extra": "forbid", "frozen": True}
    listen: Listen = Field("127.0.0.1:4840", description="address:port; other machines need an address of this one")
    user: str = Field("", description="who is let in, signed and encrypted; without one anybody on this machine is")
    password: str = Field("", description="written as `!secret NAME`", repr=False)
    every: Period = Field(1.0, description="how often what changed is shown")

    @model_validator(mode="after")
    def _guarded(self) -> OpcUaServerConfig:
        if bool(self.user) != bool(self.password):
            raise ValueError("user and password belong together; name both")
        if not only_here(self.listen) and not self.user:
            raise ValueError(f"whoever reaches {self.listen} would read every value; add `user:` and `password:`")
        return self


class Users(UserManager):
    """Lets in the one user of the site, or anybody where there is none; nobody may write."""

    def __init__(self, user: str, password: str) -> None:
        self._user, self._password = user, password

    def get_user(
        self, iserver: Any, username: str | None = None, password: Any = None, certificate: Any = None
    ) -> User | None:
        given = password.decode(errors="replace") if isinstance(password, bytes) else password or ""
        pairs = ((username or "", self._user), (given, self._password))
        if self._user and certificate is None:  # a session that is not secured, as is allowed to look for end points
            return None
        right = [hmac.compare_digest(ours.encode(), theirs.encode()) for ours, theirs in pairs]
        return User(role=UserRole.User) if not self._user or all(right) else None


class OpcUaServer:
    """Objects / DEVICE / source / folders / variable; the node of a tag is `ns=2;s=NAME`. It has no cursor: the journal keeps
    nothing for it."""

    delivers = False

    def __init__(self, config: OpcUaServerConfig, host: Host) -> None:
        self.config, self.host = config, host
        self._live: Any = None  # the newest values, and their tags
        self._nodes: list[ua.NodeId] = []
        self._shown = np.empty(0), np.empty(0, np.uint8)  # value and quality, by slot

    async def run(self) -> None:
        logging.getLogger("asyncua").setLevel(logging.CRITICAL)
        try:
            while True:
                self._live = self.host.live
                gc.disable()  # a look at each of a hundred thousand nodes, again and again, would stop the loop for a second
                try:
                    server = await self._built()
                finally:
                    gc.freeze()
                    gc.enable()
                try:
                    await server.start()
                    if self.config.user:  # without security clients may only ask for these
                        ends = server.iserver.endpoints
                        ends[:] = [end for end in ends if end.SecurityMode == ua.MessageSecurityMode.SignAndEncrypt]
                    self.host.health.state(NAME, "running")
                    while self._live is self.host.live:  # a new site has other tags, and gets a server of its own
                        await self._show(server)
                        await asyncio.sleep(self.config.every)
                finally:
                    await server.stop()
                    gc.unfreeze()
        except OSError as error:
            hint = "is the address one of this machine, and the port free? `listen:` names another"
            raise DeviceLost(f"cannot listen on {self.config.listen}: {reason_of(error)}", hint=hint) from None

    async def _built(self) -> Server:
        c, device = self.config, self.host.config.device.id
        server = Server(user_manager=Users(c.user, c.password))
        await server.init()
        await server.iserver.history_manager.stop()
        history: Any = JournalHistory(self.host, self._tag_of, self._told)
        server.iserver.history_manager = history
        server.set_server_name(f"Lineside {device}")
        server.set_endpoint(f"opc.tcp://{c.listen}")
        server.socket_address = listen_at(c.listen)
        mine = await asyncio.to_thread(own, self.host.folder)
        await server.set_application_uri(mine.uri)
        if c.user:
            await server.load_certificate(mine.certificate)
            await server.load_private_key(mine.key, format="pem")
            kinds = ua.SecurityPolicyType
            secured = [kinds.Basic256Sha256_SignAndEncrypt, kinds.Aes256Sha256RsaPss_SignAndEncrypt]
            server.set_security_policy([kinds.NoSecurity, *secured])
            server.set_identity_tokens([ua.UserNameIdentityToken])
            log.info("%s: its certificate has SHA-256 %s", NAME, fingerprint(mine.certificate))
        else:
            server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
            server.set_identity_tokens([ua.AnonymousIdentityToken])
        await server.register_namespace(f"urn:lineside:{device}")
        await self._add_all(server, device)
        return server

    async def _add_all(self, server: Server, device: str) -> None:
        """A variable for each tag, in folders as its name has dots."""
        folders = {"": await server.nodes.objects.add_folder(_node("/"), ua.QualifiedName(device, 2))}

        async def folder(path: str) -> Any:
            if path not in folders:
                above, _, name = path.rpartition(".")
                parent = await folder(above)
                folders[path] = await parent.add_folder(_node(f"/{path}"), ua.QualifiedName(name, 2))
            return folders[path]

        names, levels = ua.AttributeIds, ua.AccessLevel
        may = ua.DataValue(ua.Variant(levels.CurrentRead.mask | levels.HistoryRead.mask, ua.VariantType.Byte))
        yes = ua.DataValue(ua.Variant(True, ua.VariantType.Boolean))
        self._nodes = []
        for k, tag in enumerate(self._live.table):
            above, _, name = tag.name.rpartition(".")
            node = _node(tag.name)
            first = ua.Variant("", ua.VariantType.String) if _is_text(tag) else _number(tag, 0.0)
            variable = await (await folder(above)).add_variable(node, ua.QualifiedName(name, 2), first)
            waits = ua.DataValue(StatusCode=_status(ua.StatusCodes.BadWaitingForInitialData))
            for attribute, shown in (
                (names.Value, waits),
                (names.AccessLevel, may),
                (names.UserAccessLevel, may),
                (names.Historizing, yes),
            ):
                await server.write_attribute_value(node, shown, attribute)
            if tag.unit:
                unit = ua.EUInformation(DisplayName=ua.LocalizedText(tag.unit))
                await variable.add_property(_node(f"{tag.name}/unit"), "0:EngineeringUnits", unit)
            self._nodes.append(node)
            if k % BUILT_AT_ONCE == 0:
                await asyncio.sleep(0)
        n = len(self._nodes)
        self._shown = np.full(n, np.nan), np.full(n, 255, np.uint8)

    async def _show(self, server: Server) -> None:
        """Write what has another value or quality than it had."""
        live, (value, quality) = self._live, self._shown
        same = ((live.value == value) | (np.isnan(live.value) & np.isnan(value))) & (live.quality == quality)
        rows = np.flatnonzero(~same & (live.ts > 0)).tolist()
        tags, now = list(live.table), datetime.datetime.now(datetime.UTC)
        for k, i in enumerate(rows):
            value[i], quality[i] = live.value[i], live.quality[i]
            await server.write_attribute_value(
                self._nodes[i], self._told(tags[i], value[i], quality[i], int(live.ts[i]), now)
            )
            if k % AT_ONCE == 0:
                await asyncio.sleep(0)

    def _tag_of(self, node: Any) -> Tag | None:
        table, name = self._live.table, node.Identifier
        return table[name] if node.NamespaceIndex == 2 and isinstance(name, str) and name in table else None

    def _told(self, tag: Tag, value: float, quality: int, ts: int, now: Any = None) -> ua.DataValue:
        status, variant = _status(STATUS[Quality(int(quality))]), None
        if status.is_good() or quality == Quality.SUBSTITUTED:
            shown = self._live.table.texts.show(value) if _is_text(tag) else float(value)
            if shown is None or shown != shown:
                status = _status(ua.StatusCodes.BadOutOfRange)
            else:
                variant = ua.Variant(shown, ua.VariantType.String) if _is_text(tag) else _number(tag, shown)
        at: Any = BEGIN + datetime.timedelta(seconds=ts // SECOND, microseconds=ts % SECOND // 1000)
        return ua.DataValue(Value=variant, StatusCode=status, SourceTimestamp=at, ServerTimestamp=now)


def _node(name: str) -> Any:
    return ua.NodeId.from_string(f"ns=2;s={name}")


def _status(code: int) -> Any:
    return ua.StatusCode(ua.UInt32(code))


def _number(tag: Tag, value: float) -> ua.Variant:
    """A number as its node has it; as Double where that does not hold it, as in history from before the tag had another type."""
    kind = KINDS.get(tag.fits, ua.VariantType.Double)
    try:
        return ua.Variant(native(kind, value), kind)
    except (WriteRefused, OverflowError):
        return ua.Variant(value, ua.VariantType.Double)


def _is_text(tag: Tag) -> bool:
    return tag.type == "text"
