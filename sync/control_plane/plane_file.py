"""The file of a plane: rules, their tests, where events go, who is told of alarms. Read and checked like a site: all faults at
once, with places."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from edge import ConfigFault, ExpressionFault, Tree, bind_options, compile_expression, read_tree

from .alert_file import MOST_NAME, Alerts, hint_of, read_alerts
from .alert_rehearsal import AlertTest
from .forward_options import BrokerTargetOptions, ParquetOptions, WebhookOptions
from .judge import Rule
from .openid_options import OpenIdOptions
from .outside import AuthorityOptions
from .rule_options import RuleOptions, RuleTest

SECTIONS: dict[str, type[BaseModel]] = {
    "rules": RuleOptions,
    "webhooks": WebhookOptions,
    "brokers": BrokerTargetOptions,
    "parquet": ParquetOptions,
}
KNOWN = (*SECTIONS, "alerts", "authority", "openid", "tests")


@dataclass
class PlaneFile:
    """What stands in it. `faults` is one line each, in the order of the file; where there are some nothing is to be run."""

    rules: dict[str, Rule] = field(default_factory=dict)
    webhooks: dict[str, WebhookOptions] = field(default_factory=dict)
    brokers: dict[str, BrokerTargetOptions] = field(default_factory=dict)
    parquet: dict[str, ParquetOptions] = field(default_factory=dict)
    alerts: Alerts = field(default_factory=Alerts)
    authority: AuthorityOptions | None = None
    openid: OpenIdOptions | None = None
    tests: list[RuleTest | AlertTest] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    given: bool = True  # whether there is a file: one without rules ends those of before


def load(path: Path) -> PlaneFile:
    """Nothing a person wrote raises."""
    tree, out = read_tree(path), PlaneFile()
    data = tree.data
    if not isinstance(data, dict):
        if not tree.problems:
            tree.fault((), "the file is empty", f"there are {', '.join(KNOWN)}")
        data = {}
    for key in data:
        if key not in KNOWN:
            near = difflib.get_close_matches(str(key), KNOWN, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(KNOWN)}"
            tree.fault((key,), f"unknown section {str(key)!r}", hint, key=True)
    found: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    for section, model in SECTIONS.items():
        for name, entry in _entries(tree, data, section, dict).items():
            if not str(name).isidentifier() or len(str(name)) > MOST_NAME:
                said = f"{name!r} is no name: use up to {MOST_NAME} letters, digits and _"
                tree.fault((section, name), said, key=True)
            elif bound := bind_options(model, entry, tree, (section, name)):
                found[section][name] = bound
    out.webhooks, out.brokers, out.parquet = found["webhooks"], found["brokers"], found["parquet"]
    out.alerts = read_alerts(tree, data.get("alerts"))
    if "authority" in data:
        out.authority = bind_options(AuthorityOptions, data["authority"], tree, ("authority",))
    if "openid" in data:
        out.openid = bind_options(OpenIdOptions, data["openid"], tree, ("openid",))
    hidden: list[tuple[str, ...]] = [("webhooks", name, "secret") for name in out.webhooks]
    hidden += [("openid", "secret")] if out.openid else []
    hidden += [("brokers", name, "password") for name, broker in out.brokers.items() if broker.password]
    for at in hidden:
        if at not in tree.secrets:
            tree.fault(at, "a secret does not belong into this file", f"write `{at[-1]}: !secret NAME`")
    for name, options in found["rules"].items():
        if rule := _rule(tree, name, options):
            out.rules[name] = rule
    for index, entry in enumerate(_entries(tree, data, "tests", list)):
        place = ("tests", index)
        if isinstance(entry, dict) and "happens" in entry:
            if sends := bind_options(AlertTest, entry, tree, place):
                out.tests.append(sends)
                _sends(tree, place, sends, out.alerts)
        elif test := bind_options(RuleTest, entry, tree, place):
            out.tests.append(test)
            _test(tree, index, test, out.rules, _entries(tree, data, "rules", dict))
    order = sorted(tree.problems, key=lambda p: (p.place.file != str(path), p.place.file, p.place.line, p.place.column))
    out.faults = list(dict.fromkeys(map(str, order)))
    return out


def loaded(path: Path) -> PlaneFile:
    """The same. Raises ConfigFault with every fault on a line of its own."""
    found = load(path)
    if found.faults:
        raise ConfigFault("\n".join(found.faults))
    return found


def _entries(tree: Tree, data: dict[Any, Any], key: str, kind: type) -> Any:
    found = data.get(key)
    if found is not None and not isinstance(found, kind):
        said = "entries (name: options)" if kind is dict else "a list (lines that begin with -)"
        if not any(problem.path == (key,) for problem in tree.problems):
            tree.fault((key,), f"expected {said}")
        return kind()
    return found or kind()


def _rule(tree: Tree, name: str, options: RuleOptions) -> Rule | None:
    """Compiled, or its faults said."""
    at, before = ("rules", name), len(tree.problems)
    for value, wanted in options.values.items():
        if not wanted.device and not options.each:
            said = "nobody knows of which device"
            tree.fault((*at, "values", value), said, "say `device`, or in the rule `each`", key=True)
    for option, text in (("when", options.when), ("clear", options.clear)):
        if text is None:
            continue
        try:
            expression = compile_expression(text)
        except ExpressionFault as fault:
            tree.fault((*at, option), f"{fault.args[0]} (at character {fault.column} of it)", fault.hint)
            continue
        if expression.texts:
            tree.fault((*at, option), "the values of the plane are numbers", "compare texts in a rule of the device")
        if not expression.names:
            tree.fault((*at, option), f"{text!r} reads no value, so it would never be judged", "name one of `values`")
        for unknown in sorted(expression.names - set(options.values)):
            near = difflib.get_close_matches(unknown, options.values, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(options.values)}"
            tree.fault((*at, option), f"no value is called {unknown!r}", hint)
    return Rule.of(name, options) if len(tree.problems) == before else None


def _sends(tree: Tree, at: tuple[Any, ...], test: AlertTest, alerts: Alerts) -> None:
    for k, wanted in enumerate(test.expect):
        if wanted.to not in alerts.channels:
            tree.fault(
                (*at, "expect", k, "to"), f"no channel is called {wanted.to!r}", hint_of(wanted.to, alerts.channels)
            )


def _test(tree: Tree, index: int, test: RuleTest, rules: dict[str, Rule], written: dict[Any, Any]) -> None:
    at = ("tests", index)
    for path, name in [((*at, "rule"), test.rule)] + [
        ((*at, "expect", k, "rule"), wanted.rule) for k, wanted in enumerate(test.expect)
    ]:
        if name not in written:
            near = difflib.get_close_matches(name, map(str, written), 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(map(str, written)) or 'none'}"
            tree.fault(path, f"no rule is called {name!r}", hint)
        elif name != test.rule:
            tree.fault(path, f"this test is about {test.rule!r}")
    if test.rule not in rules:
        return
    values = rules[test.rule].options.values
    for name in set(test.given) - set(values):
        tree.fault(
            (*at, "given", name), f"no value of {test.rule} is called {name!r}", f"there are {', '.join(values)}"
        )
    if len({len(column) for column in test.given.values()}) > 1:
        tree.fault((*at, "given"), "these are of different lengths", "give each value for each minute; null: none")
