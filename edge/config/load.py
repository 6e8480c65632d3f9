"""A site file -> Config with all Problems at once. A fault never hides another."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from .. import plugins
from ..alarms import AlarmConfig
from ..errors import ConfigFault
from ..state import state_folder
from ..virtual import VirtualPoint
from .bind import bind
from .check import cross_check
from .journal import JournalConfig
from .layers import is_elsewhere
from .places import Path_, Problem, Tree, read, read_text
from .site import FRAME, Config, DeviceConfig, Simulation, TestCase
from .templates import Templates
from .types import _identifier


def load(path: Path) -> Config:
    """Read and check a site. Faults are in `problems`, ordered by place; nothing a person wrote raises."""
    path = Path(path)
    config = _checked(path, lambda placed: read(path, placed=placed))
    with contextlib.suppress(OSError):  # a fault of the site already
        if not config.problems:
            config.digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return config


def load_text(text: str, name: str = "site.yaml") -> Config:
    """The same for text in hand."""
    config = _checked(Path(name), lambda placed: read_text(text, name, placed=placed))
    if not config.problems:
        config.digest = hashlib.sha256(text.encode()).hexdigest()
    return config


def load_tree(tree: Tree, path: Path) -> Config:
    """The same for what was read already; `path` is where its site would stand. Elsewhere nobody knows whether a secret fits."""
    config = _config(path, tree)
    if is_elsewhere():
        config.problems = [p for p in config.problems if p.path not in tree.secrets]
    return config


def folder_of(path: Path, state: Path | None = None) -> Path:
    """Where the device of a site keeps what survives. Raises ConfigFault where the file does not say which device it is."""
    config = load(path)
    for problem in config.problems:
        if problem.path[:1] in ((), ("device",)):
            raise ConfigFault(str(problem))
    return state_folder(config.device.id, state)


def _checked(path: Path, read: Callable[[bool], Tree]) -> Config:
    """Without places at first, and once more with them where there is a fault to place."""
    config = _config(path, read(False))
    if config.problems:
        return _config(path, read(True))
    config.tree.locate = lambda: _config(path, read(True)).tree
    return config


def _config(path: Path, tree: Tree) -> Config:
    config = Config(path, tree)
    tree.folder = config.folder
    data = tree.data
    if not isinstance(data, dict):
        if not tree.problems:
            tree.fault((), "the site is empty", "start from `lineside sample modbus`")
        data = {}
    sections = plugins.names("configs")
    for key in data:
        if key not in FRAME and key not in sections:
            known = [*FRAME, *sections]
            near = difflib.get_close_matches(str(key), known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
            tree.fault((key,), f"unknown section {str(key)!r}", hint, key=True)
    if data and "device" not in data:
        tree.fault((), "the section 'device' is missing", "begin with `device: {id: a-name}`")
    elif "device" in data:
        config.device = bind(DeviceConfig, data["device"], tree, ("device",)) or config.device
    _parts(config, data, "drivers", "driver", config.drivers)
    _parts(config, data, "stages", "stage", config.stages)
    tables: tuple[tuple[str, type[BaseModel], dict[str, Any]], ...] = (
        ("tags", VirtualPoint, config.virtual),
        ("alarms", AlarmConfig, config.alarms),
        ("simulate", Simulation, config.simulate),
    )
    for key, model, into in tables:
        for name, entry in _mapping(tree, data, key).items():
            if (key == "simulate" or _named(tree, (key, name))) and (bound := bind(model, entry, tree, (key, name))):
                into[name] = bound
    if "journal" in data:
        config.journal = bind(JournalConfig, data["journal"], tree, ("journal",)) or config.journal
    for index, entry in enumerate(_listing(tree, data, "tests")):
        if test := bind(TestCase, entry, tree, ("tests", index)):
            config.tests.append(test)
    for name in sections:
        if name in data:
            _section(config, name, data[name])
    cross_check(config)
    once: dict[Any, Problem] = {}
    for problem in tree.problems:  # a template's fault comes from every device that uses it
        once.setdefault((problem.place, problem.message, problem.hint), problem)
    config.problems = sorted(
        once.values(), key=lambda p: (p.place.file != str(path), p.place.file, p.place.line, p.place.column)
    )
    return config


def _mapping(tree: Tree, data: dict[Any, Any], key: str) -> dict[Any, Any]:
    found = data.get(key) or {}
    if not isinstance(found, dict):
        tree.fault((key,), "expected entries (name: options)")
        return {}
    return found


def _listing(tree: Tree, data: dict[Any, Any], key: str) -> list[Any]:
    found = data.get(key) or []
    if not isinstance(found, list):
        tree.fault((key,), "expected a list (lines that begin with -)")
        return []
    return found


def _named(tree: Tree, path: Path_) -> bool:
    try:
        _identifier(str(path[-1]))
    except ValueError as error:
        tree.fault(path, str(error), key=True)
        return False
    return True


def _parts(config: Config, data: dict[Any, Any], section: str, kind: str, into: dict[str, Any]) -> None:
    """`drivers:` and `stages:`: each entry is checked by the model of the part it names."""
    tree = config.tree
    templates = Templates(tree)
    for name, entry in _mapping(tree, data, section).items():
        path = (section, name)
        if not _named(tree, path):
            continue
        if not isinstance(entry, dict):
            tree.fault(path, "expected options (key: value)")
            continue
        wanted = entry.get(kind)
        if wanted is None:
            near = difflib.get_close_matches(kind, [str(k) for k in entry], 1, 0.7)
            if near:
                tree.fault((*path, near[0]), f"unknown option {near[0]!r}", f"did you mean {kind!r}?", key=True)
            else:
                names = ", ".join(plugins.names(section))
                tree.fault((*path, kind), "is missing", f"say which {kind}: {names}")
            continue
        try:
            part = plugins.find(section, str(wanted))
        except ConfigFault as error:
            tree.fault((*path, kind), error.args[0], error.hint)
            continue
        before = len(tree.problems)
        bound = bind(part.Config, templates.fill(part.Config, entry, path), tree, path)
        if bound and len(tree.problems) == before:
            into[name] = bound


def _section(config: Config, name: str, entry: Any) -> None:
    try:
        model: type[BaseModel] = plugins.find("configs", name)
    except ConfigFault as error:
        config.tree.fault((name,), error.args[0], error.hint)
        return
    if bound := bind(model, entry, config.tree, (name,)):
        config.sections[name] = bound
