"""The way of a block past the routes: at a thousand a second these cost as much as TLS does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from edge import LinesideError

Handler = Callable[[Request], Awaitable[Response]]
Refusal = Callable[[Request, Exception], Awaitable[Response]]


class Door:
    """`handler` is what the application has at (POST, `path`), and `refusal` what it makes of a fault: an answer is the same either
    way."""

    def __init__(self, application: ASGIApp, path: str, handler: Handler, refusal: Refusal) -> None:
        self._application, self._path, self._handler, self._refusal = application, path, handler, refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != self._path or scope["method"] != "POST":
            await self._application(scope, receive, send)
            return
        request = Request(scope, receive, send)
        try:
            answer = await self._handler(request)
        except (LinesideError, OverflowError) as error:
            answer = await self._refusal(request, error)
        await answer(scope, receive, send)
