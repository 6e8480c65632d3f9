"""Tags as tables: out into a spreadsheet and in again without loss; every fault with its row and column."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.maps import tags_csv, template
from drivers.modbus.maps.contract import Map
from drivers.modbus.maps.find import How, maps
from edge import read_yaml
from edge.cli import main
from edge.config.load import load
from edge.shipped import folders, templates

SITE = """device: {id: d}
drivers:
  line1:
    driver: modbus
    url: tcp://127.0.0.1:5020
    units:
      meter: {unit: 1, template: three_phase_meter, only: [p, import_kwh], tags: {p: {deadband: 10, stale_after: 9s}}}
  plc:
    driver: modbus
    url: tcp://127.0.0.1:5021
    tags:
      state: {address: 40101, labels: {0: "off; cold", -1: "fault = bad"}, type: int16, writable: {range: [-5, 20.5]}}
      limit: {address: "holding:8", writable: {range: [0, 9], every: 5s, readback: true, expires: 1500ms}}
      part: {address: "holding:9.8..11", none: [0xFFFF, 0x8000]}
      mode: {address: "holding:30", type: text, length: 4, writable: {one_of: [AUTO, "off =1"], readback: true}}
      recipe: {address: "holding:40", type: text, length: 4, writable: {longest: 8}}
      flow: {address: "holding:10", type: signmag32, scale: 0.1}
      odd: {address: "holding:7", type: int32, order: CDAB, scale: 0.1, offset: -100, unit: "=1+1", none: 0x80000000}
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.yaml"
    path.write_text(SITE, "utf-8")
    return path


def test_a_site_becomes_tables_that_become_templates_that_mean_the_same(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, back = site.parent / "tables", site.parent / "back"
    assert main(["import", str(site), "--csv", "--out", str(out)]) == 0
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.csv")) == ["site/line1_meter.csv", "site/plc.csv"]
    table = (out / "site" / "plc.csv").read_bytes()
    assert table.startswith(b"\xef\xbb\xbfname,address,type,order,scale,offset,unit,") and b",'=1+1," in table
    assert main(["import", str(out), "--out", str(back)]) == 0
    again = site.parent / "again.yaml"
    again.write_text(
        "device: {id: d}\ndrivers:\n"
        "  line1: {driver: modbus, url: tcp://a, units: {meter: {unit: 1, template: back/site/line1_meter.yaml}}}\n"
        "  plc: {driver: modbus, url: tcp://b, template: back/site/plc.yaml}\n",
        "utf-8",
    )
    assert not load(again).problems
    assert load(again).points() == load(site).points()
    assert main(["import", str(site), "--csv"]) == 2
    assert "more than one table" in capsys.readouterr().err


@pytest.mark.parametrize("name", templates())
def test_a_template_survives_the_spreadsheet(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = folders()[0] / "templates" / f"{name}.yaml"
    assert main(["import", str(source), "--csv"]) == 0
    table = capsys.readouterr().out
    (tmp_path / "t.csv").write_text(table, newline="")
    assert main(["import", str(tmp_path / "t.csv"), "--out", str(tmp_path / "out")]) == 0
    sites = []
    for number, path in enumerate((source, tmp_path / "out" / "t.yaml")):
        (tmp_path / f"{number}.yaml").write_text(
            f"device: {{id: d}}\ndrivers: {{x: {{driver: modbus, url: tcp://a, template: {path}}}}}\n"
        )
        sites.append(load(tmp_path / f"{number}.yaml"))
    assert not sites[1].problems and sites[0].points() == sites[1].points()


def test_a_table_of_a_european_spreadsheet_is_read() -> None:
    found = tags_csv.read("Name;Address;Scale;Writable;Unit\r\np;holding:1;0,1;0,5..20;°C\r\n\r\n;;;;\r\n", "t.csv")
    assert found.ok, found.faults
    assert found.lines[0].options == {
        "address": "holding:1",
        "scale": 0.1,
        "writable": {"range": [0.5, 20]},
        "unit": "°C",
    }


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("name,adress\n", "1:adress: is no option of a tag, did you mean 'address'?"),
        ("name,address,name\n", "1:name: stands twice"),
        ("name,address,\n", "1:column 3: is no option of a tag"),
        ("name,address\nb,coil:1\na,holdin:1\n", "3:address: 'holdin:1' is no address"),
        ("name,address\na,\n", "2:address: Field required"),
        ("name,address\na b,coil:1\n", "2:name: 'a b' is no name"),
        ("name,address\nin,coil:1\n", "2:name: 'in' is a word of the expressions"),
        ("name,address\na,coil:1\na,coil:2\n", "3:name: 'a' stands twice, first in line 2"),
        ("name,address\na,coil:1,x\n", "2: has 1 columns more than the first line"),
        ("name,address,scale\na,holding:1,ten\n", "2:scale: must be a number, not 'ten'"),
        ("name,address,scale\na,holding:1,0\n", "2: a scale of 0 makes every value 0"),
        ("name,address,type\na,holding:1,int17\n", "2:type: must be 'bool'"),
        ("name,address,labels\na,holding:1,off\n", "2:labels: 'off' is no list of labels; write 0=off; 1=on"),
        ("name,address,writable\na,holding:1,20\n", "2:writable: '20' is no range; write 20..250"),
        ("name,address,writable\na,holding:1,0..9; often=5s\n", "2:writable.often: is no option of"),
        ("name,address,writable\na,holding:1,0..9; every=5\n", "2:writable.every: 5 is no duration"),
        ("name,address,writable\na,holding:1,9..3\n", "2:writable: range runs backwards"),
        ("name,address,scale_from\na,holding:1,b\n", "2:scale_from: no row is called 'b'"),
        ("name,address,unit\na,holding:1," + "x" * 5000 + "\n", "2: a field is longer than 4000"),
        ('name,address\na,"coil:1\n' + "x" * 200_000, "is no row of a table"),
        ("name,address\n", "1: nothing of this map can be read: it has no rows"),
    ],
)
def test_a_fault_names_row_and_column(
    tmp_path: Path, table: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tags.csv").write_text(table)
    assert main(["import", str(tmp_path / "tags.csv")]) == 1
    err = capsys.readouterr().err
    assert said in err and err.startswith("tags.csv:") and "Traceback" not in err


def test_a_site_with_faults_is_refused_by_line(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site.write_text(SITE.replace("unit: 1", "unit: 900"))
    assert main(["import", str(site), "--csv"]) == 1
    assert "site.yaml:7: " in capsys.readouterr().err


def test_a_folder_with_a_site_in_it_is_not_read_as_a_map(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (site.parent / "m.yaml").write_text("tags: {a: {address: 'coil:0'}}\n")
    assert main(["import", str(site.parent)]) == 0
    assert "skipped, a site" in capsys.readouterr().err


@given(st.text(max_size=40), st.dictionaries(st.integers(-5, 70000), st.text(min_size=1, max_size=20), max_size=4))
def test_any_text_survives_template_and_table(unit: str, labels: dict[int, str]) -> None:
    found = Map("x")
    unit = unit.encode(errors="replace").decode()
    labels = {n: t.encode(errors="replace").decode() for n, t in labels.items()}
    found.add("a", {"address": "holding:1", "unit": unit, "labels": labels}, 1)
    assert found.ok
    again = tags_csv.read(tags_csv.text(found), "x")
    assert again.ok, again.faults
    if unit.strip() == unit and not any(
        set(label) & {";", "\0"} or label.strip() != label for label in labels.values()
    ):
        assert again.lines[0].options.get("unit", "") == unit and again.lines[0].options.get("labels", {}) == labels


def test_a_written_template_is_read_as_it_was_meant(tmp_path: Path) -> None:
    found = Map("x", description='a "b": {c} # d\n- e', source="yes")
    options = {"address": "holding:1", "unit": "\x85\u2028\ufeff#: {", "labels": {1: "no", 2: "0x10", 3: "a: b, c}"}}
    found.add("a", options, 1, "comment\n tags: {}")
    path = tmp_path / "t.yaml"
    path.write_text(template.text(found), "utf-8")
    data, faults = read_yaml(path)
    assert not faults and data["description"] == found.description and data["source"] == "yes"
    assert data["tags"]["a"] == options
    (again,) = maps(path, "t.yaml", How())
    assert isinstance(again, Map) and again.ok and again.lines[0].options == options
