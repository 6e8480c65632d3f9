"""Setting a variable, reading it back, and calling a method, with every status looked at."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import numpy as np
from asyncua import Client, ua
from asyncua.common.ua_utils import data_type_to_variant_type
from asyncua.ua.uaerrors import UaError

from edge import DeviceRefused

from .reading import Reading
from .session import GONE, said, telling
from .values import kind_of, native, number_of, text_of


@contextlib.asynccontextmanager
async def _answered(within: float) -> AsyncIterator[None]:
    with telling("no answer to the write, which may have been done"):
        try:
            async with asyncio.timeout(within):
                yield
        except UaError as error:
            if any(word in said(error) for word in GONE):
                raise
            raise DeviceRefused(f"the server refuses the write: {said(error)}") from None


async def set_value(client: Client, node: ua.NodeId, value: float | str, within: float) -> float | str:
    """Write `value` as the node's own type, without times (part 4, 5.10.4), in `within` seconds. Returns it as that type holds
    it. Raises DeviceLost, DeviceRefused, WriteRefused."""
    async with _answered(within):
        return await _set(client, node, value)


async def _set(client: Client, node: ua.NodeId, value: float | str) -> float | str:
    kind = await _kind(client, node)
    held = native(kind, value)
    wanted = ua.WriteValue(
        NodeId=node,
        AttributeId=ua.AttributeIds.Value,
        Value=ua.DataValue(ua.Variant(held, kind)),
    )
    (status,) = await client.uaclient.write(ua.WriteParameters(NodesToWrite=[wanted]))
    if not status.is_good():
        raise DeviceRefused(f"the server refuses the write: {status.name}")
    if status.name == "GoodClamped":
        raise DeviceRefused(f"the server wrote another value: {value} is beyond what it allows ({status.name})")
    if isinstance(value, str):
        return value
    return float(np.float32(held)) if kind == ua.VariantType.Float else float(held)


async def _kind(client: Client, node: ua.NodeId) -> ua.VariantType:
    """The node's own type; where that is open (Number, BaseDataType) the type of what it holds."""
    kind = await client.get_node(node).read_data_type_as_variant_type()
    if kind != ua.VariantType.Variant:
        return kind
    held = (await client.get_node(node).read_data_value(raise_on_bad_status=False)).Value
    if held is None or held.VariantType == ua.VariantType.Null:
        raise DeviceRefused("the node takes any type and holds nothing yet, so that nobody knows which one it wants")
    return held.VariantType


async def shown_by(client: Client, node: ua.NodeId, text: bool, within: float) -> float | str:
    """The number or text that a node shows now. Raises DeviceLost, DeviceRefused."""
    if node.is_null():
        raise DeviceRefused("this cannot be read")
    with telling("no answer to a read"):
        async with asyncio.timeout(within):
            (found,) = await Reading(client).values([node])
    if found.StatusCode is not None and not found.StatusCode.is_good():
        raise DeviceRefused(f"the server says {found.StatusCode.name}")
    value = found.Value.Value if found.Value is not None else None
    if not text:
        return number_of(value)[0]
    if (shown := text_of(value, found.Value)) is None:
        raise DeviceRefused(f"it shows {kind_of(value, text=True)}")
    return shown


async def call(client: Client, owner: ua.NodeId, method: ua.NodeId, value: float | str, within: float) -> None:
    """Call a method (part 4, 5.11.2) with `value` as its argument, or without where it takes none. Raises DeviceLost,
    DeviceRefused, WriteRefused."""
    async with _answered(within):
        await _call(client, owner, method, value)


async def _call(client: Client, owner: ua.NodeId, method: ua.NodeId, value: float | str) -> None:
    arguments = await _arguments(client, method)
    if len(arguments) > 1:
        raise DeviceRefused(f"the method takes {len(arguments)} arguments; one can be given")
    given = []
    for argument in arguments:
        kind = await data_type_to_variant_type(client.get_node(argument.DataType))
        if kind == ua.VariantType.Variant:  # it takes any number, or anything
            kind = ua.VariantType.String if isinstance(value, str) else ua.VariantType.Double
        given.append(ua.Variant(native(kind, value), kind))
    request = ua.CallMethodRequest(ObjectId=owner, MethodId=method, InputArguments=given)
    (result,) = await client.uaclient.session.call([request])
    if not result.StatusCode.is_good():
        about = [status.name for status in result.InputArgumentResults or [] if not status.is_good()]
        why = f"{result.StatusCode.name} ({', '.join(about)})" if about else result.StatusCode.name
        raise DeviceRefused(f"the method was refused: {why}")


async def _arguments(client: Client, method: ua.NodeId) -> list[ua.Argument]:
    try:
        found = await client.get_node(method).get_child("0:InputArguments")
    except ua.uaerrors.BadNoMatch:
        return []
    return list(await found.read_value() or [])
