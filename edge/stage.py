"""The contract of a stage: a synchronous state machine between what arrives and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel, Field

from .batch import Batch
from .event import Answer, Event, Job, Picture, Tick, Write
from .frame import Frame
from .tags import TagTable

Item = Batch | Frame | Event | Tick | Answer
Result = Batch | Event | Write | Picture | Job


@runtime_checkable
class Stage(Protocol):
    """Batch, Frame, Event, Tick or Answer in; Batch, Event, Write, Picture and Job out.

    No I/O, no asyncio, no clock of its own. `due()` names the monotonic time (ns) at which it wants a `Tick` though
    nothing arrived, or None. `inputs` and `outputs` are tag or source names, from which the flow works out the order.
    State that must survive is one small `snapshot()` (None: nothing to keep), journaled in the same transaction as the
    events of the call that changed it, and given back to `restore()` at start.
    """

    Config: ClassVar[type[BaseModel]]
    inputs: frozenset[str]
    outputs: frozenset[str]

    def __call__(self, item: Item) -> Iterable[Result]: ...

    def due(self) -> int | None: ...

    def snapshot(self) -> bytes | None: ...

    def restore(self, state: bytes) -> None: ...


class StatelessStage:
    """The uninteresting half of the contract, for stages that keep nothing and wait for nothing."""

    inputs: frozenset[str] = frozenset()
    outputs: frozenset[str] = frozenset()

    def due(self) -> int | None:
        return None

    def snapshot(self) -> bytes | None:
        return None

    def restore(self, state: bytes) -> None:
        return None


@dataclass(frozen=True)
class Setting:
    """What a stage of `stages:` is given beside its options: its name, all tags, the folder of the site file, and the sources
    that answer already. A source that is not among them says so by its first batch that is not BAD, or its first frame. `state` is
    the device's own folder, where updates keep models. In the tests of a site it is `alone`: they say the same on every device,
    whatever else came to it from elsewhere."""

    name: str
    table: TagTable
    folder: Path
    running: frozenset[str] = frozenset()
    state: Path = Path("/nonexistent")
    alone: bool = False


@dataclass(frozen=True)
class NewModel:
    """Another model for a stage whose attribute `model` names one that updates bring, as an Answer (`Flow.tell`). `judges` is what
    the stage's own `prepared(folder)` made of it. `use`: `run` (on trial in place of the one that runs, which comes back by itself
    where the new one does worse), `shadow` (beside it, without a say), `back` (in place of the one that runs, since it ran
    before), `none` (it is dropped). `tell(state, text, figures)` is called on the loop with `trying`, `shadow`, `running` or
    `rolled_back`, the last two once."""

    version: str
    judges: Any
    use: str
    tell: Callable[[str, str, dict[str, Any]], None]


class StageConfig(BaseModel):
    """What every entry under `stages:` may say."""

    model_config = {"extra": "forbid", "frozen": True, "allow_inf_nan": False}
    anew: ClassVar[bool] = False  # it judges samples alone, without a clock: a back-test runs it over old ones
    stage: str = Field(description="name of the stage")

    def points(self) -> dict[str, Any]:
        """Tags this stage computes, by name below the entry (`Point`s)."""
        return {}

    def rehearse(self, folder: Path) -> Iterable[tuple[str, list[str]]]:
        """What `lineside test` runs of this stage beside the tests of its site: the name of each test and its faults. Blocks."""
        return ()

    def at_odds(self, sections: Mapping[str, BaseModel | None]) -> Iterable[tuple[tuple[str | int, ...], str, str]]:
        """What cannot be so beside the other `sections` of its site, by name, None for one that has faults of its own: (path below
        the entry, message, hint)."""
        return ()

    def orders(self) -> dict[str, dict[str, float]]:
        """Tags this stage may write, with the values, by the option that says so."""
        return {}
