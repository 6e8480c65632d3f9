"""Tags of which a stage makes the columns of a row."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field


def _once(tags: list[str]) -> list[str]:
    for tag in tags:
        if tags.count(tag) > 1:
            raise ValueError(f"{tag!r} stands there twice")
    return tags


Distinct = Annotated[
    list[str], Field(min_length=1, max_length=128, description="the tags, best of one source"), AfterValidator(_once)
]
