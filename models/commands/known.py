"""The recipes that may have judged what a journal holds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edge import LinesideError, StageConfig

from ..vision.lines import StationConfig
from ..vision.recipe import Recipe, Refused, load


def loaded(path: Path) -> Recipe:
    """Raises LinesideError with every fault of the file. Blocks while models prove themselves."""
    found = load(path)
    if isinstance(found, Refused):
        raise LinesideError("\n".join(found.faults))
    return found


def known(folder: Path, stages: Iterable[StageConfig], given: Iterable[Path] = ()) -> dict[str, Recipe]:
    """By digest: those of a site's stations, as far as they can be used, and the files that were given, which have to be."""
    files = {folder / file for stage in stages if isinstance(stage, StationConfig) for file in stage.recipes.values()}
    usable = [found for path in sorted(files) if isinstance(found := load(path), Recipe)]
    return {recipe.digest: recipe for recipe in [*usable, *map(loaded, given)]}
