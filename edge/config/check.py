"""Cross-checks: what no single model can see. They run on whatever parsed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from pydantic import BaseModel

from .. import plugins
from ..errors import ConfigFault
from ..expressions import ExpressionFault, compile_expression
from .layers import is_elsewhere
from .places import Path_
from .site import Config, TestCase
from .texts import text_faults, written


def cross_check(config: Config) -> None:
    """Add to `config.tree` every fault between the parts."""
    _ports(config)
    _tags(config)
    _expressions(config)
    _rules(config)
    _tests(config)
    text_faults(config)
    for name, driver in config.drivers.items():
        for below, message, hint in driver.faults():
            config.tree.fault(("drivers", name, *below), message, hint)
    sections = {**dict.fromkeys(config.tree.data if isinstance(config.tree.data, dict) else ()), **config.sections}
    for name, stage in config.stages.items() if not is_elsewhere() else ():  # a device has sections of its own
        for below, message, hint in stage.at_odds(sections):
            config.tree.fault(("stages", name, *below), message, hint)


def _ports(config: Config) -> None:
    owners: dict[str, str] = {}
    for name, driver in config.drivers.items():
        port = driver.port()
        if port and port in owners:
            config.tree.fault(
                ("drivers", name),
                f"{port} is opened by {owners[port]!r} already",
                "one connection is one entry; put several units below it under `units:`",
            )
        owners.setdefault(port, name)


def _known(config: Config) -> set[str]:
    """Every tag name, and those below entries that did not parse (their own faults are enough)."""
    known = set(config.points())
    raw = config.tree.data if isinstance(config.tree.data, dict) else {}
    for section, parsed in (("drivers", config.drivers), ("stages", config.stages)):
        entries = raw.get(section)
        for name, entry in (entries if isinstance(entries, dict) else {}).items():
            if name not in parsed:
                known.add(f"{name}.*")
                if isinstance(entry, dict) and isinstance(entry.get("tags"), dict):
                    known |= {f"{name}.{tag}" for tag in entry["tags"]}
    virtual = raw.get("tags")
    return known | ({str(name) for name in virtual} if isinstance(virtual, dict) else set())


def missing(config: Config, known: set[str], names: Iterable[str], path: Path_) -> bool:
    """Fault every name that is no tag; true if there was one."""
    bad = False
    for name in sorted(names):
        if name in known or f"{name.split('.')[0]}.*" in known:
            continue
        near = difflib.get_close_matches(name, sorted(known), 1, 0.6)
        hint = f"did you mean {near[0]!r}?" if near else "tags are called source.name"
        config.tree.fault(path, f"no tag is called {name!r}", hint)
        bad = True
    return bad


def _tags(config: Config) -> None:
    for name in set(config.virtual) & {*config.drivers, *config.stages}:
        config.tree.fault(("tags", name), f"{name!r} is a driver or a stage already", "choose another name", key=True)
    for name in set(config.stages) & set(config.drivers):
        config.tree.fault(("stages", name), f"{name!r} is a driver already", "choose another name", key=True)
    for section, parts in (("drivers", config.drivers), ("stages", config.stages)):
        for name in set(parts) & set(config.sections):
            told = f"{name!r} is what `{name}:` runs under in this site"
            config.tree.fault((section, name), told, "choose another name", key=True)


def _expressions(config: Config) -> None:
    known = _known(config)
    reads: dict[str, set[str]] = {}
    for path, text in written(config):
        try:
            expression = compile_expression(text)
        except ExpressionFault as fault:
            config.tree.fault(path, f"{fault.args[0]} (at character {fault.column} of it)", fault.hint)
            continue
        if not expression.names:
            config.tree.fault(
                path, f"{text!r} reads no tag, so it would never be judged", "name one, as in plc.temp > 80"
            )
        if not missing(config, known, expression.names, path) and path[0] == "tags":
            reads[str(path[1])] = set(expression.names)
    for name, stage in config.stages.items():
        reads[name] = set(getattr(stage, "reads", tuple)())
    made = {name: name for name in config.virtual}
    made |= {f"{name}.{tag}": name for name, stage in config.stages.items() for tag in stage.points()}
    _circles(config, {name: {made[tag] for tag in tags if tag in made} for name, tags in reads.items()})


def _circles(config: Config, reads: dict[str, set[str]]) -> None:
    from graphlib import CycleError, TopologicalSorter

    try:
        TopologicalSorter(reads).prepare()
    except CycleError as error:
        circle = error.args[1]
        section = "tags" if circle[0] in config.virtual else "stages"
        config.tree.fault((section, circle[0]), f"these need each other in a circle: {' -> '.join(circle)}")


def _key(config: Config, section: str, name: str, option: str, tag: str) -> str:
    """Below an option of a stage a tag may stand as the value of a key (`result_id: plc.result_id`): that key; else the tag."""
    below = getattr(config.stages[name], option, None) if section == "stages" else None
    return next((key for key, value in below if value == tag), tag) if isinstance(below, BaseModel) else tag


def _rules(config: Config) -> None:
    known, points = _known(config), config.points()
    for name, part in config.drivers.items():
        kind = plugins.find("drivers", part.driver)
        for tag, point in part.points().items():
            if (allowed := point.writable) is None:
                continue
            at = ("drivers", name, "tags", *tag.split("."), "writable")
            if not hasattr(kind, "write"):
                config.tree.fault(at, f"the driver {part.driver!r} cannot write", "remove it", key=True)
            elif allowed.readback is not None and not hasattr(kind, "read"):
                words = f"the driver {part.driver!r} cannot read one tag back"
                config.tree.fault((*at, "readback"), words, "remove it", key=True)
    for name, virtual in config.virtual.items():
        if virtual.writable:
            config.tree.fault(("tags", name, "writable"), "a computed tag cannot be written", "remove it", key=True)
    orders: list[tuple[str, str, Mapping[str, Mapping[str, float | str]]]] = [
        ("alarms", name, {"then": alarm.then, "on_clear": alarm.on_clear}) for name, alarm in config.alarms.items()
    ]
    orders += [("stages", name, stage.orders()) for name, stage in config.stages.items()]
    for section, name, options in orders:
        for option, wanted in options.items():
            for tag, value in wanted.items():
                path = (section, name, option, _key(config, section, name, option, tag))
                if missing(config, known, [tag], path) or tag not in points:
                    continue
                if (bounds := points[tag].writable) is None:
                    allows = "one_of: [A, B]" if points[tag].value_type() == "text" else "range: [low, high]"
                    config.tree.fault(path, f"{tag} is read-only", f"allow it with `writable: {{{allows}}}`")
                elif why := bounds.why_not(value, tag):
                    config.tree.fault(path, why)
    for name in config.simulate:
        missing(config, known, [name], ("simulate", name))
    for name, driver in config.drivers.items():
        for option in ("trigger", "part"):
            wanted_tag = getattr(driver, option, None)
            if isinstance(wanted_tag, str) and wanted_tag:
                missing(config, known, [wanted_tag], ("drivers", name, option))
        at = ("drivers", name, "part")
        _one_moment(config, at, getattr(driver, "trigger", ""), getattr(driver, "part", ""))
    for name, stage in config.stages.items():
        for option, trigger, part in getattr(stage, "one_moment", tuple)():
            _one_moment(config, ("stages", name, *option), trigger, part)
        reads: Iterable[str] = getattr(stage, "reads", tuple)()
        camera = getattr(stage, "camera", None)
        missing(config, known | set(config.drivers), set(reads) - {camera}, ("stages", name))
        if isinstance(camera, str) and camera not in config.drivers and f"{camera}.*" not in known:
            there = ", ".join(sorted(config.drivers)) or "none"
            config.tree.fault(("stages", name, "camera"), f"no driver is called {camera!r}", f"there are {there}")


def _one_moment(config: Config, at: Path_, trigger: str, part: str) -> None:
    """A part number read at another time than its trigger may be that of the part before."""
    if not (part and trigger in config.points() and part in config.points()):
        return
    source, _, below = trigger.partition(".")
    other, _, number = part.partition(".")
    if source != other:
        config.tree.fault(at, f"comes from another connection than the trigger {trigger}")
    elif source in config.drivers and not config.drivers[source].read_together([below, number]):
        config.tree.fault(
            at,
            f"does not lie in one read request with the trigger {trigger}",
            "put both into one table, close together (the trigger as a bit of a register)",
        )


def _tests(config: Config) -> None:
    known = _known(config)
    raw = config.tree.data.get("alarms") if isinstance(config.tree.data, dict) else None
    keys = {*config.alarms, *map(str, raw if isinstance(raw, dict) else ())}
    for index, test in enumerate(config.tests):
        missing(config, known, test.given, ("tests", index, "given"))
        for place, name in enumerate(test.stages):
            _takes_part(config, name, test, index, place)
        for step, wanted in enumerate(test.expect):
            path = ("tests", index, "expect", step)
            if (wanted.event is None) + (wanted.write is None) + (wanted.tag is None) != 2:
                config.tree.fault(path, "say one of `event`, `write` or `tag`")
            if wanted.event is not None and wanted.event not in keys and not test.is_of_stage(wanted.event):
                near = difflib.get_close_matches(wanted.event, sorted(keys), 1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(keys)) or 'none'}"
                if wanted.event in config.stages:
                    hint = f"a test runs the stages that it names: add `stages: [{wanted.event}]`"
                config.tree.fault((*path, "event"), f"no alarm is called {wanted.event!r}", hint)
            missing(config, known, [n for n in (wanted.write, wanted.tag) if n], path)


def _takes_part(config: Config, name: str, test: TestCase, index: int, place: int) -> None:
    raw = config.tree.data.get("stages") if isinstance(config.tree.data, dict) else None
    if name not in {*config.stages, *map(str, raw if isinstance(raw, dict) else ())}:
        hint = f"there are {', '.join(config.stages) or 'none'}"
        config.tree.fault(("tests", index, "stages", place), f"no stage is called {name!r}", hint)
    for given in test.given:
        if given.startswith(f"{name}."):
            config.tree.fault(
                ("tests", index, "given", given), f"{name} computes it, and takes part in this test", key=True
            )


def raise_if_faulty(config: Config) -> Config:
    """The config, or ConfigFault with every problem on a line of its own."""
    if config.problems:
        raise ConfigFault("\n".join(map(str, config.problems)))
    return config
