"""Fault cases: read, found, told after an alarm."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge import ConfigFault, Event, ManualClock, Tag, TagTable, elsewhere, plugins
from edge.cases.case import Case
from edge.cases.files import OF_PLANE, joined, merged, packed, parse, read, text_of, unpacked, write
from edge.cases.nearest import Known, Seen
from edge.cases.words import asked
from edge.cli import main
from edge.config.load import load, load_text
from edge.flow import Flow
from edge.health import Health
from edge.journal import Journal
from edge.rehearse import Kept, rehearse
from edge.stage import Setting
from edge.state import state_folder
from models.cases import command
from models.cases.stage import Cases, CasesConfig

PAGE = (Path(__file__).parents[2] / "docs" / "cases.md").read_text("utf-8")
SITE, FILE, _ = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
TABLE = TagTable([Tag("pump.flow", 1, source="pump"), Tag("pump.current", 2, source="pump")])


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plugins._extra, ("stages", "cases"), Cases)
    monkeypatch.setitem(plugins._extra, ("commands", "cases"), command)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LINESIDE_STATE", str(tmp_path / "state"))
    (tmp_path / "site.yaml").write_text(SITE, "utf-8")
    (tmp_path / "cases.yaml").write_text(FILE, "utf-8")
    return tmp_path / "site.yaml"


def case(name: str, **said: Any) -> Case:
    return Case.model_validate({"id": name, "symptom": "-", **said})


def test_the_page_holds(site: Path) -> None:
    config = load(site)
    assert not config.problems, config.problems
    assert [rehearse(config, test).faults for test in config.tests] == [[]]
    state = state_folder(config.device.id)
    state.mkdir(parents=True)
    (state / OF_PLANE).write_bytes(joined([packed(case("W", signature={"alarm": "no_flow"}))]))
    (site.parent / "cases.yaml").write_text(
        FILE.replace("alarm: no_flow", "alarm: other").replace("the pump runs and nothing flows", "noise"), "utf-8"
    )
    assert "happened no_flow raised" in rehearse(config, config.tests[0]).faults[0]


@pytest.mark.parametrize("name", ["c.yaml", "c.json", "c.csv"])
def test_what_is_written_is_read_again(tmp_path: Path, name: str) -> None:
    told = {"cause": "=1+1", "remedy": 'a, "b"\n再次', "parts": ["x 1", "y"], "pictures": ["0" * 64], "source": "-me"}
    cases = [
        case("A 1", signature={"alarm": "hot", "shares": {"p.a": -1.02, "b": 1e-3}}, **told),
        case("乙", asset="p"),
    ]
    write(tmp_path / name, cases)
    assert read(tmp_path / name) == cases
    assert [path.name for path in tmp_path.iterdir()] == [name]
    if name == "c.csv":  # no formula for who opens it in a spreadsheet
        assert ",=1" not in (tmp_path / name).read_text("utf-8") and "'-me" in (tmp_path / name).read_text("utf-8")


def test_a_write_that_fails_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    write(path, [case("A")])
    with pytest.raises(ConfigFault, match="larger than can be read again"):
        write(path, [case(f"{i}", cause="x" * 2000) for i in range(600)])
    assert read(path) == [case("A")]
    with pytest.raises(FileNotFoundError) as missing:
        write(tmp_path / "none" / "c.json", [case("A")])
    assert missing.value.filename == str(tmp_path / "none" / "c.json")


BAD = """cases:
  - id: A
    symptoms: x
    signature: {alarm: 3, shares: {flow: 200, p: 0}}
  - id: A
    symptom: "\\e[31m red"
    parts: [a;b]
    pictures: [abc]
  - symptom: " "
  - {id: B, symptom: x, signature: {shares: {p: 0}}}
"""


def test_every_fault_is_told_at_once_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(BAD, "utf-8")
    with pytest.raises(ConfigFault) as fault:
        read(tmp_path / "bad.yaml")
    told = [line.partition("bad.yaml:")[2] for line in str(fault.value).splitlines()]
    for wanted in (
        "3:5: cases.0.symptoms: unknown option 'symptoms', did you mean 'symptom'?",
        "4:24: cases.0.signature.alarm: must be text, not 3",
        "4:42: cases.0.signature.shares.flow: must be less than or equal to 100, not 200",
        "5:9: cases.1.id: 'A' stands twice, first in line 2",
        "6:14: cases.1.symptom: holds control characters; remove them",
        "7:13: cases.1.parts.0: 'a;b' has to be one line without a semicolon, and no blanks around it",
        "8:16: cases.1.pictures.0: 'abc' is no SHA-256: 64 of 0-9 and a-f",
        "9:5: cases.2.id: is missing, it belongs under cases.2",
        "9:14: cases.2.symptom: is empty; say what is seen, heard, smelled",
        "10:45: cases.3.signature.shares: all of them are 0, which looks like nothing",
    ):
        assert wanted in told
    assert len(told) == 10


@pytest.mark.parametrize(
    "name, body, wanted",
    [
        ("c.csv", b"id,symptom,colour\nA,x,red\n", "c.csv:1:1: unknown column 'colour', there are id"),
        ("c.csv", b"id,symptom,part\nA,x,red\n", "unknown column 'part', did you mean 'parts'?"),
        ("c.csv", b"id,id\nA,x\n", "the column 'id' stands twice"),
        ("c.csv", b'id,symptom\nA,"x\ny"\nB,p,q\n', "c.csv:4:1: cases.1: has more cells than the first line"),
        ("c.csv", b"id,symptom,shares\nA,x,flow=much\n", "'flow=much' is no share of a tag, write flow=-0.7"),
        ("c.csv", b"id,symptom,shares\nA,x,flow=nan\n", "'flow=nan' is no share"),
        ("c.csv", b"id,symptom,shares\nA,x,flow=1; flow=2\n", "'flow' has two shares"),
        ("c.csv", b"id,symptom\n\n,\n\nA,\n", "c.csv:5:2: cases.0.symptom: is missing"),
        ("c.csv", b'id,symptom\nA,"x" y\n', "c.csv:2:1: not CSV"),
        ("c.csv", b"id,symptom\nA,\xd6\xd0\n", "not UTF-8 text, save it as CSV UTF-8"),
        ("c.csv", b"x" * 1_000_001, "is larger than 1,000,000 bytes"),
        ("c.json", b"[1]", "holds no cases, begin with `cases:`"),
        ("c.yaml", b"", "holds no cases, begin with `cases:`"),
        ("c.yaml", b"cases:\n" + b"- {}\n" * 2001, "takes at most 2000, not 2001"),
        ("c.xls", b"", "its name has to end with .yaml, .yml, .json, .csv"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, name: str, body: bytes, wanted: str) -> None:
    (tmp_path / name).write_bytes(body)
    with pytest.raises(ConfigFault) as fault:
        read(tmp_path / name)
    assert wanted in str(fault.value)


def test_what_was_sent_reads_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "hidden.yaml").write_text("of another", "utf-8")
    sent = f"cases: [{{id: A, symptom: !include {tmp_path}/hidden.yaml}}]".encode()
    with pytest.raises(ConfigFault, match="what is sent to a device is one document"):
        parse(sent, "sent.yaml")
    with pytest.raises(ConfigFault, match=r"sent\.json:1:1: not UTF-8 text, save it as UTF-8"):
        parse(b"\xff", "sent.json")


def test_a_fault_of_a_table_says_row_and_column() -> None:
    with pytest.raises(ConfigFault) as fault:
        parse(b"id,symptom,pictures\nA,x,\nB,,abc\n", "c.csv")
    assert [line.partition(": ")[0] for line in str(fault.value).splitlines()] == ["c.csv:3:2", "c.csv:3:3"]


def test_what_goes_to_a_device_comes_back_or_is_refused() -> None:
    cases = [case("A", signature={"shares": {"p.a": -1.0}}), case("乙", parts=["x 1"])]
    body = joined(map(packed, cases))
    assert unpacked(body, "copy") == cases and joined(map(packed, unpacked(body, "copy"))) == body
    for bad, why in (
        (b"x" * 1_000_001, "copy is larger than 1,000,000 bytes"),
        (body[:-2], "copy: Invalid JSON"),
        (body.replace(b'"symptom"', b'"syndrome"'), "copy: cases.0.symptom: Field required"),
        (joined([packed(case("A"))] * 2), "copy holds a case twice"),
    ):
        with pytest.raises(ConfigFault, match=re.escape(why)):
            unpacked(bad, "copy")


def test_a_table_as_spreadsheets_write_it(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_bytes(b'\xef\xbb\xbfid,symptom,parts\r\nA,"x\r\ny",a; b;,,\r\n')
    assert read(tmp_path / "c.csv") == [case("A", symptom="x\ny", parts=["a", "b"])]


@pytest.mark.parametrize("kind", [".csv", ".json", ".yaml"])
def test_every_text_comes_back_as_it_was(kind: str) -> None:
    texts = ("'=1+1", "''-x", "＝1+1", "a\u2028 b", "\t=x ", "x'\ny", "\\ud83d", "😀", "\ufeffa", "~")
    given = [
        case(f"'={n}", symptom=text, parts=["'@x", "-y"], signature={"shares": {"'": 0.1}})
        for n, text in enumerate(texts)
    ]
    said = text_of(given, kind)
    assert parse(said.encode(), f"c{kind}") == given
    assert kind != ".csv" or not re.search('[,\n]"?[=＝]', said), "no formula"


def test_json_of_who_writes_ascii_alone() -> None:
    assert (
        parse(json.dumps({"cases": [{"id": "A", "symptom": "\\ud83d 😀"}]}).encode(), "c.json")[0].symptom
        == "\\ud83d 😀"
    )


def test_a_table_with_semicolons_is_read_as_well() -> None:
    (found,) = parse(b'id;symptom;shares\nA;"x; y";"flow=-0.7; amps=0.2"\n', "c.csv")
    assert (found.symptom, found.signature.shares) == ("x; y", {"flow": -0.7, "amps": 0.2})


def test_half_a_character_is_refused() -> None:
    with pytest.raises(ValueError, match="symptom"):
        case("A", symptom="\ud83d")


def test_words_are_found_in_any_script() -> None:
    known = Known(
        [case("A", symptom="电机轴承过热"), case("B", cause="Bearing without grease"), case("C", symptom="泄漏")]
    )

    def found(words: str) -> list[str]:
        return [one.case.id for one in known.find(words)]

    assert found("轴承") == ["A"] and found("热") == ["A"] and found("漏") == ["C"]  # two characters, and one
    assert found("bear") == ["B"] and found("BEARING, grease!") == ["B"] and found("earing") == []
    assert found("轴承 bearing grease") == ["B", "A"]  # more of the words
    assert found("the") == found("") == found('" OR *') == found("nothing") == []
    assert asked("The NO_FLOW of 轴承过热 is on") == ["flow", "轴承", "承过", "过热"]


def test_shares_tell_which_way_a_tag_went_and_of_which_asset() -> None:
    cases = [
        case("closed", asset="water_pump", signature={"shares": {"flow": -0.8, "current": -0.2}}),
        case("burst", asset="water_pump", signature={"shares": {"flow": 0.9, "current": 0.1}}),
        case("fan", asset="fan", signature={"shares": {"flow": -1}}),
        case("whole", signature={"shares": {"p2.flow": -1, "x.y": 0.2}}),
        case("full", asset="fan", signature={"shares": {"f.flow": -0.9, "x.y": 0.5}}),
    ]
    known = Known(cases, {"p1": "water_pump", "p2": "water_pump", "f": "fan"})

    def near(**shares: float) -> list[tuple[str, float]]:
        named = {name.replace("_", "."): share for name, share in shares.items()}
        return [(one.case.id, round(one.near, 2)) for one in known.nearest(Seen("health", shares=named))]

    assert near(p1_flow=-0.7, p1_current=-0.3) == [("closed", 0.99)]
    assert near(p2_flow=-1.0) == [("whole", 0.98), ("closed", 0.97)]
    assert near(p1_flow=0.5) == [("burst", 0.99)]
    assert near(f_flow=-0.2) == [("fan", 1.0), ("full", 0.87)]
    assert near(p3_flow=-1.0) == []


def test_a_case_without_an_alarm_names_none() -> None:
    (one,) = Known([case("A", signature={"shares": {"flow": 0.6, "amps": 0.8}})]).nearest(
        Seen("", shares={"amps": 1.0})
    )
    assert (round(one.near, 2), one.why) == (0.8, ("tags 80% alike",))


def test_an_alarm_counts_with_shares_and_above_words() -> None:
    words = {"symptom": "nothing flows", "asset": "pump"}
    cases = [
        case("words", **words),
        case("named", signature={"alarm": "dry"}),
        case("both", signature={"alarm": "dry", "shares": {"pump.flow": -1}}),
        case("unlike", signature={"alarm": "dry", "shares": {"pump.flow": 1}}),
    ]
    seen = Seen("dry", "nothing flows", {"pump.flow": -1.0}, {"pump.flow"})
    found = Known(cases).nearest(seen, most=9)
    assert [(one.case.id, one.near) for one in found] == [("named", 1), ("both", 1), ("words", 0.8), ("unlike", 0.5)]
    assert found[1].why == ("names dry", "tags 100% alike") and found[2].why == ("all words", "asset pump")
    assert [one.near for one in Known(cases[:1]).nearest(Seen("x", "nothing flows"))] == [0.6]
    assert Known(cases).nearest(Seen("x", "nothing else at all")) == []


def rig(folder: Path, text: str = FILE, **options: Any) -> tuple[Flow, Kept, list[Any]]:
    (folder / "cases.yaml").write_text(text, "utf-8")
    config = CasesConfig(stage="cases", file="cases.yaml", assets={"pump": "water_pump"}, **options)
    kept, clock, jobs = Kept(), ManualClock(), []
    stage = Cases(config, Setting("known", TABLE, folder, state=folder))
    flow = Flow(TABLE, [("known", stage)], kept, clock, Health(clock), submit=lambda *job: jobs.append(job))
    return flow, kept, jobs


def anomaly(state: str = "raised") -> Event:
    reasons = [
        {"tag": "pump.flow", "share": 0.9, "deviation": -7.0},
        {"tag": "pump.current", "share": 0.1, "deviation": -2},
    ]
    return Event(
        "anomaly", "health", state, 5, "medium", "unlike normal: …", {"reasons": reasons} if state == "raised" else {}
    )


def alarm(key: str, when: str, text: str = "") -> Event:
    return Event("alarm", key, "raised", 6, "medium", text, {"when": when})


def work(jobs: list[Any]) -> None:
    while jobs:
        job, done = jobs.pop(0)
        done(list(job.run()))


def test_an_anomaly_brings_its_case_and_so_does_the_alarm_on_it(tmp_path: Path) -> None:
    flow, kept, jobs = rig(tmp_path)
    flow.accept(anomaly())
    on_it = alarm("unlike", "health.alarm > 0", "Look at it: unlike normal: …")
    flow.accept(replace(on_it, data={**on_it.data, "reasons": anomaly().data["reasons"]}))
    assert len(jobs) == 1  # which looks up both
    work(jobs)
    first, second = (event for event in kept.events if event.kind == "cases")
    assert (first.key, first.state, first.ts) == ("known.health", "found", 5) and second.key == "known.unlike"
    (told,) = first.data["cases"]
    assert (told["id"], told["remedy"], told["why"]) == ("P-021", "打开阀门", ["tags 99% alike"])
    assert (
        first.text
        == second.text
        == "like P-021 (99%): 流量下降，电机电流偏低; its cause: 出口阀门关闭; what helped: 打开阀门"
    )
    raised = next(event for event in kept.events if event.kind == "anomaly")
    assert first.data["raised"] == raised.id and first.data["about"] == "anomaly"


def test_what_the_pool_gave_up_is_looked_up_with_the_next_alarm(tmp_path: Path) -> None:
    flow, kept, jobs = rig(tmp_path)
    for state in ("acked", "cleared", "shelved"):
        flow.accept(replace(alarm("no_flow", "pump.flow < 5"), state=state))
    assert not jobs  # nothing was raised
    flow.accept(alarm("no_flow", "pump.flow < 5"))
    job, done = jobs.pop()
    done(list(job.expired()))
    flow.accept(alarm("other", "pump.flow < 5"))
    work(jobs)
    assert [event.key for event in kept.events if event.kind == "cases"] == ["known.no_flow"]


def test_a_long_text_is_cut_for_the_event_alone(tmp_path: Path) -> None:
    flow, kept, jobs = rig(tmp_path, FILE.replace("cause: air", f"cause: {'air ' * 400}"))
    flow.accept(alarm("no_flow", "pump.flow < 5"))
    work(jobs)
    assert len(kept.events[-1].data["cases"][0]["cause"]) == 300 and kept.events[-1].text.count("…") == 1


def test_the_plane_s_copy_and_an_import_are_known_with_the_next_alarm(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def copy(*cases: Case) -> None:
        (tmp_path / "copy.new").write_bytes(joined(map(packed, cases)))
        (tmp_path / "copy.new").replace(tmp_path / OF_PLANE)

    def found(key: str) -> list[str]:
        flow.accept(alarm(key, "pump.flow < 5"))
        work(jobs)
        return [event.data["cases"][0]["cause"] for event in kept.events if event.kind == "cases" and key in event.key]

    flow, kept, jobs = rig(tmp_path)
    assert found("wet") == []
    copy(case("W", cause="of the plane", signature={"alarm": "wet"}), case("P-017", signature={"alarm": "no_flow"}))
    assert found("wet") == ["of the plane"]
    assert found("no_flow") == ["air in the suction line"], "the site's own case counts where both have one"
    write(tmp_path / "cases.yaml", [case("N", cause="imported", signature={"alarm": "new"})])
    assert found("new") == ["imported"] and found("no_flow")[1:] == [""], "and now the plane's does"
    (tmp_path / OF_PLANE).write_bytes(b"{")
    (tmp_path / "cases.yaml").write_text("cases: [{id: X}]", "utf-8")
    assert found("wet")[1:] == ["of the plane"] and found("new")[1:] == ["imported"]
    assert caplog.text.count("what was known before stays") == 2
    (tmp_path / OF_PLANE).unlink()
    assert found("wet")[2:] == []
    assert caplog.text.count("what was known before stays") == 2, "said once"


def test_a_site_without_cases_of_its_own_has_the_plane_s(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def known() -> list[str]:
        stage = Cases(CasesConfig(stage="cases"), Setting("known", TABLE, tmp_path, state=tmp_path))
        return [case.id for case in stage.knowledge.known.cases]

    assert known() == []
    (tmp_path / OF_PLANE).write_bytes(joined([packed(case("W"))]))
    assert known() == ["W"]
    (tmp_path / OF_PLANE).write_bytes(b"{")
    assert known() == [] and "what was known before stays: plane-cases.json: Invalid JSON" in caplog.text


def test_a_stage_without_its_file_or_with_a_strange_asset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigFault, match=r"there is no .*cases.yaml \(`lineside cases SITE --import FILE` makes it\)"):
        Cases(CasesConfig(stage="cases", file="cases.yaml"), Setting("known", TABLE, tmp_path))
    with pytest.raises(ConfigFault, match=r"assets: no tag begins with pumpe\. "):
        Cases(CasesConfig(stage="cases", file="cases.yaml", assets={"pumpe": "x"}), Setting("known", TABLE, tmp_path))


@pytest.mark.parametrize(
    "sync", ["", "sync: {url: 'https://plane'}", "sync: {url: 'https://plane', installs: [cases]}", "sync: {url: 1}"]
)
def test_a_stage_that_can_know_no_case_is_a_fault_of_the_site(sync: str) -> None:
    text = f"device: {{id: d}}\ndrivers: {{}}\nstages: {{known: {{stage: cases}}}}\n{sync}\n"
    config = load_text(text)
    said = [str(problem) for problem in config.problems if problem.place.line == 3]
    if "cases]" in sync or "1}" in sync:
        assert not said and len(config.problems) == ("1}" in sync)
    else:
        assert (
            len(said) == 1
            and "stages.known: it knows no case and gets none" in said[0]
            and "installs: [cases]" in said[0]
        )
        with elsewhere():  # on the plane, which knows nothing of what a device installs
            assert not load_text(text).problems


def test_the_command_finds_imports_and_exports(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*more: str) -> str:
        assert main(["cases", str(site), *more]) == 0
        return capsys.readouterr().out

    assert [line.partition(" ")[0] for line in said().splitlines() if line[0] != " "] == ["P-017", "P-021"]
    assert json.loads(said("--find", "阀门", "--json"))["id"] == "P-021"
    assert said("--alarm", "no_flow").startswith("P-017  the pump runs and nothing flows  (100%: names no_flow, ")
    out = site.parent / "all.csv"
    said("--export", str(out))
    out.write_text(out.read_text("utf-8").replace("vent the line", "vent it") + "P-099,,,new,,,,,,,\n", "utf-8")
    said("--import", str(out))
    cases = read(site.parent / "cases.yaml")
    assert [one.id for one in cases] == ["P-017", "P-021", "P-099"] and cases[0].remedy.startswith("vent it")
    (site.parent / "cases.yaml").unlink()
    said("--import", str(out))
    assert read(site.parent / "cases.yaml") == read(out)


def test_the_command_knows_what_a_stage_raised_last(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def fill() -> None:
        journal = Journal(site.parent / "journal.db", ManualClock())
        journal.append(events=[replace(anomaly(), id="1"), replace(anomaly("cleared"), id="2")])
        await journal.commit()
        journal.close()

    asyncio.run(fill())
    site.write_text(SITE.replace("alarms:\n", 'alarms:\n  unlike: {when: "health.alarm > 0"}\n'), "utf-8")
    for key in ("health", "unlike"):
        assert main(["cases", str(site), "--state", str(site.parent), "--alarm", key]) == 0
        assert "(99%: tags 99% alike)" in capsys.readouterr().out, key


def test_the_command_refuses(site: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    assert main(["cases", str(site), "--alarm", "no_flo"]) == 2
    assert "no alarm is called 'no_flo'" in (told := capsys.readouterr().err) and "did you mean 'no_flow'?" in told
    with caplog.at_level(logging.INFO):
        assert main(["cases", str(site), "--find", "zebra"]) == 0
    assert "none of 2 cases is like that" in caplog.text + capsys.readouterr().err
    site.write_text(SITE.replace("    file: cases.yaml\n", ""), "utf-8")
    for way in ("--import", "--export"):
        assert main(["cases", str(site), way, str(site.parent / "cases.yaml")]) == 2
        assert "has no cases of its own (say `file: cases.yaml` under its stage)" in capsys.readouterr().err
    site.write_text(
        SITE.replace("stage: cases", "stage: anomaly").replace("file: cases.yaml", "tags: [pump.flow]"), "utf-8"
    )
    assert main(["cases", str(site)]) == 2
    assert capsys.readouterr().err


def test_a_case_that_is_imported_again_takes_its_place() -> None:
    again = case("A", symptom="new")
    assert merged([case("A"), case("B")], [again, case("C")]) == [again, case("B"), case("C")]
