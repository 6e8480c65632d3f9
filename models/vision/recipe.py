"""Recipes: how one product is judged. A YAML file with its views, their tools, and the rules from findings to a verdict."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
from pydantic import BaseModel, Field, model_validator

from edge import ConfigFault, Duration, Identifier, LinesideError, Period, Tree, bind_options, read_tree

from .. import package
from .identity import IdentityConfig
from .identity import check as check_identity
from .image import decoded
from .masters import MastersConfig
from .registration import Registration, RegistrationConfig
from .rules import Rule
from .tools.contract import Tool, ToolConfig
from .tools.table import tool
from .view import Viewer

MOST_PIXELS = 100_000_000
MOST_BYTES = 64 * 2**20  # of a picture's file
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
    mask: str = Field("", description="picture beside the recipe: black is not judged; as large as the template")
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


@dataclass(frozen=True)
class Recipe:
    """Loaded, and warm. `digest` is SHA-256 over the file, its pictures and its models; `checksum` its first 16 bits, never 0, as
    the PLC sees it. By `view.tool` or `view.shadow.tool`: `models` has name, version and SHA-256, `options` what it was told."""

    name: str
    path: Path
    views: Mapping[str, Viewer]
    rules: list[Rule]
    digest: str
    models: Mapping[str, str] = field(default_factory=dict)
    masters: MastersConfig | None = None
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    identity: IdentityConfig | None = None
    tests: list[RecipeTest] = field(default_factory=list)

    @property
    def checksum(self) -> int:
        return int(self.digest[:4], 16) or 1

    @property
    def cameras(self) -> list[str]:
        return sorted({view.camera for view in self.views.values()})


@dataclass(frozen=True)
class Refused:
    """A recipe that cannot be used: `faults` as people read them; `cameras` that it would have asked."""

    path: Path
    faults: list[str]
    cameras: list[str] = field(default_factory=list)


@dataclass
class Kept:
    """What records say of each tool, by `view.tool` or `view.shadow.tool`."""

    models: dict[str, str] = field(default_factory=dict)
    options: dict[str, Mapping[str, Any]] = field(default_factory=dict)


def load(path: Path) -> Recipe | Refused:
    """Read, check and load a recipe; every fault with its place. Blocks while its models prove themselves."""
    tree = read_tree(path)
    if not isinstance(tree.data, dict):
        if not tree.problems:
            tree.fault((), "the recipe is empty", "begin with `recipe: NAME`")
        return Refused(path, [str(problem) for problem in tree.problems])
    config = bind_options(RecipeConfig, tree.data, tree, ())
    cameras = _cameras(tree.data)
    if config is None:
        return Refused(path, _told(tree), cameras)
    for number, rule in enumerate(config.rules):
        _check_rule(rule, ("rules", number), config, tree)
    for number, test in enumerate(config.tests):
        _check_test(test, ("tests", number, "pictures"), config, tree)
    if config.part is not None:
        check_identity(config.part, config.views, tree)
    seal = hashlib.sha256()
    kept = Kept()
    views: dict[str, Viewer] = {}
    for file in tree.files:
        seal.update(file.read_bytes())
    for name, view in config.views.items():
        built = _view(name, view, path.parent, tree, kept, seal)
        if built is not None:
            views[name] = built
    if tree.problems:
        return Refused(path, _told(tree), cameras)
    said = (config.rules, seal.hexdigest(), kept.models, config.masters, kept.options, config.part, config.tests)
    return Recipe(config.recipe, path, views, *said)


def _told(tree: Tree) -> list[str]:
    return [str(problem) for problem in sorted(tree.problems, key=lambda p: (p.place.line, p.place.column))]


def _cameras(data: dict[Any, Any]) -> list[str]:
    views = data.get("views")
    found = views.values() if isinstance(views, dict) else ()
    return sorted({str(view["camera"]) for view in found if isinstance(view, dict) and "camera" in view})


def _check_rule(rule: Rule, at: tuple[str | int, ...], config: RecipeConfig, tree: Tree) -> None:
    if rule.view and rule.view not in config.views:
        tree.fault((*at, "view"), f"no view is called {rule.view!r}", f"there are {', '.join(config.views)}")
    lacking = [name for name, view in config.views.items() if view.mm is None and rule.view in ("", name)]
    if rule.in_mm and lacking:
        tree.fault(at, f"millimetres, and {lacking[0]} does not say how many a pixel has", f"add `mm:` to {lacking[0]}")


def _check_test(test: RecipeTest, at: tuple[str | int, ...], config: RecipeConfig, tree: Tree) -> None:
    cameras = dict.fromkeys(view.camera for view in config.views.values())
    films = {view.camera for view in config.views.values() if view.lasts}
    for camera in test.pictures:
        if camera not in cameras:
            tree.fault((*at, camera), "is no camera of this recipe", f"there are {', '.join(cameras)}", key=True)
        elif camera in films:
            tree.fault((*at, camera), "a film cannot be tried with one picture", "remove it", key=True)


def _view(name: str, config: ViewConfig, folder: Path, tree: Tree, kept: Kept, seal: Any) -> Viewer | None:
    at: tuple[str | int, ...] = ("views", name)
    before = len(tree.problems)
    template = _picture(folder, config.template, cv2.IMREAD_COLOR, (*at, "template"), tree, seal)
    mask = _picture(folder, config.mask, cv2.IMREAD_GRAYSCALE, (*at, "mask"), tree, seal)
    shape = template.shape[:2] if template is not None else config.size or (1, 1)
    if template is not None and config.size not in (None, shape):
        tree.fault((*at, "size"), f"the template is {shape[1]} x {shape[0]}", "leave `size` away")
    if mask is not None and len(tree.problems) == before and mask.shape != shape:
        tree.fault((*at, "mask"), f"is {mask.shape[1]} x {mask.shape[0]}, the picture {shape[1]} x {shape[0]}")
    if config.region and len(tree.problems) == before:
        w, h = config.region[2:]
        for key, (x, y) in (("region", config.region[:2]), ("neighbour", config.neighbour or (0, 0))):
            if x + w > shape[1] or y + h > shape[0]:
                tree.fault((*at, key), f"reaches beyond the picture of {shape[1]} x {shape[0]}")
        if config.neighbour and all(abs(config.neighbour[i] - config.region[i]) < (w, h)[i] for i in (0, 1)):
            tree.fault((*at, "neighbour"), "overlaps `region`: nothing is compared with itself")
    registration = None
    if config.registration is not None and template is not None:
        try:
            registration = Registration(config.registration, template)
        except ConfigFault as error:
            tree.fault((*at, "registration"), str(error))
    tools = dict(_tools((*at, "tools"), config.tools, folder, tree, kept, seal))
    for key, made in tools.items():
        if hasattr(made, "over_time") != bool(config.lasts):
            words = ("judges over time: say how long the view `lasts`", "judges one picture, and the view `lasts`")
            tree.fault((*at, "tools", key), words[bool(config.lasts)])
    if config.lasts and config.shadow:
        tree.fault((*at, "shadow"), "a view that `lasts` has no shadow", "remove it")
    for shadow in config.shadow:
        if shadow not in config.tools:
            tree.fault((*at, "shadow", shadow), "shadows no tool", f"there are {', '.join(config.tools)}", key=True)
    shadows = dict(_tools((*at, "shadow"), config.shadow, folder, tree, kept, seal))
    if not config.template and config.neighbour is None:
        _compares((*at, "tools"), tools, tree)
        _compares((*at, "shadow"), shadows, tree)
    if len(tree.problems) > before:
        return None
    place = (registration, config.region, config.mm)
    film = (config.lasts, config.every, config.neighbour)
    return Viewer(name, config.camera, shape, tools, template, mask, *place, config.optional, shadows, *film)


def _compares(under: tuple[str | int, ...], tools: Mapping[str, Tool], tree: Tree) -> None:
    hint = "add `template: PICTURE` of a good part, or `region:` and the `neighbour:` that it is compared with"
    for name, made in tools.items():
        if getattr(made, "compares", False):
            tree.fault((*under, name), "compares the part with a good one, and the view has none", hint)


def _tools(
    under: tuple[str | int, ...], tools: Mapping[str, dict[str, Any]], folder: Path, tree: Tree, kept: Kept, seal: Any
) -> Iterator[tuple[str, Tool]]:
    _, view, group = under
    for name, options in tools.items():
        at = (*under, name)
        called = f"{view}.{name}" if group == "tools" else f"{view}.{group}.{name}"
        if not isinstance(options.get("tool"), str):
            tree.fault((*at, "tool"), "is missing", "say which tool judges")
            continue
        try:
            kind = tool(options["tool"])
        except ConfigFault as error:
            tree.fault((*at, "tool"), error.args[0], error.hint)
            continue
        bound = bind_options(kind.Config, options, tree, at)
        if bound is None:
            continue
        try:
            made = kind(bound, folder)
            _sealed(called, bound, folder, kept.models, seal)
        except (LinesideError, OSError) as error:
            tree.fault(at, str(error))
            continue
        kept.options[called] = bound.model_dump(mode="json")
        yield name, made


def _sealed(name: str, config: ToolConfig, folder: Path, models: dict[str, str], seal: Any) -> None:
    """The files that a tool's options name count with the recipe: its model, and whatever else lies beside it."""
    for option, value in config:
        if option == "model" and isinstance(value, str):
            described = package.describe(package.find(value, folder))
            models[name] = f"{described.name} {described.version} {described.sha256}"
            seal.update(described.sha256.encode())
        elif isinstance(value, str) and value and (folder / value).is_file():
            seal.update(hashlib.sha256((folder / value).read_bytes()).digest())


def _picture(folder: Path, name: str, how: int, at: tuple[str | int, ...], tree: Tree, seal: Any) -> np.ndarray | None:
    """A picture beside the recipe; None where none is named, or where it cannot be read, which is a fault then."""
    if not name:
        return None
    path = folder / name
    try:
        body = path.read_bytes() if path.stat().st_size <= MOST_BYTES else b""
    except OSError as error:
        tree.fault(at, f"cannot read {path}: {error.strerror}")
        return None
    image = decoded(body, how)
    if image is None or image.size > MOST_PIXELS:
        tree.fault(at, f"{path} is no picture, or too large")
        return None
    seal.update(hashlib.sha256(body).digest())
    return np.asarray(image)
