"""The named points of a site and their ids."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .errors import ConfigFault, LinesideError
from .texts import Texts

if TYPE_CHECKING:
    from .driver import Writable

NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True, slots=True)
class Tag:
    """A named point. `id` belongs to (name, type, unit, labels): change one of them and the name gets a new id. `fits` is the type
    that holds every value it has: `type`, or float64 where a scale makes another number of it."""

    name: str
    id: int = 0
    type: str = "float64"
    unit: str = ""
    labels: Mapping[int, str] = field(default_factory=dict)
    source: str = ""
    writable: Writable | None = None
    deadband: float | None = None
    stale_after: float = 0.0  # seconds; 0: never judged stale
    fits: str = "float64"

    def numbered(self, number: int) -> Tag:
        """The same tag with its id; `dataclasses.replace` takes three times as long."""
        rest = (
            self.type,
            self.unit,
            self.labels,
            self.source,
            self.writable,
            self.deadband,
            self.stale_after,
            self.fits,
        )
        return Tag(self.name, number, *rest)

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What an id stands for on disk and on the wire."""
        labels = ";".join(f"{number}={text}" for number, text in sorted(self.labels.items())) if self.labels else ""
        return self.name, self.type, self.unit, labels


class TagTable:
    """All active tags: by name, by id, and by dense slot (0..n-1) for tables indexed by column; `texts` are the strings of
    those that are text."""

    def __init__(self, tags: Iterable[Tag] = (), texts: Texts | None = None) -> None:
        self.texts = Texts() if texts is None else texts
        self._tags: list[Tag] = []
        self._by_name: dict[str, Tag] = {}
        self._slots = np.full(64, -1, np.int32)
        for tag in tags:
            self.add(tag)

    @classmethod
    def numbered(
        cls, tags: Iterable[Tag], ids: Callable[[list[Tag]], list[int]] | None = None, texts: Texts | None = None
    ) -> TagTable:
        """A table of tags that get their ids from `ids` (the journal's `tag_ids`), or 1, 2, 3, ... without one."""
        tags = list(tags)
        numbers = ids(tags) if ids else range(1, len(tags) + 1)
        return cls(map(Tag.numbered, tags, numbers), texts)

    def add(self, tag: Tag) -> Tag:
        if tag.name in self._by_name:
            raise ConfigFault(f"two tags are called {tag.name!r}", hint="tag names are unique within a site")
        if not NAME.fullmatch(tag.name):
            raise ConfigFault(f"{tag.name!r} is no tag name", hint="letters, digits and _, parts joined by dots")
        if tag.id >= len(self._slots):
            grown = np.full(max(2 * len(self._slots), tag.id + 1), -1, np.int32)
            grown[: len(self._slots)] = self._slots
            self._slots = grown
        self._slots[tag.id] = len(self._tags)
        self._tags.append(tag)
        self._by_name[tag.name] = tag
        return tag

    def slots(self, ids: np.ndarray) -> np.ndarray:
        """Slots of a column of ids; -1 where an id is not active."""
        inside = (ids >= 0) & (ids < len(self._slots))
        return np.where(inside, self._slots[np.where(inside, ids, 0)], -1)

    def by_id(self, number: int) -> Tag:
        """Raises KeyError for an id that is not active."""
        slot = int(self._slots[number]) if 0 <= number < len(self._slots) else -1
        if slot < 0:
            raise KeyError(number)
        return self._tags[slot]

    def slot(self, name: str) -> int:
        return int(self._slots[self._by_name[name].id])

    def of_source(self, source: str) -> dict[str, Tag]:
        """The tags of one source by their name below it."""
        return {tag.name[len(source) + 1 :]: tag for tag in self._tags if tag.source == source}

    def __getitem__(self, name: str) -> Tag:
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[Tag]:
        return iter(self._tags)

    def __len__(self) -> int:
        return len(self._tags)


def named(table: TagTable, name: str) -> Tag:
    """The tag of a name a person typed. Raises LinesideError with a near miss."""
    if name in table:
        return table[name]
    near = difflib.get_close_matches(name, [tag.name for tag in table], 1)
    raise LinesideError(f"no tag is called {name!r}", hint=f"did you mean {near[0]!r}?" if near else "")
