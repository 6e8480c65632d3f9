"""From a site to its stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from . import plugins
from .config.site import Config
from .rehearse import rules
from .stage import Setting
from .state import state_folder
from .tags import TagTable


def stages_of(
    config: Config,
    table: TagTable,
    refuse: Callable[[str, Any, Exception], None],
    running: frozenset[str] = frozenset(),
    state: Path | None = None,
) -> list[tuple[str, Any]]:
    """Every stage of a site: its rules and its `stages:`. One that cannot be built goes to `refuse(name, options, error)`.
    `running`: sources that answer already. `state`: the device's folder, if not the usual one."""
    stages, state = rules(config, table), state_folder(config.device.id, state)
    for name, entry in config.stages.items():
        try:
            stage = plugins.find("stages", entry.stage)
            stages.append((name, stage(entry, Setting(name, table, config.folder, running, state))))
        except Exception as error:
            refuse(name, entry, error)
    return stages


def build(
    config: Config, refused: Mapping[str, tuple[Any, str]] = MappingProxyType({}), state: Path | None = None
) -> None:
    """Build the stages as the daemon would: a model proves itself, which may take a minute; blocks. What is refused joins the
    faults of the site, unless the daemon has `refused` the same already."""
    if config.problems:
        return

    def refuse(name: str, entry: Any, error: Exception) -> None:
        if refused.get(name, (None,))[0] != entry:
            config.tree.fault(("stages", name), str(error) or type(error).__name__)

    for name, stage in stages_of(config, TagTable.numbered(config.tags()), refuse, state=state):
        for fault in getattr(stage, "faults", ()):  # what a stage runs without, and a person has to know
            config.tree.fault(("stages", name), fault)
    config.problems = list(config.tree.problems)
