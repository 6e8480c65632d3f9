"""A site is checked whole: every fault with its place, none hiding another."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import Poller, plugins
from edge.cli import main
from edge.config.load import load, load_text
from edge.config.places import MOST_NODES, read_text, scalar
from edge.config.types import octets, seconds

GOOD = """
device: {id: aoi-07}
drivers:
  plc:
    driver: modbus
    url: tcp://192.168.1.10:502
    every: 100ms
    tags:
      oil_temp: {address: "holding:100", type: int16, scale: 0.1}
      stop: {address: "coil:8", writable: {range: [0, 1]}}
alarms:
  oil_hot: {when: "plc.oil_temp > 80", for: 5s, then: {plc.stop: 1}}
"""


def faults(text: str) -> list[str]:
    return [str(problem) for problem in load_text(text).problems]


def test_a_good_site_has_no_faults() -> None:
    config = load_text(GOOD)
    assert config.problems == []
    assert config.drivers["plc"].period() == 0.1
    assert [tag.name for tag in config.tags()] == ["plc.oil_temp", "plc.stop"]
    assert config.tags()[0].stale_after == pytest.approx(0.3)


def test_what_is_computed_is_as_soon_too_old_as_what_it_is_computed_from() -> None:
    virtual = """tags:
  excess: {expression: "plc.oil_temp - 60"}
  twice: {expression: "excess * 2"}
  own: {expression: "excess", stale_after: 9s}
"""
    ages = {tag.name: tag.stale_after for tag in load_text(GOOD + virtual).tags()}
    assert (ages["excess"], ages["twice"], ages["own"]) == pytest.approx((0.3, 0.3, 9))
    stage = """stages:
  pump: {stage: anomaly, tags: [plc.oil_temp, own]}
"""
    ages = {tag.name: tag.stale_after for tag in load_text(GOOD + virtual + stage).tags(period=2.0)}
    assert (ages["twice"], ages["pump.score"]) == pytest.approx((6, 6))


def test_every_fault_in_one_run() -> None:
    text = """device: {id: a, locaton: [1, 2]}
drivers:
  plc:
    driver: modbus
    url: tcp://plc:502
    every: 1000
    tags:
      temp:
        adress: holding:1
      level: {address: "holdin:1"}
  other: {driver: modbuss}
  twin: {driver: modbus, url: "tcp://plc:502", tags: {a: {address: "coil:1"}}}
  twin2: {driver: modbus, url: "tcp://plc:502", tags: {a: {address: "coil:1"}}}
alarms:
  hot: {when: "twin.b > 3"}
  odd: {when: "twin.a >"}
  bad: {when: "twin.a > 0", then: {twin.a: 1}}
journl: {}
"""
    said = faults(text)
    expected = [
        "site.yaml:1:17: device.locaton: unknown option 'locaton', did you mean 'location'?",
        "site.yaml:6:12: drivers.plc.every: 1000 is no duration",
        "site.yaml:9:9: drivers.plc.tags.temp.adress: unknown option 'adress', did you mean 'address'?",
        "site.yaml:10:24: drivers.plc.tags.level.address: 'holdin:1' is no address",
        "site.yaml:11:19: drivers.other.driver: no driver is called 'modbuss', did you mean 'modbus'?",
        "site.yaml:13:10: drivers.twin2: tcp://plc:502 is opened by 'twin' already",
        "site.yaml:15:15: alarms.hot.when: no tag is called 'twin.b'",
        "site.yaml:16:15: alarms.odd.when: cannot read 'twin.a >'",
        "site.yaml:17:44: alarms.bad.then.twin.a: twin.a is read-only",
        "site.yaml:18:1: journl: unknown section 'journl', did you mean 'journal'?",
    ]
    assert len(said) == len(expected), "\n".join(said)
    for line, start in zip(said, expected, strict=True):
        assert line.startswith(start), line


def test_missing_is_said_at_the_parent_and_not_beside_its_near_miss() -> None:
    said = faults("device: {id: a}\ndrivers:\n  plc: {driver: modbus, tags: {a: {address: 'coil:1'}}}\n")
    assert said == ["site.yaml:3:8: drivers.plc.url: is missing, it belongs under drivers.plc"]


@pytest.mark.parametrize("text", ["no", "1:30", "012", "2024-01-01", "1_000", "yes", "0o9"])
def test_yaml_12_words_stay_text(text: str) -> None:
    assert scalar(text) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [("12", 12), ("-1", -1), ("0x1F", 31), ("0o17", 15), ("1e3", 1000.0), ("true", True), ("~", None)],
)
def test_yaml_12_numbers(text: str, value: object) -> None:
    assert scalar(text) == value and type(scalar(text)) is type(value)


def test_duplicate_keys_tags_merges_and_bombs() -> None:
    assert "'a' stands twice, first in line 1" in str(read_text("a: 1\na: 2").problems[0])
    assert "unknown YAML tag" in str(read_text("a: !!python/name:os.system x").problems[0])
    assert "merge keys" in str(read_text("a: &x {b: 1}\nc: {<<: *x}").problems[0])
    assert "a tab cannot indent YAML" in str(read_text("a:\n\tb: 1").problems[0])
    bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(8)
    )
    assert "bomb" in str(read_text(bomb).problems[0])
    assert "too deep" in str(read_text("[" * 60 + "]" * 60).problems[0])
    assert MOST_NODES < 10**6


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"# x\n" * 25_000_000, "site.yaml:1:1: site.yaml is larger than 1,000,000 bytes, split it with !include"),
        (b"device: {id: d}\na: gr\xfcn", "site.yaml:2:6: not UTF-8 text, save it as UTF-8"),
        ("device: {id: d}".encode("utf-16"), "site.yaml:1:1: not UTF-8 text, save it as UTF-8"),
        (b"device: {id: d}\na: \0", "site.yaml:2:4: not YAML: the character 0 cannot stand here"),
        (b"device: " + b"[" * 100_000, "site.yaml:1:32: more than 24 levels deep"),
        (b"device: " + b"{a: " * 100_000, "site.yaml:1:101: more than 24 levels deep"),
        (b"".join(b" " * i + b"a:\n" for i in range(1400)), "site.yaml:25:25: more than 24 levels deep"),
        (b"device: {id: d}\njournal: {keep: " + b"9" * 6000 + b"}", "site.yaml:2:17: journal.keep: '999"),
        (b"device: {id: d}\ntags: !!python/object/apply:os.system [x]", "site.yaml:2:7: tags: unknown YAML tag"),
        (b"device: {id: d}\ntags: !include /dev/zero", "site.yaml:2:7: tags: /dev/zero is no file"),
        (b'device: {id: d}\ntags: !include "a\\0b"', "site.yaml:2:7: tags: cannot read "),
        (b'device: {id: d}\ntags: !secret "\\ud800"', "site.yaml:2:7: tags: no secret is called '?'"),
        (b'device: {id: d}\n"\\ud800": 1', "site.yaml:2:1: ?: unknown section '?'"),
    ],
)
def test_a_hostile_file_is_refused_with_its_place(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, content: bytes, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("site.yaml").write_bytes(content)
    assert main(["check", "site.yaml"]) == 1
    out, err = capfd.readouterr()
    assert out.replace(f"{tmp_path}/", "").startswith(said) and "Traceback" not in out + err


def test_include_and_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tags.yaml").write_text("temp: {address: 'holding:1', tpye: int16}\n")
    (tmp_path / "secrets.yaml").write_text("plc_url: tcp://10.0.0.1:502\n")
    site = tmp_path / "site.yaml"
    site.write_text(
        "device: {id: a}\ndrivers:\n  plc:\n    driver: modbus\n    url: !secret plc_url\n    tags: !include tags.yaml\n"
        "  two: {driver: modbus, url: !secret nothing, tags: {a: {address: 'coil:0'}}}\n"
    )
    config = load(site)
    assert [str(p).replace(str(tmp_path), "") for p in config.problems] == [
        "/site.yaml:7:30: drivers.two.url: no secret is called 'nothing', put it into secrets.yaml beside the site or into "
        "LINESIDE_SECRET_NOTHING",
        "/tags.yaml:1:30: drivers.plc.tags.temp.tpye: unknown option 'tpye', did you mean 'type'?",
    ]
    monkeypatch.setenv("LINESIDE_SECRET_NOTHING", "tcp://hidden:99999")
    assert "hidden" not in "\n".join(str(p) for p in load(site).problems)
    (tmp_path / "loop.yaml").write_text("a: !include loop.yaml\n")
    assert any("includes itself" in str(problem) for problem in load(tmp_path / "loop.yaml").problems)
    assert "cannot read" in str(load(tmp_path / "absent.yaml").problems[0])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("device: {id: d, location: [120.62, 31.30]}", "1:27: device.location: [120.62, 31.3] is no place"),
        ("alarms: {x: {when: plc.oil_temp > 1, for: 1.5}}", "alarms.x.for: 1.5 is no duration"),
        ("alarms: {x: {when: plc.oil_temp > 1, for: -.inf}}", "alarms.x.for: -inf is no duration"),
        ("alarms: {x: {when: plc.oil_temp >, for: 1}}", "alarms.x.when: cannot read 'plc.oil_temp >'"),
        ("alarms: {x: {when: 1 > 0}}", "alarms.x.when: '1 > 0' reads no tag"),
        ("tags: {in: {expression: plc.oil_temp}}", "1:8: tags.in: 'in' is a word of the expressions; write 'in_'"),
        ("tags: {温２: {expression: plc.oil_temp}}", "tags.温２: '温２' is written with full-width"),
        ("tags: {v: {expression: plc.oil_temp, writable: {range: [0, 1]}}}", "tags.v.writable: a computed tag"),
        ("tags: {v: {expression: v + 1}}", "tags.v: these need each other in a circle: v -> v"),
        ("tags: {v: {expression: s.score}}\nstages: {s: {stage: anomaly, tags: [v]}}", "in a circle: "),
        ("journal: {at_most: -5}", "journal.at_most: -5 is no size"),
        ("stages: {s: {stage: anomaly, tags: [plc.stop, plc.stop]}}", "stages.s.tags: 'plc.stop' stands there twice"),
        ("stages: {s: {stage: template, camera: plc.stop}}", "stages.s.camera: no driver is called 'plc.stop'"),
        ("stages: {s: {stage: inspect, camera: plc, model: m, ng: {plc.oil_temp: 1}}}", "s.ng.plc.oil_temp: plc.oil"),
        ("stages: {s: {stage: inspect, camera: plc, model: m, ok: {plc.stop: 2}}}", "s.ok.plc.stop: 2 is outside 0..1"),
        ("stages: {s: {stage: inspect, camera: plc, model: m, ng: {plc.stp: 1}}}", "did you mean 'plc.stop'?"),
        ("simulate: {plc.stop: {mean: .nan}}", "simulate.plc.stop.mean: must be a finite number"),
    ],
)
def test_a_slip_is_said_before_it_runs(text: str, said: str) -> None:
    good = GOOD if not text.startswith("device") else GOOD.replace("device: {id: aoi-07}\n", "")
    good = good if not text.startswith("alarms") else good.partition("alarms")[0]
    found = faults(f"{text}\n{good}")
    assert any(said in fault for fault in found), found


def test_a_write_to_a_driver_that_has_none_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plugins._extra, ("drivers", "deaf"), Poller)
    text = "device: {id: d}\ndrivers:\n  past: {driver: deaf, tags: {a: {writable: {range: [0, 1]}}}}\n"
    assert faults(text) == ["site.yaml:3:35: drivers.past.tags.a.writable: the driver 'deaf' cannot write, remove it"]
    dumb = type("Dumb", (Poller,), {"write": None})
    monkeypatch.setitem(plugins._extra, ("drivers", "dumb"), dumb)
    text = "device: {id: d}\ndrivers:\n  top: {driver: dumb, tags: {a: {writable: {range: [0, 1], readback: 0.5}}}}\n"
    assert faults(text) == [
        "site.yaml:3:60: drivers.top.tags.a.writable.readback: the driver 'dumb' cannot read one tag back, remove it"
    ]
    for wrong, said in (("readback: maybe", "must be a number"), ("readback: -1", "greater than or equal to 0")):
        (fault,) = faults(text.replace("readback: 0.5", wrong))
        assert fault.startswith("site.yaml:3:70: drivers.top.tags.a.writable.readback: ") and said in fault


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("plc.near", ""),
        ("plc.far", "does not lie in one read request with the trigger plc.go"),
        ("plc.coil", "does not lie in one read request"),
        ("other.near", "comes from another connection than the trigger plc.go"),
    ],
)
def test_a_part_number_lies_in_one_read_with_its_trigger(part: str, said: str) -> None:
    tags = "near: {address: 'holding:2'}, far: {address: 'holding:900'}, coil: {address: 'coil:1'}"
    text = f"""device: {{id: d}}
drivers:
  plc: {{driver: modbus, url: "tcp://a:502", tags: {{go: {{address: "holding:1.0"}}, {tags}}}}}
  other: {{driver: modbus, url: "tcp://b:502", tags: {{{tags}}}}}
  top: {{driver: camera, url: "pattern:parts", trigger: plc.go, part: {part}}}
"""
    found = faults(text)
    assert (said == "" and found == []) or (len(found) == 1 and "drivers.top.part" in found[0] and said in found[0])


def test_a_fault_of_the_secrets_is_said_too(tmp_path: Path) -> None:
    (tmp_path / "secrets.yaml").write_text("a: 1\na: 2\n")
    (tmp_path / "site.yaml").write_text("device: {id: d, site: !secret b}\n")
    said = [str(problem) for problem in load(tmp_path / "site.yaml").problems]
    assert any("secrets.yaml:2:1: a: 'a' stands twice" in fault for fault in said), said
    assert any("no secret is called 'b'" in fault for fault in said)


def test_durations_and_sizes() -> None:
    assert [seconds(t) for t in ("100ms", "5s", "2min", "72h", "1.5s")] == [0.1, 5.0, 120.0, 259200.0, 1.5]
    assert [octets(t) for t in ("4GB", "64KiB", "1B")] == [4 * 10**9, 65536, 1]
    for wrong in ("5", "s", "5 parsec", "-1s", "1:30"):
        with pytest.raises(ValueError, match="no duration"):
            seconds(wrong)


@settings(max_examples=150)
@given(st.text(max_size=200))
def test_no_text_makes_the_loader_raise(text: str) -> None:
    load_text(text)


_leaf = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(["modbus", "1s"])
)
_tree = st.recursive(
    _leaf,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["device", "id", "drivers", "driver", "tags", "alarms", "when", "tests", "plc", "url", "stages", "x"]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=15,
)


@settings(max_examples=200)
@given(_tree)
def test_no_structure_makes_the_loader_raise(tree: object) -> None:
    import json

    load_text(json.dumps(tree))


def test_places_are_found_when_somebody_asks(tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text("\nplc:\n  driver: modbus\n  url: tcp://h\n  tags: {a: {address: 40001}}\n")
    site = tmp_path / "site.yaml"
    site.write_text("device: {id: d}\n\ndrivers: !include more.yaml\n")
    config = load(site)
    assert not config.problems and not config.tree.placed
    place = config.tree.place(("drivers", "plc", "tags", "a"), key=True)
    assert (Path(place.file).name, place.line, place.column) == ("more.yaml", 5, 10)
    config.tree.fault(("drivers", "plc", "url"), "is odd")
    assert config.tree.problems[0].place.line == 4


def test_both_parsers_read_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    from edge.config import places

    texts = [path.read_text("utf-8") for path in sorted(Path("configs").rglob("*.yaml"))]
    texts += [
        "a: {温度: 1, é: [x, ü]}\n",
        "a: |\n  x\n  y\nb: 'z'\n",
        "\ufeffa: 1\r\nb: !secret x\n",
        "a: &x [1]\nb: *x\n",
    ]
    assert places._Fast is not None, "PyYAML was built without libyaml"
    fast = [read_text(text) for text in texts]
    monkeypatch.setattr(places, "_Fast", None)
    for text, tree in zip(texts, fast, strict=True):
        other = read_text(text)
        assert (tree.data, tree.places, tree.problems) == (other.data, other.places, other.problems)
