"""From a site and its `tune:` to the task of the tuner; every fault with its place."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from edge import ConfigFault, Expression, ExpressionFault, LinesideError, compile_expression

from .options import TuneConfig
from .space import Input, Space
from .task import Aim, Hint, Limit, Task

AT = "tune"


@dataclass(frozen=True)
class Told:
    """The `task`, the `options` it was made of, and the unit of each tag."""

    task: Task
    options: TuneConfig
    units: Mapping[str, str]


def told(site: Any) -> Told:
    """Of a loaded site. Raises ConfigFault with every fault."""
    options = site.sections.get(AT)
    if site.problems:
        raise ConfigFault("\n".join(map(str, site.problems)))
    if not isinstance(options, TuneConfig):
        raise LinesideError(f"{site.path} has no `tune:`", hint="docs/tuning.md shows one")
    points = {tag.name: tag for tag in site.tags()}
    _Faults(site, options, points).all()
    if site.tree.problems:
        raise ConfigFault("\n".join(map(str, site.tree.problems)))
    inputs = []
    for name, one in options.inputs.items():
        low, high = one.range or points[name].writable.range
        inputs.append(Input(name, low, high, one.step))
    forbidden = [f"not ({rule.avoid})" for rule in options.rules if rule.avoid]
    task = Task(
        Space(inputs, [*options.interlocks, *forbidden]),
        _aim(options, {name: point.expression for name, point in site.virtual.items()}),
        [Limit(name, one.at_least, one.at_most, one.measured) for name, one in options.limits.items()],
        options.changes,
        options.drift,
        options.certain,
        [
            Hint(rule.input, output, sign)
            for rule in options.rules
            for some, sign in ((rule.raises, 1), (rule.lowers, -1))
            for output in some
        ],
        {rule.input: rule.likely for rule in options.rules if rule.likely},
    )
    return Told(task, options, {name: tag.unit for name, tag in points.items()})


def _aim(options: TuneConfig, virtual: Mapping[str, str]) -> Aim:
    """A virtual tag is learned by what it is made of: those are simpler laws than what follows from them."""
    sign = 1.0 if options.goal == "maximise" else -1.0
    name = options.objective
    if name not in virtual:
        return Aim([name], lambda columns: columns[name], sign)
    expression = compile_expression(virtual[name])
    return Aim(sorted(expression.names), expression.evaluate, sign)


class _Faults:
    """What is wrong beyond types."""

    def __init__(self, site: Any, options: TuneConfig, points: Mapping[str, Any]) -> None:
        self._tree, self._options, self._points, self._site = site.tree, options, points, site

    def all(self) -> None:
        options = self._options
        for path, name in (("objective", options.objective), ("lot", options.lot)):
            self._known((path,), name, self._points, "tag")
        for name, one in options.inputs.items():
            if self._known(("inputs", name), name, self._points, "tag"):
                self._input(name, one.range)
        for name in options.columns:
            self._known(("columns", name), name, self._points, "tag")
        if options.columns and not options.history:
            self._fault(("columns",), "they name columns of `history`, and there is none", "say `history: FILE.csv`")
        for name in options.limits:
            self._known(("limits", name), name, self._points, "tag")
        if options.objective in options.inputs:
            self._fault(("objective",), f"{options.objective} is one of the settings", "name what comes out")
        for k, text in enumerate(options.interlocks):
            self._expression(("interlocks", k), text)
        for k, rule in enumerate(options.rules):
            if rule.avoid:
                self._expression(("rules", k, "avoid"), rule.avoid)
            elif self._known(("rules", k, "input"), rule.input, options.inputs, "setting"):
                for name in (*rule.raises, *rule.lowers):
                    self._known(("rules", k), name, self._points, "tag")
        for k, name in enumerate(options.rollback_on):
            self._known(("rollback_on", k), name, {**self._site.alarms, **self._site.stages}, "alarm")

    def _input(self, name: str, wanted: tuple[float, float] | None) -> None:
        allowed = self._points[name].writable
        if allowed is None or allowed.range is None:
            self._fault(("inputs", name), f"{name} is not writable", "say `writable: {range: [low, high]}` at its tag")
        elif wanted and (wanted[0] < allowed.range[0] or wanted[1] > allowed.range[1]):
            low, high = allowed.range
            self._fault(("inputs", name, "range"), f"it leaves {low:g}..{high:g}, which may be written", "stay within")

    def _expression(self, path: tuple[Any, ...], text: str) -> Expression | None:
        try:
            one = compile_expression(text)
        except ExpressionFault as fault:
            self._fault(path, f"{fault.args[0]} (at character {fault.column} of it)", fault.hint)
            return None
        for name in sorted(one.names):
            self._known(path, name, self._options.inputs, "setting")
        return one

    def _known(self, path: tuple[Any, ...], name: str, known: Collection[str], what: str) -> bool:
        if name in known:
            return True
        import difflib

        near = difflib.get_close_matches(name, sorted(known), 1, 0.6)
        listed = ", ".join(sorted(known)[:12]) or "none"
        self._fault(
            path, f"no {what} is called {name!r}", f"did you mean {near[0]!r}?" if near else f"there are {listed}"
        )
        return False

    def _fault(self, path: tuple[Any, ...], message: str, hint: str) -> None:
        self._tree.fault((AT, *path), message, hint)
