"""The body of a request, read only as far as it may go."""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request

from .. import wire


async def body_of(request: Request, most: int) -> bytes:
    """The body, read only up to `most` bytes. Raises WireFault beyond."""
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > most:
                raise wire.WireFault(f"more than {most} bytes")
    except ClientDisconnect:
        raise wire.WireFault("the device left in the middle of its message") from None
    return bytes(body)
