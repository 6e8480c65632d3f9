"""The options of a recipe: its views, the rules from findings to a verdict, its tests."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from edge import Duration, Identifier, Period

from .identity import IdentityConfig
from .masters import MastersConfig
from .registration import RegistrationConfig
from .rules import Rule

Corner = Annotated[int, Field(ge=0, le=20_000)]
Side = Annotated[int, Field(ge=1, le=20_000)]


class ViewConfig(BaseModel):
    """One picture of the part, or a region of one, and what judges it."""

    model_config = {"extra": "forbid", "frozen": True, "allow_inf_nan": False}
    camera: str = Field(description="name of the camera's driver in the site; several views may share one")
    template: str = Field("", description="picture of a good part, beside the recipe")
    size: tuple[Side, Side] | None = Field(
        None, description="height and width of the picture, where there is no template"
    )
    registration: RegistrationConfig | None = Field(None, description="brings the part to where the template has it")
    region: tuple[Corner, Corner, Side, Side] | None = Field(None, description="x, y, width, height that is judged")
    neighbour: tuple[Corner, Corner] | None = Field(
        None, description="x, y of a good one in the same picture, as large as `region`: the template of this part"
    )
    mask: str = Field(
        "", description="picture beside the recipe: black is not judged, white is; as large as the template"
    )
    mm: float | None = Field(None, gt=0, description="millimetres a pixel")
    lasts: Duration = Field(
        0.0, description="more than one picture: for so long after the trigger (tools that judge over time)"
    )
    every: Period = Field(0.1, description="time between two pictures of a view that `lasts`")
    optional: bool = Field(False, description="may be left out when there is no time (`degrade` of the station)")
    tools: dict[Identifier, dict[str, Any]] = Field(
        min_length=1, description="what judges this view, each under a name"
    )
    shadow: dict[Identifier, dict[str, Any]] = Field(
        default_factory=dict,
        description="other tools under the names of `tools`: tried after the verdict, without a say in it",
    )

    @model_validator(mode="after")
    def _sized(self) -> ViewConfig:
        if not self.template and self.size is None:
            raise ValueError(
                "say `template`, or `size: [height, width]`: else nobody knows whether there is time enough"
            )
        if self.registration is not None and not self.template:
            raise ValueError("`registration` needs a `template`")
        if self.neighbour is not None and (self.template or self.region is None):
            raise ValueError("`neighbour` is what `region` is compared with, in place of a `template`")
        return self


class RecipeTest(BaseModel):
    """One part. A camera without a picture here gives none."""

    model_config = {"extra": "forbid", "frozen": True}
    name: str = Field(min_length=1, max_length=200, description="what it shows, in a few words")
    pictures: dict[Identifier, str] = Field(description="what each camera shows: a file beside the recipe")
    expect: Literal["ok", "ng", "recheck"] = Field(description="the verdict")
    label: str | None = Field(None, description="class of the worst defect")
    code: str | None = Field(None, description="who the part is, where the recipe reads that")


class RecipeConfig(BaseModel):
    """A recipe file."""

    model_config = {"extra": "forbid", "frozen": True, "allow_inf_nan": False}
    recipe: str = Field(min_length=1, max_length=64, description="name of the product, for people")
    views: dict[Identifier, ViewConfig] = Field(min_length=1, description="each under a name")
    part: IdentityConfig | None = Field(None, description="the part says in its picture who it is")
    masters: MastersConfig | None = Field(
        None, description="parts with known verdicts that have to be shown each shift"
    )
    rules: list[Rule] = Field(
        default_factory=list, description="what a found defect means; the first that holds decides"
    )
    tests: list[RecipeTest] = Field(default_factory=list, description="parts with known verdicts, for `lineside test`")
