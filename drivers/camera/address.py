"""The urls of cameras, and how they are shown."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from edge import without_secrets


def address_of(url: str) -> SplitResult:
    """The parts of a url. Raises ValueError where its host or port cannot be one."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError("its host or port is none; a port is a number up to 65535") from None
    return parts


def shown(url: str) -> str:
    """A url without user and password, wherever cameras want them."""
    return without_secrets(url.replace(f"{urlsplit(url).netloc.rpartition('@')[0]}@", "", 1))


def where(url: str) -> str:
    """The host of a network camera, the path of a local one; not the path at a host, which may hold a secret."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] or parts.path
