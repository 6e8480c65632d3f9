"""What this device has seen of signed metadata and never goes below again, in two places: the state folder may be put back to an
older copy, or lost, and the other one still knows."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from edge import log

from ..updates.manifest import UpdateRefused
from .identity import keep_file

FILE = "updates.floor"
MOST_STEP = (
    1_000_000  # versions at once: a timestamp every hour for a century; who goes further wants to shut later ones out
)


def second_place(device: str) -> Path:
    """The folder beside the state folder: $LINESIDE_FLOOR, else below ~/.local/share/lineside."""
    if named := os.environ.get("LINESIDE_FLOOR"):
        return Path(named)
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "lineside" / device


@dataclass
class Floor:
    """By role the version and the keys that signed it: with other keys, which a newer root alone can give, counting begins anew.
    `time` is when two persons last signed something (seconds since 1970)."""

    root: int = 0
    roles: dict[str, tuple[int, str]] = field(default_factory=dict)
    time: int = 0

    def check(self, root: int, roles: dict[str, tuple[int, str]]) -> None:
        """Raises UpdateRefused where something is older than what was seen, or so far ahead that nothing could come after it."""
        for role, version, seen in [
            ("root", root, self.root),
            *((r, v, self._seen(r, k)) for r, (v, k) in roles.items()),
        ]:
            if version < seen:
                raise UpdateRefused(
                    f"rollback: {role} {version} is older than {role} {seen}, which this device has seen"
                )
            if version > seen + MOST_STEP:
                raise UpdateRefused(
                    f"fast-forward: {role} jumps from version {seen} to {version}; no repository signs so often"
                )

    def _seen(self, role: str, keys: str) -> int:
        version, by = self.roles.get(role, (0, ""))
        return version if by == keys else 0

    def raised(self, other: Floor) -> Floor:
        """The higher of the two in everything."""
        old, new = sorted((self, other), key=lambda floor: floor.root)
        roles = old.roles | new.roles
        for role, (version, keys) in old.roles.items():
            if roles[role][1] == keys:
                roles[role] = (max(version, roles[role][0]), keys)
        return Floor(new.root, roles, max(old.time, new.time))


class Floors:
    """The floor in its two folders."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._places = [folder / FILE for folder in folders]

    def load(self) -> Floor:
        """The higher of the two. Raises UpdateRefused where one is there and none can be read."""
        floor, read, spoiled = Floor(), 0, list[Path]()
        for place in self._places:
            try:
                said = json.loads(place.read_text())
                roles = {str(role): (int(version), str(keys)) for role, (version, keys) in said["roles"].items()}
                floor = floor.raised(Floor(int(said["root"]), roles, int(said["time"])))
                read += 1
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
                spoiled.append(place)
        if spoiled and not read:
            hint = "move it away only if you are sure that nobody put back an older state on purpose"
            raise UpdateRefused(f"{spoiled[0]} is damaged: how old an update may be is not known", hint=hint)
        for place in spoiled:
            log.warning("updates: %s is damaged; the other copy counts, and it is written anew", place)
        return floor

    def keep(self, floor: Floor) -> None:
        """In both places, durable. Raises UpdateRefused."""
        for place in self._places:
            try:
                place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                keep_file(place, json.dumps(asdict(floor)))
            except OSError as error:
                hint = "nothing is taken without it; $LINESIDE_FLOOR names another folder for the second copy"
                raise UpdateRefused(f"the floor cannot be kept in {place}: {error.strerror}", hint=hint) from None
