"""Device templates: a map once, many devices; every fault in the file and line where it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.cli import main
from edge.config import templates
from edge.config.load import load, load_text
from edge.rehearse import rehearse
from edge.shipped import folders
from edge.shipped import templates as names
from tests.waiting import first_reading, on_free_ports

ROOT = Path(__file__).parents[2]
METER = """description: a meter
source: its manual
tags:
  p: {address: "input:52", type: float32, unit: W}
  kwh: {address: "input:72", type: float32, unit: kWh, labels: {0: none}}
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "meter.yaml").write_text(METER)
    return tmp_path / "site.yaml"


def said(site: Path, units: str) -> list[str]:
    """The faults of a site with these units, paths shortened."""
    site.write_text(f"device: {{id: d}}\ndrivers:\n  line:\n    driver: modbus\n    url: tcp://a\n    units:\n{units}")
    return [str(problem).replace(f"{site.parent}/", "") for problem in load(site).problems]


def test_one_map_for_many_units(site: Path) -> None:
    units = "".join(f"      m{n}: {{unit: {n}, template: maps/meter.yaml}}\n" for n in range(1, 33))
    assert said(site, units) == []
    config = load(site)
    assert len(config.tags()) == 64
    assert config.points()["line.m7.kwh"].unit == "kWh"
    assert config.tree.place(("drivers", "line", "units", "m7", "tags", "kwh")).line == 5


def test_the_entry_goes_before_the_template_option_by_option(site: Path) -> None:
    unit = """      m:
        unit: 1
        template: maps/meter.yaml
        only: [kwh]
        tags:
          kwh: {unit: MWh, scale: 0.001, labels: {1: one}}
          own: {address: "holding:1"}
      all: {unit: 2, template: maps/meter.yaml, tags: {p: {deadband: 5}}}
"""
    assert said(site, unit) == []
    points = load(site).points()
    assert list(points) == ["line.m.kwh", "line.m.own", "line.all.p", "line.all.kwh"]
    assert (points["line.m.kwh"].unit, points["line.m.kwh"].type, points["line.m.kwh"].scale) == (
        "MWh",
        "float32",
        0.001,
    )
    assert points["line.m.kwh"].labels == {0: "none", 1: "one"}
    assert (points["line.all.p"].deadband, points["line.all.p"].unit) == (5, "W")


def test_what_a_picked_tag_needs_is_read_with_it(site: Path) -> None:
    (site.parent / "maps" / "sun.yaml").write_text(
        "tags:\n  a: {address: 'holding:1', scale_from: a_power}\n  b: {address: 'holding:2'}\n"
        "  a_power: {address: 'holding:3', type: int16}\n  c: 5\n"
    )
    unit = "      m: {unit: 1, template: maps/sun.yaml, only: [a]}\n"
    assert said(site, unit) == [] and list(load(site).points()) == ["line.m.a", "line.m.a_power"]
    (fault,) = said(site, unit.replace("[a]", "[a, c]"))
    assert fault.startswith("maps/sun.yaml:5:6: drivers.line.units.m.tags.c")


def test_a_template_of_a_connection(site: Path) -> None:
    (site.parent / "maps" / "slow.yaml").write_text(METER + "max_registers: 10\npause: 50ms\n")
    site.write_text(
        "device: {id: d}\ndrivers:\n  a: {driver: modbus, url: tcp://a, template: maps/slow.yaml}\n"
        "  b: {driver: modbus, url: tcp://b, template: maps/slow.yaml, max_registers: 20}\n"
    )
    config = load(site)
    assert not config.problems
    assert [d.max_registers for d in config.drivers.values()] == [10, 20]  # type: ignore[attr-defined]
    assert list(config.points()) == ["a.p", "a.kwh", "b.p", "b.kwh"]


def test_faults_stand_where_they_were_written(site: Path) -> None:
    maps = site.parent / "maps"
    (maps / "bad.yaml").write_text('tags:\n  p: {adress: "input:1"}\n  q: {address: "inptu:1"}\n')
    (maps / "odd.yaml").write_text("tags: {p: {address: 'coil:0'}}\nurl: tcp://elsewhere\nmax_registrs: 3\n")
    (maps / "torn.yaml").write_text("tags: [\n")
    (maps / "empty.yaml").write_text("")
    (maps / "list.yaml").write_text("[1, 2]")
    units = """      a: {unit: 1, template: maps/bad.yaml}
      b: {unit: 2, template: maps/bad.yaml}
      c: {unit: 3, template: maps/meter.yaml, tags: {p: {adress: 3}}, only: [kvh]}
      d: {unit: 4, template: maps/odd.yaml}
      e: {unit: 5, template: maps/torn.yaml, tags: {p: {deadband: 1}}}
      f: {unit: 6, template: maps/empty.yaml}
      g: {unit: 7, template: maps/list.yaml}
      h: {unit: 8, template: maps/absent.yaml}
      i: {unit: 9, template: three_fase_meter}
      j: {unit: 10, template: {a: 1}}
      k: {unit: 11, only: [p]}
      l: {unit: 12, template: maps/meter.yaml, only: p}
      m: {unit: 13, template: ../../../../../../dev/zero/x.yaml}
      n: {unit: 14, template: maps/meter.yaml, only: [[p]]}
"""
    expected = [
        "site.yaml:9:58: drivers.line.units.c.tags.p.adress: unknown option 'adress', did you mean 'address'?",
        "site.yaml:9:78: drivers.line.units.c.only.0: the template has no tag 'kvh', did you mean 'kwh'?",
        "site.yaml:14:30: drivers.line.units.h.template: cannot read maps/absent.yaml: No such file or directory",
        "site.yaml:15:30: drivers.line.units.i.template: no template is called 'three_fase_meter', "
        "did you mean 'three_phase_meter'?; a file is named with its ending: three_fase_meter.yaml",
        "site.yaml:16:31: drivers.line.units.j.template: must be text, not options",
        "site.yaml:17:21: drivers.line.units.k.only: picks from a template, and none is named, add `template:`",
        "site.yaml:18:54: drivers.line.units.l.only: must be a list ([a, b] or lines with -), not 'p'",
        "site.yaml:19:31: drivers.line.units.m.template: cannot read ",
        "site.yaml:20:55: drivers.line.units.n.only.0: must be text, not a list",
        "maps/bad.yaml:2:7: drivers.line.units.a.tags.p.adress: unknown option 'adress', did you mean 'address'?",
        "maps/bad.yaml:3:16: drivers.line.units.a.tags.q.address: 'inptu:1' is no address",
        "maps/empty.yaml:1:1: drivers.line.units.f.template: the template is empty, it begins with `tags:`",
        "maps/list.yaml:1:1: drivers.line.units.g.template: a template is options (key: value)",
        "maps/odd.yaml:2:1: drivers.line.units.d.url: unknown option 'url' of a template",
        "maps/odd.yaml:3:1: drivers.line.units.d.max_registrs: unknown option 'max_registrs' of a template",
        "maps/torn.yaml:2:1: drivers.line.units.e: not YAML",
    ]
    found = said(site, units)
    assert len(found) == len(expected), "\n".join(found)
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(start), f"{line}\n{start}"


def test_what_a_template_says_of_a_tag_that_is_wrong_only_for_one_device_names_that_device(site: Path) -> None:
    units = "      a: {unit: 1, template: maps/meter.yaml, tags: {p: {address: 'input:65535'}}}\n"
    (fault,) = said(site, units)
    assert fault.startswith("site.yaml:7:57: drivers.line.units.a.tags.p: float32 at input:65535 runs past"), fault


def test_templates_that_would_fill_the_memory_are_refused(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "MOST_PIECES", 60)
    found = said(site, "".join(f"      m{n}: {{unit: {n}, template: maps/meter.yaml}}\n" for n in range(1, 20)))
    assert len(found) == 1 and "the templates bring more than 60 pieces, split the site" in found[0]


def test_the_tags_of_an_entry_whose_template_is_broken_are_not_called_missing(site: Path) -> None:
    found = said(site, "      a: {unit: 1, template: maps/absent.yaml}\nalarms: {x: {when: line.a.p > 1}}\n")
    assert len(found) == 1 and "cannot read" in found[0]


@pytest.mark.parametrize("name", names())
def test_a_shipped_template_is_fine_under_a_connection_and_a_unit_and_is_used_by_a_shipped_site(name: str) -> None:
    plc = f"{{driver: modbus, url: tcp://a, template: {name}, units: {{u: {{unit: 7, template: {name}}}}}}}"
    config = load_text(f"device: {{id: d}}\ndrivers: {{x: {plc}}}\n")
    assert not config.problems and len(config.tags()) >= 16
    sites = [path for path in (ROOT / "configs").glob("*.yaml") if f"template: {name}" in path.read_text("utf-8")]
    assert sites, f"no site in configs/ shows {name}"
    for path in sites:
        shown = load(path)
        assert not shown.problems and shown.tests
        assert all(not rehearse(shown, test).faults for test in shown.tests)


@pytest.mark.parametrize("name", ["meters", "roof", "oven", "hall"])
def test_the_simulator_of_a_shipped_site_answers_for_every_tag(name: str) -> None:
    text = (ROOT / "configs" / f"{name}.yaml").read_text("utf-8")
    config = on_free_ports(text)

    told = first_reading(config)
    assert len(told) >= len(config.points()) - 1 and not any(fault for _, _, fault in told), told


def test_sample_prints_a_template(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "io_box_8"]) == 0
    assert "out8: {address" in capsys.readouterr().out


def test_a_handful_is_shipped() -> None:
    assert {"three_phase_meter", "temperature_controller", "io_box_8", "frequency_converter"} <= set(names())
    assert (folders()[0] / "templates").is_dir()
