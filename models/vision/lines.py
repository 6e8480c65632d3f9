"""The options of a station: its lines to the PLC, its recipes, its times."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field, model_validator

from edge import ConfigFault, Identifier, LinesideError, Period, Point, StageConfig, Tag, TagTable, tag_named

from .handshake import LAST_ID
from .outputs import ORDER
from .shifts import ShiftsConfig

if TYPE_CHECKING:
    from .recipe import Recipe

WORDS = ("taken_id", "result_id", "part_done", "recipe", "checksum")
LARGEST_PART = 2**53  # up to which a tag's value has every whole number
UNITS = {"mm": "mm", "px": "px"}  # by how a measured value's name ends
TOTALS = ("parts", "ok", "ng", "recheck", "refused")


class Lines(BaseModel):
    """Tags of the handshake (docs/aoi-station.md). What is left away is not read and not written."""

    model_config = {"extra": "forbid", "frozen": True}
    trigger: str = Field("", description="bit: a part lies in place")
    ack: str = Field(description="bit: the verdict is read")
    product: str = Field("", description="product code, number or text: chooses the recipe")
    part: str = Field("", description="number of the part, in one read with `trigger` (default: the inspection id)")
    valid: str = Field(description="bit: a whole verdict stands")
    result_id: str = Field(description="word: inspection id of the verdict, 1 to 65535")
    ready: str = Field(description="bit: a trigger would be taken")
    taken: str = Field("", description="bit: the trigger that is high was taken")
    taken_id: str = Field("", description="word: inspection id of the part that was taken last")
    refused: str = Field("", description="bit: the trigger that is high was refused")
    busy: str = Field("", description="bit: at least one part is being judged")
    ok: str = Field(description="bit of the verdict")
    ng: str = Field(description="bit of the verdict")
    recheck: str = Field(description="bit of the verdict: nobody knows, look again")
    overrun: str = Field("", description="bit: a trigger was refused, or an acknowledgement is late")
    heartbeat: str = Field("", description="bit: changes each `heartbeat`")
    interlock: str = Field("", description="bit: master samples have to be shown; other parts get a recheck")
    part_done: str = Field("", description="word: number of the part that the verdict is about")
    recipe: str = Field("", description="word: checksum of the recipe that is loaded, 0 for none")
    checksum: str = Field("", description="word: checksum of the recipe that judged the part")

    def read(self) -> dict[str, str]:
        return {name: tag for name in ("trigger", "ack", "product", "part") if (tag := getattr(self, name))}

    def written(self) -> dict[str, str]:
        return {name: tag for name in ORDER if (tag := getattr(self, name))}


def part_number(value: float, shown: Tag | None) -> tuple[int, str]:
    """The number of a part as the PLC says it; or 0, and why it is none: no whole one, or one that `shown`, the tag of `part_done`,
    may not be given."""
    if not value.is_integer() or abs(value) > LARGEST_PART:
        return 0, f"its part number {value:.15g} is no whole number"
    why = shown.writable.why_not(value, shown.name) if shown and shown.writable else ""
    return (0, f"its part number cannot be shown: {why}") if why else (int(value), "")


def strange_codes(codes: Iterable[str | int], product: Tag) -> Iterator[str]:
    """Faults of product codes that the tag cannot say, or that say the same: their recipes judge nothing."""
    written = [str(code) for code in codes]
    for code in written:
        if product.type == "text":
            continue
        try:
            said = f"{float(code):.15g}"
        except ValueError:
            yield f"the recipe of {code!r} is never used: {product.name} is a number, and that is none"
            continue
        if said != code:
            yield f"the recipe of {code!r} is never used: {product.name} is a number; write {said}"
    for code in sorted({code for code in written if written.count(code) > 1}):
        yield f"two recipes for the product {code!r}: the text and the number are one code"


def nowhere(stage: str, measured: Mapping[str, str], recipes: Iterable[Recipe]) -> Iterator[str]:
    """Faults of what is to be measured by a tool that no recipe has: it would never have a value."""
    tools = sorted({name for recipe in recipes for name in recipe.options})
    for tag, what in measured.items():
        if what.rpartition(".")[0] not in tools:
            known = f"there are {', '.join(tools)}" if tools else "they measure nothing"
            yield f"{stage}.{tag} is never measured: no recipe has a tool for {what!r}; {known}"


class StationConfig(StageConfig):
    """Parts are judged by recipes, with a verdict before each takt ends."""

    plc: Lines = Field(description="tags of the handshake with the PLC")
    starts: str = Field(
        "", description="camera whose picture is the trigger (a hardware line), in place of `plc.trigger`"
    )
    recipes: dict[str | int, str] = Field(min_length=1, description="file of each product code, beside the site")
    takt: Period = Field(description="from trigger to verdict at most")
    reserve: Period = Field(0.1, description="of the takt, kept back for the way to the PLC and back")
    ack_within: Period | None = Field(
        None, description="an acknowledgement that takes longer is an overrun (default: the takt)"
    )
    shifts: ShiftsConfig | None = Field(
        None, description="when shifts begin: master samples are due with each (default: as their recipe says)"
    )
    lot: Period = Field(
        3600.0, description="time of one lot: an event tells when its share of NG parts is out of the ordinary"
    )
    heartbeat: Period = Field(1.0, description="time between two changes of the heartbeat")
    measured: dict[Identifier, str] = Field(
        default_factory=dict,
        description="tags of what is measured on each part, as `view.tool.what` of its record: `gap: top.gap.width_mm`",
    )
    keep: Literal["all", "ng", "none"] = Field("all", description="whose pictures are kept")
    degrade: list[str] = Field(
        default_factory=list,
        description="what is given up when verdicts come late, in this order: pictures, or an optional view",
    )
    frozen: bool = Field(
        True, description="two parts with exactly the same picture mean that the camera hangs: recheck"
    )

    @model_validator(mode="after")
    def _whole(self) -> StationConfig:
        if bool(self.plc.trigger) == bool(self.starts):
            raise ValueError("say how a part announces itself: `plc: {trigger: TAG}`, or `starts: CAMERA`")
        if self.starts and self.plc.part:
            raise ValueError("`plc.part` belongs to a trigger of the PLC, and `starts` has none: remove it")
        if not self.plc.product and len(self.recipes) > 1:
            raise ValueError("several recipes, and nothing to choose by: add `plc: {product: TAG}`")
        if self.reserve >= self.takt:
            raise ValueError("`reserve` leaves nothing of the takt")
        if taken := sorted(set(TOTALS) & set(self.measured)):
            raise ValueError(f"`measured` calls a tag {taken[0]!r}, which counts parts: give it another name")
        used = list(self.plc.read().values()) + list(self.plc.written().values())
        if twice := sorted({tag for tag in used if used.count(tag) > 1}):
            raise ValueError(f"{twice[0]} stands twice under `plc`")
        return self

    def rehearse(self, folder: Path) -> Iterator[tuple[str, list[str]]]:
        from .rehearsal import rehearsed  # it loads OpenCV, which options can do without

        return rehearsed(self.recipes.values(), folder)

    def cameras(self, tags: Iterable[Tag]) -> set[str]:
        """Of a site with these tags, the sources that take a picture when they are asked."""
        lines = {*self.plc.read().values(), *self.plc.written().values()}
        return {t.source for t in tags if t.name == f"{t.source}.trigger" and t.name not in lines}

    def reads(self) -> tuple[str, ...]:
        return tuple(self.plc.read().values())

    def reads_text(self) -> tuple[str, ...]:
        return (self.plc.product,)

    def one_moment(self) -> tuple[tuple[tuple[str, ...], str, str], ...]:
        """What has to be read together: the option, the trigger, and what belongs to it."""
        return tuple((("plc", name), self.plc.trigger, getattr(self.plc, name)) for name in ("part", "product"))

    def points(self) -> dict[str, Point]:
        of_parts = {name: Point(unit=UNITS.get(what.rpartition("_")[2], "")) for name, what in self.measured.items()}
        return {name: Point() for name in TOTALS} | of_parts

    def orders(self) -> dict[str, dict[str, float]]:
        most = {name: LAST_ID if name in WORDS else 1 for name in ORDER}
        return {"plc": {tag: float(most[name]) for name, tag in self.plc.written().items()}}


class Wired:
    """The numbers (ids) of the tags and cameras that a stage names. Raises ConfigFault for one that the site does not have."""

    def __init__(self, stage: str, table: TagTable) -> None:
        self._stage, self._table = stage, table

    def tag(self, name: str) -> int:
        try:
            return tag_named(self._table, name).id
        except LinesideError as error:
            raise ConfigFault(f"{self._stage}: {error.args[0]}", hint=error.hint) from None

    def camera(self, name: str, there: Collection[str]) -> int:
        """The tag by which it is asked for a picture; `there` are the cameras of the site."""
        if name in there:
            return self._table[f"{name}.trigger"].id
        near = difflib.get_close_matches(name, there, 1)
        known = f"there are {', '.join(sorted(there))}" if there else "add one to its `drivers:`"
        raise ConfigFault(
            f"{self._stage}: the site has no camera {name!r}", hint=f"did you mean {near[0]!r}?" if near else known
        )
