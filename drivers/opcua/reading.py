"""Reads of many nodes in as few requests as the server takes."""

from __future__ import annotations

from collections.abc import Sequence

from asyncua import Client, ua

AT_ONCE = 1000  # nodes or items in one request, where the server does not say
TOO_MUCH = (
    ua.uaerrors.BadTooManyOperations,
    ua.uaerrors.BadRequestTooLarge,
    ua.uaerrors.BadResponseTooLarge,
    ua.uaerrors.BadEncodingLimitsExceeded,
)
LIMITS = (
    ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
    (ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall),
)


class Reading:
    """`values(nodes)`; `most` is how many monitored items the server takes at once."""

    def __init__(self, client: Client, nodes: int = AT_ONCE, items: int = AT_ONCE) -> None:
        self._client, self._at_once, self.most = client, nodes, items

    @classmethod
    async def of(cls, client: Client) -> Reading:
        """With the limits that the server names (part 5, 6.3.11)."""
        found = await cls(client, 2).values([ua.NodeId(ua.Int32(limit)) for limit in LIMITS])
        named = [value.Value.Value if value.Value is not None else None for value in found]
        return cls(client, *(min(n, AT_ONCE) if isinstance(n, int) and n > 0 else AT_ONCE for n in named))

    async def values(self, nodes: Sequence[ua.NodeId]) -> list[ua.DataValue]:
        """The Value of each node with both times. A server to which a request is too long is asked for half from then on."""
        out: list[ua.DataValue] = []
        while len(out) < len(nodes):
            asked = nodes[len(out) : len(out) + self._at_once]
            wanted = [ua.ReadValueId(NodeId=node, AttributeId=ua.AttributeIds.Value) for node in asked]
            params = ua.ReadParameters(TimestampsToReturn=ua.TimestampsToReturn.Both, NodesToRead=wanted)
            try:
                got = await self._client.uaclient.read(params)
            except TOO_MUCH:
                if len(asked) == 1:
                    raise
                self._at_once = len(asked) // 2
                continue
            if len(got) != len(asked):
                raise ua.UaError(f"{len(got)} answers to {len(asked)} nodes")
            out += got
        return out
