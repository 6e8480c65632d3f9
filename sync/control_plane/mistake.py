"""What a person did wrong, told to who asks by HTTP in the words of a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from fastapi import HTTPException

from edge import LinesideError


@contextlib.contextmanager
def mistakes() -> Iterator[None]:
    """409 for a fault that asking again does not heal; the others go on, see `ingest.fault`."""
    try:
        yield
    except LinesideError as fault:
        if fault.heals:
            raise
        raise HTTPException(409, str(fault)) from None
