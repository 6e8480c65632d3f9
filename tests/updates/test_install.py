"""Installing a model: proved first, switched by one link, the one before kept, and whole wherever it is cut."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("tuf", reason="needs the updates extra")
pytest.importorskip("ai_edge_litert", reason="needs the vision extra")

from edge import CANDIDATE, PREVIOUS, LinesideError, ModelRefused, version_of
from edge.cli import main
from sync.device.install import MIN_MOST, Models
from sync.device.update_source import InFolder
from sync.updates.manifest import UpdateRefused
from tests.updates.cuts import Bench, cut


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def bench(shared: Bench) -> Iterator[Bench]:
    """Version 1 runs; so it does after each test."""
    yield shared
    shared.install("1")


def test_a_model_is_switched_and_the_way_back_is_kept(bench: Bench) -> None:
    bench.install("2")
    assert bench.runs() == "2" and bench.proves()
    folders = [path for path in (bench.models.folder / "washer").iterdir() if not path.is_symlink()]
    assert len(folders) == 2
    bench.models.back("washer")
    assert bench.runs() == "1"
    bench.models.back("washer")
    assert bench.runs() == "2"


def test_one_that_does_not_prove_itself_is_not_switched_to(bench: Bench) -> None:
    spoiled = dict(bench.files["1"])
    whole = spoiled["washer.tflite"]
    spoiled["washer.tflite"] = whole[:2000] + bytes(64) + whole[2064:]
    bench.publish("3", spoiled)
    with pytest.raises(ModelRefused, match="is not the file that model"):
        bench.install("3")
    golden = dict(bench.files["1"])
    golden["golden.npz"] = golden["golden.npz"][:1000]
    bench.publish("4", golden)
    with pytest.raises(ModelRefused, match=r"golden\.npz cannot be read"):
        bench.install("4")
    assert bench.runs() == "1"
    home = bench.models.folder / "washer"
    assert not [path for path in home.iterdir() if path.name.endswith((".new", ".old"))], "nothing is left of them"


def packed(files: dict[str, bytes]) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in files.items():
            out.writestr(name, content)
    return body.getvalue()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"no zip", "is no package: .*zip the files of its folder"),
        (packed({}), "holds 0 files"),
        (packed({"../../evil": b"x"}), "holds '../../evil'; a package has files beside each other"),
        (packed({"a/model.yaml": b"x"}), "no folders"),
        (packed({f"f{i}": b"x" for i in range(65)}), "holds 65 files"),
        (packed({"model.yaml": bytes(MIN_MOST + 1)}), "unpacks to more than"),
        (packed({"model.yaml": b"task: classify"}), "model.yaml"),
    ],
)
def test_what_is_no_package_is_refused(bench: Bench, body: bytes, said: str) -> None:
    number = f"1{len(list(bench.signers.repository.artefacts()))}"
    bench.signers.add(f"model/washer-{number}", body)
    with pytest.raises(LinesideError, match=said):
        bench.install(number)
    assert bench.runs() == "1"


def test_only_models_are_installed_and_there_is_no_way_back_from_the_first(bench: Bench) -> None:
    bench.signers.add("config/washer-1", b"options")
    with pytest.raises(UpdateRefused, match="config/washer-1 is no model"):
        bench.models.install("config/washer-1")
    with pytest.raises(UpdateRefused, match="no earlier model nothing"):
        bench.models.back("nothing")


def test_a_model_that_was_spoiled_on_the_disk_is_put_right(bench: Bench) -> None:
    path = (bench.models.folder / "washer" / "current").resolve() / "washer.tflite"
    path.write_bytes(path.read_bytes()[:-1])
    assert not bench.runs()
    bench.install("1")
    assert bench.runs() == "1" and bench.proves()


def test_an_update_that_is_cut_leaves_a_running_model(bench: Bench) -> None:
    """At every eighth of its file operations and at each of the last; `make prove-updates` has all of them, often."""
    steps = cut(lambda: bench.install("2"), 10**9)
    assert bench.runs() == "2" and steps > 50
    for at in [*range(1, steps - 20, 8), *range(steps - 20, steps)]:
        bench.forget()
        cut(lambda: bench.install("1"), at)
        assert bench.runs(), f"cut at operation {at}"
    bench.install("1")
    assert bench.runs() == "1"


def test_a_trial_that_is_cut_leaves_what_ran_before_or_what_did_well(bench: Bench) -> None:
    """A candidate is unpacked beside the one that runs, and the link turns to it at the end alone."""

    def tried() -> None:
        updates, source = bench.updates, InFolder(bench.folder / "repo")
        updates.refresh(source)
        updates.bring(source, "model/washer-2")
        models = Models(updates)
        models.use(models.place("model/washer-2"))

    home = bench.models.folder / "washer"
    bench.install("1")
    bench.forget()
    steps = cut(tried, 10**9)
    assert (bench.runs(), version_of(home / PREVIOUS), version_of(home / CANDIDATE)) == ("2", "1", "")
    seen = set()
    for at in [*range(1, steps - 20, 9), *range(steps - 20, steps)]:
        bench.install("1")
        bench.forget()
        cut(tried, at)
        assert bench.runs(), f"cut at operation {at}"
        seen.add(bench.runs())
    assert seen == {"1", "2"}
    bench.models.drop("washer")
    assert version_of(home / CANDIDATE) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away (sudo make test)")
def test_with_sudo_it_belongs_to_whom_the_state_does(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINESIDE_FLOOR", str(tmp_path / "second"))
    site, state = tmp_path / "site.yaml", tmp_path / "state"
    site.write_text("device: {id: press-4}\n")
    state.mkdir()
    os.chown(state, 12345, 12345)
    words = ["update", str(site), "--state", str(state), "--from", str(bench.folder / "repo")]
    root = bench.folder / "repo" / "metadata" / "1.root.json"
    assert main([*words, "--trust", str(root), "--install", "model/washer-1"]) == 0
    assert (state / "updates" / "models" / "washer" / "current").is_symlink()
    assert {path.lstat().st_uid for path in state.rglob("*")} == {12345}


def test_by_the_command_line(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINESIDE_FLOOR", str(bench.folder / "second"))
    site = tmp_path / "site.yaml"
    site.write_text("device: {id: press-4}\n")
    words = ["update", str(site), "--state", str(bench.folder / "state")]
    assert main([*words, "--from", str(bench.folder / "repo"), "--install", "model/washer-2"]) == 0
    assert bench.runs() == "2"
    assert main([*words, "--back", "washer"]) == 0
    assert bench.runs() == "1"
