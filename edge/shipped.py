"""The files of `configs/` that travel with the runtime: ready sites and device templates."""

from __future__ import annotations

import sysconfig
from pathlib import Path


def folders() -> list[Path]:
    """Where they may be: in a checkout beside the packages, else where the wheel put them."""
    return [Path(__file__).parents[1] / "configs", Path(sysconfig.get_path("data")) / "share/lineside/configs"]


def shipped(name: str) -> Path | None:
    """The file of this name below `configs/`, or None."""
    return next((folder / name for folder in folders() if (folder / name).is_file()), None)


def templates() -> list[str]:
    """Names of the device templates."""
    return sorted({path.stem for folder in folders() for path in (folder / "templates").glob("*.yaml")})
