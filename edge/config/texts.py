"""Where a site says of a text what holds for numbers only, or the other way round."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from ..expressions import ExpressionFault, compile_expression
from .places import Path_
from .site import Config

Fault = tuple[Path_, str, str]
NUMERIC = ("deadband", "labels")  # options of a tag that mean nothing for a text


def written(config: Config) -> Iterable[tuple[Path_, str]]:
    """Every expression and where it stands, also of entries in which something else is wrong."""
    raw = config.tree.data if isinstance(config.tree.data, dict) else {}
    for section, options in (("tags", ("expression",)), ("alarms", ("when", "clear"))):
        entries = raw.get(section)
        for name, entry in (entries if isinstance(entries, dict) else {}).items():
            for option in options:
                if isinstance(entry, dict) and isinstance(text := entry.get(option), str):
                    yield (section, name, option), text


def text_faults(config: Config) -> None:
    """Add to `config.tree` every fault of this kind."""
    texts, known = config.texts(), set(config.points())
    for find in (_options, _compared, _moved, _tested, _read):
        for path, message, hint in find(config, texts, known):
            config.tree.fault(path, message, hint)


def _options(config: Config, texts: set[str], known: set[str]) -> Iterator[Fault]:
    for source, part in config.drivers.items():
        for tag, point in part.points().items():
            for option in NUMERIC if f"{source}.{tag}" in texts else ():
                if option in point.model_fields_set:
                    yield ("drivers", source, "tags", *tag.split("."), option), "a text is no number", "remove it"


def _compared(config: Config, texts: set[str], known: set[str]) -> Iterator[Fault]:
    for path, text in written(config):
        try:
            expression = compile_expression(text)
        except ExpressionFault:
            continue  # said already
        for name in sorted(expression.numbers & texts):
            hint = f'as in {name} == "A7"; two texts cannot be compared with each other'
            yield path, f"{name} is text: it can be compared by == and != with a text in quotes, nothing else", hint
        for name, string in sorted(expression.texts):
            if name in known - texts:
                yield path, f"{name} is a number and never {_quoted(string)}", "leave the quotes away"


def _moved(config: Config, texts: set[str], known: set[str]) -> Iterator[Fault]:
    for name, move in config.simulate.items():
        if name in texts and not move.texts:
            yield ("simulate", name), f"{name} is text", "say what it shows: `texts: [A7, B2]`"
        elif name in known - texts and move.texts:
            yield ("simulate", name, "texts"), f"{name} is a number", "it moves by mean, swing, ramp or pulse"


def _tested(config: Config, texts: set[str], known: set[str]) -> Iterator[Fault]:
    for index, test in enumerate(config.tests):
        for name, values in test.given.items():
            for step, value in enumerate(values):
                yield from _fits(("tests", index, "given", name, step), name, value, texts, known)
        for step, wanted in enumerate(test.expect):
            name = wanted.tag or wanted.write or ""
            yield from _fits(("tests", index, "expect", step, "value"), name, wanted.value, texts, known)


def _fits(path: Path_, name: str, value: float | str | None, texts: set[str], known: set[str]) -> Iterator[Fault]:
    if name in texts and isinstance(value, float):
        yield path, f"{name} is text", f"write {value:g} in quotes, or another text"
    elif name in known - texts and isinstance(value, str):
        yield path, f"{name} is a number and never {_quoted(value)}", "write a number"


def _read(config: Config, texts: set[str], known: set[str]) -> Iterator[Fault]:
    for name, driver in config.drivers.items():
        for option in ("trigger", "part"):
            if getattr(driver, option, None) in texts:
                yield ("drivers", name, option), f"{getattr(driver, option)} is text", "name a tag that is a number"
    for name, stage in config.stages.items():
        reads: Iterable[Any] = getattr(stage, "reads", tuple)()
        for tag in sorted(texts.intersection(reads) - frozenset(getattr(stage, "reads_text", tuple)())):
            yield ("stages", name), f"{tag} is text, the stage reads numbers", "leave it out"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
