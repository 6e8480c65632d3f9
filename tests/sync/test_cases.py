"""Fault cases on the plane: found as on a device, on either database; one tenant's are nobody else's."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import select

from edge import Case, Event, KnownCases, LinesideError, encode_event, read_cases
from edge.cli import main
from sync import wire
from sync.control_plane import assets, cases, tables
from sync.control_plane.asset import Asset
from sync.control_plane.ca import Authority
from sync.control_plane.case_search import found, graph
from sync.control_plane.messages import apply_frames
from sync.control_plane.plane import Plane
from sync.control_plane.store import Store
from tests.sync.tenants import EPOCH, FOREIGN, OWN, picture_of, settled, somebody
from tests.sync.test_page import Ask, page

LINE, ENTERPRISE, OTHER = "acme/suzhou/line-1", "acme", "foreign-corp"


def case(name: str, **said: Any) -> Case:
    return Case.model_validate({"id": name, "symptom": "-", **said})


SOME = [
    case("P-017", symptom="the pump runs, nothing flows", cause="air in the suction line", parts=["gasket 50x70"]),
    case("P-021", asset="water_pump", symptom="电机轴承过热", cause="缺油", remedy="加油", source="order 4711"),
    case("Ü 3", symptom="Überdruck an V2.1: 12bar", cause="缺油", component="valve/ball", remedy="it's open ΠΎΡΓΟΣ"),
    case("x') DROP", symptom='" OR * :* & | !', cause="under_score e-mail@x.y http://a.b/c 1e5 0x1f -3.5"),
]
ASKED = (
    "轴承 motor",
    "油",
    "gask",
    "50x70 flows",
    "über 12bar",
    "4711",
    "x.y",
    "1e5 0x1f",
    "p 017",
    "it's",
    "* OR",
    "πύργοσ Σ",
    "",
)


def test_words_find_the_same_on_both_databases_and_on_a_device(database: str) -> None:
    store = Store(database)
    on_device = KnownCases(SOME)
    with store.writing.begin() as connection:
        cases.take_in(connection, LINE, cases.ready(SOME), "li")
        for words in ASKED:
            here = {row.case.id: share for row, share in found(connection, words)}
            assert here == {one.case.id: one.near for one in on_device.find(words)}, words
        assert [row.case.id for row, _ in found(connection, "油 gasket suction")] == ["P-017", "P-021", "Ü 3"]
        again = SOME[1].model_copy(update={"cause": "grease"})
        assert cases.take_in(connection, LINE, cases.ready([again]), "li")[:2] == (0, 1)
        assert [row.case.id for row, _ in found(connection, "缺油")] == ["Ü 3"]
        assert [row.case.cause for row, _ in found(connection, "greas")] == ["grease"]
        (one,) = [row for row, _ in found(connection, "greas")]
        cases.remove(connection, one.number, one.version)
        assert found(connection, "greas") == []
    store.close()


def test_equal_texts_are_one_node(database: str) -> None:
    store = Store(database)
    with store.writing.begin() as connection:
        cases.take_in(connection, LINE, cases.ready(SOME), "li")
        whole = graph(connection, "", "")
        assert whole["cases"] == 4 and whole["neighbours"]["cause"][0] == {"text": "缺油", "cases": 2}
        node = graph(connection, "cause", "缺油 ")
        assert [one["id"] for one in node["behind"]] == ["P-021", "Ü 3"] and node["cases"] == 2
        assert node["neighbours"]["remedy"] == [{"text": "加油", "cases": 1}, {"text": "it's open ΠΎΡΓΟΣ", "cases": 1}]
        assert node["neighbours"]["asset"] == [{"text": "water_pump", "cases": 1}] and "cause" not in node["neighbours"]
        assert graph(connection, "cause", "nothing")["cases"] == 0
    store.close()


def over_api(folder: Path, work: Callable[[Plane, Callable[..., Awaitable[Any]]], Awaitable[None]]) -> None:
    """`work(plane, ask)`; `ask(who, method, path, json)` returns (status, what was said)."""

    async def main_(plane: Plane, ask: Ask) -> None:
        await settled(plane)
        people = {
            "li": await somebody(plane, "li", ("engineer", ENTERPRISE)),
            "eva": await somebody(plane, "eva", ("engineer", OTHER)),
            "bo": await somebody(plane, "bo", ("engineer", LINE)),
            "wu": await somebody(plane, "wu", ("viewer", "acme/wuxi")),
            "root": await somebody(plane, "root", ("platform_admin", "")),
        }

        async def asks(who: str, method: str, path: str, said: Any = None) -> tuple[int, Any]:
            body = b"" if said is None else json.dumps(said).encode()
            status, answer, _ = await ask(method, path, body, **people[who], Content_Type="application/json")
            plain = path.startswith(("/api/cases/file?", "/api/pictures/"))
            return status, answer.decode() if plain else json.loads(answer or b"null")

        await work(plane, asks)

    page(folder, main_)


def test_a_case_serves_below_its_place_and_no_other_tenant(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Any) -> None:
        async def new(who: str, place: str, name: str) -> tuple[int, Any]:
            return await ask(
                who, "POST", "/api/cases", {"place": place, "case": {"id": name, "symptom": f"{name} hums"}}
            )

        async def seen(who: str, more: str = "") -> list[str]:
            return [one["case"]["id"] for one in (await ask(who, "GET", f"/api/cases?{more}"))[1]]

        for who, place, name in (("root", "", "R"), ("li", ENTERPRISE, "A"), ("bo", LINE, "L"), ("eva", OTHER, "F")):
            assert (await new(who, place, name))[0] == 201
        assert (await new("bo", ENTERPRISE, "B"))[0] == (await new("li", OTHER, "B"))[0] == 403
        assert (await new("li", "", "B"))[0] == 403
        assert (await new("li", ENTERPRISE, "A"))[0] == 409
        assert [await seen(who) for who in ("root", "li", "bo", "eva")] == [
            ["A", "F", "L", "R"],
            ["A", "L", "R"],
            ["A", "L", "R"],
            ["F", "R"],
        ]
        assert await seen("root", f"device={OWN}") == ["A", "L", "R"] and await seen("li", f"at={LINE}") == ["L"]
        assert await seen("li", "find=hums") == ["R", "A", "L"] and await seen("eva", "find=hums") == ["R", "F"]
        assert (await ask("li", "GET", f"/api/cases?device={FOREIGN}"))[0] == 404
        read = {one["case"]["id"]: one for one in (await ask("root", "GET", "/api/cases"))[1]}
        its = {name: f"/api/cases/{one['number']}?version={one['version']}" for name, one in read.items()}
        other = {"id": "A", "symptom": "it hums loud"}
        for who, name, status in (("eva", "A", 404), ("bo", "A", 403), ("li", "A", 200), ("li", "F", 404)):
            assert (await ask(who, "PUT", its[name], other))[0] == status, (who, name)
        for method in ("PUT", "DELETE"):
            status, said = await ask("root", method, its["A"], {**other, "cause": "a bolt"})
            assert status == 409 and said["detail"].startswith("li has written this case anew since you read it")
            assert (await ask("root", method, its["A"].partition("?")[0], other))[0] == 422, "of which version?"
        row = (await ask("bo", "GET", its["A"]))[1]
        assert row["version"] not in its["A"]
        assert (row["place"], row["by"], row["case"]["symptom"]) == (ENTERPRISE, "li", "it hums loud")
        for who, name, status in (("eva", "L", 404), ("bo", "R", 403), ("bo", "L", 204), ("bo", "L", 404)):
            assert (await ask(who, "DELETE", its[name]))[0] == status, (who, name)
        assert (await ask("eva", "GET", "/api/cases/graph"))[1]["cases"] == 2
        files = [(await ask(who, "GET", f"/api/cases/file?at={ENTERPRISE}"))[1] for who in ("bo", "eva")]
        assert ["loud" in file for file in files] == [True, False]
        assert (await ask("eva", "GET", "/api/cases/graph?kind=symptom&text=it%20hums%20loud"))[1]["behind"] == []
        t = tables.audit
        rows = await plane.store.read(lambda c: c.execute(select(t).where(t.c.result.like("2__"))).mappings().all())
        last = [row for row in rows if "case" in row["about"]][-2:]
        assert [(row["who"], row["what"], row["about"], row["place"]) for row in last] == [
            ("li", "PUT /api/cases/{number}", "case A", ENTERPRISE),
            ("bo", "DELETE /api/cases/{number}", "case L", LINE),
        ]
        assert all(row["before"] != row["after"] for row in last) and last[0]["after"]

    over_api(tmp_path, work)


def test_a_file_is_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Any) -> None:
        async def given(body: str, kind: str = "csv", place: str = LINE) -> tuple[int, Any]:
            file = {"place": place, "kind": kind, "body": body, "name": "found.csv"}
            return await ask("li", "POST", "/api/cases/file", file)

        bad = "id,symptom,shares\nA,it hums,\nB,,flow=much\n"
        status, said = await given(bad)
        assert status == 422 and said["detail"].splitlines() == [
            "found.csv:3:2: cases.1.symptom: is missing, it belongs under cases.1",
            "found.csv:3:3: cases.1.signature.shares: 'flow=much' is no share of a tag, write flow=-0.7; current=0.2",
        ]
        assert (await given("cases: [{id: A, symptom: !include /etc/passwd}]", "yaml"))[0] == 422
        assert (await given("id,symptom\nA,x\n", place=OTHER))[0] == 403
        half = {"place": LINE, "case": {"id": "\ud83d", "symptom": "x"}}
        name = {"place": LINE, "kind": "csv", "body": "", "name": "a\x1b[2J.csv"}
        assert [(await ask("li", "POST", *it))[0] for it in (("/api/cases", half), ("/api/cases/file", name))] == [
            422
        ] * 2
        assert (await ask("li", "GET", "/api/cases"))[1] == []
        assert await given("id,symptom,shares\nA,it hums,flow=-0.7\nB,=1+1,\n") == (200, {"new": 2, "anew": 0})
        out = (await ask("li", "GET", f"/api/cases/file?kind=csv&at={LINE}"))[1]
        assert "flow=-0.7" in out and "'=1+1" in out
        assert await given(out) == (200, {"new": 0, "anew": 2})
        kept = (await ask("li", "GET", "/api/cases"))[1]
        assert [one["case"]["symptom"] for one in kept] == ["it hums", "=1+1"]
        status, found = await ask("li", "GET", "/api/cases?shares=flow%3D-1")
        assert status == 200 and [(one["case"]["id"], one["near"]) for one in found] == [("A", 1.0)]
        status, said = await given(
            "id,symptom\nA,\ufffd\ufffd\n"
        )  # as the console reads what a spreadsheet saved in GBK
        assert status == 422 and said["detail"] == "found.csv:1:1: not UTF-8 text, save it as CSV UTF-8"
        for shares in ("flow", "flow%3Dnan", "flow%3D1%3Bflow%3D2"):
            assert (await ask("li", "GET", f"/api/cases?shares={shares}"))[0] == 422

    over_api(tmp_path, work)


def test_more_than_a_device_takes_is_refused_wherever_it_comes_together(database: str) -> None:
    store = Store(database)
    many = [case(f"c{n}") for n in range(1990)]
    few = cases.ready([case(f"e{n}") for n in range(20)])

    def takes(place: str, rows: list[dict[str, Any]]) -> None:
        with store.writing.begin() as connection:
            cases.take_in(connection, place, rows, "li")

    takes(LINE, cases.ready(many))
    with pytest.raises(LinesideError, match="acme/suzhou/line-1 would have 2,010 cases"):
        takes(ENTERPRISE, few)
    takes(OTHER, few)
    takes(ENTERPRISE, cases.ready([*many, *(case(f"e{n}") for n in range(10))]))
    with store.writing.begin() as connection:
        assert len(cases.served(connection, LINE)) == 2000, "of one id a device takes the nearest alone"
    with pytest.raises(LinesideError, match="acme/suzhou would have 2,001 cases"):
        takes(f"{ENTERPRISE}/suzhou", cases.ready([case("c1"), case("one more")]))
    with pytest.raises(LinesideError, match=r"1,0.. cases, 1,.* bytes"):
        takes("wide", cases.ready([case(f"c{n}", cause="x" * 950) for n in range(1050)]))
    store.close()


REASONS = [
    {"tag": "p.one.flow", "share": 0.812, "deviation": -7},
    {"tag": "p.one.amps", "share": 0.2, "deviation": 1},
    {"tag": "p.one.hum", "share": 0.001, "deviation": 1},
]
ALARMS: list[tuple[dict[str, Any], str, dict[str, float]]] = [  # what it says, its asset, its shares
    ({"when": "pump.flow < 5"}, "pump", {}),
    ({"when": "a.x > b.y"}, "", {}),
    ({"when": "health.alarm > 0", "reasons": REASONS}, "p.one", {"flow": -0.81, "amps": 0.2}),
    ({"when": 7, "reasons": [{"tag": 3}]}, "", {}),  # what a device says may be anything
    ({"reasons": [{"tag": "a.b", "share": "x", "deviation": 1}]}, "", {}),
    ({"reasons": [{"tag": "a.b", "share": float("nan"), "deviation": 1}]}, "", {}),
    ({"reasons": [{"tag": "a.b", "share": 1e9, "deviation": -1}]}, "a", {"b": -100.0}),
    ({"reasons": 3}, "", {}),
]


def alarm_of(data: dict[str, Any], seq: int) -> wire.Frame:
    event = Event(
        "alarm", f"no_flow{seq}", "raised", time.time_ns(), "high", "nothing  \x1bflows", data, refs=("a" * 64,)
    )
    return wire.Frame(EPOCH, "event", seq, event.ts, event.ts, 1, encode_event(event))


def test_who_sees_a_case_sees_its_pictures_and_nobody_lends_what_they_do_not_see(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Any) -> None:
        its = {OWN: picture_of(OWN), FOREIGN: picture_of(FOREIGN)}
        alarm = {"device": OWN, "epoch": EPOCH, "seq": 2}

        async def kept(name: str, whose: str, **more: Any) -> tuple[int, Any]:
            body = {"id": name, "symptom": "it hums", "pictures": [its[whose]]}
            return await ask("li", "POST", "/api/cases", {"place": ENTERPRISE, "case": body, **more})

        async def shown(who: str, whose: str, number: int) -> int:
            return int((await ask(who, "GET", f"/api/pictures/{its[whose]}?case={number}"))[0])

        status, said = await kept("A", OWN)
        assert status == 403 and said["detail"].startswith(
            f"case A: the picture {its[OWN][:10]} is of no alarm or case"
        )
        assert (await kept("A", OWN, alarm=alarm | {"seq": 1}))[0] == 403, "that one shows another"
        status, case_a = await kept("A", OWN, alarm=alarm)
        assert status == 201 and (await kept("B", OWN))[0] == 201, "a case that they see shows it by now"
        assert (await kept("F", FOREIGN, alarm=alarm | {"device": FOREIGN}))[0] == 403
        path = f"/api/cases/{case_a['number']}?version={case_a['version']}"
        assert (await ask("li", "PUT", path, {**case_a["case"], "pictures": [its[FOREIGN]]}))[0] == 403
        file = {"place": ENTERPRISE, "kind": "csv", "body": f"id,symptom,pictures\nF,x,{its[FOREIGN]}\nG,x,{'b' * 64}"}
        status, said = await ask("li", "POST", "/api/cases/file", file)
        assert status == 403 and said["detail"].startswith("case F: the picture")
        file["body"] = f"id,symptom,pictures\nF,x,{its[OWN]}\nG,x,{'b' * 64}"
        assert (await ask("li", "POST", "/api/cases/file", file))[0] == 200, "what is not here is nobody's"
        of_li = [await shown("wu", OWN, case_a["number"]), await shown("wu", FOREIGN, case_a["number"])]
        assert of_li == [200, 404] and await shown("eva", OWN, case_a["number"]) == 404
        assert [await shown("wu", OWN, 0), await shown("wu", OWN, case_a["number"] + 99)] == [404, 404]
        body = {"id": "R", "symptom": "x", "pictures": [its[FOREIGN]]}
        assert (await ask("root", "POST", "/api/cases", {"place": "", "case": body}))[0] == 201

    over_api(tmp_path, work)


def test_an_alarm_makes_a_draft_that_can_be_kept(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Any) -> None:
        path = f"/api/devices/{OWN}/case?epoch={EPOCH}&seq="
        for seq, (data, asset, shares) in enumerate(ALARMS, 9):
            await plane.store.write(lambda c, d=data, n=seq: apply_frames(c, OWN, [alarm_of(d, n)]))
            status, made = await ask("li", "GET", f"{path}{seq}")
            assert status == 200 and made["place"] == LINE
            draft = made["case"]
            assert (draft["symptom"], draft["asset"]) == ("nothing flows", asset)
            assert draft["signature"] == {"alarm": f"no_flow{seq}", "shares": shares} and draft["pictures"] == [
                "a" * 64
            ]
            given = {"place": LINE, "case": draft, "alarm": made["alarm"]}
            assert (await ask("li", "POST", "/api/cases", given))[0] == 201
            near = (await ask("li", "GET", f"{path}{seq}"))[1]["near"]
            assert (near[0]["id"], near[0]["near"]) == (draft["id"], 1.0)
        assert (await ask("li", "GET", f"{path}2"))[0] == 404, "an inspection is no alarm"
        assert (await ask("eva", "GET", f"{path}9"))[0] == 404

    over_api(tmp_path, work)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_command_keeps_finds_and_exchanges_them(
    tmp_path: Path, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Authority(tmp_path / "plane")
    file = tmp_path / "some.csv"
    file.write_text("id,symptom,cause\nP-1,电机过热,缺油\nP-2,the pump hums,缺油\n", "utf-8")

    def said(*words: str, code: int = 0) -> list[str]:
        assert main(["plane", "cases", "--folder", str(tmp_path / "plane"), *words]) == code
        told = capsys.readouterr()
        return (told.err if code else told.out).splitlines()

    assert said("import", str(file), "--at", "acme") == ["at acme: 2 new, 0 anew; devices that are to have them: 0"]
    (found_,) = map(json.loads, said("find", "过热", "--json"))
    assert found_["case"]["id"] == "P-1" and found_["by"].startswith("local")
    assert said("graph", "cause", "缺油")[0] == "cases with the cause '缺油': 2"
    said("export", str(tmp_path / "all.yaml"), "--at", "acme")
    assert [one.cause for one in read_cases(tmp_path / "all.yaml")] == ["缺油", "缺油"]
    assert "say --at" in said("remove", "P-1", code=2)[0]
    assert said("remove", "P-1", "--at", "acme")[0].startswith("P-1 is no case at acme any more")
    file.write_text("id,symptom\nP-3,x\nP-4,\n", "utf-8")
    assert "some.csv:3:2: cases.1.symptom" in said("import", str(file), code=2)[0]
    assert [line.split()[:2] for line in said()] == [["P-2", "acme"]]
    assert "that is not how it goes" in said("graph", "cost", "x", code=2)[0]
    assert main(["plane", "audit", "--folder", str(tmp_path / "plane"), "show"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["what"].rsplit(" ", 1)[-1], row["place"], row["result"][:7]) for row in rows] == [
        ("import", "acme", "done"),
        ("remove", "", "refused"),
        ("remove", "acme", "done"),
        ("import", "", "refused"),
    ]


def test_what_a_device_reads_is_of_the_class_that_its_asset_says(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Any) -> None:
        closed = {"id": "C", "symptom": "no flow", "asset": "water_pump", "signature": {"shares": {"flow": -1.0}}}
        assert (await ask("li", "POST", "/api/cases", {"place": ENTERPRISE, "case": closed}))[0] == 201
        said = {"reasons": [{"tag": "p.one.flow", "share": 0.9, "deviation": -3}]}
        await plane.store.write(lambda c: apply_frames(c, OWN, [alarm_of(said, 9)]))
        shares = "shares=p.one.flow%3D-1"

        async def near() -> tuple[list[str], list[str], str]:
            made = (await ask("li", "GET", f"/api/devices/{OWN}/case?epoch={EPOCH}&seq=9"))[1]
            found_ = (await ask("li", "GET", f"/api/cases?{shares}&device={OWN}"))[1]
            return [one["id"] for one in made["near"]], [one["case"]["id"] for one in found_], made["case"]["asset"]

        assert await near() == ([], [], "p.one")
        pump = Asset.model_validate({"id": "p1", "place": LINE, "device": OWN, "tags": "p.one", "class": "water_pump"})
        await plane.store.write(lambda c: assets.add(c, pump))
        assert await near() == (["C"], ["C"], "water_pump")
        (one,) = (await ask("li", "GET", "/api/cases?shares=flow%3D-2&asset=water_pump"))[1]
        assert (one["near"], one["why"]) == (1.0, ["tags 100% alike"])

    over_api(tmp_path, work)
