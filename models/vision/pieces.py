"""What of a recipe can be checked where something else of it is wrong: a fault never hides another."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel

from edge import Tree, bind_options

from .identity import IdentityConfig
from .identity import check as check_identity
from .recipe_config import RecipeTest, ViewConfig
from .rules import Rule

M = TypeVar("M", bound=BaseModel)
At = tuple[str | int, ...]


class Pieces:
    """The pieces of a recipe's tree that are sound by themselves. `views` by name, `broken` the others as they are written,
    `cameras` of both by view, `rules` by their places in the file. What is wrong with a piece alone is not said here."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        written = {n: view for n, view in _entries(tree.data, "views") if isinstance(view, dict)}
        bound = {name: self._sound(ViewConfig, view, ("views", name)) for name, view in written.items()}
        self.views = {str(name): view for name, view in bound.items() if view is not None}
        self.broken = {name: view for name, view in written.items() if bound[name] is None}
        self.cameras = {n: v["camera"] for n, v in written.items() if isinstance(v.get("camera"), str)}
        rules = {number: self._sound(Rule, rule, ("rules", number)) for number, rule in _entries(tree.data, "rules")}
        self.rules = {number: rule for number, rule in rules.items() if rule is not None}
        self._names = [str(name) for name, _ in _entries(tree.data, "views")]

    def check(self, cameras: Collection[str] | None) -> None:
        """What the pieces say of each other, and of the site's `cameras` (None: of any site); faults go to the tree."""
        data = self._tree.data
        for number, rule in self.rules.items():
            self._rule(rule, ("rules", number))
        for number, test in _entries(data, "tests"):
            if (one := self._sound(RecipeTest, test, ("tests", number))) is not None:
                self._test(one, ("tests", number, "pictures"))
        part = self._sound(IdentityConfig, data.get("part"), ("part",))
        if part is not None and (part.view in self.views or part.view not in self._names):
            check_identity(part, self.views, self._tree)
        if cameras is not None:
            self._cameras(sorted(cameras))

    def _cameras(self, there: list[str]) -> None:
        known = f"there are {', '.join(there)}" if there else "it has none: add one to its `drivers:`"
        for name, camera in self.cameras.items():
            if camera not in there:
                near = difflib.get_close_matches(camera, there, 1)
                hint = f"did you mean {near[0]!r}?" if near else known
                self._tree.fault(("views", name, "camera"), f"the site has no camera {camera!r}", hint)

    def _sound(self, model: type[M], data: Any, at: At) -> M | None:
        before = len(self._tree.problems)
        bound = bind_options(model, data, self._tree, at) if isinstance(data, dict) else None
        del self._tree.problems[before:]
        return bound

    def _rule(self, rule: Rule, at: At) -> None:
        tree = self._tree
        if rule.view and rule.view not in self._names:
            tree.fault((*at, "view"), f"no view is called {rule.view!r}", f"there are {', '.join(self._names)}")
        lacking = [name for name, view in self.views.items() if view.mm is None and rule.view in ("", name)]
        if rule.in_mm and lacking:
            words = f"millimetres, and {lacking[0]} does not say how many a pixel has"
            tree.fault(at, words, f"add `mm:` to {lacking[0]}")

    def classes(self, of: Mapping[str, Iterable[Any]]) -> None:
        """Faults where a rule is about a class that no tool of its views finds, or about the place of one that has none. `of`: the
        tools of each view that could be made; nothing is said of a view that is not among them, or has a tool
        that does not tell its classes."""
        for number, rule in self.rules.items():
            tools = [tool for name in ([rule.view] if rule.view else self._names) for tool in of.get(name, [None])]
            if not all(hasattr(tool, "labels") for tool in tools):
                continue
            known = list(dict.fromkeys(label for tool in tools for label in tool.labels))
            finders = [tool for tool in tools if {*rule.label} & {*tool.labels}]
            if rule.of_place and finders and all(hasattr(tool, "placeless") for tool in finders):
                words = f"asks where or how large {rule.label[0]!r} is, and `classify` tells neither: its box is the whole view"
                self._tree.fault(
                    ("rules", number), words, "leave the size and the place away, or let a `detect` model find it"
                )
            for label in rule.label:
                if label not in known:
                    near = difflib.get_close_matches(label, known, 1)
                    there = (
                        f"there are {', '.join(known)}"
                        if known
                        else "its tools measure, and find no defects with classes"
                    )
                    hint = f"did you mean {near[0]!r}?" if near else there
                    self._tree.fault(("rules", number, "label"), f"no tool finds {label!r}", hint)

    def reached(self, shapes: Mapping[str, tuple[int, int]]) -> None:
        """Faults where a rule decides nothing: an earlier one that says something else holds for all that it is about, or its place
        lies outside of the views. `shapes`: [h, w] of each view that could be made."""
        before: list[tuple[Any, Rule]] = []
        for number, rule in self.rules.items():
            first, other = next(((n, other) for n, other in before if other.covers(rule)), (number, rule))
            if other.then != rule.then:
                line = self._tree.place(("rules", first)).line
                words = f"is never asked: the rule in line {line} holds for all of it, and says {other.then}"
                hint = "the first rule that holds decides: put the narrower one before it"
                self._tree.fault(("rules", number), words, hint)
            before.append((number, rule))
            shown = {n: shape for n, shape in shapes.items() if rule.view in ("", n)}
            if rule.inside is None or not shown or not shapes.keys() >= {*self._names}:
                continue
            if all(rule.inside[0] >= w or rule.inside[1] >= h for h, w in shown.values()):
                sizes = ", ".join(f"{name} {w} x {h}" for name, (h, w) in shown.items())
                words = f"lies outside of what is judged: {sizes}"
                hint = "x, y, width, height in pixels of the view after `region`"
                self._tree.fault(("rules", number, "inside"), words, hint)

    def _test(self, test: RecipeTest, at: At) -> None:
        tree, cameras = self._tree, dict.fromkeys(self.cameras.values())
        films = {view.camera for view in self.views.values() if view.lasts}
        for camera in test.pictures:
            if camera not in cameras and len(self.cameras) == len(self._names):
                tree.fault((*at, camera), "is no camera of this recipe", f"there are {', '.join(cameras)}", key=True)
            elif camera in films:
                tree.fault((*at, camera), "a film cannot be tried with one picture", "remove it", key=True)


def _entries(data: dict[Any, Any], key: str) -> list[tuple[Any, Any]]:
    found = data.get(key)
    return list(found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ())
