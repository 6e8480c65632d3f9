"""Register maps that others wrote: each loads or is refused by row, and what loads reads back exactly."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from drivers.modbus.maps import find
from drivers.modbus.maps.contract import Map, as_name
from drivers.modbus.maps.find import How
from edge.cli import main
from edge.config.load import load
from edge.expressions import compile_expression

from .maps import config_of, in_memory, maps, over_the_wire

SUNSPEC: dict[str, Any] = {
    "id": 103,
    "group": {
        "name": "inverter",
        "label": "Inverter",
        "type": "group",
        "points": [
            {"name": "ID", "type": "uint16", "size": 1},
            {"name": "L", "type": "uint16", "size": 1},
            {"name": "W", "type": "int16", "size": 1, "sf": "W_SF", "units": "W", "label": "Power"},
            {"name": "W_SF", "type": "sunssf", "size": 1},
            {"name": "WH", "type": "acc32", "size": 2, "sf": -1, "units": "Wh"},
            {
                "name": "St",
                "type": "enum16",
                "size": 1,
                "symbols": [{"name": "OFF", "value": 1}, {"name": "ON", "value": 4}],
            },
            {"name": "Evt", "type": "bitfield32", "size": 2, "symbols": [{"name": "HOT", "value": 17}]},
            {"name": "Pad", "type": "pad", "size": 1},
            {"name": "SN", "type": "string", "size": 8, "label": "Serial"},
            {"name": "Log", "type": "string", "size": 200},
            {"name": "Hz", "type": "float32", "size": 2, "units": "Hz"},
        ],
        "groups": [
            {"name": "module", "type": "group", "count": 0, "points": [{"name": "A", "type": "uint16", "size": 1}]},
        ],
    },
}
INVERTER = """requests:
  - {start: 0, end: 50, mb_functioncode: 4}
  - {start: 0310, end: 0320, mb_functioncode: 04}
default: {code: 3}
parameters:
  - group: solar
    items:
      - {name: "PV1 Power", uom: W, scale: 10, rule: 1, registers: [0x0003]}
      - {name: Total, uom: kWh, scale: 0.1, rule: 3, registers: [96, 97]}
      - {name: Signed, rule: 4, scale: 1, registers: [99, 98]}
      - {name: Temperature, uom: "°C", rule: 2, scale: 0.1, offset: 1000, registers: [100]}
      - name: State
        rule: 1
        registers: [101]
        lookup: [{key: 0, value: Stand-by}, {key: [2, 3], value: "On: grid"}, {key: default, value: "?"}]
      - {name: Fault, rule: 1, registers: [102, 103], lookup: [{bit: 17, value: Too hot}]}
      - {name: Enable, rule: 1, mask: 4, divide: 4, registers: [104]}
      - {name: Limit, rule: 1, registers: [105], scale: 0.1, platform: number, range: {min: 0, max: 300}}
      - {name: Far, rule: 1, registers: [110, 120]}
      - {name: Clock, rule: 8, registers: [130, 131]}
      - {name: Sum, rule: 1, sensors: [{registers: [1]}]}
      - {name: Product, rule: 1, registers: [1, 2], sensors: [{registers: [1], multiply: {registers: [2]}}]}
      - {name: Flow, rule: 4, magnitude: true, scale: 0.001, uom: A, registers: [8, 7]}
      - {name: Export, rule: 2, inverted: true, scale: 0.1, offset: 5, unit_of_measurement: W, registers: [140]}
      - {name: Trackers, rule: 1, mask: 0x0F00, divide: 256, registers: [150]}
      - {name: Phases, rule: 1, mask: 0x0F, registers: [150]}
      - {name: Mode, rule: 1, mask: 0x30, registers: [150], lookup: [{key: 0, value: a}, {key: 0x20, value: b}]}
      - {name: Upper, rule: 1, divide: 256, registers: [151]}
      - {name: Torn, rule: 1, mask: 0x0F0F, scale: 0.1, uom: W, registers: [152]}
      - {name: Armed, rule: 1, bitmask: 8, registers: [152], scale: 0.1, lookup: [{key: 0, value: no}, {key: 1, value: yes}]}
      - {name: Days, rule: 1, registers: [154], lookup: [{key: 0, value: off}, {bit: 0, value: on}, {key: 3, value: Mo}]}
      - {name: Ill, rule: 1, registers: [155], lookup: [{key: 9, value: x}, {bit: 0, value: a}, {bit: 1, value: b}]}
      - {name: Code, rule: 1, scale: 0.1, offset: 3, registers: [153], lookup: [{key: 7, value: seven}]}
"""
INVERTER += """  - {group: none, items: }
  - group: absent
    items: [{name: a, rule: 1}, {name: b, rule: 1, registers: []}]
  - group: more
    code: 4
    scale: 0.5
    items:
      - {name: inherited, rule: 2, registers: [160]}
  - group: of YAML 1.1
    items:
      - {name: octal, rule: 02, magnitude: no, inverted: off, registers: [0311]}
"""
TABLE = """template,brand,model,usage,quantity,address,register_type,decode,scale,note
meter-a,Maker,A,grid,power,0x10,holding,int32s,-1,"Power, W"
meter-a,Maker,A,grid,currents,18,input,uint16nan,0.1,L1
meter-a,Maker,A,grid,currents,19,input,uint16nan,0.1,L2
meter-a,Maker,A,battery,batterymode,5,writesingle,uint16,,mode
meter-b,Maker,B,,power,7,,uint16,,
"""
SWITCHES = """Template;Brand;Model;Usage;Quantity;Address;Register_Type;Decode;Scale;Note
meter-c;M;C;grid;power;100;Holding;IEEE754s;;
meter-c;M;C;;dimmed;5;coil;bool8;;
meter-c;M;C;;curtailed;6;input;bool16;;
meter-c;M;C;grid;energy;;holding;uint32;;
meter-c;M;C;pv;power;30;holding;int32nan;;
meter_c;M;C;grid;power;7;discrete;;;
"""


def read(folder: Path, name: str, text: str, **how: Any) -> list[Map]:
    (folder / name).write_text(text, "utf-8")
    found = find.maps(folder / name, name, How(**how))
    assert isinstance(found, list)
    return found


def tags(found: Map) -> dict[str, dict[str, Any]]:
    return {line.name: line.options for line in found.lines}


def call(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, list[Any], str]:
    code = main(["import", *map(str, words)])
    said = capsys.readouterr()
    return code, [json.loads(line) for line in said.out.splitlines()], said.err


def test_a_sunspec_model_becomes_tags_at_its_place(tmp_path: Path) -> None:
    (found,) = read(tmp_path, "model.json", json.dumps(SUNSPEC), start=40000)
    assert found.ok and not found.faults
    assert tags(found) == {
        "ID": {"address": "holding:40000", "none": 0xFFFF},
        "L": {"address": "holding:40001", "none": 0xFFFF},
        "W": {"address": "holding:40002", "type": "int16", "unit": "W", "none": 0x8000, "scale_from": "W_SF"},
        "W_SF": {"address": "holding:40003", "type": "int16", "none": 0x8000},
        "WH": {"address": "holding:40004", "type": "uint32", "unit": "Wh", "scale": 0.1},
        "St": {"address": "holding:40006", "none": 0xFFFF, "labels": {1: "OFF", 4: "ON"}},
        "Evt_HOT": {"address": "holding:40007.1", "none": 0xFFFF},
        "SN": {"address": "holding:40010", "type": "text", "length": 8},
        "Hz": {"address": "holding:40218", "type": "float32", "unit": "Hz"},
        "module_1_A": {"address": "holding:40220", "none": 0xFFFF},
    }
    assert found.notes == [
        ("inverter.Log", "Log is a text of 200 registers, more than 120; left out"),
        ("inverter.module", "is there as often as the model is long; the first one is read (--repeat module=N)"),
    ]
    (twice,) = read(tmp_path, "model.json", json.dumps(SUNSPEC), start=40000, times={"module": 2})
    assert twice.lines[-1].name == "module_2_A" and twice.lines[-1].options["address"] == "holding:40221"
    assert read(tmp_path, "model.json", json.dumps(SUNSPEC))[0].lines[0].options["address"] == "holding:40069"


def test_an_inverter_map_becomes_tags(tmp_path: Path) -> None:
    (found,) = read(tmp_path, "inverter.yaml", INVERTER, writable=True)
    assert found.ok, found.faults
    assert tags(found) == {
        "pv1_power": {"address": "input:3", "scale": 10, "unit": "W"},
        "total": {"address": "holding:96", "type": "uint32", "order": "CDAB", "scale": 0.1, "unit": "kWh"},
        "signed": {"address": "holding:98", "type": "int32"},
        "temperature": {"address": "holding:100", "type": "int16", "scale": 0.1, "offset": -100, "unit": "°C"},
        "state": {"address": "holding:101", "labels": {0: "Stand-by", 2: "On: grid", 3: "On: grid"}},
        "fault_17": {"address": "holding:103.1", "labels": {1: "Too hot"}},
        "enable": {"address": "holding:104.2"},
        "limit": {"address": "holding:105", "scale": 0.1, "writable": {"range": [0.0, 30.0]}},
        "far_low": {"address": "holding:110"},
        "far_high": {"address": "holding:120"},
        "clock_1": {"address": "holding:130"},
        "clock_2": {"address": "holding:131"},
        "flow": {"address": "input:7", "type": "signmag32", "scale": 0.001, "unit": "A"},
        "export": {"address": "holding:140", "type": "int16", "scale": -0.1, "offset": 0.5, "unit": "W"},
        "trackers": {"address": "holding:150.8..11"},
        "phases": {"address": "holding:150.0..3"},
        "mode": {"address": "holding:150.4..5", "labels": {0: "a", 2: "b"}},
        "upper": {"address": "holding:151.8..15"},
        "torn": {"address": "holding:152"},
        "armed": {"address": "holding:152.3", "labels": {0: "no", 1: "yes"}},
        "days": {"address": "holding:154", "labels": {0: "off", 1: "on", 3: "Mo"}},
        "ill_0": {"address": "holding:155.0", "labels": {1: "a"}},
        "ill_1": {"address": "holding:155.1", "labels": {1: "b"}},
        "code": {"address": "holding:153", "labels": {7: "seven"}},
        "inherited": {"address": "input:160", "type": "int16", "scale": 0.5},
        "octal": {"address": "input:201", "type": "int16"},
    }
    assert [row for row, _ in found.notes] == [19, 20, 21, 22, 29, 36, 36]
    assert found.notes[4][1] == "Torn: is in the bits 0xf0f of its registers; its registers are read as they stand"
    (quiet,) = read(tmp_path, "inverter.yaml", INVERTER)
    assert not any("writable" in options for options in tags(quiet).values())


@pytest.mark.parametrize(
    ("item", "raw", "value"),
    [
        ("rule: 4, scale: 0.1, registers: [604, 700]", {"x_low": 0xFFFE, "x_high": -1}, -0.2),
        ("rule: 1, registers: [604, 700]", {"x_low": 5, "x_high": 1}, 65541),
        ("rule: 4, magnitude: True, scale: 0.001, offset: 2, registers: [8, 7]", {"x_raw": 0x80000000 + 1500}, -1.502),
        ("rule: 4, inverted: true, scale: 0.1, registers: [604, 700]", {"x_low": 0xFFFE, "x_high": -1}, 0.2),
        ("rule: 2, magnitude: True, offset: 10, registers: [8]", {"x_raw": 1500}, 1490),
    ],
)
def test_the_expression_of_a_number_in_pieces_is_right(
    tmp_path: Path, item: str, raw: dict[str, float], value: float
) -> None:
    (found,) = read(tmp_path, "a.yaml", f"parameters: [{{items: [{{name: x, {item}}}]}}]")
    assert found.ok and tags(found).keys() == raw.keys()
    (expression,) = re.findall("`(.*)`", found.notes[0][1])
    compile_expression(expression)
    assert eval(expression, {"where": lambda test, yes, no: yes if test else no, **raw}) == pytest.approx(value)


def test_a_table_of_registers_becomes_a_template_for_each_device(tmp_path: Path) -> None:
    a, b = read(tmp_path, "registers.csv", TABLE)
    assert a.ok and tags(a) == {
        "grid_power": {"address": "holding:16", "type": "int32", "unit": "W", "order": "CDAB", "scale": -1.0},
        "grid_current_1": {"address": "input:18", "unit": "A", "none": 0xFFFF, "scale": 0.1},
        "grid_current_2": {"address": "input:19", "unit": "A", "none": 0xFFFF, "scale": 0.1},
    }
    assert a.notes == [(5, "battery_batterymode: register 5 is for writing, and its range is not told; left out")]
    assert not b.ok and b.faults[0][0] == 6 and "the register type of register 7 is not told" in b.faults[0][1]


def test_a_table_may_have_bits_other_spellings_and_missing_addresses(tmp_path: Path) -> None:
    c, other = read(tmp_path, "registers.csv", SWITCHES)
    assert c.ok and tags(c) == {
        "grid_power": {"address": "holding:100", "type": "float32", "unit": "W", "order": "CDAB"},
        "dimmed": {"address": "coil:5"},
        "curtailed": {"address": "input:6"},
        "pv_power": {"address": "holding:30", "type": "int32", "unit": "W", "none": [0x80000000, 0x7FFFFFFF]},
    }
    assert [row for row, _ in c.notes] == [4, 5] and "the address of register" in c.notes[1][1]
    assert other.part == "meter_c" and tags(other) == {"grid_power": {"address": "discrete:7"}}


def test_two_maps_of_one_name_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder / "deep").mkdir(parents=True)
        for name in ("meter.yaml", f"{folder}.yaml", "deep/meter.yaml"):
            (tmp_path / folder / name).write_text("tags: {p: {address: 'input:0'}}\n")
    code, lines, _ = call(capsys, tmp_path / "a", tmp_path / "b", "--json", "--out", tmp_path / "out")
    assert code == 0 and sorted(line["map"] for line in lines) == [
        "a.yaml", "a/deep/meter.yaml", "a/meter.yaml", "b.yaml", "b/deep/meter.yaml", "b/meter.yaml",
    ]  # fmt: skip
    assert (tmp_path / "out" / "a" / "deep" / "meter.yaml").is_file()
    code, lines, _ = call(capsys, tmp_path / "a" / "meter.yaml", tmp_path / "b" / "meter.yaml", "--json")
    assert code == 0 and [line["map"] for line in lines] == ["a/meter.yaml", "b/meter.yaml"]


def test_a_table_beside_its_template_is_written_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "meter.yaml").write_text("tags: {p: {address: 'input:0'}}\n")
    (tmp_path / "meter.csv").write_text("name,address\np,input:0\n")
    code, lines, _ = call(capsys, tmp_path, "--json", "--out", tmp_path / "out")
    assert code == 0 and [line["map"] for line in lines] == ["meter.csv", "meter.yaml"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["meter_csv.yaml", "meter_yaml.yaml"]


def test_what_lies_beside_maps_is_skipped_also_when_a_star_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "simulator").mkdir()
    beside = ("README.md", "LICENSE.upstream.txt", "schema.json", "simulator/setup.json")
    for name in beside:
        (tmp_path / name).write_text("{}")
    (tmp_path / "meter.yaml").write_text("tags: {p: {address: 'input:0'}}\n")
    code, lines, err = call(capsys, *(tmp_path / name for name in (*beside, "meter.yaml")), "--json")
    assert code == 0 and [line["map"] for line in lines] == ["meter.yaml"]
    assert all(f"{tmp_path / name}: skipped" in err for name in beside)
    (tmp_path / "other.json").write_text("{}")
    assert call(capsys, tmp_path / "other.json", "--json")[0] == 1


def test_what_is_written_is_read_back_exactly_by_a_site_that_uses_it(tmp_path: Path) -> None:
    for name, text in (("a.json", json.dumps(SUNSPEC)), ("b.yaml", INVERTER), ("c.csv", TABLE)):
        found = read(tmp_path, name, text)[0]
        assert in_memory(config_of(found, tmp_path)) == []
        assert asyncio.run(over_the_wire(found, tmp_path)) == []


@pytest.mark.parametrize(
    ("name", "text", "row", "said"),
    [
        ("a.json", "{", 1, "is not JSON"),
        ("a.json", "[" * 100_000, 1, "is not JSON"),
        ("a.json", '{"group": {"points": 1}}', "?", "a group needs lists of points and groups"),
        ("a.json", '{"id": 1, "group": 5}', "group", "must be a group"),
        ("a.json", '{"group": {"name": "g", "points": [{"name": "x", "type": "uint9", "size": 1}]}}', "g.x", "'uint9'"),
        (
            "a.json",
            '{"group": {"name": "g", "points": [{"name": "x", "type": "int32", "size": 1}]}}',
            "g.x",
            "2 registers",
        ),
        ("a.json", '{"group": {"name": "g", "points": [7]}}', "g.points[0]", "a point needs name, type and size"),
        (
            "a.json",
            '{"group": {"name": "g", "points": [{"name": "x", "type": "int16", "size": 1, "sf": "y"}]}}',
            "g.x",
            "its scale factor 'y' is no point",
        ),
        (
            "a.json",
            '{"group": {"name": "g", "points": [{"name": "x", "type": "uint16", "size": 1, "count": 3}]}}',
            "g.x",
            "an array of points is not known here",
        ),
        (
            "a.json",
            '{"group": {"name": "g", "groups": [{"name": "r", "count": 1000000000, "points": '
            '[{"name": "x", "type": "uint16", "size": 1}]}]}}',
            "g.r.x",
            "more than 5,000 tags",
        ),
        ("a.json", '{"id": ' + "9" * 10_000 + ', "group": 1}', 1, "is not JSON"),
        ("a.json", '{"a": 1}', 1, "is no register map: JSON, but no SunSpec model"),
        ("a.yaml", "a: 1", 1, "is no register map: YAML"),
        ("a.yaml", "parameters: [\n", 2, "not YAML"),
        ("a.yaml", "parameters: 5", 1, "`parameters` must be a list"),
        (
            "a.yaml",
            "parameters:\n  - items:\n      - {name: x, rule: 11, registers: [1]}",
            3,
            "`rule` must be a number from 0 to 10",
        ),
        (
            "a.yaml",
            "parameters:\n  - items:\n      - {name: x, rule: 1, registers: [70000]}",
            3,
            "`registers` must list",
        ),
        (
            "a.yaml",
            "parameters:\n  - items:\n      - {name: x, rule: 1, registers: [1], scale: fast}",
            3,
            "`scale` must be a number",
        ),
        ("a.yaml", "parameters:\n  - items:\n      - {name: x, rule: 1, registers: [1], scale: 0}", 3, "a scale of 0"),
        ("a.yaml", "parameters:\n  - items:\n      - {name: x, rule: 1, registers: [1], code: 6}", 3, "function code"),
        ("a.yaml", "parameters:\n  - items: []", 1, "it has no rows"),
        ("a.yaml", "tags:\n  a: {adress: 1}\n", 2, "adress: is no option of a tag, did you mean 'address'?"),
        ("a.yaml", "tags:\n  a b: {address: 'coil:1'}\n", 2, "is no name"),
        ("a.yaml", "url: x\ntags: {a: {address: 'coil:1'}}\n", 1, "unknown option 'url' of a template"),
        ("a.yaml", "tags: {a: {address: 'coil:1'}}\nmax_registers: 999\n", 2, "max_registers: must be less than"),
        ("a.yaml", "tags: {a: {address: 'coil:1'}}\nholes: [x]\n", 2, "holes.0: "),
        ("a.csv", "a,b\n1,2\n", 1, "is no register map: CSV"),
        ("a.csv", TABLE + "meter-a,Maker\n", 7, "has 2 columns, not 10"),
        (
            "a.csv",
            "\n".join(TABLE.splitlines()[:1]) + "\n,M,A,grid,power,1,holding,int16,,\n",
            2,
            "its template is not told",
        ),
        ("a.csv", TABLE + "meter-a,M,A,grid,power,12,holding,int33,,\n", 7, "decode: 'int33' is not known here"),
        ("a.csv", TABLE + "meter-a,M,A,grid,power,12,holding,int16,x,\n", 7, "scale: 'x' is no number"),
        ("a.csv", TABLE + "meter-a,M,A,grid,power,65535,holding,int32,,\n", 7, "runs past the last register"),
        ("a.csv", TABLE + "meter-a,M,A,grid,power,1e5,holding,int32,nan,\n", 7, "address: '1e5'"),
        ("a.csv", TABLE + "meter-a,M,A,grid,power,1,holding,int32,nan,\n", 7, "scale"),
        ("a.txt", "x", 1, "is no register map: no .json"),
    ],
)
def test_a_map_that_is_wrong_is_refused_by_row(tmp_path: Path, name: str, text: str, row: Any, said: str) -> None:
    found = read(tmp_path, name, text)[0]
    assert not found.ok
    assert any(fault.row == row and said in str(fault) for fault in found.faults), found.faults[:3]


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "big.csv").write_bytes(b"x" * 5_000_000)
    (tmp_path / "torn.csv").write_bytes(TABLE.encode() + b"\xff\xfe")
    (tmp_path / "torn.json").write_bytes(b"\xff{}")
    (tmp_path / "head.csv").write_text(TABLE.splitlines()[0])
    for name in ("empty.yaml", "empty.csv"):
        (tmp_path / name).touch()
    said = {
        name: find.maps(tmp_path / name, name, How())[0].faults  # type: ignore[union-attr]
        for name in ("big.csv", "torn.csv", "torn.json", "absent.json", "empty.yaml", "empty.csv", "head.csv")
    }
    assert "larger than" in said["big.csv"][0][1] and "not UTF-8" in said["torn.csv"][0][1]
    assert said["torn.csv"][0][0] == 7 and all("is empty" in said[f"empty{end}"][0][1] for end in (".yaml", ".csv"))
    assert "not UTF-8" in said["torn.json"][0][1] and "has no rows" in said["head.csv"][0][1]
    assert "there is no such file" in said["absent.json"][0][1]


def test_a_folder_is_walked_and_each_map_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    box = tmp_path / "box"
    (box / "deep").mkdir(parents=True)
    (box / "README.md").write_text("x")
    (box / "schema.json").write_text('{"$schema": "x", "definitions": {}}')
    (box / "deep" / "meter.yaml").write_text("tags: {p: {address: 'input:0', type: float32}}\n")
    (box / "registers.csv").write_text(TABLE)
    code, lines, err = call(capsys, box, "--json")
    assert code == 1
    assert [(line["map"], line["ok"], line["tags"]) for line in lines] == [
        ("deep/meter.yaml", True, 1),
        ("registers.csv:meter-a", True, 3),
        ("registers.csv:meter-b", False, 0),
    ]
    assert lines[2]["faults"][0]["row"] == 6
    assert "README.md: skipped" in err and "schema.json: skipped" in err and "maps: 3, loaded: 2" in err
    (box / "registers.csv").write_text(TABLE.rpartition("meter-b")[0])
    code, lines, err = call(capsys, box, "--json", "--out", tmp_path / "out")
    assert code == 0 and (tmp_path / "out" / "registers" / "meter_a.yaml").is_file()
    site = tmp_path / "site.yaml"
    site.write_text(
        "device: {id: d}\ndrivers: {x: {driver: modbus, url: tcp://a, template: out/registers/meter_a.yaml}, "
        "y: {driver: modbus, url: tcp://b, template: out/deep/meter.yaml}}\n"
    )
    config = load(site)
    assert not config.problems and config.points()["x.grid_power"].unit == "W"
    code, lines, _ = call(capsys, box, "--json", "--out", tmp_path / "out")
    assert code == 1 and all("is there already" in line["faults"][0]["message"] for line in lines)


def test_a_group_that_no_map_has_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.json").write_text(json.dumps(SUNSPEC))
    words = ("--json", "--repeat", "module=2", "--repeat", "modul=4")
    code, (line,), err = call(capsys, tmp_path / "model.json", *words)
    assert code == 0 and line["tags"] == 11
    assert "--repeat modul: no group of these maps is called so" in err and "--repeat module:" not in err


def test_without_a_folder_the_templates_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.json").write_text(json.dumps(SUNSPEC))
    assert main(["import", str(tmp_path / "model.json"), "--start", "40100"]) == 0
    shown = capsys.readouterr().out
    assert '  W: {address: "holding:40102", type: int16, scale_from: W_SF, unit: W, none: 0x8000}  # Power\n' in shown
    assert main(["import", str(tmp_path)]) == 0
    (tmp_path / "empty").mkdir()
    assert main(["import", str(tmp_path / "empty")]) == 2
    assert "no register map was found" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--start", "70000"], "'70000' is no register; write a number from 0 to 65535"),
        (["--start", "0123"], "is no register"),
        (["--repeat", "module"], "'module' does not say how often; write GROUP=N, as in module=4"),
        (["--repeat", "module=0"], "does not say how often"),
    ],
)
def test_options_that_cannot_be_are_refused(
    tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", str(tmp_path), *words]) == 2
    assert said in capsys.readouterr().err


def test_names_are_names_of_expressions() -> None:
    assert [as_name(n) for n in ("PV1 Power (W)", "1st", "", "in", "Leistung", "电压", "ＡＢ")] == [
        "pv1_power_w",
        "tag_1st",
        "tag",
        "in_",
        "leistung",
        "电压",
        "ab",
    ]


def test_half_a_character_ends_neither_its_map_nor_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = json.dumps(SUNSPEC).replace('"units": "W"', '"units": "\\ud800"').replace("Power", "\\udfff")
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(model)
    code, lines, _ = call(capsys, tmp_path, "--json", "--out", tmp_path / "out")
    assert code == 0 and [line["ok"] for line in lines] == [True, True]
    assert "unit: ?" in (tmp_path / "out" / "a.yaml").read_text() or '"?"' in (tmp_path / "out" / "a.yaml").read_text()


def test_hostile_text_stays_text_in_the_template(tmp_path: Path) -> None:
    model = json.loads(json.dumps(SUNSPEC))
    model["group"]["label"] = "x\ntags: {}"
    model["group"]["points"][2] |= {"units": 'W"\n}: !include /etc/passwd #', "label": "a\nb: c\u2028d"}
    (found,) = read(tmp_path, "model.json", json.dumps(model))
    assert config_of(found, tmp_path).tags["W"].unit == 'W"\n}: !include /etc/passwd #'


def test_the_real_maps_load_and_read_back_exactly(data: Path, tmp_path: Path) -> None:
    folder = data / "device-maps"
    if not folder.is_dir():
        pytest.skip("the device maps are not on this machine (set DATA=folder)")
    found = list(maps(folder))
    refused = [m for m in found if not m.ok]
    assert len(found) >= 190 and len(refused) <= 0.05 * len(found), [m.faults[0] for m in refused]
    assert all(fault.row and fault.message for m in refused for fault in m.faults)
    assert {m.name: f for m in found if m.ok and (f := in_memory(config_of(m, tmp_path)))} == {}
