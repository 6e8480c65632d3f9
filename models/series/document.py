"""A JSON document that `lineside fit` wrote beside a site, read with bounds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from edge import LinesideError

LARGEST = 64 * 2**20  # bytes of a file; a thousand centres of twenty signals take 4 MB
RUNS = " --runs FOLDER"
AGAIN = "`lineside fit SITE STAGE{}` writes it"
T = TypeVar("T")


def read(path: Path, parsed: Callable[[Any], T], given: str = "") -> T:
    """What `parsed` makes of it, which raises ValueError for what it does not know; blocks. `given`: what else was given to the
    command that wrote it. Raises LinesideError."""
    again = AGAIN.format(given)
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"larger than {LARGEST >> 20} MB")
        return parsed(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise LinesideError(f"there is no {path}", hint=again) from None
    except (ValueError, OSError, RecursionError) as error:
        raise LinesideError(f"{path}: {error}", hint=f"fit it anew: {again}") from None
