"""Recipes: how one product is judged. A YAML file with its views, their tools, and the rules from findings to a verdict."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge import ConfigFault, LinesideError, Tree, bind_options, read_tree

from .. import package
from .identity import IdentityConfig
from .image import decoded
from .mask import as_drawn, doubt
from .masters import MastersConfig
from .pieces import Pieces
from .recipe_config import RecipeConfig, RecipeTest, ViewConfig
from .registration import Registration
from .rules import Rule
from .tools.contract import Tool, ToolConfig
from .tools.table import tool
from .view import Viewer

MOST_PIXELS = 100_000_000
MOST_BYTES = 64 * 2**20  # of a picture's file


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


def load(path: Path, cameras: Collection[str] | None = None) -> Recipe | Refused:
    """Read, check and load a recipe; every fault with its place. `cameras` are those of the site, where there is one. Blocks while
    its models prove themselves."""
    tree = read_tree(path)
    if not isinstance(tree.data, dict):
        if not tree.problems:
            tree.fault((), "the recipe is empty", "begin with `recipe: NAME`")
        return Refused(path, [str(problem) for problem in tree.problems])
    config = bind_options(RecipeConfig, tree.data, tree, ())
    pieces = Pieces(tree)
    pieces.check(cameras)
    seal = hashlib.sha256()
    kept = Kept()
    views: dict[str, Viewer] = {}
    for file in tree.files:
        seal.update(file.read_bytes())
    for name, view in pieces.views.items():
        built = _view(name, view, path.parent, tree, kept, seal)
        if built is not None:
            views[name] = built
    for name, written in pieces.broken.items():
        _glance(name, written, path.parent, tree)
    pieces.reached({name: view.judged for name, view in views.items()})
    pieces.classes({name: [*view.tools.values(), *view.shadow.values()] for name, view in views.items()})
    if config is None or tree.problems:
        return Refused(path, _told(tree), sorted(set(pieces.cameras.values())))
    said = (config.rules, seal.hexdigest(), kept.models, config.masters, kept.options, config.part, config.tests)
    return Recipe(config.recipe, path, views, *said)


def _told(tree: Tree) -> list[str]:
    return [str(problem) for problem in sorted(tree.problems, key=lambda p: (p.place.line, p.place.column))]


def _view(name: str, config: ViewConfig, folder: Path, tree: Tree, kept: Kept, seal: Any) -> Viewer | None:
    at: tuple[str | int, ...] = ("views", name)
    before = len(tree.problems)
    template = _picture(folder, config.template, cv2.IMREAD_COLOR, (*at, "template"), tree, seal)
    mask = _picture(folder, config.mask, cv2.IMREAD_GRAYSCALE, (*at, "mask"), tree, seal)
    shape = template.shape[:2] if template is not None else config.size or (1, 1)
    known = template is not None or not config.template
    if template is not None and config.size not in (None, shape):
        tree.fault((*at, "size"), f"the template is {shape[1]} x {shape[0]}", "leave `size` away")
    if mask is not None and known and mask.shape != shape:
        tree.fault((*at, "mask"), f"is {mask.shape[1]} x {mask.shape[0]}, the picture {shape[1]} x {shape[0]}")
    elif mask is not None and (why := doubt(mask, config.region)):
        tree.fault((*at, "mask"), why, "black is not judged and white is; save it as PNG")
    mask = None if mask is None else as_drawn(mask)
    if config.region and known:
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
    if known and len(tree.problems) == before:
        _able((*at, "tools"), tools, config, shape, tree)
        _able((*at, "shadow"), shadows, config, shape, tree)
    if not config.template and config.neighbour is None:
        _compares((*at, "tools"), tools, tree)
        _compares((*at, "shadow"), shadows, tree)
    if len(tree.problems) > before:
        return None
    place = (registration, config.region, config.mm)
    film = (config.lasts, config.every, config.neighbour)
    return Viewer(name, config.camera, shape, tools, template, mask, *place, config.optional, shadows, *film)


def _glance(name: Any, written: Mapping[Any, Any], folder: Path, tree: Tree) -> None:
    """What can be said of a view in which something else is wrong: of its pictures, and of each tool alone."""
    at, seal = ("views", name), hashlib.sha256()
    for key, how in (("template", cv2.IMREAD_COLOR), ("mask", cv2.IMREAD_GRAYSCALE)):
        if isinstance(file := written.get(key), str):
            _picture(folder, file, how, (*at, key), tree, seal)
    for group in ("tools", "shadow"):
        tools = written.get(group)
        whole = {n: t for n, t in tools.items() if isinstance(t, dict)} if isinstance(tools, dict) else {}
        list(_tools((*at, group), whole, folder, tree, Kept(), seal))


def _able(
    under: tuple[str | int, ...], tools: Mapping[str, Tool], config: ViewConfig, shape: tuple[int, int], tree: Tree
) -> None:
    """A fault for each tool that could judge no picture of this view: every part would be a recheck."""
    _, _, w, h = config.region or (0, 0, shape[1], shape[0])
    for name, made in tools.items():
        cannot: Callable[[tuple[int, int], ViewConfig], str] = getattr(made, "cannot", lambda *_: "")
        if why := cannot((h, w), config):
            tree.fault((*under, name), f"could judge no part: {why}")


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
        before = len(tree.problems)
        bound = bind_options(kind.Config, options, tree, at)
        if bound is None:
            if all(problem.path != (*at, "model") for problem in tree.problems[before:]):
                _find_model(kind.Config, options, folder, at, tree)
            continue
        try:
            made = kind(bound, folder)
            limits = _sealed(called, bound, folder, kept.models, seal)
        except (LinesideError, OSError) as error:
            tree.fault(at, str(error))
            continue
        kept.options[called] = bound.model_dump(mode="json") | limits
        yield name, made


def _find_model(
    kind: type[ToolConfig], options: Mapping[str, Any], folder: Path, at: tuple[str | int, ...], tree: Tree
) -> None:
    """A fault where the model of a tool with a wrong option is not there either."""
    if "model" in kind.model_fields and isinstance(options.get("model"), str):
        try:
            package.describe(package.find(options["model"], folder))
        except (LinesideError, OSError) as error:
            tree.fault((*at, "model"), str(error))


def _sealed(name: str, config: ToolConfig, folder: Path, models: dict[str, str], seal: Any) -> dict[str, float]:
    """The files that a tool's options name count with the recipe: its model with what `model.yaml` says, and whatever else lies
    beside it. Returns the limits that the model says where the tool is told none."""
    limits: dict[str, float] = {}
    for option, value in config:
        if option == "model" and isinstance(value, str):
            at = package.find(value, folder)
            described = package.describe(at)
            models[name] = f"{described.name} {described.version} {described.sha256}"
            seal.update(described.sha256.encode())
            seal.update(hashlib.sha256((at / "model.yaml").read_bytes()).digest())
            limits = {key: getattr(config, key) or getattr(described, key) for key in ("ng_above", "ok_below")}
        elif isinstance(value, str) and value:
            for path in sorted((folder / value).iterdir()) if option == "characters" else [folder / value]:
                if path.is_file():
                    seal.update(path.name.encode() if option == "characters" else b"")
                    seal.update(hashlib.sha256(path.read_bytes()).digest())
    return limits


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
