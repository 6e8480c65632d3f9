"""A dossier tells what is there, of one tenant alone; that of a chain tells nothing of a single member."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from edge import Event, LinesideError, encode_event
from edge.cli import main
from sync.control_plane import dossier, tables
from sync.control_plane.database import insert_new
from sync.control_plane.dossier import HOUR, Facts, facts
from sync.control_plane.messages import apply_frames
from sync.control_plane.store import Store
from sync.wire import Frame
from tests.sync.stored import with_store
from tests.sync.tenants import FOREIGN, OWN, settled
from tests.sync.test_page import Ask, Plane, page

UNTIL = time.time_ns() // HOUR * HOUR
SINCE = UNTIL - 10 * HOUR


def test_it_counts_what_happened_in_its_span(database: str) -> None:
    async def work(store: Store) -> None:
        for device, site in (("a", "acme/x"), ("b", "other")):
            row = {"id": device, "secret": "s", "enrolled": SINCE / 1e9 + 7200, "seen": 0.0, "site": site}
            await store.write(lambda c, row=row: insert_new(c, tables.device, [row]))  # type: ignore[misc]
            told = [
                Event("inspection", "top", state, at)
                for state, at in (("ok", SINCE), ("ok", SINCE + 1), ("ng", UNTIL - 1), ("ng", UNTIL), ("ng", SINCE - 1))
            ]
            told += [Event("alarm", "hot", state, SINCE + 5) for state in ("raised", "cleared")]
            frames = [Frame("0" * 16, "event", n, 1, 1, 1, encode_event(e)) for n, e in enumerate(told, 1)]
            await store.write(lambda c, d=device, f=frames: apply_frames(c, d, f))  # type: ignore[misc]
            place = {"device": device, "epoch": "0" * 16, "n": 1, "body": b""}
            rows = [
                {**place, "stream": s, "hour": UNTIL // HOUR - k} for s in ("samples:a", "samples:b") for k in (1, 2, 3)
            ]
            await store.write(lambda c, rows=rows: insert_new(c, tables.rollup, rows))  # type: ignore[misc]
        found = await store.read(lambda c: facts(c, "acme", SINCE, UNTIL))
        assert [one["id"] for one in found.devices] == ["a"]
        assert found.parts == {"a": {"ok": 2, "ng": 1}} and found.faults == {("a", "hot"): 1}
        assert found.hours == {"a": (3, 8)}, "of those since it is enrolled"
        whole = await store.read(lambda c: facts(c, "", SINCE, UNTIL))
        assert set(whole.parts) == {"a", "b"} and whole.figures()["parts judged"] == 6

    with_store(database, work)


def some(devices: int, parts: int) -> Facts:
    out = Facts([{"id": str(k)} for k in range(devices)])
    out.parts = {"0": dossier.Counter(ok=parts)} if parts else {}
    return out


def test_a_figure_of_fewer_than_five_members_is_not_told() -> None:
    ((_, _, rows),) = dossier.of_chain([some(1, 10) for _ in range(4)] + [some(2, 0)])
    assert rows[0] == ("devices", 5, "6") and rows[1] == ("parts judged", "fewer than 5", "not told")
    with pytest.raises(LinesideError, match="a chain of 4 is none"):
        dossier.of_chain([some(1, 10)] * 4)


def test_what_a_device_calls_itself_stays_a_word() -> None:
    told: list[dossier.Table] = [("Faults", ("device", "alarm"), [("d", "<script>x</script> | y\n# z")])]
    title = dossier.head("acme", SINCE, UNTIL, told)
    assert "<script" not in dossier.as_html(title, told)
    text = dossier.as_markdown(title, told)
    assert "<script" not in text and "\\| y # z |" in text
    assert title == dossier.head("acme", SINCE, UNTIL, told) != dossier.head("acme", SINCE, UNTIL, [])


def test_it_is_printed_for_one_tenant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        await settled(plane)

    page(tmp_path, work)
    here = ["--folder", str(tmp_path / "plane")]
    capsys.readouterr()
    assert main(["plane", "dossier", "acme", *here]) == 0
    said = capsys.readouterr().out
    assert OWN in said and FOREIGN not in said and "## Software" in said
    for words, told in (
        (["acme", "other"], "a dossier is of one node"),
        (["--chain", "a", "b"], "a chain of 2 is none"),
        (["--chain", "a", "a/b", "c", "d", "e"], "stands below another"),
        (["--days", "0"], "1 to 3650"),
        (["--out", "x.pdf"], "FILE.md or FILE.html"),
        (["a//b"], "no place in the tree"),
    ):
        assert main(["plane", "dossier", *words, *here]) == 2
        assert told in capsys.readouterr().err
    assert main(["plane", "dossier", "--out", str(tmp_path / "all.html"), *here]) == 0
    assert {OWN, FOREIGN} <= set(
        (tmp_path / "all.html").read_text().replace("<td>", "\n").replace("</td>", "\n").split("\n")
    )
