"""Engines prove themselves, packages are refused in words, and the shipped one judges parts through the real flow."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge import (
    ConfigFault,
    Event,
    Frame,
    FramePool,
    ManualClock,
    ModelRefused,
    Picture,
    Setting,
    Tag,
    TagTable,
    Writable,
    Write,
    find_part,
    load_site,
)
from edge.app import Daemon
from edge.apply import apply_site
from edge.cli import main
from edge.flow import Flow
from edge.health import Health
from edge.plugins import register
from edge.rehearse import Kept
from models import package, proof
from models.engines import contract
from models.engines.contract import Engine
from models.package import SHIPPED, describe, load
from models.vision.inspect import Inspect, InspectConfig

pytestmark = pytest.mark.usefixtures("engine")
WASHER = SHIPPED / "washer"
render: Any = find_part("sims", "parts").render


MODULES = {"tflite-runtime": "tflite_runtime", "onnx": "onnxruntime"}


@pytest.mark.parametrize("name", ["tflite", "tflite-runtime", "onnx"])
def test_an_engine_proves_itself(name: str) -> None:
    if name in MODULES:
        pytest.importorskip(MODULES[name], reason=f"the engine {name} is not installed here (extra {name})")
    assert contract.choose(name)


def test_an_engine_that_imports_and_then_lies_is_not_chosen(engine: Engine) -> None:
    class Lies:
        def load(self, path: Path, threads: int = 1, plain: bool = False) -> Any:
            real = engine.load(path, threads, plain)

            class Off:
                inputs, outputs = real.inputs, real.outputs

                def __call__(self, *x: np.ndarray) -> list[np.ndarray]:
                    return [y // 2 for y in real(*x)]

            return Off()

    register("engines", "lies", Lies)
    with pytest.raises(ModelRefused, match="lies: the self-test gives another answer"):
        contract.choose("lies")


def test_tflite_runtime_imports_under_numpy_2_and_is_refused() -> None:
    numpy2 = Path(sys.prefix) / "numpy2"
    if not numpy2.is_dir():
        pytest.skip("needs the environment of make test-tflite-runtime")
    child = subprocess.run(
        [sys.executable, "-m", "models.package", str(WASHER)],
        env={**os.environ, "PYTHONPATH": str(numpy2)},
        capture_output=True,
        text=True,
    )
    assert child.returncode == 1 and "built for numpy 1 and cannot compute under numpy 2" in child.stdout
    assert not child.stderr


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(WASHER, tmp_path / "washer"))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_whole_package_is_taken(copy: Path) -> None:
    assert load(copy).description.labels[0] == "good"


def test_truncated_weights_are_refused(copy: Path) -> None:
    weights = (copy / "washer.tflite").read_bytes()
    (copy / "washer.tflite").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ModelRefused, match=r"is not the file that model\.yaml names"):
        load(copy)
    import hashlib

    edit(copy / "model.yaml", describe(WASHER).sha256, hashlib.sha256(weights[: len(weights) // 2]).hexdigest())
    with pytest.raises(ModelRefused, match="washer is refused"):
        load(copy)


SITE = """device: {id: d}
drivers: {top: {driver: camera, url: "pattern:parts", every: 50ms}}
stages: {washer: {stage: inspect, camera: top, model: ./washer}}
"""


@pytest.mark.parametrize("file", ["washer.tflite", "model.yaml", "golden.npz"])
def test_a_refused_model_is_a_fault_of_the_site_and_stops_nothing_else(
    copy: Path, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    whole, site = (copy / file).read_bytes(), copy.parent / "site.yaml"
    (copy / file).write_bytes(whole[: len(whole) // 2])
    site.write_text(SITE)
    assert main(["check", str(site)]) == 1
    said = capsys.readouterr()
    assert said.out.startswith(f"{site}:3:18: stages.washer: ") and "Traceback" not in said.out + said.err

    async def work() -> None:
        daemon = Daemon(load_site(site), copy.parent / "state")
        await daemon.start()
        try:
            async with asyncio.timeout(120):
                while daemon.health.part("top").counts["frames"] < 3:
                    await asyncio.sleep(0.01)
                part = daemon.health.part("washer")
                assert part.state == "stopped" and part.reason
                with pytest.raises(ConfigFault, match=r"site\.yaml:3:18: stages.washer"):
                    site.write_text(SITE.replace("camera: top", "camera: top, keep: none"))
                    await apply_site(daemon, site, 0)
                site.write_text(SITE)
                (copy / file).write_bytes(whole)
                await apply_site(daemon, site, 0)
                while daemon.journal.totals.commits < 1 or "inspection" not in await kinds(daemon):
                    await asyncio.sleep(0.01)
                assert "washer" not in daemon.health.parts and "stage" in await kinds(daemon)
        finally:
            await daemon.stop()

    asyncio.run(work())


async def kinds(daemon: Daemon) -> set[str]:
    return set(await daemon.journal.ask(lambda db: [kind for (kind,) in db.execute("SELECT kind FROM event")]))


def test_other_answers_are_refused(copy: Path) -> None:
    with np.load(copy / "golden.npz") as golden:
        given, wanted = golden["input"], golden["output"]
    np.savez(copy / "golden.npz", input=given, output=np.clip(wanted.astype(int) - 9, -128, 127).astype(np.int8))
    with pytest.raises(ModelRefused, match=r"golden vector 0 is off by \d+ steps, 2 are allowed"):
        load(copy)


def test_answers_that_are_fractions_are_measured_too() -> None:
    wanted = np.array([0.9, 0.1], np.float32)
    assert package.steps(wanted + np.float32(0.003), wanted) == pytest.approx(0.956, abs=0.01)
    assert package.steps(np.array([0.52, 0.48]), wanted) > 100
    assert package.steps(np.array([4, -128], np.int8), np.array([2, 127], np.int8)) == 255
    assert not package.steps(np.array([np.nan, 0.1]), wanted) <= 32


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("ng_above: 0.5", "ng_above: 5", "ng_above"),
        ("weights: washer.tflite", "weights: ../x", "weights"),
        ("task: classify", "task: guess", "task"),
        ("task: classify", "task: [", "model.yaml"),
        ("size: [120, 120]", "size: [0, 120]", "size.0: Input should be greater than 0"),
        ("ok_below: 0.2", "ok_below: 0.9", r"model\.yaml: ok_below 0.9 is above ng_above 0.5"),
        ("size: [120, 120]", "size: [60, 60]", "washer is refused: .*expected 120"),
        ("  - chipped_edge\n", "", "it gives 5 numbers for 4 labels"),
    ],
)
def test_a_wrong_description_is_named(copy: Path, old: str, new: str, said: str) -> None:
    edit(copy / "model.yaml", old, new)
    with pytest.raises(ModelRefused, match=said):
        load(copy)


def test_golden_vectors_that_prove_nothing_are_refused(copy: Path) -> None:
    with np.load(copy / "golden.npz") as golden:
        given, wanted = golden["input"], golden["output"]
    np.savez(copy / "golden.npz", input=given[:0], output=wanted[:0])
    with pytest.raises(ModelRefused, match="holds no vector"):
        load(copy)


def test_what_is_exchanged_after_its_proof_does_not_run_and_proves_itself_anew(copy: Path) -> None:
    taken = load(copy)
    edit(copy / "model.yaml", "version: 1", "version: 2")
    with pytest.raises(ModelRefused, match="exchanged since it proved itself"):
        taken.interpreter()
    assert load(copy).description.version == 2
    (copy / "golden.npz").write_bytes(b"")
    with pytest.raises(ModelRefused, match="cannot be read"):
        load(copy)


def test_a_stage_may_not_call_one_part_both(copy: Path) -> None:
    with pytest.raises(ConfigFault, match=r"ok_below 0.6 is above ng_above 0.5"):
        rig(ok_below=0.6)


def test_a_part_whose_model_vanished_is_looked_at_again(copy: Path) -> None:
    flow, seen, _ = rig(model=str(copy))
    shutil.rmtree(copy)
    show(flow, render(5_000_000), 1)
    assert [e.state for e in seen if isinstance(e, Event)] == ["recheck"] and "cannot be judged" in seen[0].text


def test_the_proof_takes_nothing_from_the_folder_it_was_started_in(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (copy.parent / "numpy.py").write_text("raise SystemExit(0)\n")
    monkeypatch.chdir(copy.parent)
    (copy / "golden.npz").write_bytes(b"")
    with pytest.raises(ModelRefused, match="cannot be read"):
        load(copy)


def test_a_model_that_hangs_is_given_up(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "WITHIN", 0.01)
    with pytest.raises(ModelRefused, match="did not answer within"):
        load(copy)


def test_one_that_was_killed_is_told_apart_from_one_that_is_broken(tmp_path: Path) -> None:
    script = tmp_path / "large.py"
    script.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    with pytest.raises(ModelRefused, match=r"was killed .*want of memory"):
        proof.in_child("cProfile", script)


def test_an_absent_package_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match=r"a shipped one: .*washer"):
        package.find("nothing", tmp_path)


def rig(**options: Any) -> tuple[Flow, list[Any], list[Write]]:
    table = TagTable([Tag("plc.reject", 1, source="plc", writable=Writable(range=(0, 1)))])
    config = InspectConfig(
        **{"stage": "inspect", "camera": "top", "model": "washer", "ng": {"plc.reject": 1}, "ok": {"plc.reject": 0}}
        | options
    )
    clock, kept = ManualClock(), Kept()
    seen: list[Any] = []
    writes: list[Write] = []

    def keep(batches: Any = (), events: Any = (), pictures: Any = (), snapshots: Any = None) -> None:
        seen.extend([*events, *pictures])

    def write(order: Write) -> list[Event]:
        writes.append(order)
        return []

    kept.append = keep  # type: ignore[method-assign]
    stage = Inspect(config, Setting("washer", table, Path(".")))
    return Flow(table, [("washer", stage)], kept, clock, Health(clock), write=write), seen, writes


def show(flow: Flow, image: np.ndarray, part: int) -> FramePool:
    pool = FramePool(image.shape, 1)
    buffer = pool.take()
    assert buffer is not None
    buffer[:] = image
    flow.accept(Frame("top", part, 10**18, buffer, part, 0, pool.give, 1))
    return pool


def test_parts_are_judged_written_and_pictured() -> None:
    flow, seen, writes = rig(keep="ng")
    pools = [
        show(flow, render(5_000_000 + k, defect), k)
        for k, defect in enumerate(("", "missing_hole", "", "chipped_edge"))
    ]
    assert all(len(pool) == 1 for pool in pools)
    events = [x for x in seen if isinstance(x, Event)]
    assert [(e.state, e.data["part"]) for e in events] == [("ok", 0), ("ng", 1), ("ok", 2), ("ng", 3)]
    assert [w.value for w in writes] == [0, 1, 0, 1]
    assert len([x for x in seen if isinstance(x, Picture)]) == 2 and events[1].data["label"] == "missing_hole"


def test_a_picture_too_small_is_looked_at_again() -> None:
    flow, seen, writes = rig()
    show(flow, np.zeros((20, 20, 3), np.uint8), 1)
    assert (
        [e.state for e in seen] == ["recheck"] and "the model wants 240 x 240" in seen[0].text and writes[0].value == 1
    )


@pytest.mark.parametrize("kind", ["grey", "one channel", "16 bit"])
def test_a_grey_or_deep_picture_is_judged_like_its_colour(kind: str) -> None:
    flow, seen, _ = rig(keep="none")
    for part, defect in enumerate(("", "missing_hole")):
        grey = cv2.cvtColor(render(5_000_010 + part, defect), cv2.COLOR_BGR2GRAY)
        image = {"grey": grey, "one channel": grey[:, :, None], "16 bit": grey[:, :, None].astype(np.uint16) << 8}[kind]
        flow.accept(Frame("top", part, 10**18, image, part, mono=1))
    assert [e.state for e in seen] == ["ok", "ng"]
