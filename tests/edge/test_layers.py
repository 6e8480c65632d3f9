"""Documents over one another: what comes of them, from where, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config.dump import written
from edge.config.layers import changes, difference, document, elsewhere, laid, origins, parted, without_nulls
from edge.config.load import load_tree
from edge.config.places import Secret

BASE = """
drivers:
  plc: {driver: modbus, url: "tcp://10.0.0.1", every: 1s, tags: {temp: {address: "holding:0"}, old: {address: "holding:1"}}}
alarms:
  hot: {when: plc.temp > 80}
stages: {}
"""
ABOVE = """
drivers:
  plc:
    every: 100ms
    url: !secret plc_url
    tags: {old: null}
alarms: {hot: {when: pump.tmp > 60}}
"""


def test_a_later_one_goes_before_an_earlier_one_key_by_key() -> None:
    tree = laid([document(BASE, "class/press@1"), document(ABOVE, "device/p4@2")])
    plc = tree.data["drivers"]["plc"]
    assert plc == {"driver": "modbus", "url": "plc_url", "every": "100ms", "tags": {"temp": {"address": "holding:0"}}}
    assert isinstance(plc["url"], Secret)
    found = origins(tree)
    assert found["drivers.plc.driver"] == found["drivers.plc.tags.temp.address"] == "class/press@1"
    assert found["drivers.plc.url"] == found["alarms.hot.when"] == "device/p4@2"
    assert "drivers.plc.tags.old.address" not in found
    assert "url: !secret 'plc_url'" in written(tree.data) or "url: !secret plc_url" in written(tree.data)


def test_a_fault_is_told_where_it_stands_in_the_document_that_brought_it() -> None:
    device = document("device: {location: [31, 120]}", "own@1")
    tree = laid([document(BASE, "class/press@1"), document(ABOVE, "device/p4@2"), device])
    tree.data["device"]["id"] = "p4"
    with elsewhere():  # where nobody knows what the secret is
        (problem,) = load_tree(tree, Path("site.yaml")).problems
    assert str(problem).startswith("device/p4@2:7:22: alarms.hot.when: no tag is called 'pump.tmp'")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("device: {id: x}", "l:1:10: device.id: belongs to the device, it stands in the file on the device"),
        ("sync: {url: 'https://x'}", "l:1:8: sync.url: belongs to the device"),
        ("sync: {installs: [config]}", "l:1:8: sync.installs: belongs to the device"),
        ("sync: {commands: [read]}", "l:1:8: sync.commands: belongs to the device"),
        ("sync: {writes: true}", "l:1:8: sync.writes: belongs to the device"),
        ("drivers: !include /etc/passwd", "l:1:10: drivers: what is sent to a device is one document"),
        ("drivers: {m: {template: ../x.yaml}}", "l:1:25: drivers.m.template: '../x.yaml' is a file"),
        ("drivers: {m: {units: {a: {template: x/y}}}}", "l:1:37: drivers.m.units.a.template: 'x/y' is a file"),
        ("- a", "l:1:1: expected sections"),
        ("a: 1\na: 2", "l:2:1: a: 'a' stands twice"),
        ("a: [", "not YAML"),
    ],
)
def test_what_no_document_says(text: str, fault: str) -> None:
    (problem,) = document(text, "l").problems
    assert fault in str(problem)


def test_an_empty_one_says_nothing() -> None:
    assert document("", "l").data == {} and not document("# nothing yet", "l").problems


words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=6)
scalars = st.one_of(st.booleans(), st.integers(-(2**40), 2**40), st.floats(allow_nan=False), words, words.map(Secret))
keys = st.one_of(st.sampled_from("abc"), st.integers(0, 3), words.filter(lambda w: w not in ("", "<<")))
values: Any = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=8,
)
sites = st.dictionaries(st.sampled_from("abcde"), values, max_size=4)


@given(sites, sites)
def test_the_least_difference_makes_one_of_the_other(below: dict[str, Any], above: dict[str, Any]) -> None:
    layer = difference(below, above)
    made = laid([document(written(below), "1"), document(written(layer), "2")]).data
    assert written(made) == written(made) and _sorted(made) == _sorted(above)
    assert bool(layer) == bool(list(changes(below, above)))


@given(sites)
def test_what_is_written_is_read_as_the_same(site: dict[str, Any]) -> None:
    read = document(written(site), "x")
    assert not read.problems and _sorted(read.data) == _sorted(site)


def _sorted(data: Any) -> Any:
    """With kinds, and without the order of keys."""
    if isinstance(data, dict):
        return sorted(((repr(k), _sorted(v)) for k, v in data.items()), key=repr)
    return [_sorted(v) for v in data] if isinstance(data, list) else (type(data).__name__, repr(data))


def test_what_belongs_to_the_device_is_parted_from_the_rest() -> None:
    site = {"device": {"id": "p4", "site": "a/b"}, "sync": {"url": "https://x", "installs": ["config"]}, "tags": None}
    own, rest = parted(site)
    assert own == {"device": {"id": "p4"}, "sync": {"url": "https://x", "installs": ["config"]}}
    assert rest == {"device": {"site": "a/b"}} and without_nulls({"a": {"b": None}}) == {"a": {}}


def test_files_of_another_machine_are_not_looked_for() -> None:
    text = "device: {location: [1, 2]}\ndrivers: {c: {driver: camera, url: 'folder:nowhere', every: 1s}}"

    def faults() -> list[str]:
        tree = document(text, "l")
        tree.data["device"]["id"] = "x"
        return list(map(str, load_tree(tree, Path("/x/site.yaml")).problems))

    assert "there is no" in faults()[0]
    with elsewhere():
        assert not faults()
