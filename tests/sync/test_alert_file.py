"""The section `alerts:` of a plane's file: what is wrong is said with its place, and secrets are not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from edge.cli import main
from sync.control_plane.alert_options import TYPES, MuteOptions, RouteOptions, StepOptions
from sync.control_plane.plane_file import load

GOOD = """
alerts:
  channels:
    group: {type: dingtalk, url: !secret robot, secret: !secret seal, language: zh}
    mail: {type: smtp, host: mail.example, user: me, password: !secret pass, from: a@b.example, to: [c@d.example]}
    hook: {type: webhook, url: "https://mes.example/x", secret: !secret seal}
  routes:
    urgent: {to: [group], severity: [high, critical], hold: 30s, escalate: [{after: 15min, to: [mail]}]}
    rest: {to: [mail], digest: 1h, mute: [{zone: Asia/Shanghai, days: [sat, sun]}, {zone: UTC, until: "2026-12-01 08:00"}]}
"""


@pytest.fixture
def plane(tmp_path: Path) -> Path:
    secrets = {"robot": "https://oapi.dingtalk.com/robot/send?access_token=hunter2", "seal": "SEChunter2hunter2"}
    (tmp_path / "secrets.yaml").write_text(json.dumps(secrets | {"pass": "hunter2", "bad": "ftp://hunter2"}))
    return tmp_path / "plane.yaml"


def test_a_file_with_every_part_is_fine(plane: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plane.write_text(GOOD, "utf-8")
    found = load(plane)
    assert found.faults == []
    assert list(found.alerts.channels) == ["group", "mail", "hook"] and list(found.alerts.routes) == ["urgent", "rest"]
    assert found.alerts.routes["urgent"].channels == ["group", "mail"]
    assert "hunter2" not in repr(found.alerts)
    assert main(["plane", "check", str(plane)]) == 0
    assert "3 channels, 2 routes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "url: !secret robot",
            "url: 'https://a.b/'",
            "4:34: alerts.channels.group.url: a secret does not belong into this",
        ),
        (
            "password: !secret pass",
            "password: x",
            "alerts.channels.mail.password: a secret does not belong into this file",
        ),
        (
            "url: !secret robot",
            "url: !secret bad",
            "alerts.channels.group.url: the secret is not what this option needs",
        ),
        ("type: dingtalk", "type: dingtak", "no channel is of type 'dingtak', did you mean 'dingtalk'?"),
        ("type: dingtalk, ", "", "alerts.channels.group.type: is missing, there are webhook, smtp"),
        ("language: zh", "languag: zh", "unknown option 'languag', did you mean 'language'?"),
        (
            "to: [group]",
            "to: [grupo]",
            "8:19: alerts.routes.urgent.to.0: no channel is called 'grupo', did you mean 'group'?",
        ),
        ("15min, to: [mail]", "15min, to: [male]", "alerts.routes.urgent.escalate.0.to.0: no channel is called 'male'"),
        ("routes:", "rutes:", "alerts.rutes: unknown option 'rutes', did you mean 'routes'?"),
        ("alerts:", "alert:", "unknown section 'alert', did you mean 'alerts'?"),
        ("Asia/Shanghai", "Asia/Shangai", "no time zone is called 'Asia/Shangai', did you mean Asia/Shanghai?"),
        ("days: [sat, sun]", "from: '22:00', to: '22:00'", "it ends when it begins"),
        ("days: [sat, sun]", "from: 25:00", "'25:00' is no time of day; write it as in 22:30"),
        ("days: [sat, sun]", "until: soon", "write it as in 2026-12-01 08:00"),
        (", days: [sat, sun]", "", "say either `until`, or some of `days`, `from` and `to`"),
        ("user: me, ", "", "`user` and `password` go together"),
        ("from: a@b.example", 'from: "a@b.example\\nBcc: x@y"', "is no address; write it as in someone@example.com"),
        ("hold: 30s", "hold: 30s, kinds: [gap]", "`hold` and `escalate` are about alarms"),
        (
            "[{after: 15min, to: [mail]}]",
            "[{after: 2h, to: [mail]}, {after: 1h, to: [mail]}]",
            "longer than the one before",
        ),
        ("    group: {", "    gr-oup: {", "'gr-oup' is no name"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(plane: Path, old: str, new: str, said: str) -> None:
    plane.write_text(GOOD.replace(old, new, 1), "utf-8")
    faults = "\n".join(load(plane).faults)
    assert said in faults and f"{plane}:" in faults, faults
    assert "hunter2" not in faults


def test_one_fault_hides_no_other(plane: Path) -> None:
    text = GOOD.replace("dingtalk", "dingtak").replace("to: [group]", "to: [grupo]").replace("digest", "digets")
    plane.write_text(text, "utf-8")
    assert len(load(plane).faults) == 3
    plane.write_text("alerts: {channels: [a], routes: 3}", "utf-8")
    assert [fault.split(": ")[1] for fault in load(plane).faults] == ["alerts.channels", "alerts.routes"]


def test_the_schema_knows_every_type(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plane", "schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    one_of = schema["properties"]["alerts"]["properties"]["channels"]["additionalProperties"]["oneOf"]
    assert [schema["$defs"][one["$ref"].rpartition("/")[2]]["properties"]["type"]["const"] for one in one_of] == list(
        TYPES
    )


def test_the_page_names_every_option_and_its_file_is_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text("utf-8")
    path = tmp_path / "plane.yaml"
    path.write_text("".join(re.findall(r"```yaml\n(.*?)```", page, re.S)), "utf-8")
    for name in re.findall(r"!secret (\w+)", path.read_text("utf-8")):
        monkeypatch.setenv(f"LINESIDE_SECRET_{name.upper()}", "https://oapi.dingtalk.com/robot/send?access_token=x")
    assert load(path).faults == []
    for model in (*TYPES.values(), RouteOptions, MuteOptions, StepOptions):
        for name, option in model.model_fields.items():
            assert option.description and f"`{option.alias or name}`" in page, name
