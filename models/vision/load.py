"""Too many parts, or tools that are too slow: what a station gives up, and takes up again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .recipe import Recipe


@dataclass
class Load:
    """Whether verdicts come in time. `order`: what is given up, one after another; `level` of them are given up now."""

    order: list[str]
    level: int = 0
    _hot: int = 0
    _cool: int = 0

    def saw(self, share: float) -> int:
        """One part took this share of its time. Returns 1 where one thing more is given up from now on, -1 where one less."""
        self._hot = self._hot + 1 if share >= 0.9 else 0
        self._cool = self._cool + 1 if share < 0.5 else 0
        if self._hot >= 2 and self.level < len(self.order):
            self.level, self._hot = self.level + 1, 0
            return 1
        if self._cool >= 30 and self.level:
            self.level, self._cool = self.level - 1, 0
            return -1
        return 0

    @property
    def given_up(self) -> list[str]:
        return self.order[: self.level]


def order(wanted: Sequence[str], recipes: Iterable[Recipe]) -> tuple[list[str], list[str]]:
    """What may be given up of what a site wants to: `pictures`, and views that a recipe calls optional; and faults in words. What
    would leave nothing of a recipe to judge is not given up."""
    recipes = list(recipes)
    optional = {view.name for recipe in recipes for view in recipe.views.values() if view.optional}
    known = ", ".join(["pictures", *sorted(optional)])
    kept: list[str] = []
    faults: list[str] = []
    for name in wanted:
        bare = next((recipe.name for recipe in recipes if not left(recipe, [*kept, name])), "")
        if name != "pictures" and name not in optional:
            faults.append(f"degrade: {name!r} cannot be given up; there are {known}")
        elif bare:
            faults.append(f"degrade: with {name!r} given up, too, nothing of {bare} is judged; leave one of its views")
        else:
            kept.append(name)
    return kept, faults


def left(recipe: Recipe, given_up: Sequence[str]) -> list[str]:
    """The views of a recipe that are judged where these are given up: what it does not call optional is, whatever others do."""
    return [view.name for view in recipe.views.values() if not (view.optional and view.name in given_up)]
