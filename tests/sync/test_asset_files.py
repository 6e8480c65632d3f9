"""Assets in files, by `lineside plane assets`: what goes out comes in again, and what is wrong is said with its row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from edge import LinesideError
from edge.cli import main
from sync.control_plane import asset_files
from sync.control_plane.ca import Authority

GIVEN = """id,place,name,class,running,counter,before,begun,rules
P-101,acme/suzhou,'=泵 1,water_pump,,,4200,2025-03-01,oil = 500 hours or 365 days; look = 30 days
F-1,,Fan,,,,,2025-03-01T08:00:00+08:00,
"""


def test_a_file_goes_in_and_out_and_in_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = ["--folder", str(tmp_path / "plane")]
    Authority(tmp_path / "plane")
    (tmp_path / "in.csv").write_text(GIVEN.replace("oil = 500 hours or 365 days", "oil = 365 days"))
    assert main(["plane", "assets", "import", str(tmp_path / "in.csv"), "--at", "acme/wuxi", *here]) == 0
    assert "2 new assets, 0 changed" in capsys.readouterr().out
    for name in ("out.csv", "out.json"):
        assert main(["plane", "assets", "export", str(tmp_path / name), *here]) == 0
        assert main(["plane", "assets", "import", str(tmp_path / name), *here]) == 0
        assert "0 new assets, 2 changed" in capsys.readouterr().out
    first, second = json.loads((tmp_path / "out.json").read_text())
    assert (first["name"], first["begun"], first["before"]) == ("=泵 1", "2025-03-01T00:00:00Z", 4200.0)
    assert first["rules"] == [{"what": "oil", "days": 365.0}, {"what": "look", "days": 30.0}]
    assert (second["place"], second["begun"]) == ("acme/wuxi", "2025-03-01T00:00:00Z")
    text = (tmp_path / "out.csv").read_text("utf-8-sig")
    assert (
        "P-101,acme/suzhou,'=泵 1,water_pump,,,,0.0,,4200.0,2025-03-01T00:00:00Z,,oil = 365 days; look = 30 days"
        in text
    )
    assert main(["plane", "assets", "list", "--at", "acme/wuxi", *here]) == 0
    assert capsys.readouterr().out.split() == ["F-1", "acme/wuxi", "Fan"]
    assert main(["plane", "assets", "orders", str(tmp_path / "orders.csv"), *here]) == 0
    assert (tmp_path / "orders.csv").read_text("utf-8-sig").startswith("number,state,asset,")
    assert main(["plane", "audit", "show", *here]) == 0
    deeds = [json.loads(line)["what"] for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert deeds == ["plane assets import"] * 3
    (tmp_path / "bad.csv").write_text("id,name\nP-200,a\nP-200,b\n")
    assert main(["plane", "assets", "import", str(tmp_path / "bad.csv"), *here]) == 2
    assert ": P-200: it stands twice in the file (first at " in capsys.readouterr().err
    (tmp_path / "bad.csv").write_text("id,device\nP-200,\nP-201,nobody\n")
    assert main(["plane", "assets", "import", str(tmp_path / "bad.csv"), *here]) == 2
    assert ": P-201: nobody is not enrolled here" in capsys.readouterr().err
    assert main(["plane", "assets", "export", str(tmp_path / "now.json"), *here]) == 0
    assert "2 assets are in" in capsys.readouterr().out
    (tmp_path / "some.csv").write_text("id,class\nP-101,\n")
    assert main(["plane", "assets", "import", str(tmp_path / "some.csv"), "--at", "acme", *here]) == 0
    assert main(["plane", "assets", "export", str(tmp_path / "now.json"), *here]) == 0
    first = json.loads((tmp_path / "now.json").read_text())[0]
    assert (first["class"], first["name"], first["place"], len(first["rules"])) == ("", "=泵 1", "acme/suzhou", 2)
    (tmp_path / "twice.csv").write_text("id\nP-300\nP-300\n")
    assert main(["plane", "assets", "import", str(tmp_path / "twice.csv"), *here]) == 2
    assert ": P-300: it stands twice in the file" in capsys.readouterr().err
    for words, told in (
        (["export", "x.pdf"], "FILE.csv or FILE.json"),
        (["import", "none.csv"], "cannot read"),
        (["do"], "how it goes"),
    ):
        assert main(["plane", "assets", *words, *here]) == 2
        assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("a.csv", "id,plase\nP,acme\n", r"a.csv: unknown column 'plase' \(did you mean 'place'\?\)"),
        ("a.csv", "id,id\nP,P\n", "the column 'id' stands twice"),
        ("a.csv", "id\nP,x\n", "a.csv:2: more cells than columns"),
        ("a.csv", "id,before\nP,1\nQ,many\n", "a.csv:3: before: .*number"),
        ("a.csv", "id,begun\nP,soon\n", "a.csv:2: begun: 'soon' is no time; write 2026-03-01"),
        ("a.csv", "id,rules\nP,oil every 5\n", "a.csv:2: rules: 'oil every 5' is none; write: change oil = 500 hours"),
        ("a.csv", "id,rules\nP,oil = x days\n", r"a.csv:2: rules.0.days: .*number"),
        ("a.csv", "place\nacme\n", "a.csv:2: id: Field required"),
        ("a.csv", f"id,begun\nP,{'x' * 9000}\n", r"\Aa.csv:2: begun: 'x{483} …\nnothing of the file is kept\Z"),
        ("a.csv", 'id\n"P', "a.csv:2: not CSV"),
        ("a.csv", 'id,name\n\n,,\nP,"a\nb"\n', "a.csv:4: name: holds control"),
        ("a.json", "{}", "a list of objects"),
        ("a.json", "[{", "not JSON"),
        ("a.json", '[{"id": "P"}, {"id": "", "x": 1}]', r"asset 2: id: .*\na.json: asset 2: x: "),
        ("a.yaml", "", "has to end with .csv or .json"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_row(name: str, body: str, words: str) -> None:
    with pytest.raises(LinesideError, match=words):
        asset_files.read(name, body.encode())
    with pytest.raises(LinesideError, match="not UTF-8"):
        asset_files.read("a.csv", b"id\n\xff")


def test_a_table_of_a_spreadsheet_goes_out_and_in_as_it_was() -> None:
    said = 'id;name;rules\nP-101;\'=x;"oil = 123456,5"\n'.replace("123456,5", "123456.5 hours; look = 0.1 days")
    ((where, one),) = asset_files.read(
        "a.csv", said.replace("id;", "id;running;device;").replace("101;", "101;p.on;g;").encode()
    )
    assert where == "a.csv:2"
    assert (one.name, [rule.hours for rule in one.rules]) == ("=x", [123456.5, None])
    rows = [
        {**one.model_dump(by_alias=True), "begun": 0.0, "name": name, "rules": "[]"} for name in ("'=x", "＝1", "''-")
    ]
    rows[0]["rules"] = '[{"what": "oil", "hours": 123456.5}, {"what": "look", "days": 0.1}]'
    text = asset_files.assets_as("csv", rows)  # type: ignore[arg-type]
    back = asset_files.read("a.csv", text.encode())
    assert [it.asset.name for it in back] == ["'=x", "＝1", "''-"] and back[0].asset.rules == one.rules
    assert "''=x" in text and "'＝1" in text
