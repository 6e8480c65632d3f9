"""Stages of models, for the console and for programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from .access import Asks
from .live import Hub
from .mistake import mistakes
from .model_stages import LONGEST_NOTE, listed, move
from .own import PLANE
from .store import Store


class Move(BaseModel):
    """Where a version goes next, and what speaks for it."""

    stage: Literal["validated", "shadow", "canary", "production", "retired"]
    note: str = Field("", max_length=LONGEST_NOTE)


def model_routes(store: Store, hub: Hub, published: Callable[[], list[str]]) -> APIRouter:
    router = APIRouter()

    @router.get("/api/models")
    async def models() -> list[dict[str, Any]]:
        """Every version of each model: its stage, by whom and since when, and what devices and rollouts say of it."""
        return await store.read(lambda c: listed(c, published()))

    @router.post("/api/models/{name}/{version}", status_code=202)
    async def promote(asks: Asks, name: str, version: str, wanted: Move) -> dict[str, Any]:
        """Move one version. 409 where it may not go there, with what is missing."""
        with mistakes():
            moved = await store.write(
                lambda c: move(c, f"{name}-{version}", wanted.stage, asks.who, wanted.note, published())
            )
        hub.tell({"kind": "events", "device": PLANE})
        return moved._asdict()

    return router
